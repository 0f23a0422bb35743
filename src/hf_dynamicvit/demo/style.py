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
#drop .wrap { font-size: .95rem !important; line-height: 1.4; }
"""


def data_url(image: Image.Image) -> str:
    """Encode `image` as an address that holds it."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=90)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def hint(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def alert(text: str) -> str:
    """Write a message that a screen reader speaks at once, as what comes into the answer."""
    return f'<p class="dv-alert" role="alert">{escape(text)}</p>'
