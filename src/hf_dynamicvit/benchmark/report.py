# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The measurements of a benchmark as tables and plots."""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from ..extras import require
from ..fonts import make_drawable, plot_fonts
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


# A line by its name, its points with or without the lower and the upper end of their spread.
Lines = Mapping[str, Sequence[tuple[float, ...]]]
Rows = Callable[[Measurement], Any]

# Colours that are told apart by everybody (Okabe and Ito), and markers for who sees none of them.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vPX"

# What the name of a line ends with that belongs to another line and is drawn in its colour, dotted.
BESIDE = (", ideal", ", multiply-adds as counted")

# Lines of a legend inside its panel, and letters of a line of a title.
INSIDE, TITLE_WIDTH = 6, 64


def choose_styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Choose colour, marker and line of each name: dense is black and thick, what belongs to a line has its colour."""

    def strip(name: str) -> str:
        return next((name.removesuffix(end) for end in BESIDE if name.endswith(end)), name)

    models = [name for name in dict.fromkeys(strip(name) for name in names) if name != "dense"]
    styles: dict[str, dict[str, Any]] = {}
    for name in names:
        place = models.index(strip(name)) if strip(name) in models else None
        colour = "black" if place is None else COLOURS[place % len(COLOURS)]
        marker = "*" if place is None else MARKERS[place % len(MARKERS)]
        line = "-" if name == strip(name) else ":"
        width = 2.5 if place is None else 1.5
        styles[name] = {"color": colour, "marker": marker, "linestyle": line, "linewidth": width}
    return styles


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


def draw_lines(axis: Any, lines: Lines) -> None:
    """Draw each line with its points and, where they have one and the line is whole, their spread."""
    styles = choose_styles([*lines])
    for name, points in lines.items():
        across, up, *spread = zip(*sorted(points), strict=True)
        axis.plot(across, up, label=name, markersize=6, **styles[name])
        if spread and styles[name]["linestyle"] == "-":
            low, high = ([abs(end - middle) for end, middle in zip(ends, up, strict=True)] for ends in spread)
            axis.errorbar(across, up, (low, high), fmt="none", ecolor=styles[name]["color"], capsize=3, alpha=0.6)
    outside = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
    axis.legend(fontsize=8, **(outside if len(lines) > INSIDE else {}))
    axis.grid(alpha=0.3)


def scale_axes(axis: Any, lines: Lines) -> None:
    """Make both axes logarithmic, with the numbers that were measured across and round ones up."""
    points = [point for points in lines.values() for point in points]
    values = sorted({point[0] for point in points})
    heights = choose_log_ticks([height for point in points for height in point[1:]])
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks(values, [f"{value:g}" for value in values], minor=False)
    axis.set_xticks([], minor=True)
    axis.set_yticks(heights, [f"{value:g}" for value in heights], minor=False)
    axis.set_yticks([], minor=True)
    axis.set_ylim(heights[0], heights[-1])


def draw_panels(file: Path, panels: Mapping[str, Lines], across: str, up: str, logarithmic: bool) -> Path:
    """Draw a panel for each title, with a line for each label, and save them as `file`."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    texts = [name for lines in panels.values() for name in lines]
    width = 6 + 2 * any(len(lines) > INSIDE for lines in panels.values())
    with plot_fonts(texts):
        size = (width * len(panels), 4.5)
        figure, axes = pyplot.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained")
        for axis, (title, lines) in zip(axes[0], panels.items(), strict=True):
            draw_lines(axis, {make_drawable(name): points for name, points in lines.items()})
            axis.set_title(textwrap.fill(title, TITLE_WIDTH), fontsize=10)
            axis.set(xlabel=across, ylabel=up)
            if logarithmic:
                scale_axes(axis, lines)
        figure.savefig(file, dpi=120)
        pyplot.close(figure)
    return file


def gather_points(
    rows: Sequence[Measurement], title: Rows, name: Rows, across: Rows, up: Rows
) -> dict[str, dict[str, list[tuple[float, ...]]]]:
    """Sort the points of the rows by panel and line; `up` returns a number, or it with the ends of its spread."""
    panels: dict[str, dict[str, list[tuple[float, ...]]]] = {}
    for row in rows:
        height = up(row)
        point = (across(row), *height) if isinstance(height, tuple) else (across(row), height)
        panels.setdefault(title(row), {}).setdefault(name(row), []).append(point)
    return panels


def find_rates(row: Measurement) -> tuple[float, float, float]:
    """Return images/s at the median time of a batch, at its ninth and at its first decile."""
    return row.images_per_second, 1000 * row.batch / row.slowest, 1000 * row.batch / row.fastest


def draw_plots(folder: Path, rows: Sequence[Measurement], accuracies: dict[str, float]) -> list[Path]:
    """Draw throughput over batch size and, where known, over image size, time over keep ratio, and accuracy."""

    def here(row):
        return describe_setting(row.setting, row.image_size)

    rate = "images/s, and 10 to 90 % of the batches"
    panels = gather_points(rows, here, build_label, lambda row: row.batch, find_rates)
    made = [draw_panels(folder / "throughput.png", panels, "batch size", rate, True)]
    if len({row.image_size for row in rows}) > 1:
        panels = gather_points(
            rows,
            lambda row: f"{describe_setting(row.setting, (0, 0)).rsplit(', ', 1)[0]}, batch {row.batch}",
            build_label,
            lambda row: row.image_size[0],
            find_rates,
        )
        made.append(draw_panels(folder / "image_size.png", panels, "image height in pixels", rate, True))
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
