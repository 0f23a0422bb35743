# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""How long a schedule will take on this machine, from blocks that were timed once at several numbers of tokens."""

import statistics
import time
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..model.budget import Counts
from ..model.cost import block_multiply_adds


@dataclass(frozen=True)
class TimeCurve:
    """Seconds over a number of tokens, straight between those that were timed.

    Attributes:
        counts: ascending.
        seconds: of each.
    """

    counts: tuple[int, ...]
    seconds: tuple[float, ...]

    @classmethod
    def through(cls, samples: dict[int, list[float]]) -> "TimeCurve":
        """Take the median of the samples at each number of tokens."""
        counts = tuple(sorted(samples))
        return cls(counts, tuple(statistics.median(samples[count]) for count in counts))

    def at(self, count: float) -> float:
        """Read the seconds at `count`; beyond the ends, along the last piece, and never below 0."""
        if len(self.counts) == 1:
            return self.seconds[0]
        right = min(max(bisect_left(self.counts, count), 1), len(self.counts) - 1)
        (low, high), (first, last) = self.counts[right - 1 : right + 1], self.seconds[right - 1 : right + 1]
        return max(0.0, first + (last - first) * (count - low) / (high - low))


@dataclass(frozen=True)
class Timed:
    """One run of a model.

    Attributes:
        counts: patch tokens in attention and MLP of each block.
        blocks: seconds of each block.
        whole: seconds of all.
    """

    counts: Counts
    blocks: list[float]
    whole: float


@contextmanager
def timed_blocks(layers: Iterable[Any], now: Callable[[], float]) -> Generator[list[float]]:
    """Note in the list that is yielded when each block begins and ends; `now` tells the time."""
    marks: list[float] = []
    handles = []
    for layer in layers:
        handles.append(layer.register_forward_pre_hook(lambda *_: marks.append(now())))
        handles.append(layer.register_forward_hook(lambda *_: marks.append(now())))
    try:
        yield marks
    finally:
        for handle in handles:
            handle.remove()


def make_clock(device: torch.device, kind: str) -> Callable[[], float]:
    """Return a clock that waits for the device first, or that of this process's time on the processor."""
    if kind == "cpu":
        return time.process_time

    def now() -> float:
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        return time.perf_counter()

    return now


class LatencyTable:
    """Seconds of blocks over their tokens, and of what a decision costs, as measured with a model on this machine.

    A block that reduces counts as its attention over the tokens that enter it and its MLP over those that are left,
    and the decision itself over those that enter. Where tokens wait and come back, each decision is of all of them, so
    that blocks which decide have a curve of their own, over the tokens that go on. `scale` corrects what the blocks of
    a real run take longer or shorter than those of the runs that were timed.

    Args:
        model: reduced, in eval mode; its counts are changed while it is measured.
        runs: by counts of the blocks, seconds.
    """

    def __init__(self, model: Any, runs: Sequence[Timed]):
        self.config, self.reducer = model.config, model.backbone.reducer
        self.num_patches, self.scale = runs[0].counts[0][0], 1.0
        samples: dict[tuple[bool, bool], dict[int, list[float]]] = {}
        for run in runs:
            for kind, count, seconds in self.timed(run):
                samples.setdefault(kind, {}).setdefault(count, []).append(seconds)
        self.curves = {kind: TimeCurve.through(found) for kind, found in samples.items()}
        decisions: dict[int, list[float]] = {}
        for run in [] if self.waits else runs:
            for index, entering, counts in self.decided(run.counts):
                spent = run.blocks[index] - self.block(index == len(run.blocks) - 1, *counts)
                decisions.setdefault(entering, []).append(spent)
        self.decision = TimeCurve.through(decisions)
        self.rest = statistics.median(run.whole - sum(run.blocks) for run in runs)

    @property
    def waits(self) -> bool:
        """Return whether tokens that are not selected wait and come back."""
        return self.reducer.rest == "idle"

    def timed(self, run: Timed) -> Generator[tuple[tuple[bool, bool], int, float]]:
        """Yield what the blocks of `run` tell of a curve: its key in `curves`, the tokens, and the seconds."""
        deciding = {index for index, _, _ in self.decided(run.counts)}
        entering = self.num_patches
        for index, ((attention, mlp), seconds) in enumerate(zip(run.counts, run.blocks, strict=True)):
            if self.waits or entering == attention == mlp:
                yield (self.waits and index in deciding, index == len(run.blocks) - 1), mlp, seconds
            entering = mlp

    def decided(self, counts: Counts) -> Generator[tuple[int, int, tuple[int, int]]]:
        """Yield the index, the tokens that enter and the counts of each block that decides and removes some."""
        entering = self.num_patches
        for index, (attention, mlp) in enumerate(counts):
            entering = self.num_patches if self.waits and index in self.reducer.decision_layers else entering
            if mlp < entering:
                yield index, entering, (attention, mlp)
            entering = mlp

    def block(self, is_last: bool, attention: int, mlp: int, decides: bool = False) -> float:
        """Predict the seconds of a block; with its decision where tokens wait and come back, else without."""
        if self.waits:
            return self.curves[decides, is_last].at(mlp)
        curve, width, prefix = self.curves[False, is_last], self.config.hidden_size, self.config.num_prefix
        whole = block_multiply_adds(width, self.config.mlp_size, attention + prefix, attention + prefix)
        share = block_multiply_adds(width, self.config.mlp_size, attention + prefix, 0) / whole
        return share * curve.at(attention) + (1 - share) * curve.at(mlp)

    def predict(self, counts: Counts) -> float:
        """Predict the seconds of a batch with `counts` patch tokens in attention and MLP of each block."""
        deciding = {index: entering for index, entering, _ in self.decided(counts)}
        last = len(counts) - 1
        blocks = sum(self.block(index == last, *each, index in deciding) for index, each in enumerate(counts))
        decisions = 0.0 if self.waits else sum(self.decision.at(entering) for entering in deciding.values())
        return self.scale * (blocks + max(0.0, decisions) + self.rest)


def time_run(
    call: Callable[[Tensor], Any], layers: Iterable[Any], images: Tensor, counts: Counts, clock: str = "wall"
) -> Timed:
    """Run `call`, of a model with these `layers`, once on `images`, with the time of each block."""
    now = make_clock(images.device, clock)
    with timed_blocks(layers, now) as marks:
        start = now()
        call(images)
        whole = now() - start
    return Timed(counts, [end - begin for begin, end in zip(marks[::2], marks[1::2], strict=True)], whole)
