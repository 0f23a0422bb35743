# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What to type next, on what `hf-dynamicvit train` trained."""

import shlex
from pathlib import Path
from typing import Any, cast

from ..data.loading import ImageSplits
from ..names import UNREADABLE
from ..training.arguments import DynamicViTTrainingArguments
from .ranges import as_option
from .train_help import TRAINER_OPTIONS
from .train_options import DENSE, DataArguments, ModelArguments


def next_commands(
    args: ModelArguments, data_args: DataArguments, training: DynamicViTTrainingArguments, images: ImageSplits
) -> list[str]:
    """Return what to type next, on what was trained here."""
    folder = cast(str, training.output_dir)
    teacher = f"{folder}/teacher" if args.teacher_epochs else None
    columns = {name: vars(data_args)[name] for name in ("dataset_config", "dataset_revision")}
    columns |= {name: vars(data_args)[name] for name in ("image_column", "label_column")}
    unreadable = data_args.unreadable if data_args.unreadable != DataArguments.unreadable else None
    if args.reducer == DENSE:
        columns |= name_splits(data_args, images) | {"unreadable": unreadable}
        return [command("train", model=folder, dataset=data_args.dataset, **columns, output=f"{folder}-sparse")]
    columns["unreadable"] = unreadable if unreadable in UNREADABLE else None
    split = data_args.validation_split if images.held_out is None else None  # `evaluate` finds what was held out
    data = {"dataset": data_args.dataset, "split": split, **columns}
    commands = [command("evaluate", model=folder, dense=teacher, **data, output=f"{folder}-report")]
    file = images.validation[0][images.image_column]["path"]
    if Path(data_args.dataset).is_dir() and file is not None and Path(file).is_file():
        commands.append(
            command("visualize", model=folder, images=data_args.dataset, limit=20, output=f"{folder}-seen")
        )
    if not training.push_to_hub:
        commands.append(shlex.join(["hf-dynamicvit", "push", folder, f"USER/{Path(folder).name}"]))
    return commands


def name_splits(args: DataArguments, images: ImageSplits) -> dict[str, Any]:
    """Return the options, `None` where not needed, by which another training has the same images for validation."""
    splits: dict[str, Any] = {"train_split": args.train_split, "validation_split": args.validation_split}
    if (apart := images.held_out) is not None:
        usual = args.validation_fraction == DataArguments.validation_fraction
        splits["validation_fraction"] = None if usual else args.validation_fraction
        splits["data_seed"] = None if apart.seed == TRAINER_OPTIONS["seed"].default else apart.seed
    return splits


def command(name: str, **options: Any) -> str:
    """Return a command line, without the options that are `None`."""
    given = {option: value for option, value in options.items() if value is not None}
    words = [word for option, value in given.items() for word in (as_option(option), str(value))]
    return shlex.join(["hf-dynamicvit", name, *words])
