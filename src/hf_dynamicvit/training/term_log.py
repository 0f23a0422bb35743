# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Average what a training step computes by name, from one log to the next."""

from collections import defaultdict

import torch
from accelerate import Accelerator
from torch import Tensor


class TermLog:
    """Sums of scalars by name since the last log, and of how many batches each is: terms may come and go."""

    def __init__(self):
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = defaultdict(int)

    def add(self, values: dict[str, Tensor]) -> None:
        """Add the scalars of one batch."""
        for name, value in values.items():
            self.sums[name] = value + self.sums.get(name, 0.0)
            self.counts[name] += 1

    def average(self, accelerator: Accelerator) -> dict[str, float]:
        """Return the mean of each over the batches of all processes, which hold the same names at the same step."""
        if not self.sums:
            return {}
        names = sorted(self.sums)
        sums = torch.stack([self.sums[name] for name in names])
        counts = sums.new_tensor([self.counts[name] for name in names])
        sums, counts = accelerator.reduce(torch.stack((sums, counts)), "sum")
        return dict(zip(names, (sums / counts).tolist(), strict=True))
