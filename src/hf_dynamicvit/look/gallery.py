# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A page of many images that sorts by change, confidence and class, in one file that loads nothing else."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .drawing import chosen, contact_sheet, stage_images, top_classes
from .viewer import View


# Classes told of each image, and the quality of its WebP.
CLASSES, QUALITY = 3, 80

STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8881; --mark: #c2410c; --bar: #2563eb; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 76rem; margin: 0 auto; padding: 1rem;
  overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; margin: .2rem 0; } h2 { font-size: 1rem; margin: 0 0 .4rem; }
nav { position: sticky; top: 0; background: Canvas; padding: .6rem 0; display: flex; flex-wrap: wrap; gap: .5rem;
  border-bottom: 1px solid var(--line); z-index: 1; }
nav label { display: inline-flex; gap: .35rem; align-items: center; }
select, input { font: inherit; padding: .2rem .4rem; max-width: 100%; }
article { border-bottom: 1px solid var(--line); padding: .9rem 0; }
img { max-width: 100%; height: auto; display: block; background: var(--soft); }
.answers { display: flex; flex-wrap: wrap; gap: .3rem 2rem; margin: .5rem 0 0; }
.answers > div { flex: 1 1 18rem; min-width: 0; }
.bar { height: .35rem; background: var(--soft); } .bar i { display: block; height: 100%; background: var(--bar); }
.mark { color: var(--mark); font-weight: 600; } .small { font-size: .85rem; opacity: .8; }
ul { list-style: none; margin: 0; padding: 0; }
"""

SCRIPT = """
const list = document.querySelector("main"), all = [...list.children];
const [by, only, word] = ["#by", "#only", "#word"].map(name => document.querySelector(name));
const number = (a, b) => Number(a) - Number(b), text = (a, b) => a.localeCompare(b);
const orders = {
  changed: (a, b) => number(b.changed, a.changed) || number(b.shift, a.shift),
  unsure: (a, b) => number(a.confidence, b.confidence), sure: (a, b) => number(b.confidence, a.confidence),
  class: (a, b) => text(a.class, b.class) || number(b.confidence, a.confidence),
  true: (a, b) => text(a.true, b.true) || text(a.class, b.class),
  file: (a, b) => number(a.place, b.place),
};
function show() {
  all.sort((a, b) => orders[by.value](a.dataset, b.dataset) || number(a.dataset.place, b.dataset.place));
  const wanted = word.value.toLowerCase();
  let seen = 0;
  for (const each of all) {
    const data = each.dataset;
    each.hidden = (only.value === "changed" && data.changed === "0") || (only.value === "wrong" && data.wrong === "0")
      || !(data.name + " " + data.class + " " + data.true).toLowerCase().includes(wanted);
    seen += !each.hidden;
  }
  list.replaceChildren(...all);
  document.querySelector("#seen").textContent = seen + " of " + all.length;
}
for (const each of [by, only, word]) each.addEventListener("input", show);
show();
"""

CONTROLS = """
<nav><label>sort by <select id="by"><option value="changed">change</option>
<option value="unsure">least confident</option><option value="sure">most confident</option>
<option value="class">predicted class</option>
<option value="true">class of its folder</option><option value="file">file</option></select></label>
<label>show <select id="only"><option value="all">all</option><option value="changed">changed predictions</option>
<option value="wrong">other than its folder</option></select></label>
<label>find <input id="word" type="search" placeholder="file or class"></label>
<span id="seen" role="status"></span></nav>
"""

# A page that is opened from the disk runs its own script and loads nothing.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True)
class Entry:
    """One image of the gallery, as HTML; whether its prediction changed."""

    html: str
    changed: bool


def find_true_class(file: str, labels: Sequence[str]) -> str:
    """Find the class that the folders of `file` name, the innermost; "" where none is one of `labels`."""
    return next((folder.name for folder in Path(file).parents if folder.name in labels), "")


def encode_strip(view: View, cover: str = "dark") -> str:
    """Draw the image and what is kept after some of the decisions, as the address of a WebP."""
    images = stage_images(view, cover=cover)
    strip = contact_sheet([[images[0], *(images[stage + 1] for stage in chosen(len(view.kept)))]])
    file = io.BytesIO()
    strip.save(file, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def write_answers(title: str, classes: Sequence[tuple[str, float]]) -> str:
    """Write the most probable classes with a bar each."""
    rows = "".join(
        f'<li>{html.escape(label)} {value:.1%}<div class="bar"><i style="width:{value:.1%}"></i></div></li>'
        for label, value in classes
    )
    return f"<div><strong>{title}</strong><ul>{rows}</ul></div>"


def write_mark(text: str, marked: bool) -> str:
    """Write a part of a line, in another colour where it is `marked`."""
    kind = ' class="mark"' if marked else ""
    return f"<span{kind}>{html.escape(text)}</span> · "


def build_entry(view: View, labels: Sequence[str], file: str, title: str, place: int, cover: str = "dark") -> Entry:
    """Build the entry of an image.

    Args:
        view: what the model did with it.
        labels: names of the model's classes.
        file: where it is from; its folders may name its class.
        title: what it is called on the page.
        place: its number, for the order of the files.
        cover: of dropped patches, as in `drawing.cover_dropped`.
    """
    sparse, true = top_classes(view.probabilities, labels, CLASSES), find_true_class(file, labels)
    dense = view.dense_probabilities
    changed, shift, told = False, 0.0, ""
    answers = write_answers("reduced", sparse)
    if dense is not None:
        changed = view.differs
        shift = (view.probabilities - dense).abs().max().item()
        before = top_classes(dense, labels, CLASSES)
        answers = write_answers("dense", before) + answers
        verdict = "same answer as the dense model"
        if changed:  # a detector may find others of the same likeliest class
            same = before[0][0] == sparse[0][0]
            verdict = "changed: other objects" if same else f"changed: {before[0][0]} became {sparse[0][0]}"
        told = write_mark(verdict, changed)
    wrong = bool(true) and true != sparse[0][0]
    data = {"changed": int(changed), "wrong": int(wrong), "shift": f"{shift:.4f}", "confidence": f"{sparse[0][1]:.4f}"}
    data |= {"class": sparse[0][0], "true": true, "name": title, "place": place}
    marks = " ".join(f'data-{name}="{html.escape(str(value))}"' for name, value in data.items())
    folder = write_mark(f"folder: {true}", wrong) if true else ""
    left = ", ".join(map(str, (view.counts[stage] for stage in chosen(len(view.counts)))))
    cost = f"{view.multiply_adds / view.dense_multiply_adds:.0%} of the dense multiply-adds"
    name = html.escape(title)
    return Entry(
        f"<article {marks}><h2>{name}</h2>"
        f'<img decoding="async" src="{encode_strip(view, cover)}" alt="{name}, then what is kept">'
        f'<p class="small">{told}{folder}{cost} · patches kept: {left}</p>'
        f'<div class="answers">{answers}</div></article>',
        changed,
    )


def build_gallery(title: str, text: str, entries: Sequence[Entry]) -> str:
    """Build the page: a title, a sentence on the model, and the entries, changed ones first."""
    articles = "\n".join(entry.html for entry in entries)
    name, changed = html.escape(title), sum(entry.changed for entry in entries)
    verdict = f"{changed} of {len(entries)} predictions changed." if changed else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{name}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n<p>{html.escape(text)} {verdict}</p>\n{CONTROLS}"
        f"<main>\n{articles}\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
