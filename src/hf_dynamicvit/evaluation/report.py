# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""An evaluation as one HTML file, as Markdown with images beside it, and as JSON: the same content, told once."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..folders import whole_folder
from ..look.drawing import chosen
from .data import make_printable
from .pages import (
    MOST_IMAGES,
    Block,
    CaptionedImages,
    Figure,
    Heading,
    Paragraph,
    Table,
    build_html,
    build_markdown,
    build_png,
    escape,
)
from .plots import draw_accuracy, draw_centre_map, draw_confusions, draw_strip
from .results import MOST_CLASSES, Answers, Changed, Difference, Evaluation, compare_answers


def format_percent(fraction: float, count: int) -> str:
    """Format a fraction with as many digits as `count` images allow."""
    return f"{fraction:.1%}" if count < 1000 else f"{fraction:.2%}"


def format_points(fraction: float, count: int) -> str:
    """Format a difference of two fractions in percentage points."""
    return f"{100 * fraction:+.1f}" if count < 1000 else f"{100 * fraction:+.2f}"


def format_interval(found: Difference, count: int) -> str:
    """Format the 95 % interval of a difference in percentage points."""
    return f"{format_points(found.low, count)} to {format_points(found.high, count)}"


def format_gmacs(answers: Answers) -> str:
    return f"{answers.gmacs:#.4g}"


def write_lead(evaluation: Evaluation) -> str:
    """Write the result in a sentence."""
    count, sparse, dense = len(evaluation.truth), evaluation.sparse, evaluation.dense
    cost = f"{sparse.gmacs / evaluation.dense_gmacs:.0%} of the multiply-adds of a dense model of its size"
    right = format_percent(sparse.top(1), count)
    start = f"On {count} images the sparse model ({evaluation.reducer}) has {right} right"
    if dense is None or evaluation.difference is None:
        return f"{start}, with {cost}."
    found = evaluation.difference
    return (
        f"{start}, the dense one {format_percent(dense.top(1), count)}: {format_points(found.top1, count)} points "
        f"(95% interval {format_interval(found, count)}), with {cost}. "
        f"Dense is {evaluation.compared}, with every patch kept."
    )


def write_verdict(evaluation: Evaluation) -> str:
    """Write what follows from the numbers, for who reads nothing else; empty without a dense model."""
    found, dense, count = evaluation.difference, evaluation.dense, len(evaluation.truth)
    if found is None or dense is None:
        return ""
    saved = 1 - evaluation.sparse.gmacs / evaluation.dense_gmacs
    cost = f"{saved:.0%} fewer multiply-adds" if saved >= 0 else f"{-saved:.0%} more multiply-adds"
    if "sparse" in evaluation.speed and "dense" in evaluation.speed:
        cost += f", {evaluation.speed['sparse'] / evaluation.speed['dense']:.2f}x the images a second here"
    interval = format_interval(found, count)
    if found.high < 0:
        return f"Verdict: less accurate than the dense model, by {interval} points, for {cost}."
    if found.low > 0:
        return f"Verdict: more accurate than the dense model, by {interval} points, with {cost}."
    return (
        f"Verdict: no difference in accuracy is shown, for {cost}. On these {count} images it could be anything from "
        f"{interval} points; more images would tell."
    )


def build_overview(evaluation: Evaluation) -> list[Block]:
    """Build the first part: the models beside each other, and how sure their difference is."""
    count, k, dense, found = len(evaluation.truth), evaluation.top_k, evaluation.dense, evaluation.difference

    def row(name: str, answers: Answers) -> list[str]:
        top_k = [] if k is None else [format_percent(answers.top(k), count)]
        low, high = (format_percent(bound, count) for bound in answers.interval)
        speed = [f"{evaluation.speed[name]:.1f}"] if name in evaluation.speed else [""] * bool(evaluation.speed)
        return [name, format_percent(answers.top(1), count), f"{low} to {high}", *top_k, format_gmacs(answers), *speed]

    rows = [row("sparse", evaluation.sparse)]
    if dense is not None:
        rows.insert(0, row("dense", dense))
        top_k = [] if k is None else [f"{format_points(evaluation.sparse.top(k) - dense.top(k), count)} points"]
        cost = f"{evaluation.sparse.gmacs / dense.gmacs:.2f}x"
        top_1 = format_points(evaluation.sparse.top(1) - dense.top(1), count)
        both = {"sparse", "dense"} <= evaluation.speed.keys()
        faster = [f"{evaluation.speed['sparse'] / evaluation.speed['dense']:.2f}x"] if both else []
        interval = "" if found is None else format_interval(found, count)
        rows.append(["sparse to dense", f"{top_1} points", interval, *top_k, cost, *faster])
    header = ["model", "top-1", "95% interval", *([] if k is None else [f"top-{k}"]), "GMACs"]
    header += ["images/s"] if evaluation.speed else []
    verdict = write_verdict(evaluation)
    blocks: list[Block] = [
        *([Paragraph(verdict)] if verdict else []),
        Paragraph(write_lead(evaluation)),
        Table(header, rows),
    ]
    if evaluation.speed:
        blocks.append(
            Paragraph(
                f"Images a second are of the models alone, while this report was made, in batches of "
                f"{evaluation.settings.get('batch_size', 'images')}, the first of which does not count. "
                "hf-dynamicvit benchmark measures it with care."
            )
        )
    if k is None:
        blocks.append(Paragraph(f"There is no top-5, as the model has {len(evaluation.labels)} classes."))
    if found is not None:
        blocks.append(
            Paragraph(
                f"{found.changed} predictions changed: {found.broken} are broken (right dense, wrong sparse), "
                f"{found.fixed} fixed, {found.other} wrong both times in different ways. The standard error of the "
                f"difference is {100 * found.standard_error:.2f} points. It and the interval (Agresti and Min, 2005) "
                "are of paired proportions: they say what other images of this kind could give, not what another "
                "training would."
            )
        )
    return [*blocks, *map(Paragraph, evaluation.notes)]


def build_stage_part(evaluation: Evaluation) -> list[Block]:
    """Build the part on how much is kept, and where."""
    rows = []
    for stage in evaluation.stages:
        far = "" if stage.distance is None else f"{stage.distance:.3f}"
        rows.append([str(stage.layer), *(f"{value:.1%}" for value in (stage.mean, stage.least, stage.most)), far])
    down, across = evaluation.stages[0].frequency.shape
    caption = f"In how many of the images each of the {down} x {across} patches is kept, decision by decision."
    return [
        Heading("What is kept, and where"),
        Table(["block", "kept, mean", "least", "most", "distance from the middle"], rows),
        Paragraph(
            "Fractions of all patches, over the images. The distance is the mean of the kept patches: 0 is the "
            f"middle of the image, 1 a corner, and all patches together have {evaluation.all_distance:.3f}."
        ),
        Figure("centre_map.png", draw_centre_map(evaluation.stages), caption),
    ]


def build_ratio_part(evaluation: Evaluation) -> list[Block]:
    """Build the part on accuracy over keep ratio; nothing where none was tried."""
    if not evaluation.sweep:
        return []
    count, k, dense = len(evaluation.truth), evaluation.top_k, evaluation.dense
    header = ["keep ratio", "top-1", *([] if dense is None else ["change"])]
    header += [*([] if k is None else [f"top-{k}"]), "GMACs", "of dense"]
    rows = []
    for point in evaluation.sweep:
        answers = point.answers
        if answers is None:
            rows.append([f"{point.keep_ratio:g}", "not possible", *[""] * (len(header) - 2)])
            continue
        found = None if dense is None else compare_answers(dense, answers)
        change = [] if found is None else [f"{format_points(found.top1, count)} ({format_interval(found, count)})"]
        top_k = [] if k is None else [format_percent(answers.top(k), count)]
        cost = [format_gmacs(answers), f"{answers.gmacs / evaluation.dense_gmacs:.2f}x"]
        rows.append([f"{point.keep_ratio:g}", format_percent(answers.top(1), count), *change, *top_k, *cost])
    blocks: list[Block] = [
        Heading("Accuracy over keep ratio"),
        Paragraph(
            "The same weights with other keep ratios, set at run time; changes are in points, with the 95% interval. "
            "A model that was trained at one ratio was not trained at the others: fine-tuned there it may do better."
        ),
        Table(header, rows),
        *(Paragraph(f"{point.keep_ratio:g}: {point.problem}") for point in evaluation.sweep if point.problem),
    ]
    if any(point.answers is not None for point in evaluation.sweep):
        blocks.append(Figure("accuracy.png", draw_accuracy(evaluation), "Top-1 over multiply-adds, by keep ratio."))
    return blocks


def build_class_part(evaluation: Evaluation) -> list[Block]:
    """Build the part on single classes, and on which are taken for which."""
    classes, compared = evaluation.classes, evaluation.dense is not None
    rows = []
    for row in classes:
        dense = [] if row.dense is None else [f"{row.dense / row.count:.1%}"]
        change = [] if row.dense is None else [f"{100 * row.change:+.1f}"]
        rows.append([row.name, str(row.count), *dense, f"{row.sparse / row.count:.1%}", *change])
    header = ["class", "images", *["dense"] * compared, "sparse", *["change"] * compared]
    order = "those that lose most first" if compared else "those that are right least first"
    unit = "; the change is in points" if compared else ""
    absent = len(evaluation.labels) - len(classes)
    missing = f" {absent} more of the model's classes have no image here." if absent else ""
    blocks: list[Block] = [Heading("Classes"), Paragraph(f"Top-1, {order}{unit}.{missing}"), Table(header, rows)]
    if evaluation.confusions:
        shown = evaluation.confusions[:10]
        which = "The confusions that changed" + (" most" if len(shown) < len(evaluation.confusions) else "")
        cells = [[row.true, row.said, str(row.dense), str(row.sparse)] for row in shown]
        blocks += [Paragraph(f"{which}, in images."), Table(["class", "taken for", "dense", "sparse"], cells)]
    return blocks


def build_confusion_part(evaluation: Evaluation) -> list[Block]:
    """Build the part with the confusion matrix; nothing for one class, and a word where there are too many."""
    heading = Heading("Confusion matrix")
    if len(evaluation.labels) > MOST_CLASSES:
        return [heading, Paragraph(f"There is none, as the model has more than {MOST_CLASSES} classes.")]
    caption = "Of the images of each class, down, how many are called what, across; in % of the class."
    return [heading, Figure("confusion.png", draw_confusions(evaluation), caption)]


def build_caption(row: Changed) -> str:
    return (
        f"{row.kind}: {row.picture} · true {row.true} · dense {row.dense} {row.dense_probability:.0%} · "
        f"sparse {row.sparse} {row.sparse_probability:.0%}"
    )


def build_changed_part(evaluation: Evaluation, cover: str = "dark") -> list[Block]:
    """Build the part on images whose prediction changed; nothing without a dense model."""
    if evaluation.difference is None:
        return []
    views, total = evaluation.views, len(evaluation.changed)
    heading = Heading("Images whose prediction changed")
    if not views:
        return [heading, Paragraph("There are none." if not total else f"There are {total}; none is shown.")]
    shown = f"All {total}" if len(views) == total else f"{len(views)} of {total}"
    layers = ", ".join(str(views[0].layers[stage]) for stage in chosen(len(views[0].layers)))
    text = (
        f"{shown}: broken ones first (right dense, wrong sparse), then fixed ones, then those wrong both times. "
        f"Left what the model sees, then what is kept at block {layers}."
    )
    captions = [build_caption(row) for row in evaluation.changed[: len(views)]]
    drawn, galleries = [draw_strip(view, cover) for view in views], []
    for start in range(0, len(views), MOST_IMAGES):
        part = slice(start, start + MOST_IMAGES)
        name = f"changed_{1 + start // MOST_IMAGES}.png" if start else "changed.png"
        galleries.append(CaptionedImages(name, drawn[part], captions[part], start + 1))
    return [heading, Paragraph(text), *galleries]


def build_settings_part(evaluation: Evaluation) -> list[Block]:
    """Build the part on how the numbers were measured."""
    split = f", split {evaluation.split}" if evaluation.split else ""
    rows = [
        ["model", evaluation.model],
        ["method", f"{evaluation.reducer}, keep ratio {evaluation.keep_ratio or 'none'}"],
        ["compared with", evaluation.compared],
        ["data set", f"{evaluation.dataset}{split}: {len(evaluation.truth)} of {evaluation.total} images"],
        *build_place_rows(evaluation.settings),
    ]
    heading = Heading("How it was measured")
    return [heading, Table(["", ""], rows, words=True), *build_skipped(evaluation.skipped)]


def build_place_rows(settings: dict[str, Any]) -> list[list[str]]:
    """Build the rows on how and where something was measured."""
    rows = [[name, str(value)] for name, value in settings.items() if not isinstance(value, dict)]
    return rows + [[name, str(value)] for name, value in settings.get("machine", {}).items() if value != []]


def build_skipped(skipped: Sequence[str]) -> list[Block]:
    """Build the table of the images that were left out; nothing where none was."""
    if not skipped:
        return []
    said = Paragraph(f"{len(skipped)} images could not be read and are left out:")
    return [said, Table(["left out"], [[problem] for problem in skipped], words=True)]


# The parts that the evaluation alone makes; how images are drawn is asked for.
PARTS = (
    build_overview,
    build_stage_part,
    build_ratio_part,
    build_class_part,
    build_confusion_part,
)


def build_title(evaluation: Any) -> str:
    return make_printable(f"{Path(evaluation.model).absolute().name} on {Path(evaluation.dataset).absolute().name}")


def build_report(evaluation: Evaluation, cover: str = "dark") -> list[Block]:
    """Build all parts of the report."""
    blocks = [block for build in PARTS for block in build(evaluation)]
    return [*blocks, *build_changed_part(evaluation, cover), *build_settings_part(evaluation)]


def build_summary(evaluation: Evaluation) -> str:
    """Build the first part of the report as Markdown."""
    return build_markdown(build_overview(evaluation))


def write_report(evaluation: Evaluation, folder: str | Path, overwrite: bool = False, cover: str = "dark") -> None:
    """Write `report.html`, which needs no other file, `report.md` with its images, and `report.json`, all or nothing.

    `cover` is what covers dropped patches, as in `look.drawing.cover_dropped`.

    Raises:
        ValueError: as `folders.check_folder`, or there is no such cover.
    """
    blocks, title = build_report(evaluation, cover), build_title(evaluation)
    write_blocks(title, blocks, evaluation.as_dict(), folder, overwrite)


def write_blocks(
    title: str, blocks: Sequence[Block], record: dict[str, Any], folder: str | Path, overwrite: bool
) -> None:
    """Write `blocks` under `title` as HTML and Markdown, and `record` as JSON, all or nothing."""
    with whole_folder(folder, overwrite) as finished:
        for block in blocks:
            if isinstance(block, Figure | CaptionedImages):
                (finished / block.name).write_bytes(build_png(block))
        (finished / "report.html").write_text(build_html(title, blocks), encoding="utf-8")
        (finished / "report.md").write_text(f"# {escape(title)}\n\n{build_markdown(blocks)}\n", encoding="utf-8")
        (finished / "report.json").write_text(f"{json.dumps(record, indent=1)}\n", encoding="utf-8")
