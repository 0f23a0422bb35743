# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Methods on one dense checkpoint, without training, at equal multiply-adds, image by image beside the dense model.

An image classifier is measured by its top-1. An encoder without labels by the cosine of its features to the dense
ones, and by what their nearest neighbours say: images are classified by the k = 20 most alike of a bank, each with the
weight exp(cosine / 0.07), as DINO does. The features of the bank are reduced as well, or the dense ones.
"""

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import set_seed

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.load_report import REDUCER, check_weights, expect_in_report
from ..data.loading import load_images
from ..data.transforms import ImageTransform
from ..machine import describe_run
from .data import TRUE_CLASS, load_labelled


# name in the table -> what from_pretrained takes; a dense checkpoint is read as it was trained
METHODS: dict[str, dict[str, Any]] = {
    "topk": {"reducer": "topk"},
    "evit": {"reducer": "evit"},
    "tps (evit scores)": {"reducer": "tps", "reducer_args": {"score": "evit"}},
    "tome": {"reducer": "tome"},
    "mctf": {"reducer": "mctf"},
    "diffrate": {"reducer": "diffrate"},
    "diffrate (nothing dropped)": {"reducer": "diffrate", "reducer_args": {"pruned_share": 0.0}},
    "pitome": {"reducer": "pitome"},
    "atc": {"reducer": "atc"},
    "ats": {"reducer": "ats"},
    "algm": {"reducer": "algm"},
    "bat": {"reducer": "bat"},
    "freq": {"reducer": "freq"},
    "idlevit": {"reducer": "idlevit"},
    "evovit": {"reducer": "evovit", "reducer_args": {"pooling": "class"}},
    "evovit (by layer)": {"reducer": "evovit", "reducer_args": {"pooling": "class", "grouping": "layer"}},
    "asvit": {"reducer": "asvit"},
    "random": {"reducer": "random"},
    "dynamicvit (untrained)": {"reducer": "dynamicvit"},
}
DENSE = {"reducer": "topk", "keep_ratio": 1.0}
NEIGHBOURS, TEMPERATURE = 20, 0.07
# of each feature of an encoder: whose features its neighbours are
BANKS = ("own bank", "dense bank")


@dataclass(frozen=True)
class Comparison:
    """What is compared, on which images and how.

    Attributes:
        model: a dense image classifier or an encoder.
        data: a folder, a parquet file or a data set of the Hub, with labels.
        split: of the images that are classified; by default that for validation or testing.
        device: where models run.
        fractions: of the dense multiply-adds that each method is set to.
        image_size: pixels; `None` is the checkpoint's.
        batch_size: images at a time.
        calibrate: images on which thresholds of methods whose images decide are set.
        limit, bank: only so many images to classify, and for neighbours, taken at random.
        seed: of those choices, and of methods that draw.
        optimize: exchange linear layers for faster ones first, to wait less.
    """

    model: str
    data: str
    split: str | None = None
    device: str = "cpu"
    fractions: tuple[float, ...] = (0.9, 0.8, 0.7, 0.5)
    image_size: int | None = None
    batch_size: int = 50
    calibrate: int = 100
    limit: int | None = None
    bank: int | None = None
    seed: int = 0
    optimize: bool = False

    def describe(self) -> dict[str, Any]:
        """Say in JSON what decides the numbers of a row."""
        names = ("model", "data", "split", "image_size", "batch_size", "optimize", "calibrate", "seed")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Images:
    """Images of one split, once: they fit into memory, and every model sees the same.

    Attributes:
        batches: `[B, C, H, W]` each.
        labels: `[N]`, their classes.
    """

    batches: list[Tensor]
    labels: Tensor

    def every(self, step: int) -> Tensor:
        """Return one image of `step`, spread over the data, which may be sorted by class."""
        return torch.cat([batch[:: min(step, len(batch))] for batch in self.batches])


# ----- what a model says of images


def run(model: Any, images: Images, read: Callable[[Any], dict[str, Tensor]]) -> tuple[dict[str, Tensor], float]:
    """Return what `read` takes from the outputs for all images, and the mean multiply-adds of one."""
    found: list[dict[str, Tensor]] = []
    cost = 0.0
    with torch.inference_mode():
        for batch in images.batches:
            said = read(model(batch.to(model.device), interpolate_pos_encoding=True))
            found.append({name: value.cpu() for name, value in said.items()})
            cost += model.multiply_adds(batch) * len(batch)
    return {name: torch.cat([each[name] for each in found]) for name in found[0]}, cost / len(images.labels)


def read_logits(outputs: Any) -> dict[str, Tensor]:
    """Take the logits, `[B, classes]`."""
    return {"logits": outputs.logits}


def read_features(outputs: Any) -> dict[str, Tensor]:
    """Take what people use as the feature of an image, `[B, D]` each."""
    pooled = {} if outputs.pooler_output is None else {"pooler_output": outputs.pooler_output}
    return pooled | {"features": outputs.features}


def vote(queries: Tensor, bank: Tensor, labels: Tensor) -> Tensor:
    """Classify `queries` `[Q, D]` by their nearest neighbours in `bank` `[M, D]` of classes `labels` `[M]`: `[Q]`."""
    normalise = torch.nn.functional.normalize
    alike, nearest = (normalise(queries) @ normalise(bank).T).topk(min(NEIGHBOURS, len(bank)))
    votes = torch.zeros(len(queries), int(labels.max()) + 1)
    return votes.scatter_add(1, labels[nearest], (alike / TEMPERATURE).exp()).argmax(dim=-1)


# ----- what it is compared with


def mean_with_error(values: Tensor) -> dict[str, float]:
    """Return the mean of `[N]` and its standard error."""
    values = values.double()
    return {"mean": values.mean().item(), "error": (values.std() / len(values) ** 0.5).item()}


def compare_classes(found: Tensor, labels: Tensor, dense: Tensor) -> dict[str, Any]:
    """Compare the classes `found` with the true ones and those of the dense model, image by image."""
    right = (found == labels).double()
    return {
        "top1": right.mean().item(),
        "difference": mean_with_error(right - (dense == labels).double()),
        "agreement": (found == dense).double().mean().item(),
        "wrong": (found != labels).nonzero()[:, 0].tolist(),
    }


class Classification:
    """Top-1 of an image classifier."""

    def __init__(self, options: Comparison, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        limits: dict[str, Any] = {"max_samples": options.limit, "seed": options.seed}
        found = load_labelled(options.data, checkpoint.labels, options.split, same_classes=True, **limits)
        self.images = prepare(options, checkpoint, found.data, found.image_column, TRUE_CLASS)
        self.typical = self.images.every(max(1, len(self.images.labels) // options.calibrate))
        self.counts = {"images": len(self.images.labels)}

    def load(self, settings: dict[str, Any]) -> Any:
        """Load the classifier with a method."""
        return load_weights(self.checkpoint.family, self.checkpoint, settings, [REDUCER])

    def measure_dense(self, model: Any) -> dict[str, Any]:
        """Measure the model that keeps everything, beside which others are told."""
        self.dense = run(model, self.images, read_logits)[0]["logits"].argmax(-1)
        return {"gmacs": model.dense_multiply_adds(self.typical) / 1e9} | self.compare(self.dense)

    def measure(self, model: Any) -> dict[str, Any]:
        """Measure a model that reduces tokens."""
        outputs, cost = run(model, self.images, read_logits)
        return {"gmacs": cost / 1e9} | self.compare(outputs["logits"].argmax(-1))

    def compare(self, found: Tensor) -> dict[str, Any]:
        """Compare classes of all images, and of those at even places, which no search has seen."""
        unseen = compare_classes(found[::2], self.images.labels[::2], self.dense[::2])
        row = compare_classes(found, self.images.labels, self.dense)
        return row | {"unseen": {name: unseen[name] for name in ("top1", "difference")}}

    def searched(self) -> Tensor:
        """Return the images at odd places, on which schedules are searched."""
        return torch.cat(self.images.batches)[1::2]


class Neighbours:
    """Features of an encoder: how near they are to the dense ones, and to which images."""

    def __init__(self, options: Comparison, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        limits: dict[str, Any] = {
            "max_train_samples": options.bank,
            "max_eval_samples": options.limit,
            "seed": options.seed,
        }
        found = load_images(options.data, validation_split=options.split, unreadable="unchecked", **limits)
        columns = found.image_column, found.label_column
        self.bank = prepare(options, checkpoint, found.train, *columns)
        self.queries = prepare(options, checkpoint, found.validation, *columns)
        self.typical = self.bank.every(max(1, len(self.bank.labels) // options.calibrate))
        self.counts = {"images": len(self.queries.labels), "bank": len(self.bank.labels)}

    def load(self, settings: dict[str, Any]) -> Any:
        """Load the encoder with a method."""
        return load_weights(self.checkpoint.encoder, self.checkpoint, settings, [REDUCER, r"pooler\."])

    def measure_dense(self, model: Any) -> dict[str, Any]:
        """Measure the model that keeps everything, beside which others are told."""
        self.dense, _ = run(model, self.queries, read_features)
        self.dense_bank, _ = run(model, self.bank, read_features)
        found = self.compare(self.dense, self.dense_bank)
        return {"gmacs": model.dense_multiply_adds(self.typical) / 1e9} | found

    def measure(self, model: Any) -> dict[str, Any]:
        """Measure a model that reduces tokens."""
        queries, cost = run(model, self.queries, read_features)
        bank, _ = run(model, self.bank, read_features)
        return {"gmacs": cost / 1e9} | self.compare(queries, bank)

    def searched(self) -> Tensor:
        """Return the bank's images, on which schedules are searched."""
        return torch.cat(self.bank.batches)

    def compare(self, queries: dict[str, Tensor], own_bank: dict[str, Tensor]) -> dict[str, Any]:
        """Compare features `queries`, whose neighbours are in `own_bank` or the dense bank, with the dense ones."""
        row: dict[str, Any] = {}
        for name, dense in self.dense.items():
            labels, dense_bank = self.bank.labels, self.dense_bank[name]
            said = vote(dense, dense_bank, labels)
            row[name] = {"cosine": mean_with_error(torch.cosine_similarity(queries[name], dense))}
            for title, bank in zip(BANKS, (own_bank[name], dense_bank), strict=True):
                row[name][title] = compare_classes(vote(queries[name], bank, labels), self.queries.labels, said)
        return row


Task = Classification | Neighbours


# ----- models and images


def load_weights(cls: Any, checkpoint: Checkpoint, settings: dict[str, Any], new: list[str]) -> Any:
    """Load a sparse model of the class `cls` in float32; weights that match `new` may be missing."""
    with expect_in_report(*new):
        model, found = cls.from_pretrained(
            checkpoint.source, dtype=torch.float32, output_loading_info=True, **settings
        )
    check_weights(checkpoint.source, found, new)
    if any("pooler." in name for name in found["missing_keys"]):
        model.pooler = None  # it would be random
    return model.eval()


def prepare(
    options: Comparison, checkpoint: Checkpoint, data: Dataset, image_column: str, label_column: str
) -> Images:
    """Make model inputs of all images, scaled to the size as a whole."""
    processor, channels = checkpoint.processor, checkpoint.image_config.num_channels
    size = options.image_size or checkpoint.image_config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    processor.size, processor.do_center_crop = {"height": height, "width": width}, False
    data = data.with_transform(
        ImageTransform(processor, None, False, image_column, label_column, num_channels=channels)
    )
    batches, labels = [], []
    for start in range(0, len(data), options.batch_size):
        rows = data[start : start + options.batch_size]
        batches.append(torch.stack(rows["pixel_values"]))
        labels += rows["labels"]
    return Images(batches, torch.tensor(labels))


# ----- the record


def start(options: Comparison, task: Task, dense: dict[str, Any], file: Path) -> dict[str, Any]:
    """Begin the record, or go on with that of `file`.

    Raises:
        ValueError: that one is of other images or another model.
    """
    settings = options.describe() | task.counts
    record = describe_run() | {"settings": settings, "dense": dense, "out_of_reach": [], "results": []}
    if not file.is_file():
        return record
    there = json.loads(file.read_text(encoding="utf-8"))
    if there["settings"] != settings:
        raise ValueError(f"{file} is of {there['settings']}, not {settings}; name another --output.")
    return record | {name: there[name] for name in there.keys() - record.keys() | {"out_of_reach", "results"}}


def write_record(file: Path, record: dict[str, Any]) -> None:
    """Write the record as JSON, a line a row."""
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in record.items() if name != "results"]
    rows = ",\n".join(f"  {json.dumps(row)}" for row in record["results"])
    lines.append(f' "results": [\n{rows}\n ]')
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def set_fraction(task: Task, model: Any, name: str, fraction: float) -> dict[str, Any]:
    """Set `model` to a fraction of the dense multiply-adds along its schedule; there is nothing to tell of it."""
    model.set_budget(fraction=fraction, pixel_values=task.typical)
    return {}


def measure_rows(
    options: Comparison,
    task: Task,
    record: dict[str, Any],
    methods: Mapping[str, dict[str, Any]],
    keep: Callable[[dict[str, Any]], None],
    set_cost: Callable[[Task, Any, str, float], dict[str, Any]] = set_fraction,
) -> None:
    """Measure the rows that the record lacks, one cost after the other; `keep` is called with each."""
    done = {(row["method"], row["fraction"]) for row in record["results"]}
    for fraction, name in itertools.product(options.fractions, methods):
        if (name, fraction) in done or [name, fraction] in record["out_of_reach"]:
            continue
        set_seed(options.seed)
        model = task.load(methods[name]).to(options.device)
        try:
            found = set_cost(task, model, name, fraction)
        except ValueError as error:
            print(f"{name} at {fraction}: {error}", flush=True)
            record["out_of_reach"].append([name, fraction])
            continue
        optimize(options, task, model)
        row = {"method": name, "fraction": fraction} | task.measure(model) | found
        record["results"].append(row)
        keep(row)


def optimize(options: Comparison, task: Task, model: Any) -> None:
    """Exchange linear layers for faster ones, where asked to."""
    if options.optimize:
        model.optimize_for_inference(task.typical[:2], repeats=1)


def measure_dense(options: Comparison, task: Task) -> dict[str, Any]:
    """Measure the model with everything kept."""
    whole = task.load(DENSE).to(options.device)
    optimize(options, task, whole)
    return task.measure_dense(whole)
