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
import operator
from collections.abc import Sequence
from dataclasses import fields
from functools import partial, reduce
from pathlib import Path
from typing import Any

from matplotlib import pyplot

from hf_dynamicvit.checkpoints.checkpoint import read_checkpoint
from hf_dynamicvit.evaluation.without_training import (
    BANKS,
    METHODS,
    Classification,
    Comparison,
    Neighbours,
    Task,
    measure_dense,
    measure_rows,
    set_fraction,
    start,
    write_record,
)
from hf_dynamicvit.names import SCHEDULES
from hf_dynamicvit.tuning.tune import tune


TUNED = ", tuned"


# ----- what comes out


def list_measures(dense: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """List what was measured, by title, and under which keys of a row it is."""
    if "top1" in dense:
        even = {"top-1 in %, images at even places": ("unseen",)} if "unseen" in dense else {}
        return {"top-1": ()} | even
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
    colours = pyplot.cycler(color=pyplot.get_cmap("tab10").colors)  # and then once more with broken lines
    for axes, (title, keys) in zip(panels[0], measures, strict=True):
        axes.set_prop_cycle(pyplot.cycler(linestyle=["-", "--"]) * colours)
        for name in names(record):
            rows = [row for row in record["results"] if row["method"] == name]
            points = sorted((row["gmacs"] / dense["gmacs"], read_value(row, keys)) for row in [dense, *rows] if rows)
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name)
        axes.set(xlabel="multiply-adds as a fraction of the dense model's", ylabel=title)
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def read_value(row: dict[str, Any], keys: Sequence[str]) -> float:
    found = reduce(operator.getitem, keys, row)
    return found["mean"] if "mean" in found else found["top1"]


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
    parser.add_argument("--fractions", type=float, nargs="+", default=list(Comparison.fractions))
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


def set_cost(args: argparse.Namespace, task: Task, model: Any, name: str, fraction: float) -> dict[str, Any]:
    """Set `model` to the cost, along its schedule or one that is searched; return what a search found."""
    if not name.endswith(TUNED):
        return set_fraction(task, model, name, fraction)
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


def main() -> None:
    args = read_arguments()
    options = Comparison(**{field.name: getattr(args, field.name) for field in fields(Comparison)})
    checkpoint = read_checkpoint(args.model)
    task: Task = (Classification if checkpoint.has_classifier else Neighbours)(options, checkpoint)
    args.output.mkdir(parents=True, exist_ok=True)
    file = args.output / "results.json"
    record = start(options, task, measure_dense(options, task), file)

    def keep(row: dict[str, Any]) -> None:
        write_record(file, record)
        told = ", ".join(f"{title} {tell(row, keys)}" for title, keys in list_measures(record["dense"]).items())
        print(f"{row['method']} at {row['fraction']}: {row['gmacs']:.3f} G, {told}", flush=True)

    measure_rows(options, task, record, chosen(args), keep, partial(set_cost, args))
    write_record(file, record)
    (args.output / "table.md").write_text(tables(record) + "\n", encoding="utf-8")
    draw(record, args.output / "plot.png")
    print(tables(record))


if __name__ == "__main__":
    main()
