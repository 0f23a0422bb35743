# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Ask the teacher for each image once: worth it where every epoch shows the same pixels."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..data.seeded import SeededImages
from .teacher import COLUMNS, Taught, Teacher


class TaughtDataset(Dataset):
    """A data set whose items also hold the teacher's outputs for them.

    Args:
        dataset: items are dictionaries.
        taught: what it says of all items.
    """

    def __init__(self, dataset: Any, taught: Taught):
        self.dataset, self.taught = dataset, taught

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._with_outputs(self.dataset[index], index)

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        together = getattr(self.dataset, "__getitems__", None)
        items = [self.dataset[index] for index in indices] if together is None else together(indices)
        return [self._with_outputs(item, index) for item, index in zip(items, indices, strict=True)]

    def _with_outputs(self, item: dict[str, Any], index: int) -> dict[str, Any]:
        columns = zip(COLUMNS, self.taught, strict=True)
        return item | {name: each[index] for name, each in columns if each is not None}


def check_repeats(dataset: Any) -> None:
    """Refuse a data set that has no length, or shows an image differently each time.

    Raises:
        ValueError: says so.
    """
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise ValueError(f"cache_teacher needs a data set of known length, not a {type(dataset).__name__}.")
    if isinstance(dataset, SeededImages):
        raise ValueError("cache_teacher needs the same pixels in every epoch, which SeededImages augments anew.")
    for index in range(min(8, len(dataset))):
        if not torch.equal(*(torch.as_tensor(dataset[index]["pixel_values"]) for _ in range(2))):
            raise ValueError(
                "cache_teacher needs the same pixels in every epoch, but the training images are augmented at "
                "random; turn the augmentation off, or cache_teacher."
            )


def cache_outputs(
    teacher: Teacher,
    dataset: Any,
    batch_size: int,
    collate: Callable[[list[Any]], dict[str, Any]],
    prepare: Callable[[dict[str, Any]], dict[str, Any]],
    with_features: bool,
) -> TaughtDataset:
    """Return `dataset` with the outputs of `teacher`; each process asks for its share.

    Args:
        prepare: puts a batch where the teacher is.
        with_features: keep the features too, which take most of the memory.

    Raises:
        ValueError: `dataset` does not show the same images each time.
    """
    check_repeats(dataset)
    accelerator, found = teacher.accelerator, []
    # not the Trainer's own loader, which it may keep for evaluation, or cut off at whole batches
    loader: Any = DataLoader(dataset, batch_size, collate_fn=collate)
    with torch.random.fork_rng():  # the training draws what it would without
        for batch in accelerator.prepare(loader):
            batch = prepare(batch)
            batch.pop("labels", None)
            taught = teacher.outputs(batch)
            logits, others = cast(Tensor, taught.logits).float(), taught[1:] if with_features else (None, None)
            # half precision: they are most of the memory
            told = (logits, *(None if each is None else each.half() for each in others))
            found.append([None if each is None else accelerator.gather_for_metrics(each).cpu() for each in told])
    joined = (None if each[0] is None else torch.cat(each) for each in zip(*found, strict=True))
    return TaughtDataset(dataset, Taught(*joined))
