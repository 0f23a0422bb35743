# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What `hf-dynamicvit train` refuses ahead of all work that takes time."""

import os
from pathlib import Path
from typing import cast

from huggingface_hub import HfApi
from transformers.integrations import get_available_reporting_integrations

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.results import RESULTS
from ..hub.errors import hub_errors_in_words
from ..training.arguments import DynamicViTTrainingArguments
from ..training.checkpoints import check_complete, checkpoints_in, is_complete
from .train_classes import check_distillation, check_teacher_classes
from .train_options import ModelArguments, check_output_folder


def check_run(training: DynamicViTTrainingArguments, resume: str | bool | None, dense_first: bool) -> None:
    """Refuse what is wrong whatever the model and the images are.

    Args:
        training: all options of the Trainer.
        resume: the checkpoint to go on from, `True` for the last one.
        dense_first: whether a dense model is trained first.

    Raises:
        ValueError: the output folder, the checkpoint, the processes or where the log goes.
        OSError: the Hub cannot be reached, or knows no such user.
    """
    folder = Path(cast(str, training.output_dir))
    if training.should_save:
        check_output_folder(folder, resume is not None)
    check_resumed(resume, folder, dense_first)
    check_processes(training)
    check_reporters(cast(list[str], training.report_to))
    if training.push_to_hub and training.process_index == 0:
        check_hub(training)


def check_task(
    args: ModelArguments,
    start: Checkpoint,
    teacher: Checkpoint | None,
    training: DynamicViTTrainingArguments,
    known: bool,
    names: list[str],
    images: int,
) -> None:
    """Refuse what does not fit the images, before they are read.

    Args:
        args, training: all options.
        start: the checkpoint of `--model`.
        teacher: that of `--teacher`, or `None`.
        known: whether the model was trained on these classes.
        names: of the classes.
        images: to train on.

    Raises:
        ValueError: the teacher, or the size of a batch.
    """
    if teacher is not None:
        check_teacher_classes(args, start, teacher, names)
    check_distillation(args, start, training, known, names)
    check_batch(training, images)


def check_reporters(names: list[str]) -> None:
    """Refuse to send the log to what is not installed.

    Raises:
        ValueError: names it, and what is installed.
    """
    known = get_available_reporting_integrations()
    if missing := [name for name in names if name not in known]:
        raise ValueError(
            f"--report-to is {' '.join(missing)}, which is not installed; installed: {', '.join(known) or 'none'}."
        )


def check_resumed(resume: str | bool | None, folder: Path, dense_first: bool) -> None:
    """Refuse to go on where there is nothing to go on from; a teacher may have been all that there was time for."""
    if isinstance(resume, str):
        check_complete(Path(resume))
    begun = dense_first or (folder / RESULTS).is_file() or any(map(is_complete, checkpoints_in(folder)))
    if resume is True and not begun:
        raise ValueError(
            f"--resume-from-checkpoint last: there is no checkpoint in {folder} that was written to its end; leave "
            "the option out to begin anew."
        )


def check_processes(training: DynamicViTTrainingArguments) -> None:
    """Refuse to train in several processes that know nothing of each other: all would write the same folder."""
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started > training.world_size:
        raise ValueError(
            f"{started} processes were started, but this one would train alone; on CPUs type --use-cpu and "
            "--ddp-backend gloo."
        )


def check_batch(training: DynamicViTTrainingArguments, images: int) -> None:
    """Refuse batches that no image would be in."""
    batch = training.train_batch_size * training.world_size
    if training.dataloader_drop_last and images < batch:
        raise ValueError(
            f"--dataloader-drop-last leaves out batches that are not whole, and {images} images are none of "
            f"{batch}; take a smaller --batch-size, or leave the option out."
        )


def check_hub(training: DynamicViTTrainingArguments) -> None:
    """Ask the Hub who the user is, before anything is trained for it.

    Raises:
        OSError: it cannot be reached, or knows no such user.
    """
    with hub_errors_in_words(training.hub_model_id or Path(cast(str, training.output_dir)).name):
        HfApi(token=training.hub_token).whoami()
