# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What a benchmark found, as a table and as plots."""

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from ..extras import require
from .measure import Measurement, Setting, break_even


HEADER = ["batch", "model", "images/s", "ms (10 to 90 %)", "over dense", "over ideal", "GMACs", "tokens", "peak MiB"]


def label(row: Measurement) -> str:
    """The model, and whether it is the ideal of it."""
    return f"{row.model}, ideal" if row.kind == "ideal" else row.model


def without_ratio(row: Measurement) -> str:
    """Return the name that models which differ in their keep ratio alone have in common."""
    return row.model.removesuffix(f" {row.keep_ratio}")


def heading(setting: Setting, image_size: tuple[int, int]) -> str:
    """Where and how, in a line."""
    threads = "" if setting.threads is None else f", {setting.threads} thread{'s' * (setting.threads > 1)}"
    how = "eager" if setting.compiled == "eager" else f"torch.compile({setting.compiled!r})"
    size = " x ".join(map(str, image_size))
    return f"{setting.device}{threads}, {setting.dtype}, {setting.attention} attention, {how}, {size} pixels"


def cells(row: Measurement) -> list[str]:
    """A row of the table."""
    over_ideal = "" if row.over_ideal is None else f"{row.over_ideal:.2f}x"
    return [
        str(row.batch),
        label(row),
        f"{row.images_per_second:.1f}",
        f"{row.milliseconds:.1f} ({row.fastest:.1f} to {row.slowest:.1f})",
        f"{row.over_dense:.2f}x",
        over_ideal,
        f"{row.multiply_adds / 1e9:.3f}",
        "" if row.tokens is None else ", ".join(map(str, row.tokens)),
        f"{row.peak_bytes / 2**20:.1f}",
    ]


def one_line(row: Measurement) -> str:
    """A measurement while others are still to come."""
    return (
        f"{heading(row.setting, row.image_size)}: batch {row.batch}, {label(row)}: "
        f"{row.images_per_second:.1f} images/s, {row.over_dense:.2f}x dense"
    )


def by_setting(rows: Sequence[Measurement]) -> list[tuple[str, list[Measurement]]]:
    """The rows under each heading."""
    return [(title, [*group]) for title, group in groupby(rows, key=lambda row: heading(row.setting, row.image_size))]


def markdown(rows: Sequence[Measurement]) -> str:
    """A table for each setting, and from which batch on each model is faster than the dense one."""
    parts = []
    for title, group in by_setting(rows):
        lines = [f"**{title}**", "", f"| {' | '.join(HEADER)} |", f"|{' --- |' * len(HEADER)}"]
        lines += [f"| {' | '.join(cells(row))} |" for row in group]
        lines.append("")
        for (model, *_), batch in break_even(group).items():
            lines.append(
                f"{model}: {'never faster here' if batch is None else f'at least as fast from batch {batch} on'}"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def check_accuracies(given: Sequence[str], models: Sequence[str]) -> dict[str, float]:
    """`MODEL=TOP1` by model.

    Raises:
        ValueError: no such model, or no number from 0 to 1.
    """
    found = {}
    for text in given:
        model, _, number = text.rpartition("=")
        if model not in [*models, "dense"]:
            raise ValueError(f"--accuracy {text}: the models are {', '.join(map(repr, ['dense', *models]))}.")
        try:
            found[model] = float(number)
        except ValueError:
            found[model] = -1.0
        if not 0 <= found[model] <= 1:
            raise ValueError(f"--accuracy {text}: {number!r} must be a number from 0 to 1.")
    return found


def check_matplotlib() -> None:
    """Refuse to plot without it before anything is measured."""
    require("matplotlib", "plot", "--output draws plots with matplotlib")


Lines = dict[str, list[tuple[float, float]]]
Rows = Callable[[Measurement], Any]


def log_ticks(values: Sequence[float], most: int = 8) -> list[float]:
    """Round numbers for an axis of logarithms, from one below all `values` to one above: as many as fit in `most`."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1
    ticks: list[float] = []
    for steps in ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1,)):
        numbers = [float(f"{step}e{power}") for power in range(low - 1, high + 1) for step in steps]
        below, above = max(n for n in numbers if n < min(values)), min(n for n in numbers if n > max(values))
        ticks = [number for number in numbers if below <= number <= above]
        if len(ticks) <= most:
            break
    return ticks


def draw(file: Path, panels: dict[str, Lines], across: str, up: str, logarithmic: bool) -> Path:
    """One panel for each title, in it a line for each label."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(panels), figsize=(6 * len(panels), 4.5), squeeze=False, layout="constrained")
    for axis, (title, lines) in zip(axes[0], panels.items(), strict=True):
        for name, points in lines.items():
            style = ":" if name.endswith(("ideal", "counted")) else "-"
            axis.plot(*zip(*sorted(points), strict=True), style, marker="o", label=name)
        axis.set(title=title, xlabel=across, ylabel=up)
        axis.title.set_fontsize(8)
        if logarithmic:
            values = sorted({x for points in lines.values() for x, _ in points})
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.set_xticks(values, [f"{value:g}" for value in values], minor=False)
            axis.set_xticks([], minor=True)
            heights = log_ticks([y for points in lines.values() for _, y in points])
            axis.set_yticks(heights, [f"{value:g}" for value in heights], minor=False)
            axis.set_yticks([], minor=True)
            axis.set_ylim(heights[0], heights[-1])
        axis.legend(fontsize=7)
        axis.grid(alpha=0.3)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
    return file


def gather(rows: Sequence[Measurement], title: Rows, name: Rows, across: Rows, up: Rows) -> dict[str, Lines]:
    """Points of the rows, by panel and line."""
    panels: dict[str, Lines] = {}
    for row in rows:
        panels.setdefault(title(row), {}).setdefault(name(row), []).append((across(row), up(row)))
    return panels


def plots(folder: Path, rows: Sequence[Measurement], accuracies: dict[str, float]) -> list[Path]:
    """Throughput over batch and, where there are several, over image size; latency over keep ratio; accuracy over
    throughput, where known."""

    def here(row):
        return heading(row.setting, row.image_size)

    panels = gather(rows, here, label, lambda row: row.batch, lambda row: row.images_per_second)
    made = [draw(folder / "throughput.png", panels, "batch size", "images/s", True)]
    if len({row.image_size for row in rows}) > 1:
        panels = gather(
            rows,
            lambda row: f"{heading(row.setting, (0, 0)).rsplit(', ', 1)[0]}, batch {row.batch}",
            label,
            lambda row: row.image_size[0],
            lambda row: row.images_per_second,
        )
        made.append(draw(folder / "image_size.png", panels, "image height in pixels", "images/s", True))
    cut = [row for row in rows if isinstance(row.keep_ratio, float)]
    if len({row.keep_ratio for row in cut}) > 1:
        panels = gather(
            cut,
            here,
            lambda row: f"{without_ratio(row)}, batch {row.batch}{', ideal' * (row.kind == 'ideal')}",
            lambda row: row.keep_ratio,
            lambda row: 1 / row.over_dense,
        )
        for row in cut:
            if row.kind == "sparse":
                point = cast(float, row.keep_ratio), row.multiply_adds / row.dense_multiply_adds
                panels[here(row)].setdefault(f"{without_ratio(row)}, multiply-adds as counted", []).append(point)
        made.append(draw(folder / "keep_ratio.png", panels, "keep ratio", "time of a batch over dense", False))
    known = [row for row in rows if row.model in accuracies and row.kind != "ideal"]
    if known:
        panels = gather(
            known,
            lambda row: f"{here(row)}, batch {row.batch}",
            label,
            lambda row: row.images_per_second,
            lambda row: 100 * accuracies[row.model],
        )
        made.append(draw(folder / "accuracy.png", panels, "images/s", "top-1 in %", False))
    return made
