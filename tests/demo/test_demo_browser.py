# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The demo's page in a real browser."""

import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from hf_dynamicvit.demo.input import PHOTOGRAPHS
from hf_dynamicvit.demo.server.limits import RateLimit


pytestmark = pytest.mark.slow


DAISY = Image.open(PHOTOGRAPHS / "daisy.jpg").convert("RGB")


@pytest.fixture
def image(tmp_path):
    """An image of nothing, not square, as a file."""
    pixels = np.random.default_rng(0).integers(0, 255, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


def upload(page: Page, file) -> None:
    page.locator("#drop input[type=file]").set_input_files(file)


def pick(page: Page) -> None:
    page.get_by_role("button", name="Daisy").click()


def summary(page: Page) -> Locator:
    return page.locator(".dv-summary")


def alert(page: Page) -> Locator:
    return page.locator("#answer [role=alert]")


def method(page: Page, name: str, group: str = "method") -> None:
    page.locator(f"#{group} input[value='{name}']").check()


def slide(page: Page, keep_ratio: float, keys: bool = False) -> None:
    """Move the first slider, with the mouse or with the arrow keys."""
    slider = page.locator("#keep_ratio input[type=range]")
    if keys:
        slider.focus()
        steps = round((keep_ratio - float(slider.input_value())) / 0.05)
        for _ in range(abs(steps)):
            page.keyboard.press("ArrowRight" if steps > 0 else "ArrowLeft")
    else:
        slider.scroll_into_view_if_needed()
        box = slider.bounding_box()
        thumb = 16
        place = box["x"] + thumb / 2 + (box["width"] - thumb) * (keep_ratio - 0.3) / 0.7
        page.mouse.click(place, box["y"] + box["height"] / 2)
    assert float(slider.input_value()) == pytest.approx(keep_ratio)


def test_upload(served, open_page, image):
    page = open_page()
    expect(summary(page)).to_contain_text(served.expected(DAISY))  # it opens with an answer
    expect(page.locator("#chosen")).to_contain_text("Chosen: Daisy")
    upload(page, image)
    expect(summary(page)).to_contain_text(served.expected(Image.open(image)))
    expect(page.locator("#chosen")).to_contain_text("Chosen: your own image")
    images = page.locator("#answer img")
    assert images.count() == 8  # the image, three stages, three maps of scores, when each patch went
    for image in images.all():
        assert image.get_attribute("alt") and image.get_attribute("src").startswith("data:image/webp;base64,")
        assert image.evaluate("image => image.complete && image.naturalWidth > 0")
    cost, classes = page.locator(".dv-cost"), page.locator(".dv-classes")
    assert classes.locator("tbody tr").count() == 5 and "<i>cow</i>" in classes.inner_text()
    assert "GMACs" in cost.inner_text() and re.search("x faster|x slower|as fast", cost.inner_text())
    assert not any(file.is_file() for file in served.demo.page.uploads.folder.rglob("*"))


def test_slider(served, open_page):
    page = open_page()
    pick(page)
    expect(summary(page)).to_contain_text(served.expected(DAISY))
    slide(page, 0.5)
    expect(summary(page)).to_contain_text(served.expected(DAISY, 0.5))
    slide(page, 0.9, keys=True)
    expect(summary(page)).to_contain_text(served.expected(DAISY, 0.9))
    number = page.locator("#keep_ratio input[type=number]")
    number.fill("0.1")  # less than there is
    number.blur()
    expect(summary(page)).to_contain_text(served.expected(DAISY, 0.3))
    assert number.input_value() == "0.3"


def test_methods(served, open_page):
    page = open_page()
    pick(page)
    expect(page.get_by_role("heading", name="dynamicvit (as trained), keep ratio 0.70")).to_be_visible()
    method(page, "tome")
    merged = {"reducer": "tome", "reducer_args": {}, "reducer_layers": None, "keep_ratio": 0.7}
    expect(summary(page)).to_contain_text(served.expected(DAISY, **merged))
    expect(page.get_by_role("heading", name="Merged groups")).to_be_visible()
    expect(page.locator(".dv-verdict")).to_contain_text("less compute")
    expect(page.get_by_role("heading", name="Scores")).to_have_count(0)
    expect(page.locator(".dv-note")).to_contain_text("not trained with tome")
    method(page, "asvit")
    expect(page.locator(".dv-note").last).to_contain_text("on this very image each stage keeps that fraction")
    page.locator("#model").get_by_label("dense").check()
    expect(summary(page)).to_contain_text("dense keeps")
    expect(
        page.locator("#method input[value=tome]")
    ).to_be_checked()  # a dense model begins with what needs no training
    method(page, "as trained")
    expect(page.locator(".dv-note").first).to_contain_text("Not trained: dynamicvit")


@pytest.mark.long
def test_groups_have_names(open_page):
    page = open_page()
    for label in ("Model", "Method"):
        expect(page.get_by_role("radiogroup", name=label, exact=True)).to_have_count(1)
    expect(page.get_by_role("radiogroup", name="Other method")).to_have_count(0)
    page.get_by_label("Compare with another method").check()
    expect(page.get_by_role("radiogroup", name="Other method")).to_be_visible()
    expect(page.locator("#answer")).to_have_attribute("aria-live", "polite")


def test_comparison(served, open_page):
    page = open_page()
    pick(page)
    expect(summary(page)).to_have_count(1)
    expect(page.locator("#other_method")).to_be_hidden()
    page.get_by_label("Compare with another method").check()
    expect(summary(page)).to_have_count(2)
    method(page, "topk", group="other_method")
    answers = page.locator(".dv-answer")
    expect(answers.last).to_have_attribute("aria-label", "topk, keep ratio 0.70")
    expect(answers.first).to_contain_text(served.expected(DAISY))
    left, right = answers.first.bounding_box(), answers.last.bounding_box()
    assert left["y"] == right["y"] and left["x"] + left["width"] <= right["x"]
    page.set_viewport_size({"width": 390, "height": 844})
    above, below = answers.first.bounding_box(), answers.last.bounding_box()
    assert above["x"] == below["x"] and above["y"] + above["height"] <= below["y"]


@pytest.mark.long
def test_the_controls_stay_in_view_and_the_answer_can_be_taken_away(open_page):
    page = open_page()
    page.get_by_label("Compare with another method").check()
    expect(summary(page)).to_have_count(2)
    labels = [answer.get_attribute("aria-label").partition(",")[0] for answer in page.locator(".dv-answer").all()]
    assert len({*labels}) == 2  # two different methods
    other = page.locator("#other_method")
    box, choice = other.bounding_box(), other.locator("label:has(input[value=tome])").bounding_box()
    assert box["y"] <= choice["y"] and choice["y"] + choice["height"] <= box["y"] + box["height"]
    page.evaluate("scrollTo(0, document.body.scrollHeight / 2)")
    expect(page.locator("#pick-0")).to_be_in_viewport()
    with page.expect_download() as download:
        page.get_by_text("Download this answer").first.click()
    assert Image.open(download.value.path()).format == "JPEG"
    page.get_by_text("Code", exact=True).first.click()
    expect(page.locator("#answer pre").first).to_contain_text("Viewer.load")


def bad_files(folder):
    """Files that are no images for us: name -> what the page says."""
    (folder / "text.jpg").write_text("no image at all")
    (folder / "cut.jpg").write_bytes((PHOTOGRAPHS / "rose.jpg").read_bytes()[:4000])
    Image.new("1", (8000, 8000)).save(folder / "wide.png")
    return {
        "text.jpg": "This is no image that can be read. It can be JPEG, PNG",
        "cut.jpg": "The image is cut off or damaged.",
        "wide.png": "8000 x 8000 pixels, too many: at most 40 million.",
    }


def test_bad_files(served, open_page, tmp_path):
    page = open_page()
    for name, message in bad_files(tmp_path).items():
        upload(page, tmp_path / name)
        expect(alert(page)).to_contain_text(message)
    (tmp_path / "large.png").write_bytes(bytes(10 * 1024 * 1024 + 1))
    upload(page, tmp_path / "large.png")
    expect(page.get_by_text("exceed the maximum allowed size of 10.0 Mb")).to_be_visible()
    (tmp_path / "notes.txt").write_text("no image either")
    upload(page, tmp_path / "notes.txt")
    expect(page.get_by_text("Invalid file type: notes.txt")).to_be_visible()
    told = "notes.txt has no answer yet: what is below was here before it."
    expect(page.locator("#answer")).to_have_attribute("data-sent", told)  # and the error before it looks old
    assert not any(file.is_file() for file in served.demo.page.uploads.folder.rglob("*"))
    pick(page)  # and the page goes on
    expect(summary(page)).to_contain_text(served.expected(DAISY))
    expect(page.locator("#answer")).not_to_have_attribute("data-sent", told)


@pytest.mark.long
def test_keyboard_alone(served, open_page):
    page = open_page()

    def focused() -> str:
        name = "element.getAttribute('aria-label') || element.labels?.[0]?.innerText || element.innerText"
        return page.evaluate(f"(() => {{ const element = document.activeElement; return {name}; }})()").strip()

    seen = []
    while (seen[-1:] or [""])[0] != "Compare with another method" and len(seen) < 30:
        page.keyboard.press("Tab")
        seen.append(focused())
        if seen[-1] == "Daisy":
            page.keyboard.press("Enter")
            expect(summary(page)).to_contain_text(served.expected(DAISY))
        if seen[-1].startswith("As trained"):
            page.keyboard.press("ArrowRight")
            expect(page.locator("#answer h3")).to_contain_text("asvit")
            page.keyboard.press("ArrowLeft")
            expect(page.locator("#answer h3")).to_contain_text("as trained")
        if seen[-1] == "range slider for Keep ratio":
            page.keyboard.press("ArrowLeft")
            expect(summary(page)).to_contain_text(served.expected(DAISY, 0.65))
    page.keyboard.press("Space")
    expect(summary(page)).to_have_count(2)
    seen = ["as trained" if name.startswith("As trained") else name for name in seen]
    wanted = ["Daisy", "sparse", "as trained", "number input for Keep ratio", "range slider for Keep ratio"]
    assert [name for name in seen if name in wanted] == wanted and any("upload" in name for name in seen)


@pytest.mark.long
def test_phone(open_page):
    page = open_page(width=390, height=844)
    pick(page)
    summary(page).wait_for()
    page.get_by_label("Compare with another method").check()
    expect(summary(page)).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    small = "[...document.querySelectorAll('#answer *')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    assert min(page.evaluate(small)) >= 14
    for button in page.locator(".dv-pick").all():
        assert min(button.bounding_box()["width"], button.bounding_box()["height"]) >= 44
    assert page.locator("#answer img").first.bounding_box()["width"] >= 120


@pytest.mark.long
def test_two_visitors_do_not_disturb_each_other(served, open_page):
    first, second = open_page(), open_page()
    for page in (first, second):
        pick(page)
        summary(page).wait_for()
    for low, high in ((0.4, 0.9), (0.85, 0.45)):
        slide(first, low)
        slide(second, high)
        expect(summary(first)).to_contain_text(served.expected(DAISY, low))
        expect(summary(second)).to_contain_text(served.expected(DAISY, high))


@pytest.mark.long
def test_rate_limit_and_forgetting(served, open_page, monkeypatch):
    monkeypatch.setattr(served.demo.page, "rate", RateLimit(2))
    page, other = open_page(), open_page()
    for keep_ratio in (0.7, 0.5):
        slide(page, keep_ratio) if keep_ratio != 0.7 else pick(page)
        expect(summary(page)).to_contain_text(served.expected(DAISY, keep_ratio))
    slide(page, 0.6)
    expect(alert(page)).to_contain_text("more than 40 requests in a minute")
    with page.expect_response("**/upload*"):
        upload(page, PHOTOGRAPHS / "rose.jpg")
    expect_soon(page, lambda: not any(file.is_file() for file in served.demo.page.uploads.folder.rglob("*")))
    expect(alert(page)).to_contain_text("more than 40 requests in a minute")
    pick(other)  # somebody else may still ask
    expect(summary(other)).to_contain_text(served.expected(DAISY))
    sessions = served.demo.blocks.state_holder.session_data
    remembered = len(sessions)
    other.close()
    expect_soon(page, lambda: len(sessions) < remembered)


def expect_soon(page: Page, condition) -> None:
    """Wait, with the browser, until something is so."""
    for _ in range(200):
        if condition():
            return
        page.wait_for_timeout(100)
    raise AssertionError("it never came about")
