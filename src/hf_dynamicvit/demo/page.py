# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The demo's page and its server, with Gradio. Importing this file imports Gradio."""

import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from ..compat import forget_session, uploaded_files, waiting_requests
from . import private_folder
from .controls import connect, controls, drop_zone, list_tasks, method_style, pick_buttons, pick_style, task_tabs
from .events import EMPTY, Page
from .input import bundled, flowers
from .models import read_sources
from .server.guard import Guard, Scope
from .server.limits import Limits
from .server.uploads import STALE, Uploads
from .style import STYLE, hint


TITLE = "What does the model look at?"

INTRODUCTION = """
# What does the model look at?
A vision transformer cuts an image into patches; these methods stop computing those it does not need. Drop an image or
pick one of those below, then change the method or the keep ratio: nothing is retrained.
"""

WORDS = """<details class="dv-words"><summary>What the words mean</summary><dl>
<dt>patch</dt><dd>a square of the image; the model computes with one token for each</dd>
<dt>dense</dt><dd>the same weights, all patches kept: what the answer is compared with</dd>
<dt>sparse</dt><dd>the model that goes on with fewer tokens</dd>
<dt>block</dt><dd>one of the layers that the tokens go through, counted from 0</dd>
<dt>GMACs</dt><dd>billions of multiply-adds for one image: the compute</dd>
<dt>keep ratio</dt><dd>the fraction of the patches that goes on</dd></dl></details>"""

STORED = (
    "An image that you send is deleted from the disk as soon as it is read and forgotten when you close the page. "
    "Nothing is logged or sent on."
)

# Fonts that every machine has: the page asks no other host for one.
FONTS = ["system-ui", "sans-serif"]
FIXED = ["ui-monospace", "monospace"]

# Gradio's sliders tell of their release by a pointer, and its radio buttons are groups of one each, without a name:
# with this, keys release a slider, arrow keys walk through the choices, groups are called what is written above them
# and begin where their choice is in view, and a screen reader speaks what comes into the answer. What was there before
# an image was sent says so until the answer to it is there: none comes to a file that Gradio itself refuses.
KEYS = """() => {
  addEventListener("keyup", event => {
    if (event.target.type === "range" && /^(Arrow|Page|Home|End)/.test(event.key))
      event.target.dispatchEvent(new PointerEvent("pointerup", {bubbles: true}));
  });
  const name = () => {
    for (const group of document.querySelectorAll(".dv-choice")) {
      group.setAttribute("role", "radiogroup");
      group.setAttribute("aria-label", group.querySelector("[data-testid=block-info]")?.textContent.trim() ?? "");
      for (const input of group.querySelectorAll("input")) input.name = group.id;
      const chosen = group.querySelector("label:has(input:checked)");
      if (chosen && !group.dataset.shown) {
        group.dataset.shown = true;
        chosen.parentElement.scrollTop = chosen.offsetTop - 40;
      }
    }
    document.getElementById("answer")?.setAttribute("aria-live", "polite");
  };
  const answer = () => document.getElementById("answer"), fresh = new WeakSet();
  const send = (event, files) => {
    if (!event.target.closest?.("#drop") || !files?.length) return;
    if (!fresh.has(answer())) new MutationObserver(() => delete answer().dataset.sent)
      .observe(answer(), {childList: true, subtree: true});
    fresh.add(answer());
    answer().dataset.sent = `${files[0].name} has no answer yet: what is below was here before it.`;
  };
  addEventListener("change", event => send(event, event.target.files), true);
  addEventListener("drop", event => send(event, event.dataTransfer?.files), true);
  name();
  new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
  addEventListener("keydown", name, true);
}"""

# The first answer takes its turn before those that are asked for.
OPENING: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "model", "show_progress": "minimal"}

# What Gradio's server is told, whatever the machine: nothing is given away, kept or shown beyond the page itself.
FIXED_OPTIONS: dict[str, Any] = {
    "prevent_thread_lock": True,
    "quiet": True,
    "share": False,
    "ssr_mode": False,  # its server would stand before the guard
    "pwa": False,
    "num_workers": 0,
    "mcp_server": False,
    "run_history": False,
    "enable_monitoring": False,
    "footer_links": [],
    "js": KEYS,
}


@dataclass(frozen=True)
class Demo:
    """A page and what serves it.

    Attributes:
        blocks: Gradio's.
        page: what its events call.
    """

    blocks: gr.Blocks
    page: Page

    def launch(self, host: str | None = None, port: int | None = None, wait: bool = True) -> str:
        """Serve the page and return its address, at once or, where `wait`, when it is stopped.

        Args:
            host: the name or number to listen on; `None` is Gradio's, this machine alone unless GRADIO_SERVER_NAME is
                set, as it is in a Space.
            port: `None` is the first free one from 7860 on.
            wait: until Ctrl+C.

        Raises:
            OSError: it cannot listen there.
        """
        if wait and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl+C does, and so deletes uploads
        guard = Middleware(
            Guard,
            limits=self.page.limits,
            uploads=self.page.uploads,
            queued=self.queued,
            behind_proxy="SPACE_ID" in os.environ,  # a Space of the Hub
        )
        options: dict[str, Any] = {
            "server_name": host,
            "server_port": port,
            "state_session_capacity": self.page.limits.visitors,
            "max_file_size": self.page.limits.file_megabytes * 1024 * 1024,
            "theme": theme(),
            "css": STYLE + method_style() + pick_style(self.page.images),
            "app_kwargs": {"middleware": [guard], "openapi_url": None},
        }
        try:
            _, address, _ = self.blocks.launch(**options, **FIXED_OPTIONS)
        except OSError as error:
            where = f"{host or 'this machine'}, port {port or '7860 or one of the hundred after it'}"
            raise OSError(f"cannot listen on {where}: it is taken or not allowed; try another --port.") from error
        threading.Thread(target=self.page.warm_up, daemon=True).start()
        if wait:
            print(f"The demo is at {address} (Ctrl+C ends it).", flush=True)
            self.wait()
        return address

    def wait(self) -> None:
        """Serve until Ctrl+C, and say so then in our words."""
        try:
            while self.blocks.is_running:
                time.sleep(0.1)
        except KeyboardInterrupt:
            self.blocks.close(verbose=False)
            print("The demo has ended.", flush=True)

    def queued(self) -> list[Scope]:
        """List the requests that wait for their turn."""
        return [request.scope for request in waiting_requests(self.blocks)]


def theme() -> gr.themes.Base:
    """Return Gradio's theme with fonts that are there and small print that is dark enough to be read."""
    names = ("body_text_color_subdued", "block_info_text_color")
    colours = dict.fromkeys(names, "*neutral_600") | {f"{name}_dark": "*neutral_300" for name in names}
    return gr.themes.Default(primary_hue="blue", font=FONTS, font_mono=FIXED).set(**colours)


def build(
    sources: Sequence[str], limits: Limits | None = None, folder: Path | None = None, searched: Path | None = None
) -> Demo:
    """Build the page for `sources`.

    Args:
        sources: folders or Hub names of image classifiers, of models with an image and a text tower, of encoders.
        limits: what visitors may do.
        folder: through which uploads go.
        searched: folder of the images that the Retrieval tab searches, which every visitor sees.

    Raises:
        ValueError: a source cannot be read or is of another family.
    """
    found, limits = read_sources(sources), limits or Limits()
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(60, STALE)) as blocks:
        uploads = Uploads(folder or private_folder(), limits.uploads, uploaded_files(blocks))
        page = Page(found, bundled(found), limits, uploads, searched)
        image, task = gr.State(), gr.State(found[0].tasks[0])
        gr.Markdown(INTRODUCTION)
        tabs, labels = task_tabs(found)
        with gr.Row():
            with gr.Column(scale=1, min_width=320, elem_id="controls"):
                drop = drop_zone(limits)
                buttons = pick_buttons(page.images)
                chosen = gr.HTML("", elem_id="chosen", padding=False)
                settings = [*controls(found), task, labels]
            with gr.Column(scale=3, min_width=320):
                answer = gr.HTML(hint(EMPTY), elem_id="answer", padding=False)
        gr.HTML(WORDS, padding=False)
        shown = [*page.images, *(flowers("gallery") if "retrieval" in list_tasks(found) and searched is None else ())]
        credits = ", ".join(dict.fromkeys(entry.credit for entry in shown))
        gr.HTML(f'<p class="dv-small">{STORED}</p><p class="dv-small">Images: {credits}.</p>', padding=False)
        connect(page, image, drop, chosen, buttons, settings, answer, tabs)
        blocks.load(page.opening, None, [image, chosen, answer], **OPENING)

        def forget(request: gr.Request) -> None:  # Gradio would keep the image for an hour, the answer for ever
            forget_session(blocks, str(request.session_hash))

        blocks.unload(forget)
    blocks.queue(max_size=limits.waiting, default_concurrency_limit=1)
    return Demo(blocks, page)
