# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Text of any language in figures: a font that has it, else the codes of its characters, never a box."""

import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from hf_dynamicvit import fonts
from hf_dynamicvit.look.drawing import captioned, wrapped


RARE = "\u1d81"  # a letter that DejaVu Sans lacks, and STIX, which comes with matplotlib too, has
CHINESE = "\u732b"  # neither


@pytest.fixture
def only(monkeypatch):
    """Only the fonts of these folders are installed, by a call."""

    def install(*folders: Path) -> None:
        monkeypatch.setattr(fonts, "FOLDERS", [str(folder) for folder in folders])
        for cached in (fonts.list_installed_fonts, fonts.find_font):
            cached.cache_clear()

    yield install
    monkeypatch.undo()
    for cached in (fonts.list_installed_fonts, fonts.find_font):
        cached.cache_clear()


def test_greek_and_cyrillic_need_no_other_font(only, tmp_path):
    only(tmp_path / "none")
    assert fonts.make_drawable("\u0441\u043e\u0431\u0430\u043a\u0430 \u03b2, caf\u00e9") == "собака β, café"
    assert fonts.make_drawable("cafe\u0301") == "café"  # as the file systems of macOS write it


def test_a_character_that_no_font_has_is_written_as_its_code(only, tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    only(tmp_path)
    assert fonts.find_missing([f"a{CHINESE}", f"{CHINESE}\n{RARE}"]) == CHINESE + RARE
    assert wrapped(f"{CHINESE}.jpg", 200) == ["\\u732b.jpg"]
    assert fonts.make_drawable("\U00020000") == "\\U00020000"
    assert captioned(Image.new("RGB", (40, 40)), CHINESE * 30).height > 60


def test_a_mark_without_its_letter_is_no_box(only, tmp_path):
    only(tmp_path)
    assert fonts.make_drawable("\u0939\u093f") == "\\u0939\\u093f"


def test_without_matplotlib(only, tmp_path, monkeypatch):
    """Pillow's own font has the letters of the ASCII."""
    only(tmp_path)
    own = ImageFont.load_default(fonts.SIZE)
    monkeypatch.setattr(fonts, "load_usual_font", lambda: own)
    assert fonts.make_drawable("\u00e9\u732b") == "e\\u732b"
    assert captioned(Image.new("RGB", (40, 40)), "\u00e9\u732b").height > 40


def test_a_font_that_is_installed_is_found(only):
    only(Path(matplotlib.get_data_path()) / "fonts" / "ttf")
    assert fonts.make_drawable(RARE) == RARE and fonts.find_missing([RARE, CHINESE]) == CHINESE
    parts = fonts.split_by_font(f"a{RARE}b")
    assert [text for text, _ in parts] == ["a", RARE, "b"] and "STIX" in parts[1][1].getname()[0]
    assert fonts.measure_line(f"a{RARE}b") == sum(font.getlength(text) for text, font in parts)
    drawn = Image.new("RGB", (60, 20), "white")
    fonts.draw_line(ImageDraw.Draw(drawn), (2, 2), f"{RARE}")
    left, top, right, bottom = Image.eval(drawn.convert("L"), lambda value: 255 - value).getbbox()
    assert left > 0 and top >= 2 and bottom < 20 and right < 20


def test_plots_use_the_same_fonts(only):
    only(Path(matplotlib.get_data_path()) / "fonts" / "ttf")

    def draw(text: str) -> np.ndarray:
        with warnings.catch_warnings(), fonts.plot_fonts([text]):
            warnings.simplefilter("error")  # matplotlib warns of a glyph that is missing
            figure = Figure(figsize=(1, 1))
            canvas = FigureCanvasAgg(figure)
            figure.text(0.3, 0.3, text)
            canvas.draw()
            return np.asarray(canvas.buffer_rgba())

    before = matplotlib.rcParams["font.family"]
    assert (draw(RARE) < 255).any() and matplotlib.rcParams["font.family"] == before
    assert font_manager.fontManager.ttflist
