# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What `hf-dynamicvit train` says after a training, in plain text."""

from typing import Any

from ..training.progress import told_accuracy, told_fractions
from .train_options import DENSE
from .train_words import counted, table, told_gmacs, told_seconds


# By so much a fraction kept in training exceeds the one asked for before that is told.
TOLD_EXCESS = 0.03


def accuracies(results: dict[str, Any], folder: str) -> list[list[str]]:
    """Return a row for each model that was evaluated: what it is, accuracy, cost, epochs, where it comes from."""
    sparse, dense = told_gmacs(results["gmacs"]), told_gmacs(results["dense_gmacs"])
    start = f"{results['start']['epochs']:g}" if "start" in results else ""
    epochs = f"{start} + {results['epochs']:.3g} epochs" if start else counted(results["epochs"], "epoch")
    name = "dense" if results["reducer"] == DENSE else results["reducer"]
    rows = [(name, results, "top1", dense if results["reducer"] == DENSE else sparse, epochs, folder)]
    if "ema_top1" in results:
        rows.append(("averaged weights", results, "ema_top1", *rows[0][3:5], f"{folder}/ema"))
    if "dense" in results:
        rows.append(("dense, as long", results["dense"], "top1", dense, epochs, f"{folder}/dense"))
    if "teacher_top1" in results:
        own, where = results["teacher_is_dense_copy"], results["teacher"]
        trained = counted(results["start"]["epochs"], "epoch") if own and start else ""
        rows.append(
            ("dense teacher" if own else "teacher", results, "teacher_top1", dense if own else "", trained, where)
        )
    found = []
    for name, values, key, cost, trained, where in rows:
        low, high = values[f"{key}_interval"]
        accuracy = f"top-1 {told_accuracy(values[key], results['images'])} ({100 * low:.1f} to {100 * high:.1f})"
        found.append([name, accuracy, cost, trained, where])
    return found


def kept_row(results: dict[str, Any]) -> str:
    """Tell what was kept in training, and whether that is what is kept at inference."""
    kept, asked = results["kept"], results.get("kept_asked")
    told = f"{told_fractions(kept)} of the patches in training"
    if asked is None:
        return told
    told += f", asked for {told_fractions(asked)}"
    if max(have - want for have, want in zip(kept, asked, strict=True)) < TOLD_EXCESS:
        return told
    return (
        f"{told}: it has learned with more than it keeps at inference; more epochs, or a larger weight of the loss "
        """`ratio` (--loss-weights '{"ratio": 10}'), close the gap"""
    )


def report(results: dict[str, Any], folder: str) -> str:
    """Return what came of a training: accuracies, what was kept, how long it took, what to type next."""
    held_out = ", held out of the training" if "held_out" in results else ""
    cells = accuracies(results, folder)
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    lines = [f"Results on {results['images']} validation images{held_out}, with 95 % intervals:"]
    lines += ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    rows = {}
    if results.get("best_epoch", results["epochs"]) < results["epochs"]:
        rows["best"] = f"the weights after epoch {results['best_epoch']:.3g}, the most accurate on these images"
    if "kept" in results:
        rows["kept"] = kept_row(results)
    if results["reducer"] != DENSE:
        rows["cost"] = f"{results['gmacs'] / results['dense_gmacs']:.2f} of the dense multiply-adds"
    times = {name: told_seconds(seconds) for name, seconds in results["phases"].items()}
    if "resumed_after_step" in results:
        times["training"] += f" (after step {results['resumed_after_step']})"
    rows["time"] = ", ".join(f"{name} {told}" for name, told in times.items())
    rows["model"] = f"{folder} (results.json has these numbers and the whole log)"
    rows["next"] = "\n".join(results["next"])
    return "\n".join([*lines, table({name: text for name, text in rows.items() if text})])
