# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit evaluate`: how a sparse model does on a whole data set, beside the dense one."""

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from ..benchmark.report import check_matplotlib
from ..checkpoints.checkpoint import Checkpoint, read_checkpoint
from ..data.annotations import AnnotatedImages, load_annotated
from ..evaluation.data import LabelledImages, choose_split, load_labelled, make_printable, read_held_out
from ..evaluation.evaluate import check_classifier, check_settings, evaluate, set_new_thresholds
from ..evaluation.report import build_summary, write_report
from ..evaluation.results import Evaluation
from ..evaluation.runner import sample_pixel_values
from ..evaluation.scores import check_metrics
from ..evaluation.task_evaluate import TaskEvaluation, evaluate_task
from ..evaluation.task_models import Subject, find_kind, load_subject
from ..evaluation.task_report import build_task_summary, write_task_report
from ..folders import check_folder
from ..look.viewer import Viewer
from ..machine import choose_device
from ..model.budget import check_fraction
from ..model.schedules import one_or_several
from ..training.progress import no_bars_of_weights
from .parser import only_json, print_json


def set_how_much_is_kept(
    viewer: Viewer, images: LabelledImages | AnnotatedImages, keep_ratio: Sequence[float] | None, budget: float | None
) -> None:
    """Keep what was typed: a keep ratio or one for each stage, or a fraction of the dense cost; else the model's own.

    Raises:
        ValueError: as `model.set_keep_ratio` and `model.set_budget`.
    """
    if keep_ratio is None and budget is None:
        set_new_thresholds(viewer, images)
        return
    model = viewer.model
    typical = sample_pixel_values(viewer, images) if model.config.is_adaptive else None
    if isinstance(images, AnnotatedImages) and typical is None:  # a backbone's own size is seldom that of the images
        typical = sample_pixel_values(viewer, images, 1)
    if keep_ratio is not None:
        model.set_keep_ratio(one_or_several(keep_ratio), typical)
    else:
        model.set_budget(fraction=budget, pixel_values=typical)


def load_viewer(args: argparse.Namespace, checkpoint: Checkpoint) -> Viewer:
    """Load the models that were typed, on the device and in the arithmetic that were."""
    device = choose_device(args.device)
    if args.keep_ratio is not None:
        checkpoint.check_keep_ratio(args.reducer, args.keep_ratio, args.schedule)
    viewer = Viewer.load(checkpoint, args.reducer, args.dense, args.same_classes)
    set_schedule(viewer, args)
    check_classifier(viewer.model.config)
    move(args, device, viewer.model, viewer.dense)
    return viewer


def set_schedule(viewer: Viewer, args: argparse.Namespace) -> None:
    """Reduce in the blocks that were typed, if any."""
    if args.schedule is not None:
        viewer.set_schedule(args.schedule, 1.0 if args.keep_ratio is not None or args.budget is not None else None)


def move(args: argparse.Namespace, device: str, *models: Any) -> None:
    """Put the models on the device, in the arithmetic that was typed."""
    for model in models:
        if model is not None:
            model.to(device=device, dtype=getattr(torch, args.dtype))


def load_task(args: argparse.Namespace, checkpoint: Checkpoint, kind: str) -> Subject:
    """Load the models that were typed, of boxes, masks or depth."""
    device = choose_device(args.device)
    if args.keep_ratio is not None and checkpoint.detects:
        checkpoint.check_keep_ratio(args.reducer, args.keep_ratio, args.schedule)
    subject = load_subject(checkpoint, kind, args.reducer, args.dense)
    set_schedule(subject.viewer, args)
    move(args, device, subject.whole, subject.dense)
    return subject


def run_task(args: argparse.Namespace, checkpoint: Checkpoint, kind: str) -> TaskEvaluation:
    """Load and evaluate what was typed, of boxes, masks or depth."""
    check_metrics(kind)
    subject = load_task(args, checkpoint, kind)
    columns = (args.split, args.dataset_config, args.image_column, args.label_column)
    how = (args.boxes == "corners", args.depth_scale, args.limit, args.seed)
    images = load_annotated(args.dataset, kind, choose_split, *columns, *how, revision=args.dataset_revision)
    set_how_much_is_kept(subject.viewer, images, args.keep_ratio, args.budget)
    return evaluate_task(
        subject,
        images,
        keep_ratios=[] if args.no_keep_ratios else args.keep_ratios,
        same_classes=args.same_classes,
        unreadable=args.unreadable,
        max_changed=args.max_changed,
        batch_size=args.batch_size,
        resamples=args.resamples,
    )


def load_images(args: argparse.Namespace, labels: Sequence[str]) -> LabelledImages:
    """Load the images that were typed, with their classes among `labels`, those of the model."""
    return load_labelled(
        args.dataset,
        labels,
        args.split,
        args.dataset_config,
        args.image_column,
        args.label_column,
        args.same_classes,
        args.limit,
        args.seed,
        None if args.all_images else read_held_out(args.model),
        revision=args.dataset_revision,
    )


def run(args: argparse.Namespace, command: str) -> Evaluation | TaskEvaluation:
    """Load and evaluate what was typed."""
    keep_ratios = [] if args.no_keep_ratios else args.keep_ratios
    check_settings(keep_ratios, args.batch_size, args.max_changed, args.unreadable)
    if args.budget is not None:
        check_fraction(args.budget, "--budget")
    checkpoint = read_checkpoint(args.model, may_detect=True, may_map=True)
    kind = find_kind(checkpoint)
    found = run_classes(args, checkpoint, keep_ratios) if kind is None else run_task(args, checkpoint, kind)
    return dataclasses.replace(found, settings={"command": command} | found.settings)


def run_classes(args: argparse.Namespace, checkpoint: Checkpoint, keep_ratios: Sequence[float]) -> Evaluation:
    """Load and evaluate what was typed, of image classes."""
    viewer = load_viewer(args, checkpoint)
    images = load_images(args, viewer.labels)
    set_how_much_is_kept(viewer, images, args.keep_ratio, args.budget)
    return evaluate(
        viewer,
        images,
        keep_ratios=keep_ratios,
        same_classes=args.same_classes,
        unreadable=args.unreadable,
        max_changed=args.max_changed,
        batch_size=args.batch_size,
    )


def report(evaluation: Evaluation | TaskEvaluation, args: argparse.Namespace) -> str:
    """Write the report into the folder that was typed, if any; return its first part."""
    how = (args.output, args.overwrite, args.cover)
    if isinstance(evaluation, TaskEvaluation):
        if args.output is not None:
            write_task_report(evaluation, *how)
        return build_task_summary(evaluation)
    if args.output is not None:
        write_report(evaluation, *how)
    return build_summary(evaluation)


def main(args: argparse.Namespace, command: str) -> None:
    """Evaluate what was typed as `command`."""
    with only_json(args.json), no_bars_of_weights():
        if args.output is not None:
            check_folder(args.output, args.overwrite)
            check_matplotlib()
        evaluation = run(args, make_printable(command))
        print(report(evaluation, args))
        if args.output is not None:
            folder = make_printable(str(args.output))
            print(f"\nWrote {folder}: report.html, and the same as report.md and report.json.")
    if args.json:
        print_json(evaluation.as_dict())
