# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Find the checkpoint to resume from, and check that it is whole and that there is room for the next."""

import json
import re
import shutil
import tempfile
from pathlib import Path

from torch import nn
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..model.logger import logger
from .adapters import is_adapted


def is_complete(checkpoint: Path) -> bool:
    """Return whether a checkpoint was written to its end: the Trainer writes its own state last."""
    try:
        json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def checkpoints_in(folder: Path) -> list[Path]:
    """List the `checkpoint-<step>` folders in `folder`, oldest first, whole or not."""
    if not folder.is_dir():
        return []
    steps = {
        int(match[1]): path
        for path in folder.iterdir()
        if (match := re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)", path.name)) and path.is_dir()
    }
    return [steps[step] for step in sorted(steps)]


def last_complete_checkpoint(folder: Path) -> Path | None:
    """Find the newest checkpoint in `folder` that was written to its end, or `None`; warn of those passed over."""
    for checkpoint in reversed(checkpoints_in(folder)):
        if is_complete(checkpoint):
            return checkpoint
        logger.warning(f"{checkpoint} was not written to its end and is passed over.")
    return None


def check_complete(checkpoint: Path) -> None:
    """Refuse to resume from a checkpoint that was not written to its end.

    Raises:
        ValueError: names it.
    """
    if not is_complete(checkpoint):
        raise ValueError(f"{checkpoint} is no checkpoint that was written to its end: no whole {TRAINER_STATE_NAME}.")


def checkpoint_to_resume(folder: Path, resume: str | bool | None) -> str | bool | None:
    """Return the checkpoint that `resume` asks for: `True` asks for the newest whole one in `folder`.

    Raises:
        ValueError: it was not written to its end, or there is none.
    """
    if resume is True:
        last = last_complete_checkpoint(folder)
        if last is None:
            raise ValueError(f"There is no checkpoint in {folder} that was written to its end.")
        return str(last)
    if isinstance(resume, str):
        check_complete(Path(resume))
    return resume


def estimate_bytes(model: nn.Module, moments: bool, average: bool) -> int:
    """Estimate what a checkpoint takes: weights (of adapters what learns), two moments of Adam, an average."""
    sizes = [
        parameter.numel() * parameter.element_size()
        for parameter in model.parameters()
        if parameter.requires_grad or not is_adapted(model)
    ]
    return sum(sizes) * (1 + 2 * moments + average)


def check_room(folder: Path, needed: int) -> None:
    """Refuse to train towards a folder that cannot take a checkpoint of `needed` bytes.

    Raises:
        ValueError: nothing can be written to `folder`, or its disk has less room.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"output_dir {folder} cannot be written to: {error}.") from error
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ValueError(
            f"output_dir {folder} has {free / 2**20:.0f} MiB of free disk; a checkpoint needs about "
            f"{needed / 2**20:.0f} MiB."
        )
