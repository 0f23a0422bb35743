# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Load, set, run and measure a model of the demo on an image, for one visitor at a time."""

import logging
import statistics
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from torch import Tensor

from ..benchmark.measure import take_turns
from ..look.encoders import EncoderViewer
from ..look.viewer import View, Viewer
from .input import Bundled, read_gallery
from .models import OWN, TASKS, Choice, Source, split_labels


logger = logging.getLogger(__name__)

# So many models stay in memory, one for each checkpoint and method.
CAPACITY = 4

# Measuring speed takes at most about so many seconds, and turns.
SECONDS, TURNS = 1.0, 15

# Images that are found, at most; and from which cosine on one is the query itself.
NEAREST, SAME = 4, 0.9999


@dataclass(frozen=True)
class Neighbours:
    """The images that are nearest to a query, with the cosine of their embeddings, nearest first.

    The index has the embeddings of the dense model; what differs is the query's.

    Attributes:
        sparse: found with the sparse model.
        dense: found with the dense one.
        searched: images in the index.
    """

    sparse: list[tuple[Bundled, float]]
    dense: list[tuple[Bundled, float]]
    searched: int

    @property
    def shared(self) -> int:
        """Count the images that both found."""
        names = [{entry.title for entry, _ in found} for found in (self.sparse, self.dense)]
        return len(names[0] & names[1])


@dataclass(frozen=True)
class Times:
    """Milliseconds of one image through a model: the median of so many `turns`, the fastest and the slowest."""

    median: float
    fastest: float
    slowest: float
    turns: int


@dataclass(frozen=True)
class Answer:
    """What a model did with an image.

    Attributes:
        choice: what was asked.
        reducer: the method that ran.
        trained: its own parameters, if it has any, are of the checkpoint.
        view: what it did.
        labels: of the classes, in the order of the probabilities.
        notes: what a reader should know before believing it.
        milliseconds: times of one image, of `"sparse"` and, if there is one, `"dense"`.
        device: where they ran.
        neighbours: the images that were found, where that was asked.
    """

    choice: Choice
    reducer: str
    trained: bool
    view: View
    labels: list[str]
    notes: list[str]
    milliseconds: dict[str, Times]
    device: str
    neighbours: Neighbours | None = None


class Models:
    """The models of the page, loaded when first asked for; requests take turns.

    A keep ratio is set on a model that all visitors share, so one lock holds from there until all is measured.
    """

    def __init__(self, sources: Sequence[Source], searched: Path | None = None):
        self.sources, self.searched = {source.name: source for source in sources}, searched
        self._viewers: OrderedDict[tuple[str, str], Viewer] = OrderedDict()
        self._gallery: list[Bundled] = []
        self._indexes: dict[str, list[Tensor]] = {}
        self._lock = threading.Lock()

    def answer(self, image: Image.Image, choice: Choice) -> Answer:
        """Set the keep ratio, look at the image and measure, while nobody else does.

        Raises:
            ValueError: there is no such model, it cannot run that method, or not with that keep ratio.
        """
        if choice.model not in self.sources:
            raise ValueError(f"There is no model {choice.model!r} here; there are {', '.join(self.sources)}.")
        if choice.task not in self.sources[choice.model].tasks:
            raise ValueError(f"{choice.model} is no model for {TASKS[choice.task]}.")
        with self._lock:
            viewer = self._viewer(choice.model, choice.method)
            if isinstance(viewer, EncoderViewer):
                self._compare(viewer, choice)
            viewer.set_keep_ratio(choice.keep_ratio, [image])
            (view,) = viewer.look([image])
            return Answer(
                choice=choice,
                reducer=viewer.model.config.reducer,
                trained=not viewer.untrained,
                view=view,
                labels=viewer.labels,
                notes=build_notes(viewer, self.sources[choice.model]),
                milliseconds=measure_milliseconds(viewer, image),
                device=viewer.model.device.type,
                neighbours=find_neighbours(view, self._gallery) if choice.task == "retrieval" else None,
            )

    def load(self, model: str, method: str) -> None:
        """Have a model ready before it is asked for."""
        with self._lock:
            self._viewer(model, method)

    def build_index(self, model: str, method: str) -> None:
        """Embed the images that are searched before anybody asks; answers take their turns between them."""
        while True:
            with self._lock:
                viewer = self._viewer(model, method)
                assert isinstance(viewer, EncoderViewer)
                if not self._extend_index(model, viewer):
                    return

    def _compare(self, viewer: EncoderViewer, choice: Choice) -> None:
        """Set what the embeddings are compared with: typed labels, or the images that are searched."""
        if choice.task == "zero-shot":
            viewer.compare_with_texts(split_labels(choice.labels))
            return
        while self._extend_index(choice.model, viewer):
            pass
        index = torch.stack(self._indexes[choice.model])
        viewer.compare_with_images(index, [entry.title for entry in self._gallery])

    def _extend_index(self, model: str, viewer: EncoderViewer) -> bool:
        """Embed the next of the images that are searched; return whether there was one."""
        self._gallery = self._gallery or read_gallery(self.searched)
        index = self._indexes.setdefault(model, [])
        if len(index) == len(self._gallery):
            return False
        index.append(viewer.embed_dense(self._gallery[len(index)].image))
        return True

    def _viewer(self, model: str, method: str) -> Viewer:
        key = model, method
        if key not in self._viewers:
            place = self.sources[model].place
            while len(self._viewers) >= CAPACITY:
                self._viewers.popitem(last=False)
            try:
                load = Viewer.load if "classify" in self.sources[model].tasks else EncoderViewer.load_encoder
                self._viewers[key] = load(place, None if method == OWN else method)
            except ValueError as error:  # the page names models without their folders
                raise ValueError(str(error).replace(place, model)) from error
            except OSError as error:
                raise ValueError(f"the weights of {model} cannot be read") from error
            except (RuntimeError, StrictDataclassError) as error:
                logger.exception("loading %s", place)
                raise ValueError(f"the weights of {model} do not fit its config.json") from error
        self._viewers.move_to_end(key)
        return self._viewers[key]


def find_neighbours(view: View, gallery: Sequence[Bundled]) -> Neighbours:
    """Find the images that are nearest to what `view` shows, whose probabilities are cosines to `gallery`."""
    assert view.dense_probabilities is not None
    others = [index for index, cosine in enumerate(view.dense_probabilities.tolist()) if cosine < SAME]

    def nearest(cosines: Tensor) -> list[tuple[Bundled, float]]:
        order = sorted(others, key=lambda index: -cosines[index])
        return [(gallery[index], float(cosines[index])) for index in order[:NEAREST]]

    return Neighbours(nearest(view.probabilities), nearest(view.dense_probabilities), len(gallery))


def build_notes(viewer: Viewer, source: Source) -> list[str]:
    """List what a reader should know before believing what the model shows."""
    method, found = viewer.model.config.reducer, []
    adaptive = viewer.model.config.is_adaptive  # its thresholds are set on the image, trained or not
    if viewer.untrained and not adaptive:
        found.append(
            f"Not trained: {method} has parameters of its own, and on these weights they are random. What is kept, "
            "and the prediction, mean nothing until the model is fine-tuned."
        )
    elif method != source.reducer:
        found.append(f"These weights were not trained with {method}; expect better after fine-tuning with it.")
    if adaptive:
        found.append(
            f"With {method} every image decides how much it keeps. Here the thresholds are set anew, so that on "
            "this very image each stage keeps that fraction of the patches that reach it."
        )
    if viewer.dense is None:
        found.append("The classifier of this method reads no class token, so there is no dense model to compare with.")
    return found


def measure_milliseconds(viewer: Viewer, image: Image.Image) -> dict[str, Times]:
    """Measure the time of one image through each model; they take turns, for about `SECONDS`."""
    pixels = viewer.pixel_values([image]).to(viewer.model.device, viewer.model.dtype)
    models: dict[str, Any] = {"sparse": viewer.model} | ({"dense": viewer.dense} if viewer.dense is not None else {})
    calls = [partial(viewer.run, model) for model in models.values()]
    start = time.perf_counter()
    seconds = take_turns(calls, pixels, repeats=1, warmup=0)  # all are warm from looking
    more = min(TURNS, int(SECONDS / (time.perf_counter() - start)))
    if more:
        seconds = take_turns(calls, pixels, repeats=more, warmup=0)
    return {name: summarise_times(times) for name, times in zip(models, seconds, strict=True)}


def summarise_times(seconds: Sequence[float]) -> Times:
    """Return what of the times of all turns is shown."""
    median, fastest, slowest = (1000 * value for value in (statistics.median(seconds), min(seconds), max(seconds)))
    return Times(median, fastest, slowest, len(seconds))
