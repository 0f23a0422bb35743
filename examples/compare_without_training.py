# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Every method on one dense checkpoint, without training, at equal multiply-adds: tables, a plot and JSON.

    python examples/compare_without_training.py --model facebook/deit-tiny-patch16-224 --data imagenet --output table
    python examples/compare_without_training.py --model facebook/dinov2-small --data flowers --image-size 224 \\
        --bank 250 --output table

The data are a folder, a parquet file or a data set of the Hub, with labels. An image classifier of any family, whose
classes they have in its order, is measured by its top-1. An encoder without labels, such as DINOv2 or the image tower
of a CLIP, by the cosine of its features to the dense ones, and by what their nearest neighbours say: the images of the
test split are classified by the k = 20 most alike of the training split, each with the weight exp(cosine / 0.07), as
DINO does. The bank of the training split's features is reduced as well, or the dense one ("dense bank"): what somebody
has whose index exists already. This is done with `pooler_output` and with `features`, what a linear classifier reads.

Every method is set to 0.9, 0.8, 0.7 and 0.5 of the dense model's multiply-adds, at the size of the images, with
`model.set_budget`. AS-ViT's thresholds are set on some of the images (`--calibrate`), and its cost is the mean over
all. The predictors of DynamicViT are untrained, so it shows what they must learn.

With `--tuned`, the schedule of each of these methods is searched by `hf_dynamicvit.tune` on the images at odd places,
without their labels; of every row there is also the top-1 on those at even places, which no search has seen.

results.json is written after each row, and rows that it has are not measured again. Published results are in
docs/benchmarks.md. The plot needs matplotlib (`pip install "hf-dynamicvit[plot]"`).
"""

import argparse
import itertools
import json
import operator
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from matplotlib import pyplot
from torch import Tensor
from transformers import set_seed

import hf_dynamicvit
from hf_dynamicvit.checkpoints.checkpoint import Checkpoint, read_checkpoint
from hf_dynamicvit.checkpoints.load_report import REDUCER, check_weights, expect_in_report
from hf_dynamicvit.data.loading import load_images
from hf_dynamicvit.data.transforms import ImageTransform
from hf_dynamicvit.evaluation.data import TRUE_CLASS, load_labelled
from hf_dynamicvit.machine import describe_machine
from hf_dynamicvit.names import SCHEDULES
from hf_dynamicvit.tuning.tune import tune


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
TUNED = ", tuned"
NEIGHBOURS, TEMPERATURE = 20, 0.07
# of each feature of an encoder: whose features its neighbours are
BANKS = ("own bank", "dense bank")


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
    return {"logits": outputs.logits}


def read_features(outputs: Any) -> dict[str, Tensor]:
    """Return what people take for the feature of an image, `[B, D]` each."""
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

    def __init__(self, args: argparse.Namespace, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        found = load_labelled(
            args.data, checkpoint.labels, args.split, same_classes=True, max_samples=args.limit, seed=args.seed
        )
        self.images = prepare(args, checkpoint, found.data, found.image_column, TRUE_CLASS)
        self.typical = self.images.every(max(1, len(self.images.labels) // args.calibrate))
        self.counts = {"images": len(self.images.labels)}

    def load(self, settings: dict[str, Any]) -> Any:
        return load_weights(self.checkpoint.family, self.checkpoint, settings, [REDUCER])

    def measure_dense(self, model: Any) -> dict[str, Any]:
        self.dense = run(model, self.images, read_logits)[0]["logits"].argmax(-1)
        return {"gmacs": model.dense_multiply_adds(self.typical) / 1e9} | self.compare(self.dense)

    def measure(self, model: Any) -> dict[str, Any]:
        outputs, cost = run(model, self.images, read_logits)
        return {"gmacs": cost / 1e9} | self.compare(outputs["logits"].argmax(-1))

    def compare(self, found: Tensor) -> dict[str, Any]:
        unseen = compare_classes(found[::2], self.images.labels[::2], self.dense[::2])
        row = compare_classes(found, self.images.labels, self.dense)
        return row | {"unseen": {name: unseen[name] for name in ("top1", "difference")}}

    def searched(self) -> Tensor:
        """Return the images at odd places, on which schedules are searched."""
        return torch.cat(self.images.batches)[1::2]


class Neighbours:
    """Features of an encoder: how near they are to the dense ones, and to which images."""

    def __init__(self, args: argparse.Namespace, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        limits = {"max_train_samples": args.bank, "max_eval_samples": args.limit, "seed": args.seed}
        found = load_images(args.data, validation_split=args.split, unreadable="unchecked", **limits)
        columns = found.image_column, found.label_column
        self.bank = prepare(args, checkpoint, found.train, *columns)
        self.queries = prepare(args, checkpoint, found.validation, *columns)
        self.typical = self.bank.every(max(1, len(self.bank.labels) // args.calibrate))
        self.counts = {"images": len(self.queries.labels), "bank": len(self.bank.labels)}

    def load(self, settings: dict[str, Any]) -> Any:
        return load_weights(self.checkpoint.encoder, self.checkpoint, settings, [REDUCER, r"pooler\."])

    def measure_dense(self, model: Any) -> dict[str, Any]:
        self.dense, _ = run(model, self.queries, read_features)
        self.dense_bank, _ = run(model, self.bank, read_features)
        found = self.compare(self.dense, self.dense_bank)
        return {"gmacs": model.dense_multiply_adds(self.typical) / 1e9} | found

    def measure(self, model: Any) -> dict[str, Any]:
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
    args: argparse.Namespace, checkpoint: Checkpoint, data: Dataset, image_column: str, label_column: str
) -> Images:
    """Make model inputs of all images, scaled to the size as a whole."""
    processor, channels = checkpoint.processor, checkpoint.image_config.num_channels
    size = args.image_size or checkpoint.image_config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    processor.size, processor.do_center_crop = {"height": height, "width": width}, False
    data = data.with_transform(
        ImageTransform(processor, None, False, image_column, label_column, num_channels=channels)
    )
    batches, labels = [], []
    for start in range(0, len(data), args.batch_size):
        rows = data[start : start + args.batch_size]
        batches.append(torch.stack(rows["pixel_values"]))
        labels += rows["labels"]
    return Images(batches, torch.tensor(labels))


# ----- what comes out


def list_measures(dense: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """List what was measured, by title, and under which keys of a row it is."""
    if "top1" in dense:
        return {"top-1": (), "top-1 in %, images at even places": ("unseen",)}
    measures: dict[str, tuple[str, ...]] = {}
    for name in [name for name, value in dense.items() if isinstance(value, dict)]:
        measures[f"{name}: cosine"] = (name, "cosine")
        measures |= {f"{name}: k-NN top-1 in %, {bank}": (name, bank) for bank in BANKS}
        measures |= {f"{name}: same class as dense in %, {bank}": (name, bank, "agreement") for bank in BANKS}
    return measures


def tell(row: dict[str, Any], keys: Sequence[str]) -> str:
    """Write one measure; top-1 of an encoder with the standard error of its difference to the dense one."""
    found = reduce(operator.getitem, keys, row)
    if not keys:
        return f"{100 * row['top1']:.1f} % ({row['gmacs']:.3f} G)"
    if keys[-1] == "agreement":
        return f"{100 * found:.1f}"
    if keys[-1] == "cosine":
        return f"{found['mean']:.3f}"
    return f"{100 * found['top1']:.1f} ± {100 * found['difference']['error']:.1f}"


def table(record: dict[str, Any], keys: Sequence[str]) -> str:
    """Return one measure as Markdown: a row a method, a column a fraction of the cost."""
    cells = {(row["method"], row["fraction"]): tell(row, keys) for row in record["results"]}
    cells |= dict.fromkeys(map(tuple, record["out_of_reach"]), "out of reach")
    fractions = sorted({fraction for _, fraction in cells}, reverse=True)
    lines = ["| method | " + " | ".join(f"{fraction:g} of dense" for fraction in fractions) + " |"]
    lines.append("| --- |" + " --- |" * len(fractions))
    for name in names(record):
        found = [cells.get((name, fraction), "") for fraction in fractions]
        if any(found):
            lines.append(f"| {name} | {' | '.join(found)} |")
    return "\n".join(lines)


def names(record: dict[str, Any]) -> list[str]:
    """List what was measured, in the order of `METHODS`, along their own schedules first."""
    measured = [*(row["method"] for row in record["results"]), *(name for name, _ in record["out_of_reach"])]
    own = [name for name in METHODS if name in measured]
    return [*own, *(name for name in dict.fromkeys(measured) if name not in METHODS)]


def tables(record: dict[str, Any]) -> str:
    """Return all tables, each below what it shows."""
    parts = []
    for title, keys in list_measures(record["dense"]).items():
        dense = f"Dense: {tell(record['dense'], keys).split(' ± ')[0]}."
        parts.append(f"**{title}**\n\n{table(record, keys)}\n\n{dense}")
    return "\n\n".join(parts)


def draw(record: dict[str, Any], path: Path) -> None:
    """Draw the first measure, and for an encoder its next, over multiply-adds, a line for each method."""
    dense = record["dense"]
    measures = [*list_measures(dense).items()][:2]
    figure, panels = pyplot.subplots(1, len(measures), figsize=(8 * len(measures), 6), squeeze=False)
    for axes, (title, keys) in zip(panels[0], measures, strict=True):
        for name in names(record):
            rows = [row for row in record["results"] if row["method"] == name]
            points = sorted((row["gmacs"] / dense["gmacs"], read_value(row, keys)) for row in [dense, *rows] if rows)
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
        axes.set(xlabel="multiply-adds as a fraction of the dense model's", ylabel=title)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110, bbox_inches="tight")


def read_value(row: dict[str, Any], keys: Sequence[str]) -> float:
    found = reduce(operator.getitem, keys, row)
    return found["mean"] if "mean" in found else found["top1"]


def write(folder: Path, record: dict[str, Any]) -> None:
    """Write the record as JSON, a line a row."""
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in record.items() if name != "results"]
    rows = ",\n".join(f"  {json.dumps(row)}" for row in record["results"])
    lines.append(f' "results": [\n{rows}\n ]')
    (folder / "results.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read_commit() -> str | None:
    """Read which commit of the package this is; `None` where it is not a checkout."""
    command = ["git", "-C", str(Path(hf_dynamicvit.__file__).parent), "describe", "--always", "--dirty"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None


def start(args: argparse.Namespace, task: Any, dense: dict[str, Any]) -> dict[str, Any]:
    """Begin the record, or go on with the one that is there.

    Raises:
        ValueError: that one is of other images or another model.
    """
    names = ("model", "data", "split", "image_size", "batch_size", "optimize", "calibrate", "seed")
    settings = {name: getattr(args, name) for name in names} | task.counts
    record = {
        "settings": settings,
        "command": shlex.join(["python", f"examples/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "commit": read_commit(),
    }
    record |= {"machine": describe_machine(), "dense": dense, "out_of_reach": [], "results": []}
    file = args.output / "results.json"
    if not file.is_file():
        return record
    there = json.loads(file.read_text(encoding="utf-8"))
    if there["settings"] != settings:
        raise ValueError(f"{file} is of {there['settings']}, not {settings}; name another --output.")
    return record | {name: there[name] for name in ("out_of_reach", "results")}


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a dense image classifier, or an encoder")
    parser.add_argument("--data", required=True, help="a folder, a parquet file or a data set of the Hub, with labels")
    parser.add_argument("--split", help="of the images that are classified (default: validation or test)")
    parser.add_argument("--output", required=True, type=Path, help="folder for table.md, results.json and plot.png")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=[*METHODS], metavar="METHOD")
    parser.add_argument("--schedules", nargs="+", choices=SCHEDULES, help="each method along these, not along its own")
    parser.add_argument("--tuned", nargs="*", choices=METHODS, default=[], metavar="METHOD", help="search schedules")
    parser.add_argument("--refinements", type=int, default=100, help="of each search")
    parser.add_argument("--step", type=int, help="tokens that a search removes at a time")
    parser.add_argument("--search-images", type=int, help="at most so many for a search, at even distances")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.9, 0.8, 0.7, 0.5])
    parser.add_argument("--image-size", type=int, help="pixels (default: the checkpoint's)")
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--calibrate", type=int, default=100, help="images on which AS-ViT's thresholds are set")
    parser.add_argument("--limit", type=int, help="classify only so many images, taken at random")
    parser.add_argument("--bank", type=int, help="only so many images for neighbours, taken at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--optimize", action="store_true", help="model.optimize_for_inference() first, to wait less")
    return parser.parse_args()


def chosen(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return what is measured: methods by name, along each of the schedules that were typed."""
    tuned = {f"{name}{TUNED}": METHODS[name] for name in args.tuned}
    if not args.schedules:
        return {name: METHODS[name] for name in args.methods} | tuned
    pairs = itertools.product(args.methods, args.schedules)
    return {f"{name}, {schedule}": METHODS[name] | {"schedule": schedule} for name, schedule in pairs} | tuned


def measure_rows(args: argparse.Namespace, task: Any, record: dict[str, Any]) -> None:
    """Measure the rows that the record lacks, one cost after the other."""
    done = {(row["method"], row["fraction"]) for row in record["results"]}
    for fraction, name in itertools.product(args.fractions, [*chosen(args)]):
        if (name, fraction) in done or [name, fraction] in record["out_of_reach"]:
            continue
        set_seed(args.seed)
        model = task.load(chosen(args)[name]).to(args.device)
        try:
            found = set_cost(args, task, model, name, fraction)
        except ValueError as error:
            print(f"{name} at {fraction}: {error}", flush=True)
            record["out_of_reach"].append([name, fraction])
            continue
        optimize(args, task, model)
        row = {"method": name, "fraction": fraction} | task.measure(model) | found
        record["results"].append(row)
        write(args.output, record)
        told = ", ".join(f"{title} {tell(row, keys)}" for title, keys in list_measures(record["dense"]).items())
        print(f"{name} at {fraction}: {row['gmacs']:.3f} G, {told}", flush=True)


def set_cost(args: argparse.Namespace, task: Any, model: Any, name: str, fraction: float) -> dict[str, Any]:
    """Set `model` to the cost, along its schedule or one that is searched; return what a search found."""
    if not name.endswith(TUNED):
        model.set_budget(fraction=fraction, pixel_values=task.typical)
        return {}
    file = args.output / f"trials {name.removesuffix(TUNED)}.jsonl"
    options = {
        "refinements": args.refinements,
        "step": args.step,
        "run_batch": args.batch_size,
        "seed": args.seed,
        "trials_file": file,
    }
    images = task.searched()
    if args.search_images is not None:
        images = images[:: max(1, len(images) // args.search_images)][: args.search_images]
    found = tune(model, images, fraction=fraction, progress=False, **options)
    named = {schedule: point.loss for schedule, point in found.named.items()}
    told = {"layers": found.layers, "counts": found.counts, "loss": found.loss, "named": named}
    return {"tuned": told | {"images": found.images, "trials": found.trials}}


def optimize(args: argparse.Namespace, task: Any, model: Any) -> None:
    """Exchange linear layers for faster ones, where asked to."""
    if args.optimize:
        model.optimize_for_inference(task.typical[:2], repeats=1)


def main() -> None:
    args = read_arguments()
    checkpoint = read_checkpoint(args.model)
    task = (Classification if checkpoint.has_classifier else Neighbours)(args, checkpoint)
    args.output.mkdir(parents=True, exist_ok=True)
    whole = task.load(DENSE).to(args.device)
    optimize(args, task, whole)
    record = start(args, task, task.measure_dense(whole))
    measure_rows(args, task, record)
    write(args.output, record)
    (args.output / "table.md").write_text(tables(record) + "\n", encoding="utf-8")
    draw(record, args.output / "plot.png")
    print(tables(record))


if __name__ == "__main__":
    main()
