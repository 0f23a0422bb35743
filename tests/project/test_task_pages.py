# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The tables of the pages about tasks are those of the files that measuring wrote."""

import json
import re

import pytest
from paths import ROOT


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def gmacs(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


# page -> file of benchmarks/, its columns, and how each is printed
PAGES = {
    "vision_language.md": (
        "image_tokens.json",
        {"model": str, "image tokens": str, "seconds": "{:.2f}".format, "times as fast": "{:.2f}x".format},
    ),
    "retrieval.md": (
        "retrieval.json",
        {
            "model": str,
            "gmacs": "{:.2f}".format,
            "recall, own index": percent,
            "recall, dense index": percent,
            "same class": percent,
            "images a CPU second": "{:.2f}".format,
            "times as fast": "{:.2f}x".format,
        },
    ),
    "segmentation.md": (
        "segmentation.json",
        {"model": str, "gmacs": "{:.2f}".format, "miou": percent, "pixel_accuracy": percent},
    ),
    "depth.md": (
        "depth.json",
        {"model": str, "gmacs": gmacs, "abs_rel": percent, "mae": "{:.3f} m".format},
    ),
    "detection.md": (
        "detection.json",
        {"model": str, "gmacs": "{:.4f}".format, "map": percent, "map_50": percent, "map_75": percent},
    ),
}


def printed_rows(page: str) -> list[str]:
    """The table of a page that a file of benchmarks/ has."""
    name, columns = PAGES[page]
    rows = json.loads((ROOT / "benchmarks" / name).read_text(encoding="utf-8"))["rows"]
    return [f"| {' | '.join(show(row[column]) for column, show in columns.items())} |" for row in rows]


@pytest.mark.parametrize("page", PAGES)
def test_the_table_is_what_was_measured(page):
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    rows = printed_rows(page)
    assert "\n".join(rows) in text, "\n".join(rows)
    head = text[: text.index(rows[0])].rstrip().splitlines()[-2]
    assert head.count("|") == rows[0].count("|") and re.match(r"\| model ", head)
