# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Whether a model knows the classes of the images to train on, and who can teach them."""

from typing import Any, cast

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.labels import has_classes, list_first
from ..model.logger import logger
from ..model.reducers import REDUCERS
from ..training.arguments import DynamicViTTrainingArguments
from ..training.teacher import DISTILLATION
from .train_conflicts import build_method
from .train_options import DENSE, ModelArguments


def same_classes(args: ModelArguments, start: Checkpoint, names: list[str]) -> bool:
    """Return whether the classifier is for these classes: by their names, or because `--same-classes` says so."""
    if args.same_classes and start.config.num_labels != len(names):
        count = start.config.num_labels
        raise ValueError(f"--same-classes: {start.source} has {count} classes, the images {len(names)}.")
    return args.same_classes or has_classes(start.config, names)


def other_names(config: Any, names: list[str]) -> str:
    """Return a hint to `--same-classes` for a model of as many classes of other names; empty for others."""
    if config.num_labels != len(names):
        return ""
    return f" If its classes are these in this order, {list_first(names)}, only called otherwise, type --same-classes."


def tell_of_other_names(args: ModelArguments, start: Checkpoint, names: list[str]) -> None:
    """Say that a classifier of as many classes is thrown away, which may be meant otherwise."""
    hint = other_names(start.config, names)
    if hint and not args.from_scratch:
        logger.warning(f"{start.source} was trained on classes of other names: its classifier starts anew.{hint}")


def dense_first(args: ModelArguments, start: Checkpoint) -> str:
    """Say what to type in place of `--teacher-epochs` where the model is sparse already."""
    return (
        f"`--model {start.source} --reducer {DENSE} --output FOLDER` fine-tunes its weights without a method, and "
        f"then `--model FOLDER --reducer {args.reducer}` (and how much it keeps) starts from what that wrote"
    )


def check_teacher_classes(args: ModelArguments, start: Checkpoint, teacher: Checkpoint, names: list[str]) -> None:
    """Refuse a teacher of more or fewer classes than the images have."""
    count = teacher.config.num_labels
    if count == len(names):
        return
    sparse = start.is_sparse
    other = f"go without one: {dense_first(args, start)}" if sparse else "type --teacher-epochs 3 in its place"
    raise ValueError(
        f"--teacher {teacher.source} has {count} classes, the images {len(names)}; name one that was "
        f"trained on them, or {other}."
    )


def distils(args: ModelArguments, start: Checkpoint, training: DynamicViTTrainingArguments) -> bool:
    """Return whether the training learns from a teacher."""
    if args.reducer == DENSE or not args.distill:
        return False
    methods = start.tower_config_class.methods
    if methods is REDUCERS:
        weights = build_method(cast(str, args.reducer), args.reducer_args).loss_weights
    else:
        weights = {} if args.reducer not in methods else methods[args.reducer].loss_weights
    weights = weights | cast(dict, training.loss_weights or {})
    return any(weights.get(name) for name in DISTILLATION)


def check_distillation(
    args: ModelArguments, start: Checkpoint, training: DynamicViTTrainingArguments, known: bool, names: list[str]
) -> None:
    """Refuse to take for a teacher what knows nothing of the classes, and a teacher that nothing is learned from."""
    if not distils(args, start, training):
        if args.teacher is None:
            return
        raise ValueError(
            f"--teacher is {args.teacher}, but --reducer {args.reducer} learns from none; leave it out, or type "
            """--loss-weights '{"class_distill": 0.5}'."""
        )
    if args.teacher is None and args.from_scratch:
        raise ValueError("A model from random weights cannot teach itself: name --teacher, or type --no-distill.")
    if args.teacher is None and not known and not args.teacher_epochs:
        first = dense_first(args, start) if start.is_sparse else "--teacher-epochs 3 fine-tunes it on them first"
        raise ValueError(
            f"{start.source} was trained on other classes than those of the images, so that it cannot teach them. "
            f"{first}, --teacher names a model that knows them, --no-distill goes without."
            f"{other_names(start.config, names)}"
        )
