# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What models said of every image of a data set, and the numbers that follow from it."""

import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..look.viewer import View


# Of more classes no confusion matrix can be read.
MOST_CLASSES = 100

# Broken: right dense, wrong sparse. Fixed: the reverse. Other: wrong both times, in different ways.
KINDS = ("broken", "fixed", "other")


@dataclass(frozen=True)
class Answers:
    """What one model said of N images, in the order of the data set.

    Attributes:
        predicted: `[N]` int64, the most probable class.
        probability: `[N]` float32, of that class.
        rank: `[N]` int64, how many classes were more probable than the true one.
        multiply_adds: `[N]` int64, of each image.
    """

    predicted: Tensor
    probability: Tensor
    rank: Tensor
    multiply_adds: Tensor

    @property
    def right(self) -> Tensor:
        """`[N]` bool."""
        return self.rank == 0

    def top(self, k: int) -> float:
        """Return the fraction of images whose class is among the `k` most probable."""
        return (self.rank < k).double().mean().item()

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of top-1, of a single proportion (Wilson, JASA 1927)."""
        return estimate_interval(int(self.right.sum()), len(self.right))

    @property
    def gmacs(self) -> float:
        """Mean multiply-adds of an image, in units of 10^9."""
        return self.multiply_adds.double().mean().item() / 1e9


def estimate_interval(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Estimate the interval of a proportion, by Wilson's score; it stays within 0 and 1 and never has no width."""
    share = right / count
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    spread = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, centre - spread), min(1.0, centre + spread)


def count_confusions(truth: Tensor, predicted: Tensor, num_labels: int) -> Tensor:
    """Count `[K, K]` images by their class, down, and what they are called, across."""
    return (truth * num_labels + predicted).bincount(minlength=num_labels**2).view(num_labels, num_labels)


def build_answers(logits: Tensor, truth: Tensor, multiply_adds: list[int]) -> Answers:
    """Read the answers off `logits` `[B, K]`, with true classes `[B]`; of equal logits the first class ranks first.

    Raises:
        FloatingPointError: a logit is not finite.
    """
    logits = logits.float().cpu()
    if not logits.isfinite().all():
        raise FloatingPointError("the model gave logits that are not finite; float16 can overflow, float32 does not.")
    own = logits.gather(1, truth[:, None])
    earlier = torch.arange(logits.shape[1]) < truth[:, None]
    rank = ((logits > own) | ((logits == own) & earlier)).sum(dim=1)
    predicted = logits.argmax(dim=1)
    probability = logits.softmax(dim=1).gather(1, predicted[:, None])[:, 0]
    return Answers(predicted, probability, rank, torch.tensor(multiply_adds))


def join_answers(parts: list[Answers]) -> Answers:
    """Join the answers of several batches."""
    names = ("predicted", "probability", "rank", "multiply_adds")
    return Answers(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class Difference:
    """How much more often the sparse model is right than the dense one, on the same images.

    Attributes:
        fixed, broken: images that only the sparse, only the dense model has right.
        changed: images that they call differently, `other` among them wrong both times.
        top1: difference of the fractions that are right, sparse minus dense.
        standard_error: of that difference, of paired proportions.
        low, high: its 95 % interval, adjusted for few changes (Agresti and Min, Statistics in Medicine 2005).
    """

    fixed: int
    broken: int
    other: int
    changed: int
    top1: float
    standard_error: float
    low: float
    high: float


def compare_answers(dense: Answers, sparse: Answers) -> Difference:
    """Compare how often two models are right on the same images."""
    count = len(dense.rank)
    fixed, broken = int((sparse.right & ~dense.right).sum()), int((dense.right & ~sparse.right).sum())
    changed = int((sparse.predicted != dense.predicted).sum())
    plain, error = estimate_difference(fixed, broken, count)
    # half an image more in each of the four cells
    centre, spread = estimate_difference(fixed + 0.5, broken + 0.5, count + 2)
    low, high = max(-1.0, centre - 1.96 * spread), min(1.0, centre + 1.96 * spread)
    return Difference(fixed, broken, changed - fixed - broken, changed, plain, error, low, high)


def estimate_difference(fixed: float, broken: float, count: int) -> tuple[float, float]:
    """Estimate the difference of two paired proportions, and its standard error."""
    return (fixed - broken) / count, math.sqrt(max(0.0, fixed + broken - (fixed - broken) ** 2 / count)) / count


@dataclass(frozen=True)
class ClassResult:
    """One class: how many images it has, and how many of them each model has right."""

    name: str
    count: int
    sparse: int
    dense: int | None

    @property
    def change(self) -> float:
        """Return the accuracy of sparse minus dense, as a fraction; 0 without a dense model."""
        return 0.0 if self.dense is None else (self.sparse - self.dense) / self.count


def count_per_class(labels: list[str], truth: Tensor, sparse: Answers, dense: Answers | None) -> list[ClassResult]:
    """Count by class, for those that occur: first those that lose most, or, without a dense model, are right least."""
    counts = truth.bincount(minlength=len(labels)).tolist()
    right = truth[sparse.right].bincount(minlength=len(labels)).tolist()
    before = None if dense is None else truth[dense.right].bincount(minlength=len(labels)).tolist()
    found = [
        ClassResult(labels[index], counts[index], right[index], None if before is None else before[index])
        for index in range(len(labels))
        if counts[index]
    ]
    return sorted(found, key=lambda row: (row.change, row.sparse / row.count))


@dataclass(frozen=True)
class Confusion:
    """How often images of class `true` are called `said`, by each model."""

    true: str
    said: str
    dense: int
    sparse: int


def find_confusions(labels: list[str], truth: Tensor, sparse: Answers, dense: Answers) -> list[Confusion]:
    """Find the confusions whose number changed, those that changed most first."""

    def wrong(answers: Answers) -> Counter[tuple[int, int]]:
        pairs = zip(truth.tolist(), answers.predicted.tolist(), strict=True)
        return Counter((true, said) for true, said in pairs if true != said)

    before, after = wrong(dense), wrong(sparse)
    found = [
        Confusion(labels[true], labels[said], before[true, said], after[true, said])
        for true, said in sorted({*before, *after})
        if before[true, said] != after[true, said]
    ]
    return sorted(found, key=lambda row: -abs(row.sparse - row.dense))


@dataclass(frozen=True)
class Changed:
    """An image that the two models call differently; `index` counts the evaluated images from 0."""

    index: int
    picture: str
    kind: str
    true: str
    dense: str
    dense_probability: float
    sparse: str
    sparse_probability: float


def find_changed(labels: list[str], names: list[str], truth: Tensor, sparse: Answers, dense: Answers) -> list[Changed]:
    """Find the images that the two models call differently: broken, fixed, others, each by certainty of `sparse`."""
    found = []
    for index in (sparse.predicted != dense.predicted).nonzero()[:, 0].tolist():
        kind = "broken" if dense.right[index] else "fixed" if sparse.right[index] else "other"
        before, after = (
            (labels[int(answers.predicted[index])], answers.probability[index].item()) for answers in (dense, sparse)
        )
        found.append(Changed(index, names[index], kind, labels[int(truth[index])], *before, *after))
    return sorted(found, key=lambda row: (KINDS.index(row.kind), -round(row.sparse_probability, 4), row.index))


@dataclass(frozen=True)
class StageResult:
    """What is kept after one decision, over all images.

    Attributes:
        layer: its block, from 0.
        mean, least, most: fraction of the patches that an image keeps.
        distance: mean distance of a kept patch from the middle of the image; 1 is from the middle to a corner.
            `None` where none is kept.
        frequency: `[down, across]`, in how many of the images each patch is kept, 0 to 1.
    """

    layer: int
    mean: float
    least: float
    most: float
    distance: float | None
    frequency: Tensor


def measure_distances(grid: tuple[int, int], patch_size: tuple[int, int]) -> Tensor:
    """Measure how far the middle of each patch is from that of the image, `[down, across]`; 1 is to a corner."""
    down, across = ((torch.arange(count) + 0.5) / count - 0.5 for count in grid)
    height, width = (count * size for count, size in zip(grid, patch_size, strict=True))
    return torch.hypot(down[:, None] * height, across[None] * width) / (math.hypot(height, width) / 2)


def summarise_stages(layers: list[int], kept_counts: Tensor, kept_sums: Tensor, far: Tensor) -> list[StageResult]:
    """Summarise each stage over all images.

    Args:
        layers: of the S decisions.
        kept_counts: `[N, S]`, patches that each image keeps.
        kept_sums: `[S, num_patches]`, images that keep each patch.
        far: `[down, across]`, as `measure_distances` returns it.
    """
    fractions = kept_counts.double() / far.numel()
    frequency = (kept_sums.double() / len(kept_counts)).unflatten(1, far.shape)
    return [
        StageResult(
            layer,
            fractions[:, stage].mean().item(),
            fractions[:, stage].min().item(),
            fractions[:, stage].max().item(),
            ((frequency[stage] * far).sum() / frequency[stage].sum()).item() if frequency[stage].any() else None,
            frequency[stage],
        )
        for stage, layer in enumerate(layers)
    ]


@dataclass(frozen=True)
class KeepRatio:
    """The same weights at another keep ratio; or, without answers, why that is not possible."""

    keep_ratio: float
    answers: Answers | None
    problem: str | None


@dataclass(frozen=True)
class Evaluation:
    """How a sparse model does on a data set, beside the dense one.

    Attributes:
        model: its name.
        reducer: its method.
        keep_ratio: how much that keeps; `None` where images or a count decide.
        compared: what the dense model is, or why there is none.
        dataset: where the images are from.
        split: its split; `None` where there is only one.
        total: how many images that has.
        labels: the model's classes.
        names: where each of the N evaluated images is from.
        skipped: why each of the unreadable ones was left out.
        truth: `[N]` int64, indices of `labels`.
        sparse: what the sparse model said.
        dense: what the dense one said; `None` where there is none.
        sweep: the sparse model at other keep ratios.
        dense_gmacs: of an image through a ViT of the same sizes that drops nothing, in units of 10^9.
        stages: what is kept after each decision.
        all_distance: mean distance of any patch from the middle, to compare `stages[...].distance` with.
        views: of the first images of `changed`.
        notes: what a reader must know to judge the numbers.
        settings: how it was measured: batch size, device, dtype, seconds, machine and versions.
        speed: images a second of each model that ran, by `"sparse"` and `"dense"`, while the report was made.
    """

    model: str
    reducer: str
    keep_ratio: float | list[float] | None
    compared: str
    dataset: str
    split: str | None
    total: int
    labels: list[str]
    names: list[str] = field(repr=False)
    skipped: list[str]
    truth: Tensor
    sparse: Answers
    dense: Answers | None
    sweep: list[KeepRatio]
    dense_gmacs: float
    stages: list[StageResult]
    all_distance: float
    notes: list[str]
    views: list[View] = field(repr=False)
    settings: dict[str, Any]
    speed: dict[str, float] = field(default_factory=dict)

    @property
    def top_k(self) -> int | None:
        """5, or `None` where the model has no more than 5 classes."""
        return 5 if len(self.labels) > 5 else None

    @cached_property
    def difference(self) -> Difference | None:
        """Sparse minus dense; `None` without a dense model."""
        return None if self.dense is None else compare_answers(self.dense, self.sparse)

    @cached_property
    def classes(self) -> list[ClassResult]:
        """The classes that occur, first those that lose most."""
        return count_per_class(self.labels, self.truth, self.sparse, self.dense)

    @cached_property
    def confusions(self) -> list[Confusion]:
        """The confusions that changed, most first; empty without a dense model."""
        return [] if self.dense is None else find_confusions(self.labels, self.truth, self.sparse, self.dense)

    @cached_property
    def changed(self) -> list[Changed]:
        """The images whose prediction changed: broken, fixed, others; empty without a dense model."""
        if self.dense is None:
            return []
        return find_changed(self.labels, self.names, self.truth, self.sparse, self.dense)

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers, for JSON; fractions are from 0 to 1."""
        known = ("model", "reducer", "keep_ratio", "compared", "dataset", "split", "total", "skipped", "notes")
        return {
            **{name: getattr(self, name) for name in known},
            "pictures": len(self.truth),
            "sparse": self._summary(self.sparse),
            "dense": None if self.dense is None else self._summary(self.dense),
            "dense_gmacs": self.dense_gmacs,
            "confusion_matrix": self.confusion_matrix,
            "difference": None if self.difference is None else asdict(self.difference),
            "stages": [
                {**vars(stage), "frequency": stage.frequency.round(decimals=4).tolist()} for stage in self.stages
            ],
            "all_distance": self.all_distance,
            "keep_ratios": [
                {"keep_ratio": point.keep_ratio, "problem": point.problem}
                | ({} if point.answers is None else self._summary(point.answers))
                for point in self.sweep
            ],
            "classes": [asdict(row) | {"change": row.change} for row in self.classes],
            "confusions": [asdict(row) for row in self.confusions],
            "changed": [
                asdict(row) | {name: round(getattr(row, name), 4) for name in PROBABILITIES} for row in self.changed
            ],
            "settings": self.settings | ({"images_per_second": self.speed} if self.speed else {}),
        }

    @property
    def confusion_matrix(self) -> dict[str, Any] | None:
        """Images by class, down, and by what each model calls them, across; `None` for more than `MOST_CLASSES`."""
        if len(self.labels) > MOST_CLASSES:
            return None
        models = {"sparse": self.sparse} | ({} if self.dense is None else {"dense": self.dense})
        counts = {
            name: count_confusions(self.truth, answers.predicted, len(self.labels)).tolist()
            for name, answers in models.items()
        }
        return {"labels": self.labels} | counts

    def _summary(self, answers: Answers) -> dict[str, Any]:
        found: dict[str, Any] = {"top1": answers.top(1), "interval": list(answers.interval), "gmacs": answers.gmacs}
        if self.top_k is not None:
            found[f"top{self.top_k}"] = answers.top(self.top_k)
        return found


PROBABILITIES = ("dense_probability", "sparse_probability")
