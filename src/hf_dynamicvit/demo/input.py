# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Read the images that enter the demo: those that visitors send, with care, and those that it brings along."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image, ImageOps

from ..data.scans import enlarge_scan
from ..names import LONGEST_TO_SHORTEST
from .models import Source


# What is read, by the names that Pillow and people use. Few, so that little code meets what strangers send.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
READABLE_FORMATS = "JPEG, PNG, WebP, GIF or BMP"

# How files of these begin, so that a damaged one is told from what is none.
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"BM")

# A larger image is made smaller as it comes in: a model sees a few hundred pixels of it.
LONGEST_EDGE = 1024

# Images of a folder that are searched: the dense model embeds each of them once.
MOST_SEARCHED = 48

# Flower photographs, and who took them.
PHOTOGRAPHS = Path(__file__).with_name("images")

# scikit-learn's scans of a 3, a 4, a 6 and a 9; the quickstart tests on them where its seed is 0.
DIGIT_SCANS = {3: 45, 4: 24, 6: 34, 9: 37}


@dataclass(frozen=True)
class Bundled:
    """An image that the demo brings along; `credit` says whose it is, in HTML."""

    title: str
    image: Image.Image
    credit: str


class ImageError(ValueError):
    """Why an image is not read, in words for who sent it."""


def open_image(file: Path, most_pixels: int) -> Image.Image:
    """Read the image in `file`: upright, RGB, without metadata, its longer edge at most `LONGEST_EDGE`.

    Its size is known before a pixel is decoded.

    Raises:
        ImageError: it is no image, is cut off, has more than `most_pixels` or more than 8 bits a channel, or is a line
            rather than an image; the message is for who sent it and names no folder.
    """
    from ..data.transforms import DEEP_MODES  # brings torch, which the page is served without

    try:
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > most_pixels:
                raise ImageError(
                    f"The image has {width} x {height} pixels, too many: at most {most_pixels / 1e6:.0f} million. "
                    "Make it smaller first."
                )
            if max(width, height) > LONGEST_TO_SHORTEST * min(width, height):
                raise ImageError(
                    f"The image has {width} x {height} pixels: one edge may be {LONGEST_TO_SHORTEST} times the other, "
                    "at most. Crop it first."
                )
            if image.mode in DEEP_MODES:
                raise ImageError(f"The image has more than 8 bits a channel (mode {image.mode}); save it with 8.")
            image.draft("RGB", (LONGEST_EDGE, LONGEST_EDGE))  # a JPEG is decoded at about the size that is wanted
            image.load()
            image.thumbnail((LONGEST_EDGE, LONGEST_EDGE))
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except Image.DecompressionBombError as error:
        raise ImageError("The image has far too many pixels. Make it smaller first.") from error
    except ImageError:
        raise
    except Exception as error:  # what Pillow raises for damaged files is of many kinds
        if isinstance(error, Image.UnidentifiedImageError) and not file.read_bytes().startswith(SIGNATURES):
            raise ImageError(f"This is no image that can be read. It can be {READABLE_FORMATS}.") from error
        raise ImageError(f"The image is cut off or damaged. Save it anew as {READABLE_FORMATS}.") from error
    plain = Image.new("RGB", upright.size)  # nothing of what the file says about itself comes along
    plain.paste(upright)
    return plain


def flowers(which: str = "images") -> list[Bundled]:
    """Read the photographs of flowers that the demo brings along: four to look at, more for the `"gallery"`."""
    table = json.loads((PHOTOGRAPHS / "attribution.json").read_text(encoding="utf-8"))
    licence = f'<a href="{table["licence_link"]}">{table["licence"]}</a>'
    return [
        Bundled(
            entry["title"],
            Image.open(PHOTOGRAPHS / entry["file"]).convert("RGB"),
            f'{entry["title"]} by <a href="{entry["link"]}">{escape(entry["author"])}</a> ({licence}, resized)',
        )
        for entry in table[which]
    ]


def digits() -> list[Bundled]:
    """Return four handwritten digits; none where scikit-learn, which ships them, is not installed."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        return []
    scans = load_digits().images
    return [
        Bundled(
            f"Digit {digit}",
            enlarge_scan(scans[index]),
            "digits from scikit-learn (UCI, optical recognition of handwritten digits)",
        )
        for digit, index in DIGIT_SCANS.items()
    ]


def bundled(sources: Sequence[Source]) -> list[Bundled]:
    """Return digits for models of digits, flowers for all others."""
    found = digits() if any(source.shows_digits for source in sources) else []
    if not found or not all(source.shows_digits for source in sources):
        found += flowers()
    return found


def read_gallery(folder: Path | None) -> list[Bundled]:
    """Read the images that are searched: those in `folder`, at most `MOST_SEARCHED` and evenly, or flowers.

    Raises:
        ValueError: there are none, or one cannot be read.
    """
    if folder is None:
        return flowers() + flowers("gallery")
    from ..data.class_folders import evenly_spaced, find_files
    from ..data.transforms import read_image

    found = []
    for file in evenly_spaced(find_files([folder]), MOST_SEARCHED):
        image = read_image(file).convert("RGB")
        image.thumbnail((LONGEST_EDGE, LONGEST_EDGE))
        found.append(Bundled(str(Path(file).relative_to(folder)), image, ""))
    return found
