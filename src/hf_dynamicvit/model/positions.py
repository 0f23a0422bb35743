# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The value that travels through the reduced stage of a pyramid: a map whose positions all stay."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .selection import split_top_k
from .tokens import Decision, Stage


@dataclass(frozen=True)
class Split:
    """The positions of a batch by the path that they take, at inference.

    Attributes:
        slow: `[B * K]` int64, the rows of the flattened batch `[B * N, C]` whose feed-forward is the block's own.
        fast: `[B * (N - K)]` int64, the others.
    """

    slow: Tensor
    fast: Tensor

    @classmethod
    def by_image(cls, slow: Tensor, fast: Tensor) -> "Split":
        """Split by positions `[B, K]` and `[B, N - K]` of each image."""
        start = torch.arange(slow.shape[0], device=slow.device)[:, None] * (slow.shape[1] + fast.shape[1])
        return cls((start + slow).flatten(), (start + fast).flatten())


@dataclass(frozen=True)
class Positions:
    """A map of the reduced stage. Every step takes one and returns a new one.

    Attributes:
        hidden: `[B, N, C]`, all positions, row by row, as attention or convolution sees them.
        grid: `(down, across)`, whose product is N.
        split: who takes which path, at inference; `None` where all take the slow one.
        mask: `[B, N]` float32 with a gradient, 1 for slow, training only; `None` before the first decision.
        streams: `[B, N, C]` each, what all positions would be on the slow and on the fast path, which is what the
            gradient of `mask` compares; training only.
        keeps_scores: decisions are to say what each position scored.
        decisions: one record per decision taken so far.
    """

    hidden: Tensor
    grid: tuple[int, int]
    split: Split | None = None
    mask: Tensor | None = None
    streams: tuple[Tensor, Tensor] | None = None
    keeps_scores: bool = False
    decisions: tuple[Decision, ...] = ()

    @property
    def num_patches(self) -> int:
        """N, the positions."""
        return self.hidden.shape[1]

    def change(self, **fields: Any) -> "Positions":
        """`dataclasses.replace`."""
        return replace(self, **fields)

    def decide(self, stage: Stage, kept: Tensor, **fields: Tensor | None) -> "Positions":
        """Record a decision with `kept` `[B, N]` bool and other fields of `Decision`."""
        owner = torch.arange(kept.shape[1], device=kept.device).expand(kept.shape[0], -1)
        decision = Decision(stage.layer, stage.keep_ratio, kept, owner, **fields)
        return self.change(decisions=(*self.decisions, decision))

    def all_slow(self, stage: Stage) -> "Positions":
        """Record that every position takes the slow path from here on."""
        everything = torch.ones(self.hidden.shape[:2], dtype=torch.bool, device=self.hidden.device)
        return self.change(split=None).decide(stage, everything)

    def take_highest(self, stage: Stage, scores: Tensor) -> "Positions":
        """Send the `stage.count` positions of highest `scores` `[B, N]` on the slow path."""
        return self.divide(stage, *split_top_k(scores, stage.count), scores)

    def divide(self, stage: Stage, slow: Tensor, fast: Tensor, scores: Tensor) -> "Positions":
        """Send positions `slow` `[B, K]` and `fast` `[B, N - K]` on their paths, for `scores` `[B, N]`."""
        kept = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device).scatter(1, slow, True)
        scored = scores.float() if self.keeps_scores else None
        return self.change(split=Split.by_image(slow, fast)).decide(stage, kept, scores=scored)

    def mix_by(self, stage: Stage, mask: Tensor, restart: bool) -> "Positions":
        """Let `mask` `[B, N]` choose between the streams, which start again from the chosen map if `restart`."""
        streams = (self.hidden, self.hidden) if restart or self.streams is None else self.streams
        chosen = self.change(mask=mask, streams=streams).decide(stage, mask.detach() > 0.5, mask=mask)
        return chosen.change(hidden=chosen.merge(*streams))

    def merge(self, slow: Tensor, fast: Tensor) -> Tensor:
        """Choose for each position between `slow` and `fast` `[B, N, C]`, by the mask."""
        assert self.mask is not None
        mask = self.mask[..., None].to(slow.dtype)
        return mask * slow + (1 - mask) * fast
