# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What is asked of a search, and what it found."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from ..machine import describe_run
from ..model.budget import check_fraction
from .search import Point


@dataclass(frozen=True)
class Goal:
    """What a schedule may cost, as it was asked for.

    Attributes:
        name: `gmacs`, `fraction`, `latency` (milliseconds) or `speedup`.
        value: of it.
    """

    name: str
    value: float

    @classmethod
    def read(cls, **given: float | None) -> "Goal":
        """Read the one that is given.

        Raises:
            ValueError: none or several are, or it is out of range.
        """
        named = {name: value for name, value in given.items() if value is not None}
        if len(named) != 1:
            said = ", ".join(f"{name} is {value}" for name, value in given.items())
            raise ValueError(f"{said}; give one of them.")
        goal = cls(*next(iter(named.items())))
        if goal.name == "fraction":
            check_fraction(goal.value)
        elif not (math.isfinite(goal.value) and goal.value > (1 if goal.name == "speedup" else 0)):
            least = "above 1" if goal.name == "speedup" else "above 0"
            raise ValueError(f"{goal.name} is {goal.value:g}; it must be {least}.")
        return goal

    @property
    def is_time(self) -> bool:
        """Return whether it is measured on this machine."""
        return self.name in ("latency", "speedup")

    def budget(self, dense: float) -> float:
        """Return the multiply-adds of an image, or the seconds of a batch, that are meant; `dense`: the model's."""
        by_name = {"gmacs": self.value * 1e9, "latency": self.value / 1000}
        return by_name.get(self.name, dense / self.value if self.name == "speedup" else dense * self.value)


@dataclass(frozen=True)
class Latency:
    """How long a batch takes, in seconds: the medians of turns beside the dense model.

    Attributes:
        batch: images at a time.
        asked: for.
        predicted: by the table of blocks.
        reached: by the tuned model.
        dense: by the native model of the same sizes, with SDPA attention.
    """

    batch: int
    asked: float
    predicted: float
    reached: float
    dense: float


@dataclass(frozen=True)
class Tuned:
    """What a search found; the model has it already.

    Attributes:
        reducer: the method.
        layers, counts: the block of each stage, and the patch tokens that it leaves of `num_patches`. Where a method
            drops and then merges, a block is two stages.
        num_patches: of an image of the size that was seen.
        loss: mean over `images` images: `measure` is `"kl"`, the divergence of the classes from those of the dense
            model in nats, or `"cosine"`, 1 - cosine of the pooled features.
        measure, images: as said.
        multiply_adds, dense_multiply_adds: of one image.
        latency: where that was asked for.
        unit: of `cost` in the points below, `"multiply-adds"` of an image or `"seconds"` of a batch.
        named: schedules by name at the same budget, with what they leave in the blocks `searched`.
        front: the schedules that nothing cheaper beats, from the cheapest up; a sample of all `trials`.
        searched: the blocks that were searched over.
        trials: schedules that were run on the images.
        settings: what else decides the result: seed, step, the most trials of the refinement.
    """

    reducer: str
    layers: list[int]
    counts: list[int]
    num_patches: int
    loss: float
    measure: str
    images: int
    multiply_adds: int
    dense_multiply_adds: int
    latency: Latency | None
    unit: str
    named: dict[str, Point]
    front: list[Point]
    searched: list[int]
    trials: int
    settings: dict[str, Any]

    @property
    def fraction(self) -> float:
        """Multiply-adds as a fraction of the dense model's."""
        return self.multiply_adds / self.dense_multiply_adds

    def as_dict(self) -> dict[str, Any]:
        """Return everything, and the machine, for a JSON file."""
        return describe_run() | dataclasses.asdict(self) | {"fraction": self.fraction}
