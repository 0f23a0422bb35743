# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The blocks of a report, and how they become one HTML file, or Markdown with images beside it."""

import base64
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from ..look.drawing import captioned, contact_sheet


# Longer tables are cut in the middle in Markdown, and scroll in HTML; JSON has them whole.
MOST_ROWS = 40

# A sheet of a gallery has no more, as one image of thousands would open nowhere.
MOST_IMAGES = 24

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 60rem; margin: 0 auto;
  padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.scroll { overflow: auto; max-height: 32rem; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .25rem .9rem .25rem 0; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top; }
th { border-bottom: 2px solid #999; font-weight: 600; position: sticky; top: 0; background: #fff; }
th:first-child, td:first-child, .words td, .words th { text-align: left; }
.words td { overflow-wrap: anywhere; } .words td:first-child { overflow-wrap: normal; }
@media (max-width: 40rem) { table { font-size: .85rem; } th, td { padding-right: .55rem; } }
figure { margin: 1rem 0 1.6rem; } figcaption { font-size: .9rem; color: #444; }
img { max-width: 100%; height: auto; display: block; }
"""


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Table:
    """Cells under a header; `words` where they are not numbers."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: bool = False


@dataclass(frozen=True)
class Figure:
    """A PNG, the name of its file, and what is to be seen."""

    name: str
    content: bytes
    caption: str


@dataclass(frozen=True)
class CaptionedImages:
    """Images with a caption each; in Markdown one sheet, in the file `name`, numbered from `first`."""

    name: str
    images: Sequence[Image.Image]
    captions: Sequence[str]
    first: int = 1


Block = Heading | Paragraph | Table | Figure | CaptionedImages


def escape(text: str) -> str:
    """Escape `text` so that Markdown shows it as it is."""
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", html.escape(text, quote=False)).replace("\n", " ")


def build_markdown(blocks: Sequence[Block]) -> str:
    """Build the Markdown of `blocks`, with links to images in files beside it."""
    parts = []
    for block in blocks:
        match block:
            case Heading(text):
                parts.append(f"## {escape(text)}")
            case Paragraph(text):
                parts.append(escape(text))
            case Table(header, rows, _):
                half, cut = MOST_ROWS // 2, len(rows) > MOST_ROWS
                shown = [*rows[:half], ["..."] * len(header), *rows[-half:]] if cut else rows
                lines = [[*map(escape, header)], ["---"] * len(header), *([*map(escape, row)] for row in shown)]
                parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
            case Figure(name, _, caption):
                parts.append(f"![{escape(caption)}]({name})")
            case CaptionedImages(name, _, captions, first):
                parts.append(f"![the images, numbered]({name})")
                parts.append("\n".join(f"{place}. {escape(text)}" for place, text in enumerate(captions, first)))
    return "\n\n".join(parts)


def build_html(title: str, blocks: Sequence[Block]) -> str:
    """Build one HTML page of `blocks` that needs no other file: images are in it."""
    body = "\n".join(build_block_html(block) for block in blocks)
    name = html.escape(title)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{name}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n{body}\n</body>\n</html>\n"
    )


def build_block_html(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{html.escape(text)}</h2>"
        case Paragraph(text):
            return f"<p>{html.escape(text)}</p>"
        case Table(header, rows, words):
            head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
            lines = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
            lines = "".join(f"<tr>{line}</tr>\n" for line in lines)
            kind = ' class="words"' if words else ""
            top = f"<thead><tr>{head}</tr></thead>\n" if any(header) else ""
            return f'<div class="scroll" tabindex="0"><table{kind}>\n{top}<tbody>\n{lines}</tbody></table></div>'
        case Figure(_, content, caption):
            return build_figure_html(content, "png", caption)
        case CaptionedImages(_, images, captions, _):
            return "\n".join(
                build_figure_html(encode_image(image, "JPEG", quality=85), "jpeg", caption)
                for image, caption in zip(images, captions, strict=True)
            )


def build_figure_html(content: bytes, kind: str, caption: str) -> str:
    data, text = base64.b64encode(content).decode(), html.escape(caption)
    image = f'<img src="data:image/{kind};base64,{data}" alt="{text}">'
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"


def encode_image(image: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def build_png(block: Figure | CaptionedImages) -> bytes:
    """Build the PNG that Markdown links to."""
    if isinstance(block, Figure):
        return block.content
    captions = (f"{place}. {text}" for place, text in enumerate(block.captions, block.first))
    rows = [[captioned(*pair)] for pair in zip(block.images, captions, strict=True)]
    return encode_image(contact_sheet(rows), "PNG")
