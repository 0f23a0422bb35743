# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Find a font for each character of what figures say, among those that are installed.

Names of files and classes are of any language. DejaVu Sans, which matplotlib brings, has Latin, Greek, Cyrillic and
Arabic letters; for others the fonts of the system are asked. A character that none has is written as its code.
"""

import contextlib
import functools
import importlib.util
import io
import os
import unicodedata
from collections.abc import Generator, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from PIL import ImageDraw, ImageFont


SIZE = 13  # of Pillow's own font; that of others is a little smaller

# Where systems keep their fonts.
FOLDERS = ["/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts"]
FOLDERS += ["/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"]
FOLDERS += [f"{os.environ.get('WINDIR', 'C:/Windows')}/Fonts"]
KINDS = {".ttf", ".otf", ".ttc", ".otc"}

# Parts of the names of fonts that are looked into last, and of those that have a box for every character.
ODD = ("bold", "italic", "oblique", "mono", "serif", "condensed", "light", "thin", "black")
LAST_RESORT = ("lastresort", "unifont", "blank")

NO_CHARACTER = "\U0010ffff"  # which no font has: it is drawn as what is missing


@functools.cache
def load_usual_font() -> Any:
    """Load DejaVu Sans where matplotlib, which brings it, is installed, and else Pillow's own font, which is Latin."""
    matplotlib = importlib.util.find_spec("matplotlib")
    file = Path(matplotlib.origin or "").with_name("mpl-data") / "fonts/ttf/DejaVuSans.ttf" if matplotlib else None
    if file is None or not file.is_file():
        return ImageFont.load_default(SIZE)
    return ImageFont.truetype(str(file), SIZE - 1)


@functools.cache
def list_installed_fonts() -> list[Path]:
    """List the files of fonts of this machine, plain ones without serifs first."""

    def order(file: Path) -> tuple[bool, bool, str]:
        name = file.name.lower()
        return any(part in name for part in ODD), "sans" not in name, name

    folders = [Path(folder).expanduser() for folder in FOLDERS]
    found = [file for folder in folders for file in folder.rglob("*") if file.suffix.lower() in KINDS]
    return sorted((file for file in found if not file.name.lower().startswith(LAST_RESORT)), key=order)


@functools.cache
def load_font(file: Path) -> Any | None:
    """Load a font from its file; `None` where it cannot be drawn at this size (bitmaps of emoji), or is damaged."""
    try:
        return ImageFont.truetype(str(file), SIZE - 1)
    except OSError:
        return None


@functools.cache
def load_plain(font: Any) -> Any:
    """Load `font` again without the rules of scripts, which put a circle below a mark that has no letter."""
    file = font.path if isinstance(font.path, str) else io.BytesIO(font.path.getvalue())
    return ImageFont.truetype(file, SIZE, layout_engine=ImageFont.Layout.BASIC)


def has_character(font: Any, character: str) -> bool:
    """Return whether `font` draws `character` otherwise than one that it lacks."""
    drawn, missing = (load_plain(font).getmask(each) for each in (character, NO_CHARACTER))
    return (drawn.size, bytes(drawn)) != (missing.size, bytes(missing))


@functools.cache
def find_font(character: str) -> Any | None:
    """Find the first font that has `character`; `None` where no installed one has."""
    if character.isspace() or has_character(load_usual_font(), character):
        return load_usual_font()
    loaded = (load_font(file) for file in list_installed_fonts())
    return next((font for font in loaded if font is not None and has_character(font, character)), None)


def find_missing(texts: Iterable[str]) -> str:
    """Return the characters of `texts` that no installed font has, each once, in their order."""
    characters = dict.fromkeys("".join(unicodedata.normalize("NFC", text) for text in texts))
    return "".join(each for each in characters if each not in "\n" and find_font(each) is None)


def make_drawable(text: str) -> str:
    """Write the characters of `text` that no installed font has as plain letters, or as their codes, `\\u732b`."""
    text = unicodedata.normalize("NFC", text)
    return text.translate({ord(each): replace_character(each) for each in find_missing([text])})


def replace_character(character: str) -> str:
    """Return the letters of the ASCII that `character` is made of, `e` of `é`; else its code."""
    letters = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return letters or character.encode("ascii", "backslashreplace").decode()


def split_by_font(line: str) -> list[tuple[str, Any]]:
    """Split a line into parts of one font each, with their fonts; its characters are drawable."""
    return [("".join(part), font) for font, part in groupby(line, find_font)]


def measure_line(line: str) -> float:
    """Return the width of a drawable line in pixels."""
    return sum(font.getlength(part) for part, font in split_by_font(line))


def draw_line(draw: ImageDraw.ImageDraw, place: tuple[float, float], line: str) -> None:
    """Draw a drawable line in black, on one base line, from `place` on, its left upper corner."""
    left, top = place
    base = top + load_usual_font().getmetrics()[0]
    for part, font in split_by_font(line):
        draw.text((left, base), part, fill="black", font=font, anchor="ls")
        left += font.getlength(part)


@contextlib.contextmanager
def plot_fonts(texts: Iterable[str]) -> Generator[None]:
    """Let matplotlib draw the characters of `texts` with the fonts that are found here for them."""
    import matplotlib
    from matplotlib import font_manager

    families = list(matplotlib.rcParams["font.family"])
    for font in dict.fromkeys(find_font(each) for each in sorted(set("".join(texts)))):
        if font not in (None, load_usual_font()):
            font_manager.fontManager.addfont(font.path)
            families.append(font_manager.FontProperties(fname=font.path).get_name())
    with matplotlib.rc_context({"font.family": families}):
        yield
