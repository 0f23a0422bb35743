# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The demo's page and its server, with Gradio. Importing this file imports Gradio."""

import logging
import math
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image
from starlette.middleware import Middleware

from . import private_folder
from .input import READABLE_FORMATS, Bundled, bundled, open_picture
from .models import METHODS, OWN, SLIDER, Choice, Source, read_sources
from .server.guard import ONLY_UPLOADS, Guard, Scope
from .server.limits import Limits, RateLimit
from .server.uploads import STALE, Uploads
from .style import STYLE, alert, data_url, hint


logger = logging.getLogger(__name__)

TITLE = "What does the model look at?"

INTRODUCTION = """
# What does the model look at?
A vision transformer that drops the patches a picture does not need. Drop a picture or pick one of those below, then
change the method or the keep ratio: nothing is retrained.
"""

EMPTY = "Drop a picture, or pick one, and what the model does with it appears here."

STORED = (
    "A picture that you send is deleted from the disk as soon as it is read and forgotten when you close the page. "
    "Nothing is logged or sent on."
)

BROKEN = "This went wrong, and it is not your fault. The log of the server says more."

# The controls: model, method, keep ratio, whether to compare, the other method and its keep ratio.
SETTINGS = 6

# Fonts that every machine has: the page asks no other host for one.
FONTS = ["system-ui", "sans-serif"]
FIXED = ["ui-monospace", "monospace"]

# Gradio's sliders tell of their release by a pointer, and its radio buttons are groups of one each, without a name:
# with this, keys release a slider, arrow keys walk through the choices, groups are called what is written above them,
# and a screen reader speaks what comes into the answer.
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
    }
    document.getElementById("answer")?.setAttribute("aria-live", "polite");
  };
  name();
  new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
  addEventListener("keydown", name, true);
}"""

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

# What needs no model waits for none.
AT_ONCE: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None, "show_progress": "hidden"}

# On a narrow screen the answer is below the controls.
SHOW_ANSWER = "() => { if (window.innerWidth < 700) document.getElementById('answer').scrollIntoView(); }"


class Page:
    """What the page's events call; every method returns what the page then shows.

    Gradio fills in `request` by its annotation. `settings` are the values of the controls: model, method, keep ratio,
    whether to compare, and the other method with its keep ratio. What is sent is in `uploads` until it is read.
    """

    def __init__(self, sources: Sequence[Source], pictures: Sequence[Bundled], limits: Limits, uploads: Uploads):
        self.sources = {source.name: source for source in sources}
        self.pictures, self.limits, self.uploads = pictures, limits, uploads
        self.rate = RateLimit(limits.requests_a_minute)
        self._models: Any = None
        self._making = threading.Lock()

    @property
    def models(self) -> Any:
        """The `Models`; who first asks for them imports torch and Transformers.

        All that is imported late is imported here: two threads that import what needs each other would stop.
        """
        with self._making:
            from ..data import transforms  # noqa: F401  which `open_picture` needs
            from . import html  # noqa: F401
            from .answer import Models

            self._models = self._models or Models(list(self.sources.values()))
        return self._models

    def warm_up(self) -> None:
        """Import and load what the first answer needs; whatever is wrong with it the answer will say."""
        with suppress(Exception):
            self.models.load(next(iter(self.sources)), OWN)

    def upload(self, request: gr.Request, sent: dict[str, Any] | None, *settings: Any) -> tuple[Any, Any, Any]:
        """Read what was sent, delete it, look at it. Returns the picture, an empty drop zone, the answer."""
        if sent is None:
            return gr.skip(), gr.skip(), gr.skip()
        path = sent.get("path") if isinstance(sent, dict) else None
        if not isinstance(path, str) or path not in self.uploads:
            return gr.skip(), None, alert(ONLY_UPLOADS)
        file = Path(path)
        try:
            if not self.rate.allows(str(request.session_hash)):
                return gr.skip(), None, alert(self.too_often)
            _ = self.models  # imported
            picture = open_picture(file, self.limits.pixels)
        except ValueError as error:
            return gr.skip(), None, alert(str(error))
        finally:
            self.uploads.delete(file)
        return picture, None, self.answers(picture, *settings)

    def picker(self, index: int) -> Callable[..., tuple[Image.Image, str]]:
        """Return what the button of an image that the demo brings along calls."""

        def pick(request: gr.Request, *settings: Any) -> tuple[Image.Image, str]:
            picture = self.pictures[index].picture
            return picture, self.look(request, picture, *settings)

        return pick

    def look(self, request: gr.Request, picture: Image.Image | None, *settings: Any) -> str:
        """Answer for the current image, if there is one."""
        if picture is None:
            return hint(EMPTY)
        if not self.rate.allows(str(request.session_hash)):
            return alert(self.too_often)
        return self.answers(picture, *settings)

    @property
    def too_often(self) -> str:
        return f"That was more than {self.limits.requests_a_minute} requests in a minute. Wait a little."

    def answers(self, picture: Image.Image, *settings: Any) -> str:
        """Give one answer, or that of the other method beside it."""
        if len(settings) != SETTINGS:
            return alert(f"There are {SETTINGS} settings, not {len(settings)}.")
        model, method, keep_ratio, compare, *other = settings
        asked = [(method, keep_ratio), other] if compare else [(method, keep_ratio)]
        found = [self.answer(picture, model, *each) for each in asked]
        from .html import answers_html  # as `models` imported it

        return answers_html(found)

    def answer(self, picture: Image.Image, model: str, method: str, keep_ratio: float):
        """Say what a model does, or why it does not: an error would leave the previous answer in place."""
        try:
            return self.models.answer(picture, Choice(model, method, within(keep_ratio)))
        except ValueError as error:
            return f"{method}, keep ratio {keep_ratio}: {error}"
        except Exception:
            logger.exception("%s with %s at %s", model, method, keep_ratio)
            return BROKEN


def within(keep_ratio: Any) -> Any:
    """Move a number that was typed beyond the slider to its end, as the page does."""
    low, high, _ = SLIDER
    finite = isinstance(keep_ratio, int | float) and abs(keep_ratio) < math.inf
    return min(high, max(low, keep_ratio)) if finite else keep_ratio


def drop_zone(limits: Limits) -> gr.Image:
    return gr.Image(
        label="Your picture",
        sources=["upload", "clipboard"],
        type="filepath",
        height=190,
        buttons=[],
        placeholder=f"Drop a picture, or click\n{READABLE_FORMATS}, at most {limits.file_megabytes} MB",
        elem_id="drop",
    )


def pick_buttons(pictures: Sequence[Bundled]) -> list[gr.Button]:
    """Make a button for each image that the demo brings along, with the image on it."""
    with gr.Row(elem_classes="dv-picks"):
        return [
            gr.Button(entry.title, elem_id=f"pick-{index}", elem_classes="dv-pick", size="sm")
            for index, entry in enumerate(pictures)
        ]


def pick_style(pictures: Sequence[Bundled]) -> str:
    """Put the images on their buttons inside the style, so that the server has no file to give away."""
    shade = "linear-gradient(transparent 50%, rgb(0 0 0 / 80%))"  # for the name to be read on
    return "\n".join(
        f"#pick-{index} {{ background-image: {shade}, url({data_url(entry.picture)}) !important; }}"
        for index, entry in enumerate(pictures)
    )


def controls(sources: Sequence[Source]) -> list[Any]:
    """Make the controls: model, method, keep ratio, whether to compare, the other method and its keep ratio."""
    low, high, step = SLIDER
    names = [source.name for source in sources]

    def method(label: str, value: str, **options) -> gr.Radio:  # Gradio's drop-downs stay open when one tabs on
        return gr.Radio([OWN, *METHODS], value=value, label=label, elem_classes="dv-choice", **options)

    info = (
        "of the patches that reach a stage, the fraction it keeps (tome: of all patches, the fraction left at the end)"
    )

    def keep_ratio(label: str, **options) -> gr.Slider:
        return gr.Slider(low, high, sources[0].keep_ratio, step=step, label=label, info=info, buttons=[], **options)

    model = gr.Radio(names, value=names[0], label="Model", elem_classes="dv-choice", elem_id="model")
    own = [method("Method", OWN, elem_id="method"), keep_ratio("Keep ratio", elem_id="keep_ratio")]
    compare = gr.Checkbox(False, label="Compare with another method", elem_id="compare")
    with gr.Column(visible=False) as second:
        other = [
            method("Other method", "tome", elem_id="other_method"),
            keep_ratio("Other keep ratio", elem_id="other_keep_ratio"),
        ]
    compare.change(lambda on: gr.Column(visible=on), compare, second, **AT_ONCE)
    return [model, *own, compare, *other]


def connect(
    page: Page,
    picture: gr.State,
    drop: gr.Image,
    buttons: Sequence[gr.Button],
    settings: Sequence[Any],
    answer: gr.HTML,
) -> None:
    """Let every control answer anew with the current image."""
    options: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "model", "show_progress": "minimal"}
    options["preprocess"] = False  # Gradio would decode a file before its size is looked at; `Choice` checks the rest
    sent = drop.upload(
        page.upload,
        [drop, *settings],
        [picture, drop, answer],
        trigger_mode="multiple",  # each is read, and so deleted
        **options,
    )
    picked = [
        button.click(page.picker(index), list(settings), [picture, answer], **options)
        for index, button in enumerate(buttons)
    ]
    for event in (sent, *picked):
        event.then(None, js=SHOW_ANSWER)
    model, method, keep_ratio, compare, other_method, other_keep_ratio = settings
    changes = (method.change, compare.change, other_method.change, keep_ratio.release, other_keep_ratio.release)
    for change in changes:
        change(page.look, [picture, *settings], answer, trigger_mode="always_last", **options)
    model.change(
        lambda name: [page.sources[name].keep_ratio] * 2, model, [keep_ratio, other_keep_ratio], **AT_ONCE
    ).then(page.look, [picture, *settings], answer, **options)


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
            "css": STYLE + pick_style(self.page.pictures),
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
            self.blocks.block_thread()
        return address

    def queued(self) -> list[Scope]:
        """List the requests that wait for their turn."""
        queues = self.blocks._queue.event_queue_per_concurrency_id.values()
        return [event.request.scope for queue in queues for event in queue.queue]


def theme() -> gr.themes.Base:
    """Return Gradio's theme with fonts that are there and small print that is dark enough to be read."""
    names = ("body_text_color_subdued", "block_info_text_color")
    colours = dict.fromkeys(names, "*neutral_600") | {f"{name}_dark": "*neutral_300" for name in names}
    return gr.themes.Default(primary_hue="blue", font=FONTS, font_mono=FIXED).set(**colours)


def build(sources: Sequence[str], limits: Limits | None = None, folder: Path | None = None) -> Demo:
    """Build the page for `sources`, folders or Hub names of ViT or DeiT classifiers; uploads go through `folder`.

    Raises:
        ValueError: a source cannot be read or is of another family.
    """
    found, limits = read_sources(sources), limits or Limits()
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(60, STALE)) as blocks:
        uploads = Uploads(folder or private_folder(), limits.uploads, blocks.upload_file_set)
        page = Page(found, bundled(found), limits, uploads)
        picture = gr.State()
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                drop = drop_zone(limits)
                buttons = pick_buttons(page.pictures)
                settings = controls(found)
            with gr.Column(scale=3, min_width=320):
                answer = gr.HTML(hint(EMPTY), elem_id="answer", padding=False)
        credits = ", ".join(dict.fromkeys(entry.credit for entry in page.pictures))
        gr.HTML(f'<p class="dv-small">{STORED}</p><p class="dv-small">Pictures: {credits}.</p>', padding=False)
        connect(page, picture, drop, buttons, settings, answer)

        def forget(request: gr.Request) -> None:  # Gradio would keep the picture for an hour, the answer for ever
            blocks.state_holder.session_data.pop(str(request.session_hash), None)

        blocks.unload(forget)
    blocks.queue(max_size=limits.waiting, default_concurrency_limit=1)
    return Demo(blocks, page)
