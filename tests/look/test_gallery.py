# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The page of many images: what it tells, that it loads nothing, and that it sorts in a browser."""

import json
import os
import re
import shutil
from html import escape
from pathlib import Path

import pytest
import torch
from viewers import view_of

from hf_dynamicvit.look.gallery import build_entry, build_gallery, find_true_class


LABELS = ["cat", "<dog>"]


def entry(sparse, dense, file="images/cat/a.jpg", place=0):
    probabilities = None if dense is None else torch.tensor([dense, 1 - dense])
    view = view_of(
        [[1, 0, 1, 1], [1, 0, 0, 1]],
        probabilities=torch.tensor([sparse, 1 - sparse]),
        dense_probabilities=probabilities,
    )
    return build_entry(view, LABELS, file, Path(file).name, place)


def test_a_changed_prediction_is_marked():
    same, changed = entry(0.9, 0.6), entry(0.2, 0.6)
    assert not same.changed and "same answer as the dense model" in same.html and 'class="mark"' not in same.html
    assert changed.changed and escape("changed: cat became <dog>") in changed.html
    assert 'data-changed="1"' in changed.html and 'data-shift="0.4000"' in changed.html
    assert 'data-confidence="0.8000"' in changed.html and f'data-class="{escape("<dog>")}"' in changed.html
    assert "50% of the dense multiply-adds" in changed.html and "patches kept: 3, 2" in changed.html
    assert 'style="width:80.0%"' in changed.html


def test_the_class_of_a_folder_is_compared():
    assert find_true_class("cat/x/a.jpg", LABELS) == "cat" and find_true_class("a/b.jpg", LABELS) == ""
    assert find_true_class("cat/<dog>/a.jpg", LABELS) == "<dog>"  # the innermost
    assert 'data-wrong="1"' in entry(0.2, None).html and 'data-wrong="0"' in entry(0.9, None).html
    assert 'data-wrong="0"' in entry(0.2, None, "elsewhere/a.jpg").html


def test_without_a_dense_model_nothing_is_compared():
    found = entry(0.2, None)
    assert not found.changed and "dense model" not in found.html and "<strong>dense" not in found.html


def test_names_cannot_break_the_page_and_nothing_is_loaded():
    name = 'x/"><script>alert(1)</script>.jpg'
    page = build_gallery("<b>", "a & b", [entry(0.9, 0.6, name)])
    assert "<script>alert" not in page and page.count("<script>") == 1 and "a &amp; b" in page
    assert not re.search(r"https?://", page) and not re.search(r'src="(?!data:)', page) and "href" not in page
    assert "default-src 'none'" in page


BROWSER = shutil.which("chromium")


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None and not os.environ.get("CI"), reason="there is no chromium")
def test_the_page_sorts_and_filters(tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    entries = [entry(0.9, 0.6, "x/a.jpg", 0), entry(0.2, 0.6, "cat/b.jpg", 1), entry(0.6, 0.7, "x/c.jpg", 2)]
    (tmp_path / "index.html").write_text(build_gallery("t", "", entries), encoding="utf-8")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        errors = []
        page.on("pageerror", lambda error: errors.append(error))
        page.goto((tmp_path / "index.html").as_uri())

        def order() -> str:
            shown = "[...document.querySelectorAll('article')].filter(each => !each.hidden)"
            return "".join(json.loads(page.evaluate(f"JSON.stringify({shown}.map(each => each.dataset.name[0]))")))

        assert order() == "bac"  # changed first, then by how far the probabilities moved
        for by, expected in {"unsure": "cba", "sure": "abc", "class": "bac", "file": "abc"}.items():
            page.select_option("#by", by)
            assert order() == expected, by
        page.select_option("#only", "changed")
        assert order() == "b" and page.text_content("#seen") == "1 of 3"
        page.select_option("#only", "all")
        page.fill("#word", "C.JPG")
        assert order() == "c"
        assert not errors and page.evaluate("document.documentElement.scrollWidth") <= 390
        browser.close()
