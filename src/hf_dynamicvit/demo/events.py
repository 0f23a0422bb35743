# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Answer the events of the demo's page. Importing this file imports Gradio."""

import logging
import math
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from .input import Bundled, open_image
from .models import SLIDER, Choice, Source
from .server.guard import ONLY_UPLOADS
from .server.limits import Limits, RateLimit
from .server.uploads import Uploads
from .style import alert, chosen_image, hint


logger = logging.getLogger(__name__)

EMPTY = "Drop an image, or pick one, and what the model does with it appears here."

BROKEN = "This went wrong, and it is not your fault. The log of the server says more."

# The controls: model, method, keep ratio, whether to compare, the other method and its keep ratio, task, labels.
SETTINGS = 8

# What the labels of the Zero-shot tab are at first: the flowers that the demo brings along, and others.
LABELS = "daisy, dandelion, rose, sunflower, tulip, cat, house"


class Page:
    """What the page's events call; every method returns what the page then shows.

    Gradio fills in `request` by its annotation. `settings` are the values of the controls: model, method, keep ratio,
    whether to compare, the other method with its keep ratio, the task and the labels. What is sent is in `uploads`
    until it is read. `searched` is the folder of the images of the Retrieval tab, or `None` for those of the demo.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        images: Sequence[Bundled],
        limits: Limits,
        uploads: Uploads,
        searched: Path | None = None,
    ):
        self.sources, self.searched = {source.name: source for source in sources}, searched
        self.images, self.limits, self.uploads = images, limits, uploads
        self.rate = RateLimit(limits.requests_a_minute)
        self._models: Any = None
        self._making = threading.Lock()
        self._opens, self._opening = threading.Lock(), None

    @property
    def models(self) -> Any:
        """The `Models`; who first asks for them imports torch and Transformers.

        All that is imported late is imported here: two threads that import what needs each other would stop.
        """
        with self._making:
            from ..data import transforms  # noqa: F401  which `open_image` needs
            from . import html  # noqa: F401
            from .answer import Models

            self._models = self._models or Models(list(self.sources.values()), self.searched)
        return self._models

    def warm_up(self) -> None:
        """Load what the first answer needs, and build the indexes; whatever is wrong with them the answer will say."""
        with suppress(Exception):
            source = next(iter(self.sources.values()))
            self.models.load(source.name, source.first_method)
            for source in self.sources.values():
                if "retrieval" in source.tasks:
                    self.models.build_index(source.name, source.first_method)

    def upload(self, request: gr.Request, sent: dict[str, Any] | None, *settings: Any) -> tuple[Any, Any, Any, Any]:
        """Read what was sent, delete it, look at it.

        Returns the image, an empty drop zone, the image as the one that is chosen, the answer.
        """
        if sent is None:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        path = sent.get("path") if isinstance(sent, dict) else None
        if not isinstance(path, str) or path not in self.uploads:
            return gr.skip(), None, gr.skip(), alert(ONLY_UPLOADS)
        file = Path(path)
        try:
            if not self.rate.allows(str(request.session_hash)):
                return gr.skip(), None, gr.skip(), alert(self.too_often)
            _ = self.models  # imported
            image = open_image(file, self.limits.pixels)
        except ValueError as error:
            return gr.skip(), None, gr.skip(), alert(str(error))
        finally:
            self.uploads.delete(file)
        return image, None, chosen_image(image, "your own image"), self.answers(image, *settings)

    def opening(self) -> tuple[Image.Image, str, str]:
        """Return what the page opens with: the first image that the demo brings along, chosen and answered.

        It is the same for every visitor, and so made once, unless it could not be made.
        """
        entry = self.images[0]
        with self._opens:
            if self._opening is None:
                source = next(iter(self.sources.values()))
                asked = source.name, source.first_method, source.keep_ratio, source.tasks[0], LABELS
                found = self.answer(entry.image, *asked)
                from .html import answers_html  # as `models` imported it

                if isinstance(found, str):
                    return entry.image, chosen_image(entry.image, entry.title, 0), answers_html([found])
                self._opening = answers_html([found])
            return entry.image, chosen_image(entry.image, entry.title, 0), self._opening

    def picker(self, index: int) -> Callable[..., tuple[Image.Image, str, str]]:
        """Return what the button of an image that the demo brings along calls."""

        def pick(request: gr.Request, *settings: Any) -> tuple[Image.Image, str, str]:
            image, title = self.images[index].image, self.images[index].title
            return image, chosen_image(image, title, index), self.look(request, image, *settings)

        return pick

    def look(self, request: gr.Request, image: Image.Image | None, *settings: Any) -> str:
        """Answer for the current image, if there is one."""
        if image is None:
            return hint(EMPTY)
        if not self.rate.allows(str(request.session_hash)):
            return alert(self.too_often)
        return self.answers(image, *settings)

    @property
    def too_often(self) -> str:
        return f"That was more than {self.limits.requests_a_minute} requests in a minute. Wait a little."

    def answers(self, image: Image.Image, *settings: Any) -> str:
        """Give one answer, or that of the other method beside it."""
        if len(settings) != SETTINGS:
            return alert(f"There are {SETTINGS} settings, not {len(settings)}.")
        model, method, keep_ratio, compare, *other, task, labels = settings
        asked = [(method, keep_ratio), other] if compare else [(method, keep_ratio)]
        found = [self.answer(image, model, *each, task, labels) for each in asked]
        from .html import answers_html  # as `models` imported it

        return answers_html(found)

    def answer(self, image: Image.Image, model: str, method: str, keep_ratio: float, task: str, labels: str):
        """Say what a model does, or why it does not: an error would leave the previous answer in place."""
        try:
            return self.models.answer(image, Choice(model, method, within(keep_ratio), task, labels))
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
