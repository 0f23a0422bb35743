# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The suite `accuracy`: top-1 over cost on your images without training, and speed where top-1 falls as far."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..benchmark.measure import Measurement, Setting, benchmark
from ..checkpoints.checkpoint import read_checkpoint
from .without_training import (
    METHODS,
    Classification,
    Comparison,
    measure_dense,
    measure_rows,
    start,
    write_record,
)


# Points of top-1 that a model may lose, as fractions, and images in a batch, of which speeds are told.
LOSSES = (0.005, 0.01)
BATCHES = (1, 8)
REPEATS = 7


def find_fraction(points: Mapping[float, float], dense: float, loss: float) -> float:
    """Find the smallest fraction of the cost at which top-1 has not fallen by more than `loss` below `dense`.

    Between measured costs top-1 is taken for a line. From the full cost on down, the first fall counts, though a
    cheaper model were better again by chance.

    Args:
        points: top-1 by fraction of the dense multiply-adds.
        dense: top-1 of the dense model.
        loss: what may be lost, 0 to 1.
    """
    above, least = (1.0, dense), dense - loss
    for fraction in sorted(points, reverse=True):
        top1 = points[fraction]
        if top1 < least:
            share = (above[1] - least) / (above[1] - top1)
            return above[0] + share * (fraction - above[0])
        above = fraction, top1
    return above[0]


def read_curves(record: Mapping[str, Any]) -> dict[str, dict[float, float]]:
    """Read from a record top-1 by fraction, of each method."""
    curves: dict[str, dict[float, float]] = {}
    for row in record["results"]:
        curves.setdefault(row["method"], {})[row["fraction"]] = row["top1"]
    return curves


def choose_setting(device: str) -> Setting:
    """Choose how speed is measured: on a CPU one thread's own time, which others on the machine change least."""
    return Setting(threads=1, clock="cpu") if torch.device(device).type == "cpu" else Setting(device)


def measure_matched(
    record: dict[str, Any],
    load: Callable[[dict[str, Any]], Any],
    images: torch.Tensor,
    device: str,
    keep: Callable[[], None],
    report: Callable[[Measurement], None] = lambda row: None,
) -> None:
    """Measure the speed of each method at the cost where it has lost each of `LOSSES`.

    Args:
        record: with `dense` and `results`; speeds are added as `matched`, and those that are there stay.
        load: returns the model of a method's settings.
        images: `[N, C, H, W]`, on which costs are set and models run.
        device: where they run.
        keep: called when there is something new in the record.
        report: called with every measurement.
    """
    setting, matched = choose_setting(device), record.setdefault("matched", [])
    done = {(row["method"], row["loss"]) for row in matched}
    for method, points in read_curves(record).items():
        for loss in LOSSES:
            if (method, loss) in done or method not in METHODS:
                continue
            fraction = find_fraction(points, record["dense"]["top1"], loss)
            rows: list[Measurement] = []
            if fraction < 1:
                model = load(METHODS[method])
                model.set_budget(fraction=fraction, pixel_values=images)
                turns: dict[str, Any] = {"repeats": REPEATS, "warmup": 2, "report": report}
                rows = benchmark({method: model}, BATCHES, [setting], images[: max(BATCHES)], **turns)
            about = {"method": method, "loss": loss, "fraction": fraction, "lowest": fraction == min(points)}
            matched.append(about | {"measurements": [row.as_dict() for row in rows]})
            keep()


def run_accuracy(options: Comparison, file: Path, report: Callable[[Measurement], None]) -> dict[str, Any]:
    """Measure top-1 of every method at the costs of `options`, and speeds; each is written into `file` as it comes.

    Raises:
        ValueError: the model has no classifier, its images other classes, or `file` is of other images.
    """
    checkpoint = read_checkpoint(options.model)
    if not checkpoint.has_classifier:
        raise ValueError(
            f"--suite accuracy counts right answers, and {options.model} has no classifier; "
            "examples/compare_without_training.py measures encoders."
        )
    task = Classification(options, checkpoint)
    record = start(options, task, measure_dense(options, task), file)

    def keep(row: dict[str, Any]) -> None:
        write_record(file, record)
        print(f"{row['method']} at {row['fraction']:g} of the cost: {100 * row['top1']:.1f} %", flush=True)

    measure_rows(options, task, record, METHODS, keep)
    measure_matched(record, task.load, task.typical, options.device, lambda: write_record(file, record), report)
    write_record(file, record)
    return record


def build_accuracy_table(record: Mapping[str, Any]) -> str:
    """Format top-1 as Markdown: a row a method, a column a fraction of the cost."""
    curves = read_curves(record)
    fractions = sorted({fraction for points in curves.values() for fraction in points}, reverse=True)
    lines = ["| method | " + " | ".join(f"{fraction:g} of dense" for fraction in fractions) + " |"]
    lines.append("| --- |" + " --- |" * len(fractions))
    dense = f"{100 * record['dense']['top1']:.1f} %"
    lines.append(f"| dense, at its own cost | {' | '.join([dense] * len(fractions))} |")
    for method, points in curves.items():
        cells = [f"{100 * points[each]:.1f} %" if each in points else "" for each in fractions]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def build_matched_table(record: Mapping[str, Any]) -> str:
    """Format as Markdown at which cost a method has lost so many points, and how fast it is there."""
    batches = sorted({row["batch"] for each in record["matched"] for row in each["measurements"]})
    heads = [
        f"{title} -{100 * loss:g}" for loss in LOSSES for title in ("cost at", *(f"batch {n} at" for n in batches))
    ]
    lines = ["| method | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(heads)]
    by_method: dict[str, dict[float, dict[str, Any]]] = {}
    for each in record["matched"]:
        by_method.setdefault(each["method"], {})[each["loss"]] = each
    for method, found in by_method.items():
        cells = [cell for loss in LOSSES for cell in tell_matched(found[loss], batches)]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tell_matched(each: Mapping[str, Any], batches: list[int]) -> list[str]:
    """Format one loss: the cost, and as fast as dense at each batch size."""
    speeds = {row["batch"]: row["over_dense"] for row in each["measurements"] if row["kind"] == "sparse"}
    cost = f"{'at most ' if each['lowest'] else ''}{each['fraction']:.2f}"
    return [cost, *(f"{speeds[batch]:.2f}x" if batch in speeds else "1.00x" for batch in batches)]
