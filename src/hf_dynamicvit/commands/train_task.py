# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What is settled ahead of a training: the size, the images and their classes, and what does not fit them."""

import dataclasses
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..checkpoints.checkpoint import Checkpoint, read_checkpoint
from ..data.loading import ImageSplits
from ..data.preparation import check_same_input
from ..model.classification import ReducedForImageClassification
from ..model.cost import as_pair
from ..training.arguments import DynamicViTTrainingArguments
from .train_checks import check_task
from .train_classes import same_classes, tell_of_other_names
from .train_images import checked, in_known_order, read_images
from .train_options import DataArguments, ModelArguments
from .train_size import at_size, choose_size, tell_of_size
from .train_start import plan


@dataclass(frozen=True)
class Task:
    """What all trainings of one run share.

    Attributes:
        args, data: the options, `args` with the size of the images where that is not the model's.
        start: the checkpoint that `--model` names.
        teacher: the one that `--teacher` names, or `None`.
        images: all that are used, each read once.
        processor: what prepares them.
        known: whether the model was trained on their classes.
        planned: the model without memory, to ask what it keeps and costs.
        seconds: that reading the images took.
    """

    args: ModelArguments
    data: DataArguments
    start: Checkpoint
    teacher: Checkpoint | None
    images: ImageSplits
    processor: Any
    known: bool
    planned: ReducedForImageClassification
    seconds: float

    def facts(self) -> dict[str, Any]:
        """Return what `results.json` says of a training before it begins."""
        counts = {"train_images": len(self.images.train), "images": len(self.images.validation)}
        asked = {"model": self.start.source, "dataset": self.data.dataset}
        return asked | {"classes": len(self.images.names)} | counts | {"phases": {}, "next": []}


def prepare(
    args: ModelArguments, data: DataArguments, training: DynamicViTTrainingArguments, start: Checkpoint
) -> Task:
    """Settle the image size and read the images, after all that is cheaper to check.

    Raises:
        ValueError: an option that does not fit the model or the images.
    """
    start.check_family()
    processor, size = start.processor, choose_size(args, start)
    if args.image_size is not None:
        processor = at_size(processor, size)
    if size != as_pair(start.image_config.image_size):
        args = dataclasses.replace(args, image_size=list(size))
    planned = plan(args, start)
    teacher = None if args.teacher is None else read_checkpoint(args.teacher)
    if teacher is not None:
        check_same_input(start.source, processor, teacher.source, cropped=False)
    with training.main_process_first(desc="reading the data set"):
        images = read_images(data, training)
    known = same_classes(args, start, images.names)
    images = in_known_order(images, [start, teacher])
    check_task(args, start, teacher, training, known, images.names, len(images.train))
    seconds: dict[str, float] = {}
    with timed(seconds, "images"), training.main_process_first(desc="reading every image"):
        images = checked(images, data, training)
    if not known:
        tell_of_other_names(args, start, images.names)
    tell_of_size(args, start, size)
    planned.config.id2label = dict(enumerate(images.names))
    return Task(args, data, start, teacher, images, processor, known, planned, seconds["images"])


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Generator[None]:
    """Record how many seconds the block takes."""
    start = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - start, 1)
