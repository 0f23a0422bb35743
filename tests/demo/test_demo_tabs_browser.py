# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The tabs of the demo's page in a real browser."""

import os
import shutil
from types import SimpleNamespace

import pytest
from encoders import save_encoder, save_two_towers
from playwright.sync_api import expect
from programs import free_port


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(checkpoints, tmp_path_factory):
    """The demo of a classifier, a model of two towers and an encoder, in the place of that of classifiers alone."""
    from hf_dynamicvit.demo.page import build

    folder, before = tmp_path_factory.mktemp("kinds"), os.environ.get("GRADIO_TEMP_DIR")
    places = [str(checkpoints / "dense"), save_two_towers(folder / "towers"), save_encoder(folder / "encoder")]
    demo = build(places)
    yield SimpleNamespace(demo=demo, address=demo.launch(port=free_port(), wait=False))
    demo.blocks.close(verbose=False)
    shutil.rmtree(demo.page.uploads.folder)
    os.environ.pop("GRADIO_TEMP_DIR")
    if before is not None:
        os.environ["GRADIO_TEMP_DIR"] = before


def test_each_tab_offers_its_models_and_answers(open_page):
    page = open_page()
    summary, models = page.locator(".dv-summary"), page.locator("#model label")
    expect(summary).to_contain_text("dense keeps")  # it opens with the first model's tab
    expect(models).to_have_text(["dense"])
    expect(page.locator("#labels")).to_be_hidden()
    page.get_by_role("tab", name="Zero-shot").click()
    expect(summary).to_contain_text("towers keeps")
    expect(models).to_have_text(["towers"])
    labels = page.locator("#labels input, #labels textarea")
    labels.fill("rose, cat")
    labels.press("Enter")
    expect(page.locator(".dv-classes caption")).to_have_text("Top 2")
    labels.fill("rose")
    labels.press("Enter")
    expect(page.locator("#answer [role=alert]")).to_contain_text("There are 1 labels; type 2 to 20")
    page.get_by_role("tab", name="Retrieval").click()
    expect(page.locator(".dv-found")).to_have_count(2)
    expect(models).to_have_text(["towers", "encoder"])
    page.get_by_role("button", name="Rose").click()
    expect(page.locator("#chosen")).to_contain_text("Chosen: Rose")
    page.locator("#model").get_by_label("encoder").check()
    expect(summary).to_contain_text("encoder keeps")
    expect(page.locator(".dv-found figure")).to_have_count(8)
    for image in page.locator(".dv-found img").all():
        assert image.evaluate("image => image.complete && image.naturalWidth > 0")
    page.get_by_label("Compare with another method").check()
    expect(page.locator(".dv-found")).to_have_count(4)
    page.get_by_role("tab", name="Classify").click()
    expect(summary.first).to_contain_text("dense keeps")
    expect(page.locator(".dv-found")).to_have_count(0)


@pytest.mark.long
def test_tabs_on_a_phone(open_page):
    page = open_page(width=390, height=844)
    for tab in ("Zero-shot", "Retrieval"):
        page.get_by_role("tab", name=tab).click()
        expect(page.locator(".dv-summary")).to_contain_text("towers keeps")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.locator(".dv-found")).to_have_count(2)
    small = "[...document.querySelectorAll('#answer *')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    assert min(page.evaluate(small)) >= 14
