# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""An evaluation of boxes, masks or depth as a report: the same files as of image classes."""

from pathlib import Path

from PIL import Image

from ..look.drawing import captioned_maps, contact_sheet
from ..look.viewer import View
from .pages import MOST_IMAGES, Block, CaptionedImages, Figure, Heading, Paragraph, Table, build_markdown
from .plots import draw_strip, encode_figure, make_figure
from .report import build_place_rows, build_skipped, build_title, write_blocks
from .scores import SCORES, Change, Score
from .task_evaluate import Point, TaskEvaluation


def format_score(score: Score, value: float) -> str:
    """Format a score in %, or as the number that it is."""
    return f"{value:.1%}" if score.percent else f"{value:.4g}"


def format_change(score: Score, value: float) -> str:
    """Format a difference in points, or as the number that it is."""
    return f"{round(100 * value, 1) + 0.0:+.1f}" if score.percent else f"{value + 0.0:+.4g}"  # no -0.0


def format_interval(score: Score, change: Change) -> str:
    """Format the 95 % interval of a difference; empty where images were not drawn anew."""
    return "" if change.interval is None else " to ".join(format_change(score, bound) for bound in change.interval)


def unit(score: Score) -> str:
    return " points" if score.percent else ""


def read_costs(evaluation: TaskEvaluation) -> tuple[float, float]:
    """Return the GMACs of the whole models, head included: sparse and dense."""
    return evaluation.sparse_gmacs + evaluation.head_gmacs, evaluation.dense_gmacs + evaluation.head_gmacs


def write_cost(evaluation: TaskEvaluation) -> str:
    """Write what the whole sparse model costs beside the dense one."""
    sparse, dense = read_costs(evaluation)
    saved = 1 - sparse / dense
    cost = f"{saved:.0%} fewer multiply-adds" if saved >= 0 else f"{-saved:.0%} more multiply-adds"
    if {"sparse", "dense"} <= evaluation.speed.keys():
        cost += f", {evaluation.speed['sparse'] / evaluation.speed['dense']:.2f}x the images a second here"
    return cost


def write_task_verdict(evaluation: TaskEvaluation) -> str:
    """Write what follows from the first score, for who reads nothing else."""
    score = SCORES[evaluation.kind][0]
    change, cost = evaluation.changes.get(score.name), write_cost(evaluation)
    if change is None:
        return f"Verdict: there is no {score.title} on these images."
    told = f"{format_change(score, change.value)}{unit(score)} of {score.title}"
    if change.interval is None:
        return f"Verdict: {told}, for {cost}. How sure that is was not measured."
    low, high = change.interval
    interval = f"{format_interval(score, change)}{unit(score)}"
    if low <= 0 <= high:
        return (
            f"Verdict: no difference in {score.title} is shown, for {cost}. On these {evaluation.images} images it "
            f"could be anything from {interval}; more images would tell."
        )
    worse = (high < 0) != score.lower_is_better
    return (
        f"Verdict: {'worse' if worse else 'better'} than the dense model, by {interval} of {score.title}, for {cost}."
    )


def build_task_overview(evaluation: TaskEvaluation) -> list[Block]:
    """Build the first part: the models beside each other, and how sure their difference is."""
    scores, costs = SCORES[evaluation.kind], read_costs(evaluation)
    speeds = evaluation.speed

    def row(name: str, found: dict[str, float], cost: float) -> list[str]:
        speed = [f"{speeds[name]:.1f}" if name in speeds else ""] if speeds else []
        return [name, *(format_score(score, found[score.name]) for score in scores), f"{cost:#.4g}", *speed]

    rows = [row("dense", evaluation.dense, costs[1]), row("sparse", evaluation.sparse, costs[0])]
    for title, write in (("sparse to dense", format_change), ("95% interval", format_interval)):
        cells = []
        for score in scores:
            change = evaluation.changes.get(score.name)
            told = change if write is format_interval or change is None else change.value
            cells.append("" if told is None else write(score, told))  # ty: ignore
        rows.append([title, *cells, "", *[""] * bool(speeds)])
    rows[2][-1 - bool(speeds)] = f"{costs[0] / costs[1]:.2f}x"
    if {"sparse", "dense"} <= speeds.keys():
        rows[2][-1] = f"{speeds['sparse'] / speeds['dense']:.2f}x"
    if evaluation.resamples == 0:
        rows.pop()
    header = ["model", *(score.title for score in scores), "GMACs", *["images/s"] * bool(speeds)]
    return [
        Paragraph(write_task_verdict(evaluation)),
        Table(header, rows),
        *map(Paragraph, explain_numbers(evaluation)),
        *map(Paragraph, evaluation.notes),
    ]


def explain_numbers(evaluation: TaskEvaluation) -> list[str]:
    """Explain what the numbers of the first table are of."""
    found = [f"On {evaluation.images} images, by {evaluation.reducer}. Dense is {evaluation.compared}."]
    if evaluation.head_gmacs:
        share = evaluation.head_gmacs / read_costs(evaluation)[1]
        backbones = f"{evaluation.sparse_gmacs:#.4g} and {evaluation.dense_gmacs:#.4g}"
        found.append(
            f"GMACs and images a second are of the whole model. Its backbone has {backbones} GMACs, sparse and dense; "
            f"the head, which stays as it is, {evaluation.head_gmacs:#.4g}, {share:.0%} of the dense model."
        )
    if evaluation.speed:
        found.append(
            "Images a second are of the models alone, while this report was made, without the first batch. "
            "hf-dynamicvit benchmark measures it with care."
        )
    if evaluation.resamples:
        found.append(
            f"Intervals are of {evaluation.resamples} draws of as many images, with repetition, the same for both "
            "models (paired bootstrap): they say what other images of this kind could give, not what another training "
            "would."
        )
    return found


def build_kept_part(evaluation: TaskEvaluation) -> list[Block]:
    """Build the part on how much is kept."""
    pairs = zip(evaluation.layers, evaluation.kept, strict=True)
    rows = [[str(layer), *(f"{value:.1%}" for value in found)] for layer, found in pairs]
    return [Heading("What is kept"), Table(["block", "kept, mean", "least", "most"], rows)]


def build_sweep_part(evaluation: TaskEvaluation) -> list[Block]:
    """Build the part on other keep ratios; nothing where none was tried."""
    if not evaluation.sweep:
        return []
    scores, dense = SCORES[evaluation.kind], read_costs(evaluation)[1]

    def row(point: Point) -> list[str]:
        if point.scores is None or point.gmacs is None:
            return [f"{point.keep_ratio:g}", "not possible", *[""] * (len(scores) + 1)]
        cost = point.gmacs + evaluation.head_gmacs
        cells = [format_score(score, point.scores[score.name]) for score in scores]
        return [f"{point.keep_ratio:g}", *cells, f"{cost:#.4g}", f"{cost / dense:.2f}x"]

    header = ["keep ratio", *(score.title for score in scores), "GMACs", "of dense"]
    blocks: list[Block] = [
        Heading(f"{scores[0].title} over keep ratio"),
        Paragraph(
            "The same weights with other keep ratios, set at run time. A model that was trained at one ratio was not "
            "trained at the others: fine-tuned there it may do better."
        ),
        Table(header, [row(point) for point in evaluation.sweep]),
        *(Paragraph(f"{point.keep_ratio:g}: {point.problem}") for point in evaluation.sweep if point.problem),
    ]
    if any(point.scores is not None for point in evaluation.sweep):
        caption = f"{scores[0].title} over multiply-adds of the whole model, by keep ratio."
        blocks.append(Figure("accuracy.png", draw_sweep(evaluation), caption))
    return blocks


def draw_sweep(evaluation: TaskEvaluation) -> bytes:
    """Draw the first score over GMACs: the keep ratios that were tried, the model as it is, the dense one."""
    score, costs = SCORES[evaluation.kind][0], read_costs(evaluation)
    scale = 100 if score.percent else 1
    figure = make_figure(6.5, 4.2)
    axis = figure.subplots()
    points = [
        (point.gmacs + evaluation.head_gmacs, scale * point.scores[score.name], point.keep_ratio)
        for point in evaluation.sweep
        if point.scores is not None and point.gmacs is not None
    ]
    axis.plot(*zip(*(each[:2] for each in points), strict=True), marker="o", label="other keep ratios")
    for across, up, keep_ratio in points:
        axis.annotate(f"{keep_ratio:g}", (across, up), textcoords="offset points", xytext=(5, -11), fontsize=8)
    own, dense = (scale * found[score.name] for found in (evaluation.sparse, evaluation.dense))
    axis.plot(costs[0], own, "D", markersize=9, fillstyle="none", label="the model as it is")
    axis.plot(costs[1], dense, "*", markersize=13, label="dense")
    axis.set(xlabel="G multiply-adds an image", ylabel=f"{score.title}{' in %' if score.percent else ''}")
    axis.margins(0.1)
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    return encode_figure(figure)


APART = {
    "boxes": "objects more or fewer with a probability of a half",
    "masks": "of the pixels of another class than dense",
    "depth": "from the dense depth",
}


def build_apart_part(evaluation: TaskEvaluation, cover: str) -> list[Block]:
    """Build the part with the images on which the two models are furthest apart."""
    views = evaluation.views
    if not views:
        return []
    captions = []
    for value, name in evaluation.apart[: len(views)]:
        told = f"{value:g}" if evaluation.kind == "boxes" else f"{value:.1%}"
        captions.append(f"{name} · {told} {APART[evaluation.kind]}")
    drawn, galleries = [draw_view(view, cover) for view in views], list[Block]()
    for start in range(0, len(views), MOST_IMAGES):
        part = slice(start, start + MOST_IMAGES)
        name = f"changed_{1 + start // MOST_IMAGES}.png" if start else "changed.png"
        galleries.append(CaptionedImages(name, drawn[part], captions[part], start + 1))
    shown = f"{len(views)} of {evaluation.images}, those on which the two models are furthest apart first."
    return [Heading("Images on which the models differ most"), Paragraph(shown), *galleries]


def draw_view(view: View, cover: str) -> Image.Image:
    """Draw what is kept of an image, and the maps of both models where there are some."""
    strip = draw_strip(view, cover)
    return strip if view.map is None else contact_sheet([[strip, *captioned_maps(view)]])


def build_task_settings(evaluation: TaskEvaluation) -> list[Block]:
    """Build the part on how the numbers were measured."""
    split = f", split {evaluation.split}" if evaluation.split else ""
    rows = [
        ["model", f"{evaluation.model} ({evaluation.architecture})"],
        ["method", f"{evaluation.reducer}, keep ratio {evaluation.keep_ratio or 'none'}"],
        ["compared with", evaluation.compared],
        ["data set", f"{evaluation.dataset}{split}: {evaluation.images} of {evaluation.total} images"],
        *build_place_rows(evaluation.settings),
    ]
    heading = Heading("How it was measured")
    return [heading, Table(["", ""], rows, words=True), *build_skipped(evaluation.skipped)]


def build_task_report(evaluation: TaskEvaluation, cover: str = "dark") -> list[Block]:
    """Build all parts of the report."""
    parts = (build_task_overview, build_kept_part, build_sweep_part)
    blocks = [block for build in parts for block in build(evaluation)]
    return [*blocks, *build_apart_part(evaluation, cover), *build_task_settings(evaluation)]


def build_task_summary(evaluation: TaskEvaluation) -> str:
    """Build the first part of the report as Markdown."""
    return build_markdown(build_task_overview(evaluation))


def write_task_report(
    evaluation: TaskEvaluation, folder: str | Path, overwrite: bool = False, cover: str = "dark"
) -> None:
    """Write `report.html`, which needs no other file, `report.md` with its images, and `report.json`, all or nothing.

    Raises:
        ValueError: as `write_report`.
    """
    blocks, title = build_task_report(evaluation, cover), build_title(evaluation)
    write_blocks(title, blocks, evaluation.as_dict(), folder, overwrite)
