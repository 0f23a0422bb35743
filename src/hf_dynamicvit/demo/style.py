# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Style the demo; write the pieces of HTML that need no model."""

import base64
import io
from html import escape

from PIL import Image


STYLE = """
.dv-answers { display: grid; grid-template-columns: minmax(0, 1fr); gap: 2rem; }
@media (min-width: 900px) { .dv-two { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
.dv-answer { min-width: 0; overflow-wrap: break-word; font-size: 1rem; line-height: 1.5; }
.dv-answer h3 { font-size: 1.25rem; margin: 0; }
.dv-answer h4 { font-size: 1.05rem; font-weight: 600; margin: 1.1rem 0 .4rem; }
.dv-answer p { margin: .3rem 0 .6rem; }
.dv-figures { display: grid; grid-template-columns: repeat(4, minmax(0, 14rem)); gap: .75rem; }
.dv-two .dv-figures { grid-template-columns: repeat(2, minmax(0, 14rem)); }
@media (max-width: 700px) { .dv-figures { grid-template-columns: repeat(2, minmax(0, 14rem)); } }
.dv-figures figure { margin: 0; }
.dv-figures img { display: block; width: 100%; height: auto; margin: 0; }
.dv-answer figcaption { font-size: .875rem; }
.dv-map { display: flex; flex-wrap: wrap; gap: .75rem; }
.dv-map figure { margin: 0; flex: 0 1 14rem; }
.dv-map img { display: block; width: 100%; height: auto; margin: 0; }
.dv-tables { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); gap: 0 2rem; }
#answer table { border: 0 !important; border-collapse: collapse; width: 100%; margin: 0;
  font-variant-numeric: tabular-nums; }
#answer caption { text-align: left; font-size: 1.05rem; font-weight: 600; padding: 1.1rem 0 .2rem; }
#answer tr { border: 0; border-bottom: 1px solid var(--border-color-primary); }
#answer th, #answer td { border: 0; text-align: left; padding: .3rem .6rem .3rem 0; overflow-wrap: normal; }
#answer th[scope=row] { font-weight: 400; }
.dv-found { display: grid; grid-template-columns: repeat(4, minmax(0, 9rem)); gap: .75rem; }
@media (max-width: 700px) { .dv-found { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
.dv-found figure { margin: 0; }
.dv-found img { display: block; width: 100%; aspect-ratio: 1; object-fit: cover; margin: 0; border-radius: .25rem; }
.dv-found .dv-only img { outline: 4px solid #ea580c; outline-offset: -4px; }
.dv-legend { list-style: none; padding: 0; margin: 0; align-self: center; font-size: .875rem; }
.dv-legend i { display: inline-block; width: .9rem; height: .9rem; margin-right: .4rem; vertical-align: -.1rem; }
.dv-note { border-left: 4px solid #b45309; padding: .2rem 0 .2rem .7rem; }
.dv-alert { border-left: 4px solid #b91c1c; padding: .4rem 0 .4rem .7rem; font-size: 1.05rem; }
.dv-small { font-size: .875rem; margin: 0 0 .5rem; }
.dv-small a { text-decoration: underline; padding: 0 !important; }
.dv-picks { flex-wrap: nowrap !important; gap: .5rem !important; }
.dv-pick { min-width: 0 !important; flex: 1 1 0 !important; padding: 0 0 .2rem !important; aspect-ratio: 1;
  background-size: cover !important; background-position: center !important; align-items: flex-end !important;
  overflow: hidden; color: white !important; font-size: .8rem !important; }
.dv-pick:focus-visible, #drop button:focus-visible, input:focus-visible { outline: 3px solid #2563eb !important;
  outline-offset: 2px; }
.dv-choice label { padding: .3rem .6rem !important; }
.dv-methods .wrap { position: relative; display: block !important; max-height: 17rem; overflow-y: auto;
  padding: .2rem; }
.dv-methods label { position: relative; display: flex; width: 100%; margin-bottom: .3rem; font-size: .875rem;
  line-height: 1.3; }
.dv-methods label::before { position: absolute; left: 0; top: -1.6rem; font-weight: 600; white-space: nowrap; }
#chosen img { width: 4rem; height: 4rem; object-fit: cover; margin: 0; border-radius: .25rem; }
#chosen p { display: flex; gap: .6rem; align-items: center; font-size: .875rem; margin: 0; }
.dv-verdict { border-radius: .4rem; padding: .6rem .9rem; font-size: 1.15rem; font-weight: 600;
  margin: .5rem 0 !important;
  color: #14532d; background: #dcfce7; border: 1px solid #16a34a; }
.dv-verdict.dv-changed { color: #7c2d12; background: #ffedd5; border-color: #ea580c; }
.dv-verdict.dv-alone { color: #1e3a8a; background: #dbeafe; border-color: #2563eb; }
.dv-verdict span { color: inherit; }
.dark .dv-verdict { color: #bbf7d0; background: #14532d; }
.dark .dv-verdict.dv-changed { color: #fed7aa; background: #7c2d12; }
.dark .dv-verdict.dv-alone { color: #bfdbfe; background: #1e3a8a; }
.dv-bar { height: .4rem; background: var(--border-color-primary); border-radius: .2rem; overflow: hidden; }
.dv-bar i { display: block; height: 100%; background: #2563eb; }
.dv-scale { display: flex; gap: .4rem; align-items: center; font-size: .875rem; font-variant-numeric: tabular-nums; }
.dv-scale i { flex: 1; height: .6rem; }
.dv-answer details, .dv-words { margin-top: 1rem; font-size: .95rem; }
.dv-answer summary, .dv-words summary { cursor: pointer; font-weight: 600; }
.dv-answer pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .875rem; padding: .6rem; margin: .4rem 0;
  background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary); }
.dv-words dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .4rem 0; }
.dv-words dt { font-weight: 600; }
.dv-words dd { margin: 0; }
.dv-download { display: inline-block; margin-top: 1rem; text-decoration: underline;
  padding: 0 !important; }
#answer[data-sent]::before { content: attr(data-sent); display: block; margin-bottom: .8rem;
  border-left: 4px solid #b45309; padding: .2rem 0 .2rem .7rem; }
#answer[data-sent] > * { opacity: .45; }
#answer .pending { opacity: .45 !important; }
#answer:has(.pending)::after { content: "Computing the answer ..."; position: sticky; bottom: 1rem; display: table;
  margin: 1rem auto 0; padding: .5rem 1rem; border-radius: .4rem; font-weight: 600; color: #1e3a8a;
  background: #dbeafe; border: 1px solid #2563eb; }
.gradio-container { overflow: clip !important; } /* hidden would let nothing stick */
@media (min-width: 900px) { #controls { position: sticky; top: 0; align-self: flex-start; max-height: 100vh;
  overflow-y: auto; flex-wrap: nowrap; } #controls > * { flex-shrink: 0; } }
#drop .wrap { font-size: .95rem !important; line-height: 1.4; }
"""


def data_url(image: Image.Image, kind: str = "WEBP") -> str:
    """Encode `image` as an address that holds it."""
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=90)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def chosen_image(image: Image.Image, title: str, index: int | None = None) -> str:
    """Show which image is chosen, and mark its button where it is the demo's image `index`."""
    small = image.copy()
    small.thumbnail((128, 128))
    mark = (
        "" if index is None else f"<style>#pick-{index} {{ box-shadow: inset 0 0 0 4px #2563eb !important; }}</style>"
    )
    return f'{mark}<p><img src="{data_url(small)}" alt=""><span>Chosen: {escape(title)}</span></p>'


def hint(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def alert(text: str) -> str:
    """Write a message that a screen reader speaks at once, as what comes into the answer."""
    return f'<p class="dv-alert" role="alert">{escape(text)}</p>'
