# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Measure boxes, masks and depth by torchmetrics, over all images and over images drawn anew from them."""

import math
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from ..data.annotations import IGNORED
from ..extras import require


@dataclass(frozen=True)
class Score:
    """A number that torchmetrics computes.

    Attributes:
        name: in JSON.
        title: in a report.
        percent: it is from 0 to 1.
        lower_is_better: it is an error.
    """

    name: str
    title: str
    percent: bool = True
    lower_is_better: bool = False


# By kind of what is true; the first is what the verdict is of.
SCORES = {
    "boxes": (Score("map", "mAP"), Score("map_50", "mAP at 0.5"), Score("map_75", "mAP at 0.75")),
    "masks": (Score("miou", "mIoU"), Score("pixel_accuracy", "pixels right")),
    "depth": (
        Score("abs_rel", "absolute relative error", lower_is_better=True),
        Score("rmse", "RMSE", percent=False, lower_is_better=True),
        Score("delta1", "within 25 %"),
    ),
}
# What each kind needs besides torchmetrics.
BESIDES = {"boxes": ("torchvision", "faster_coco_eval"), "masks": (), "depth": ()}


def check_metrics(kind: str) -> None:
    """Refuse to measure without the packages of the extra `metrics`, before any work."""
    for module in ("torchmetrics", *BESIDES[kind]):
        require(module, "metrics", f"evaluate measures {kind} by torchmetrics and needs {module}")


class Tally(Protocol):
    """What one model said of every image, measured."""

    def add(self, predicted: Any, true: Any) -> None:
        """Add one image."""

    def compute(self, counts: Tensor | None = None) -> dict[str, float]:
        """Compute every score over all images, or over each as often as `counts` `[N]` says."""
        ...


class Sums:
    """Scores that follow from sums over pixels, which are kept for each image.

    Args:
        metrics: of torchmetrics, by the name of the score; their states add up.
        read: makes of a prediction and the truth what each takes, by name of the score.
    """

    def __init__(self, metrics: dict[str, Any], read: Callable[[Tensor, Tensor], dict[str, tuple[Tensor, ...]]]):
        self.metrics, self.read = metrics, read
        self.states: dict[tuple[str, str], list[Tensor]] = {}
        self.shapes: dict[tuple[str, str], torch.Size] = {}
        self.whole: dict[tuple[str, str], Tensor] = {}

    def add(self, predicted: Tensor, true: Tensor) -> None:
        inputs = self.read(predicted, true)
        self.whole = {}
        for name, metric in self.metrics.items():
            metric.reset()
            metric.update(*inputs[name])
            for part, state in metric.metric_state.items():
                self.shapes[name, part] = state.shape
                # few of many classes are in one image
                self.states.setdefault((name, part), []).append(state.double().flatten().to_sparse())

    def compute(self, counts: Tensor | None = None) -> dict[str, float]:
        self.whole = self.whole or {key: torch.stack(rows).coalesce() for key, rows in self.states.items()}
        ones = torch.ones(len(next(iter(self.whole.values()))))
        return self.compute_from(self.whole, ones if counts is None else counts)

    def compute_from(self, whole: dict[tuple[str, str], Tensor], counts: Tensor) -> dict[str, float]:
        """Compute every score from the states `[N, K]` of `whole`, each image as often as `counts` `[N]` says."""
        found: dict[str, float] = {}
        for name, metric in self.metrics.items():
            sums = {
                part: torch.sparse.mm(states.t(), counts.double()[:, None]).view(self.shapes[owner, part])
                for (owner, part), states in whole.items()
                if owner == name
            }
            metric.reset()
            metric.merge_state(sums)
            with warnings.catch_warnings():  # that nothing was added to it: its state was
                warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
                found[name] = float(metric.compute())
        return found


class Boxes:
    """Mean average precision, which is computed anew over all boxes."""

    def __init__(self):
        self.predicted: list[dict[str, Tensor]] = []
        self.true: list[dict[str, Tensor]] = []

    def add(self, predicted: dict[str, Tensor], true: dict[str, Tensor]) -> None:
        self.predicted.append(predicted)
        self.true.append(true)

    def compute(self, counts: Tensor | None = None) -> dict[str, float]:
        detection = require("torchmetrics.detection", "metrics", "mAP is that of torchmetrics")
        metric = detection.MeanAveragePrecision(backend="faster_coco_eval")
        metric.warn_on_many_detections = False
        rows = range(len(self.true)) if counts is None else torch.arange(len(self.true)).repeat_interleave(counts)
        chosen = [int(row) for row in rows]
        metric.update([self.predicted[row] for row in chosen], [self.true[row] for row in chosen])
        found = metric.compute()
        return {score.name: float(found[score.name]) for score in SCORES["boxes"]}


def read_classes(predicted: Tensor, true: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """Hand the classes of all pixels, `[height, width]` each, to both scores of masks."""
    return {score.name: (predicted.flatten(), true.flatten()) for score in SCORES["masks"]}


def read_depth(predicted: Tensor, true: Tensor) -> dict[str, tuple[Tensor, ...]]:
    """Hand the depth of the pixels where it is known, above 0 and finite, to the scores of depth."""
    known = true.isfinite() & (true > 0)
    both = predicted[known].double(), true[known].double()
    near = torch.maximum(both[0] / both[1], both[1] / both[0]) < 1.25
    return {"abs_rel": both, "rmse": both, "delta1": (near.double(),)}


def make_tally(kind: str, classes: int) -> Tally:
    """Make what measures one model, of so many `classes`."""
    if kind == "boxes":
        return Boxes()
    metrics = require("torchmetrics", "metrics", f"{kind} are measured by torchmetrics")
    if kind == "depth":
        errors = {"abs_rel": metrics.MeanAbsolutePercentageError(), "rmse": metrics.MeanSquaredError(squared=False)}
        return Sums(errors | {"delta1": metrics.MeanMetric()}, read_depth)
    options: dict[str, Any] = {"num_classes": classes, "ignore_index": IGNORED, "validate_args": False}
    of_pixels = metrics.classification
    shares = {
        "miou": of_pixels.MulticlassJaccardIndex(average="macro", **options),
        "pixel_accuracy": of_pixels.MulticlassAccuracy(average="micro", **options),
    }
    return Sums(shares, read_classes)


@dataclass(frozen=True)
class Change:
    """How much a score of the sparse model differs from that of the dense one, on the same images.

    Attributes:
        value: sparse minus dense.
        standard_error: of images drawn anew, the same for both models (paired bootstrap); `None` where none were.
    """

    value: float
    standard_error: float | None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval; `None` where nothing was drawn."""
        if self.standard_error is None:
            return None
        spread = 1.96 * self.standard_error
        return self.value - spread, self.value + spread


def compare_tallies(dense: Tally, sparse: Tally, images: int, resamples: int, seed: int) -> dict[str, Change]:
    """Compare two models on the same `images`, and draw these anew `resamples` times for how sure that is."""
    before, after = dense.compute(), sparse.compute()
    names = [name for name in before if math.isfinite(before[name])]
    random = torch.Generator().manual_seed(seed)
    draws: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(resamples if images > 1 else 0):
        counts = torch.randint(images, (images,), generator=random).bincount(minlength=images)
        low, high = dense.compute(counts), sparse.compute(counts)
        for name in names:
            draws[name].append(high[name] - low[name])
    errors = {name: statistics.stdev(each) if len(each) > 1 else None for name, each in draws.items()}
    return {name: Change(after[name] - before[name], errors[name]) for name in names}
