# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The figures of a report: where patches are kept, accuracy over cost, what is kept of one image."""

import io
import math
from collections.abc import Sequence
from typing import Any

from PIL import Image

from ..fonts import make_drawable, plot_fonts
from ..look.drawing import chosen, contact_sheet, stage_images
from ..look.viewer import View
from .results import Evaluation, StageResult, count_confusions


# Panels of one row of the centre map.
ACROSS = 4

# Letters of the name of a class on an axis, and classes of which every number is written.
LONGEST, MOST_NUMBERED = 24, 20


def make_figure(width: float, height: float) -> Any:
    """Make a figure of `width` x `height` inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=120)


def encode_figure(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def draw_centre_map(stages: Sequence[StageResult]) -> bytes:
    """Draw for each decision in how many of the images each patch is kept; return a PNG."""
    across = min(ACROSS, len(stages))
    down = math.ceil(len(stages) / across)
    figure = make_figure(2.4 * across + 0.8, 2.6 * down)
    axes = figure.subplots(down, across, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, stage in zip(axes.flat, stages, strict=False):
        drawn = axis.imshow(stage.frequency.numpy(), vmin=0, vmax=1, cmap="viridis")
        axis.set_title(f"block {stage.layer}", fontsize=10)
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8)
    bar.set_label("fraction of the images", fontsize=9)
    return encode_figure(figure)


def draw_confusions(evaluation: Evaluation) -> bytes:
    """Draw a confusion matrix for each model, in % of the images of each class; return a PNG."""
    short = [name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..." for name in evaluation.labels]
    names = [make_drawable(name) for name in short]
    with plot_fonts(names):
        return encode_figure(draw_matrices(evaluation, names))


def draw_matrices(evaluation: Evaluation, names: Sequence[str]) -> Any:
    """Draw the matrices of `draw_confusions` with the classes called `names`, as a figure."""
    models = {"sparse": evaluation.sparse} | ({} if evaluation.dense is None else {"dense": evaluation.dense})
    count = len(evaluation.labels)
    side = min(12.0, max(3.2, 1.6 + 0.28 * count))
    figure = make_figure(side * len(models) + 0.8, side)
    axes = figure.subplots(1, len(models), squeeze=False)
    for axis, (title, answers) in zip(axes.flat, models.items(), strict=True):
        counts = count_confusions(evaluation.truth, answers.predicted, count).double()
        shares = 100 * counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
        drawn = axis.imshow(shares.numpy(), vmin=0, vmax=100, cmap="Blues")
        axis.set_title(title, fontsize=10)
        axis.set_xticks(range(count), names, rotation=90, fontsize=7, parse_math=False)
        axis.set_yticks(range(count), names, fontsize=7, parse_math=False)
        for down, across in shares.nonzero().tolist() if count <= MOST_NUMBERED else ():
            dark = shares[down, across] > 50
            text = f"{shares[down, across]:.0f}"
            axis.text(across, down, text, ha="center", va="center", fontsize=7, color="white" if dark else "black")
    figure.colorbar(drawn, ax=axes, shrink=0.7).set_label("% of the class", fontsize=9)
    return figure


def draw_accuracy(evaluation: Evaluation) -> bytes:
    """Draw top-1 over GMACs: the keep ratios that were tried, the model as it is, the dense one; return a PNG."""
    figure = make_figure(6.5, 4.2)
    axis = figure.subplots()
    tried = [(point.answers, point.keep_ratio) for point in evaluation.sweep if point.answers is not None]
    points = [(answers.gmacs, 100 * answers.top(1)) for answers, _ in tried]
    axis.plot(*zip(*points, strict=True), marker="o", label=f"{evaluation.reducer} at other keep ratios")
    for (_, keep_ratio), point in zip(tried, points, strict=True):
        axis.annotate(f"{keep_ratio:g}", point, textcoords="offset points", xytext=(5, -11), fontsize=8)
    own = evaluation.sparse
    axis.plot(own.gmacs, 100 * own.top(1), "D", markersize=9, fillstyle="none", label="the model as it is")
    if evaluation.dense is not None:
        dense = evaluation.dense
        axis.plot(dense.gmacs, 100 * dense.top(1), "*", markersize=13, label="dense")
    for answers in (own, *([] if evaluation.dense is None else [evaluation.dense])):
        low, high = (100 * bound for bound in answers.interval)
        axis.vlines(answers.gmacs, low, high, color="grey", linewidth=1)
    axis.set(xlabel="G multiply-adds an image", ylabel="top-1 in %, with the 95% interval")
    axis.margins(0.1)
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    return encode_figure(figure)


def draw_strip(view: View, cover: str = "dark") -> Image.Image:
    """Draw what the model saw, then what it kept after at most four of the decisions, evenly spread."""
    images = stage_images(view, cover=cover)
    return contact_sheet([[images[0], *(images[stage + 1] for stage in chosen(len(view.kept)))]])
