# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Augment at random so that only seed, epoch and image matter, not what was drawn before.

A training that resumes in the middle of an epoch, and one with other workers or processes, then shows the very same
images. (Loaders fetch ahead of the step that they fetch for: saved random states belong to later images.)
"""

import random
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback

from .._moved import renamed


__getattr__ = renamed("data.seeded")  # names that it had before


# The key of an item that holds the seed of its drawing, for collators that draw too.
DRAW = "draw"


@contextmanager
def seeded_draws(seed: int) -> Generator[None]:
    """Start Python's and torch's random numbers on the CPU from `seed`, and restore them afterwards."""
    state = random.getstate(), torch.get_rng_state()
    random.seed(seed)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every device too, slowly
    try:
        yield
    finally:
        random.setstate(state[0])
        torch.set_rng_state(state[1])


class SeededImages(Dataset):
    """`dataset`, whose items are augmented at random, with the same draws in the same epoch.

    Args:
        dataset: of a known length; items are dictionaries.
        seed: of all draws.
        tell: items also hold the seed of their draws, as `draw`, for `MixCollator`.
    """

    def __init__(self, dataset: Any, seed: int, tell: bool = False):
        self.dataset, self.seed, self.tell = dataset, seed, tell
        # shared with workers that live longer than an epoch
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        self.epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        seed = random.Random(f"{self.seed} {self.epoch.item()} {index}").getrandbits(63)
        with seeded_draws(seed):
            item = self.dataset[index]
        return item | {DRAW: seed} if self.tell else item


class SeededImagesEpoch(TrainerCallback):
    """Tells `SeededImages` the epoch."""

    def __init__(self, pictures: SeededImages):
        self.images = pictures

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.images.set_epoch(int((state.epoch or 0) + 1e-6))  # a resumed epoch begins at a fraction
