# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The measurements of a benchmark as tables and plots."""

import math
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from ..extras import require
from ..names import CUDA_GRAPH
from .measure import Measurement, Setting, break_even


HEADER = ["batch", "model", "images/s", "ms (10 to 90 %)", "over dense", "over ideal", "GMACs", "tokens", "peak MiB"]


def build_label(row: Measurement) -> str:
    """Name the model, and say where it is its ideal."""
    return f"{row.model}, ideal" if row.kind == "ideal" else row.model


def strip_keep_ratio(row: Measurement) -> str:
    """Return the name of the model without its keep ratio, which models at several keep ratios share."""
    return row.model.removesuffix(f" {row.keep_ratio}")


def describe_setting(setting: Setting, image_size: tuple[int, int]) -> str:
    """Describe a setting and the image size in one line."""
    threads = "" if setting.threads is None else f", {setting.threads} thread{'s' * (setting.threads > 1)}"
    clock = ", processor time" if setting.clock == "cpu" else ""
    how = setting.compiled if setting.compiled in ("eager", CUDA_GRAPH) else f"torch.compile({setting.compiled!r})"
    size = " x ".join(map(str, image_size))
    return f"{setting.device}{threads}, {setting.dtype}, {setting.attention} attention, {how}{clock}, {size} pixels"


def build_cells(row: Measurement) -> list[str]:
    """Format a measurement as a row of the table, in the order of `HEADER`."""
    over_ideal = "" if row.over_ideal is None else f"{row.over_ideal:.2f}x"
    return [
        str(row.batch),
        build_label(row),
        f"{row.images_per_second:.1f}",
        f"{row.milliseconds:.1f} ({row.fastest:.1f} to {row.slowest:.1f})",
        f"{row.over_dense:.2f}x",
        over_ideal,
        f"{row.multiply_adds / 1e9:.3f}",
        "" if row.tokens is None else ", ".join(map(str, row.tokens)),
        f"{row.peak_bytes / 2**20:.1f}",
    ]


def format_line(row: Measurement) -> str:
    """Format a measurement as one line, to be printed while others are still to come."""
    return (
        f"{describe_setting(row.setting, row.image_size)}: batch {row.batch}, {build_label(row)}: "
        f"{row.images_per_second:.1f} images/s, {row.over_dense:.2f}x dense"
    )


def group_by_setting(rows: Sequence[Measurement]) -> list[tuple[str, list[Measurement]]]:
    """Group rows that follow each other by setting and image size, each group under their description."""
    groups = groupby(rows, key=lambda row: describe_setting(row.setting, row.image_size))
    return [(title, [*group]) for title, group in groups]


def build_tables(rows: Sequence[Measurement]) -> str:
    """Format a Markdown table for each setting, and from which batch on each model is as fast as the dense one."""
    parts = []
    for title, group in group_by_setting(rows):
        lines = [f"**{title}**", "", f"| {' | '.join(HEADER)} |", f"|{' --- |' * len(HEADER)}"]
        lines += [f"| {' | '.join(build_cells(row))} |" for row in group]
        lines.append("")
        for (model, *_), batch in break_even(group).items():
            lines.append(
                f"{model}: {'never faster here' if batch is None else f'at least as fast from batch {batch} on'}"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def parse_accuracies(given: Sequence[str], models: Sequence[str]) -> dict[str, float]:
    """Parse texts `MODEL=TOP1` into accuracies by model.

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
    """Refuse to plot without matplotlib, before anything is measured."""
    require("matplotlib", "plot", "--output draws plots with matplotlib")


Lines = dict[str, list[tuple[float, float]]]
Rows = Callable[[Measurement], Any]


def choose_log_ticks(values: Sequence[float], most: int = 8) -> list[float]:
    """Choose at most `most` round numbers for a logarithmic axis, from one below all `values` to one above."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1
    ticks: list[float] = []
    for steps in ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1,)):
        numbers = [float(f"{step}e{power}") for power in range(low - 1, high + 1) for step in steps]
        below, above = max(n for n in numbers if n < min(values)), min(n for n in numbers if n > max(values))
        ticks = [number for number in numbers if below <= number <= above]
        if len(ticks) <= most:
            break
    return ticks


def draw_panels(file: Path, panels: dict[str, Lines], across: str, up: str, logarithmic: bool) -> Path:
    """Draw a panel for each title, with a line for each label, and save them as `file`."""
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
            heights = choose_log_ticks([y for points in lines.values() for _, y in points])
            axis.set_yticks(heights, [f"{value:g}" for value in heights], minor=False)
            axis.set_yticks([], minor=True)
            axis.set_ylim(heights[0], heights[-1])
        axis.legend(fontsize=7)
        axis.grid(alpha=0.3)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
    return file


def gather_points(rows: Sequence[Measurement], title: Rows, name: Rows, across: Rows, up: Rows) -> dict[str, Lines]:
    """Sort the points of the rows by panel and line."""
    panels: dict[str, Lines] = {}
    for row in rows:
        panels.setdefault(title(row), {}).setdefault(name(row), []).append((across(row), up(row)))
    return panels


def draw_plots(folder: Path, rows: Sequence[Measurement], accuracies: dict[str, float]) -> list[Path]:
    """Draw throughput over batch size and, where known, over image size, time over keep ratio, and accuracy."""

    def here(row):
        return describe_setting(row.setting, row.image_size)

    panels = gather_points(rows, here, build_label, lambda row: row.batch, lambda row: row.images_per_second)
    made = [draw_panels(folder / "throughput.png", panels, "batch size", "images/s", True)]
    if len({row.image_size for row in rows}) > 1:
        panels = gather_points(
            rows,
            lambda row: f"{describe_setting(row.setting, (0, 0)).rsplit(', ', 1)[0]}, batch {row.batch}",
            build_label,
            lambda row: row.image_size[0],
            lambda row: row.images_per_second,
        )
        made.append(draw_panels(folder / "image_size.png", panels, "image height in pixels", "images/s", True))
    cut = [row for row in rows if isinstance(row.keep_ratio, float)]
    if len({row.keep_ratio for row in cut}) > 1:
        panels = gather_points(
            cut,
            here,
            lambda row: f"{strip_keep_ratio(row)}, batch {row.batch}{', ideal' * (row.kind == 'ideal')}",
            lambda row: row.keep_ratio,
            lambda row: 1 / row.over_dense,
        )
        for row in cut:
            if row.kind == "sparse":
                point = cast(float, row.keep_ratio), row.multiply_adds / row.dense_multiply_adds
                panels[here(row)].setdefault(f"{strip_keep_ratio(row)}, multiply-adds as counted", []).append(point)
        made.append(draw_panels(folder / "keep_ratio.png", panels, "keep ratio", "time of a batch over dense", False))
    known = [row for row in rows if row.model in accuracies and row.kind != "ideal"]
    if known:
        panels = gather_points(
            known,
            lambda row: f"{here(row)}, batch {row.batch}",
            build_label,
            lambda row: row.images_per_second,
            lambda row: 100 * accuracies[row.model],
        )
        made.append(draw_panels(folder / "accuracy.png", panels, "images/s", "top-1 in %", False))
    return made
