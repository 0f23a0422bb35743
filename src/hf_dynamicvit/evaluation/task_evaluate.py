# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Evaluate a reduced detector, segmenter or depth model on a whole data set, beside the dense one, for a report."""

import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..checkpoints.checkpoint import find_reduced
from ..checkpoints.cost import count_head
from ..data.annotations import AnnotatedImages, Truth
from ..data.transforms import MODES
from ..look.viewer import View, count_costs
from ..machine import describe_machine
from .data import make_printable
from .runner import copy_at_keep_ratio, measure_speed, read_size, sample_pixel_values, synchronise
from .scores import SCORES, Change, Tally, check_metrics, compare_tallies, make_tally
from .task_models import (
    Contender,
    Subject,
    TruthReader,
    in_order,
    read_predictions,
    run_whole,
)


@dataclass(frozen=True)
class Example:
    """An image that is ready for the models, with what is true of it."""

    row: int
    name: str
    pixels: Tensor
    size: tuple[int, int]
    truth: Truth
    expected: Any


@dataclass
class Record:
    """What is known of one model so far.

    Attributes:
        tally: its scores.
        costs: multiply-adds of each image, of what is reduced.
        seconds: each batch took, and the images in it.
    """

    tally: Tally
    costs: list[int] = field(default_factory=list)
    seconds: list[tuple[float, int]] = field(default_factory=list)

    @property
    def gmacs(self) -> float:
        """Mean of an image, in units of 10^9."""
        return sum(self.costs) / len(self.costs) / 1e9


@dataclass(frozen=True)
class Point:
    """The same weights at another keep ratio: scores and GMACs; or why that is not possible."""

    keep_ratio: float
    scores: dict[str, float] | None
    gmacs: float | None
    problem: str | None


@dataclass(frozen=True)
class TaskEvaluation:
    """How a reduced model of boxes, masks or depth does on a data set, beside the dense one.

    Attributes:
        kind: `"boxes"`, `"masks"` or `"depth"`.
        model: its name, and `architecture` its class.
        reducer: its method.
        keep_ratio: how much that keeps; `None` where images or a count decide.
        compared: what the dense model is.
        dataset, split, total: as in `Evaluation`.
        images: that were measured.
        skipped: why each of the unreadable ones was left out.
        sparse, dense: scores by name.
        sparse_gmacs, dense_gmacs: multiply-adds of an image in units of 10^9, of a model around a backbone those of
            the backbone.
        head_gmacs: those of the head on the backbone; 0 where the cost of the model has it.
        changes: sparse minus dense, by name of the score.
        resamples: how often images were drawn anew for the intervals of `changes`.
        sweep: the sparse model at other keep ratios.
        layers, kept: the block of each decision, and the mean, least and most fraction of the patches behind it.
        notes: what a reader must know to judge the numbers.
        views: of the first images of `apart`, and `shown` which images these are.
        apart: of each image how far the two models are apart, and its name, furthest first.
        settings: how it was measured.
        speed: images a second of the whole models, by `"sparse"` and `"dense"`.
    """

    kind: str
    model: str
    architecture: str
    reducer: str
    keep_ratio: float | list[float] | None
    compared: str
    dataset: str
    split: str | None
    total: int
    images: int
    skipped: list[str]
    sparse: dict[str, float]
    dense: dict[str, float]
    sparse_gmacs: float
    dense_gmacs: float
    head_gmacs: float
    changes: dict[str, Change]
    resamples: int
    sweep: list[Point]
    layers: list[int]
    kept: list[tuple[float, float, float]]
    notes: list[str]
    views: list[View] = field(repr=False)
    apart: list[tuple[float, str]] = field(repr=False)
    settings: dict[str, Any]
    speed: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return all numbers, for JSON; shares are from 0 to 1, depth is in the unit of the data set."""
        left_out = ("views", "changes", "sweep", "settings", "speed", "apart", "kept", "layers")
        return {
            **{name: value for name, value in vars(self).items() if name not in left_out},
            "difference": {
                name: {"value": each.value, "standard_error": each.standard_error, "interval": each.interval}
                for name, each in self.changes.items()
            },
            "keep_ratios": [vars(point) for point in self.sweep],
            "stages": [
                {"layer": layer, "mean": mean, "least": least, "most": most}
                for layer, (mean, least, most) in zip(self.layers, self.kept, strict=True)
            ],
            "apart": [{"image": name, "apart": value} for value, name in self.apart],
            "settings": self.settings | ({"images_per_second": self.speed} if self.speed else {}),
        }


class TaskRunner:
    """The models that see each image, and what they said so far.

    Args:
        subject: the models.
        others: the whole sparse model at other keep ratios.

    Attributes:
        records: by name of the model.
        fractions: `[B, S]` of each batch, the fraction of the patches that is kept after each decision.
        heads: multiply-adds of the head, by size of the images.
        apart: how far the sparse and the dense model are apart on each image.
    """

    def __init__(self, subject: Subject, others: dict[float, Any]):
        self.subject = subject
        order = subject.viewer.dense_order if subject.kind == "boxes" else None
        self.contenders = [Contender("dense", subject.dense, order), Contender("sparse", subject.whole)]
        self.contenders += [Contender(f"{ratio:g}", model) for ratio, model in others.items()]
        classes = len(subject.labels)
        self.records = {each.name: Record(make_tally(subject.kind, classes)) for each in self.contenders}
        self.fractions: list[Tensor] = []
        self.heads: dict[tuple[int, int], int] = {}
        self.head_costs: list[int] = []
        self.apart: list[float] = []

    @contextmanager
    def clock(self, contender: Contender, images: int) -> Generator[None]:
        """Record how long a model takes for a batch, its device's work included."""
        synchronise(contender.model.device)
        start = time.perf_counter()
        yield
        synchronise(contender.model.device)
        self.records[contender.name].seconds.append((time.perf_counter() - start, images))

    @torch.inference_mode()
    def run(self, batch: Sequence[Example]) -> None:
        """Run the models on images of one size."""
        pixels = torch.cat([example.pixels for example in batch])
        size = read_size(pixels)
        found = {}
        for contender in self.contenders:
            with self.clock(contender, len(batch)):
                outputs, seen = run_whole(contender, pixels)
            sizes = [example.size for example in batch]
            read = (self.subject.kind, self.subject.viewer.processor, outputs)
            predictions = read_predictions(*read, [example.truth for example in batch], sizes)
            found[contender.name] = in_order(predictions, self.subject.kind, contender.order)
            record = self.records[contender.name]
            for example, predicted in zip(batch, found[contender.name], strict=True):
                record.tally.add(predicted, example.expected)
            record.costs += self.count(contender, seen, size, len(batch))
        self.apart += [
            measure_apart(self.subject.kind, *pair) for pair in zip(found["sparse"], found["dense"], strict=True)
        ]
        if self.subject.around_backbone:
            self.heads[size] = self.heads.get(size) or count_head(self.subject.whole, self.subject.dense, pixels)
            self.head_costs += [self.heads[size]] * len(batch)

    def count(self, contender: Contender, seen: Any, size: tuple[int, int], images: int) -> list[int]:
        """Count the multiply-adds of each image, and record what the sparse model keeps."""
        if seen is None:
            return [self.subject.viewer.model.dense_multiply_adds(size)] * images
        kept = seen.kept.cpu()
        if contender.name == "sparse":
            self.fractions.append(kept.double().mean(dim=-1))
            return count_costs(self.subject.viewer.model, kept, size)
        return count_costs(find_reduced(contender.model), kept, size)


def measure_apart(kind: str, sparse: Any, dense: Any) -> float:
    """Measure how far two models are apart on one image, to choose those that are shown.

    Of boxes it is how many more one finds with a probability of a half, of masks the share of pixels of other classes,
    of depth the mean difference over the mean.
    """
    if kind == "boxes":
        return float(abs(int((sparse["scores"] >= 0.5).sum()) - int((dense["scores"] >= 0.5).sum())))
    if kind == "masks":
        return (sparse != dense).double().mean().item()
    return ((sparse - dense).abs().mean() / dense.abs().mean().clamp(min=1e-12)).item()


def read_examples(
    subject: Subject, images: AnnotatedImages, reader: TruthReader, unreadable: str, skipped: list[str]
) -> Generator[Example]:
    """Yield each image that can be read, ready for the models; `skipped` gets why others are left out.

    Raises:
        ValueError: an image cannot be read and `unreadable` is `"stop"`, or what is true of it does not fit.
    """
    mode = MODES[subject.viewer.model.config.num_channels]
    with tqdm(total=len(images.data), desc="Evaluating", unit=" images") as bar:
        for index, row in enumerate(images.data):
            name = images.name_row(row)
            try:
                image = images.read_image(row, mode)
            except ValueError as error:
                if unreadable == "stop":
                    raise
                skipped.append(make_printable(str(error)))
                bar.write(f"{error} It is left out.", file=sys.stderr)
            else:
                truth = images.read_truth(row, image.size)
                pixels = subject.viewer.pixel_values([image])
                expected = reader.read(truth, name)
                yield Example(index, make_printable(name), pixels, (image.height, image.width), truth, expected)
            bar.update()


def split_batches(examples: Generator[Example], batch_size: int) -> Generator[list[Example]]:
    """Yield up to `batch_size` images at a time that follow each other and are of one size for the model."""
    batch: list[Example] = []
    for example in examples:
        if batch and (len(batch) == batch_size or example.pixels.shape != batch[0].pixels.shape):
            yield batch
            batch = []
        batch.append(example)
    if batch:
        yield batch


def copy_others(
    subject: Subject, keep_ratios: Sequence[float], images: AnnotatedImages
) -> tuple[dict[float, Any], dict[float, str]]:
    """Copy the sparse model at each of `keep_ratios`, from the highest down; say why others are not possible."""
    typical = None
    if subject.viewer.model.config.is_adaptive and keep_ratios:
        typical = sample_pixel_values(subject.viewer, images)
    others, problems = {}, {}
    for keep_ratio in sorted(set(keep_ratios), reverse=True):
        try:
            others[keep_ratio] = copy_at_keep_ratio(subject.whole, keep_ratio, typical)
        except ValueError as error:
            problems[keep_ratio] = str(error)
    return others, problems


def evaluate_task(
    subject: Subject,
    images: AnnotatedImages,
    *,
    keep_ratios: Sequence[float] = (),
    same_classes: bool = False,
    unreadable: str = "skip",
    max_changed: int = 24,
    batch_size: int = 32,
    resamples: int = 100,
) -> TaskEvaluation:
    """Run a reduced model, the dense one, and the reduced one at other keep ratios on every image of a data set.

    Args:
        subject: the models, as `load_subject` makes them; they run where they are.
        images: as `load_annotated` makes them.
        keep_ratios, same_classes, unreadable: as in `evaluate`.
        max_changed: so many of the images on which the two models are furthest apart have `views`.
        batch_size: images at a time, where those that follow each other are of one size.
        resamples: how often images are drawn anew, for the intervals of the differences; 0 for none.

    Raises:
        ValueError: torchmetrics is not installed, no image can be read, or what is true of one does not fit it.
        FloatingPointError: a model gives what is not finite.
    """
    check_metrics(subject.kind)
    start, skipped, rows = time.perf_counter(), list[str](), list[int]()
    others, problems = copy_others(subject, keep_ratios, images)
    runner, names = TaskRunner(subject, others), list[str]()
    reader = TruthReader(subject, images, same_classes)
    examples = read_examples(subject, images, reader, unreadable, skipped)
    for batch in split_batches(examples, batch_size):
        runner.run(batch)
        rows += [example.row for example in batch]
        names += [example.name for example in batch]
    if not rows:
        raise ValueError(f"None of {len(images.data)} images can be read. The first: {skipped[0]}")
    furthest = sorted(range(len(rows)), key=lambda index: (-runner.apart[index], index))
    apart = [(runner.apart[index], names[index]) for index in furthest]
    shown = [rows[index] for index in furthest[:max_changed]]
    decoded = images.decode(shown, MODES[subject.viewer.model.config.num_channels])
    views = subject.viewer.look(decoded, batch_size) if shown else []
    compared = compare_tallies(
        *(runner.records[name].tally for name in ("dense", "sparse")), len(rows), resamples, images.seed
    )
    settings = {"batch_size": batch_size, "seed": images.seed, "resamples": resamples}
    settings |= describe_place(subject, time.perf_counter() - start)
    sweep = build_sweep(runner, others, problems)
    return build_task_evaluation(runner, images, compared, resamples, sweep, views, apart, skipped, settings)


def build_sweep(runner: TaskRunner, others: dict[float, Any], problems: dict[float, str]) -> list[Point]:
    """Compute the scores at each keep ratio that was tried."""
    found = []
    for keep_ratio in others:
        record = runner.records[f"{keep_ratio:g}"]
        found.append(Point(keep_ratio, record.tally.compute(), record.gmacs, None))
    found += [Point(keep_ratio, None, None, problem) for keep_ratio, problem in problems.items()]
    return sorted(found, key=lambda point: -point.keep_ratio)


def describe_place(subject: Subject, seconds: float) -> dict[str, Any]:
    """Describe where and how the numbers were measured."""
    model = subject.viewer.model
    where = {"device": str(model.device), "dtype": str(model.dtype).removeprefix("torch.")}
    return where | {"seconds": round(seconds, 1), "machine": describe_machine()}


def build_task_evaluation(
    runner: TaskRunner,
    images: AnnotatedImages,
    changes: dict[str, Change],
    resamples: int,
    sweep: list[Point],
    views: list[View],
    apart: list[tuple[float, str]],
    skipped: list[str],
    settings: dict[str, Any],
) -> TaskEvaluation:
    """Join what was measured."""
    subject, records = runner.subject, runner.records
    config, fractions = subject.viewer.model.config, torch.cat(runner.fractions)
    speeds = {name: measure_speed(records[name].seconds) for name in ("sparse", "dense")}
    return TaskEvaluation(
        kind=subject.kind,
        model=make_printable(str(subject.whole.config.name_or_path)) or "a model in memory",
        architecture=type(subject.whole).__name__,
        reducer=config.reducer,
        keep_ratio=config.keep_ratio,
        compared=make_printable(subject.compared),
        dataset=make_printable(images.name),
        split=None if images.only_split else images.split,
        total=images.total,
        images=len(apart),
        skipped=skipped,
        sparse=records["sparse"].tally.compute(),
        dense=records["dense"].tally.compute(),
        sparse_gmacs=records["sparse"].gmacs,
        dense_gmacs=records["dense"].gmacs,
        head_gmacs=sum(runner.head_costs) / len(apart) / 1e9,
        changes=changes,
        resamples=resamples,
        sweep=sweep,
        layers=list(subject.viewer.model.decision_layers),
        kept=[(stage.mean().item(), stage.min().item(), stage.max().item()) for stage in fractions.unbind(dim=1)],
        notes=collect_task_notes(subject, images),
        views=views,
        apart=apart,
        settings=settings,
        speed={name: round(value, 2) for name, value in speeds.items() if value is not None},
    )


def collect_task_notes(subject: Subject, images: AnnotatedImages) -> list[str]:
    """List what a reader must know to judge the numbers."""
    viewer, notes = subject.viewer, list[str]()
    reducer = viewer.model.config.reducer
    if viewer.chooses_at_random:
        notes.append(f"The predictors of {reducer} are new on these weights: what they keep means nothing.")
    elif viewer.untrained:
        notes.append(f"The thresholds of {reducer} are new on these weights: they were set, not trained.")
    if images.only_split:
        notes.append("There is one split only: if the model was trained on these images, the numbers are too good.")
    if len(images.data) < images.total:
        notes.append(f"These are {len(images.data)} of {images.total} images, taken at random (seed {images.seed}).")
    titles = ", ".join(score.title for score in SCORES[subject.kind])
    return [*notes, f"{titles}: by torchmetrics, over all images together."]
