# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Methods whose images decide for themselves how many patches they keep, set to a budget on typical images."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from .cost import vit_multiply_adds
from .reducer import TokenReducer
from .selection import kept_first
from .tokens import Decision, Stage, Tokens, Trace


class AdaptiveReducer(TokenReducer):
    """A method without `keep_ratio`, whose cost depends on the image.

    Attributes:
        calibrated: options of `reducer_args` that calibration sets, where no parameter holds what it found.

    Args:
        config: a `DynamicViTConfig`, its `keep_ratio` `None`.
        budget: the multiply-adds to train for, or to set the method to, as a fraction of the dense model's.
    """

    default_keep_ratio = None

    def __init__(self, config: Any, budget: float):
        super().__init__(config)
        self.check(budget=(budget, isinstance(budget, int | float) and 0 < budget <= 1, "a number above 0, at most 1"))
        self.config, self.budget = config, budget
        self.targets: list[float] | None = None
        self.calibrated: dict[str, Any] = {}

    @contextmanager
    def calibrating(self, keep_ratios: list[float]) -> Generator[None]:
        """Set each stage, on the images that pass in the block, so that they keep its ratio on average."""
        self.targets = keep_ratios
        try:
            yield
        finally:
            self.targets = None

    def before(self, tokens: Tokens, block: nn.Module, layer: int) -> Tokens:
        self._calibrate_at(tokens, block, layer, "before")
        return super().before(tokens, block, layer)

    def between(self, tokens: Tokens, trace: Trace, layer: int) -> Tokens:
        self._calibrate_at(tokens, trace, layer, "between")
        return super().between(tokens, trace, layer)

    def _calibrate_at(self, tokens: Tokens, source: Any, layer: int, place: str) -> None:
        stage = self.stage_at(layer, tokens.num_patches) if place == self.acts and self.targets is not None else None
        if stage is not None:
            self.calibrate(tokens, stage, source, cast(list[float], self.targets)[stage.index])

    def stage_counts(self, num_patches: int) -> list[int]:
        return [num_patches] * len(self.layers)

    def calibrate(self, tokens: Tokens, stage: Stage, source: Any, keep_ratio: float) -> None:
        """Set the stage so that the images keep `keep_ratio` of their patches on average.

        Arguments as of `reduce`; where fewer tokens are alive, all of them are kept.
        """
        raise NotImplementedError

    def drop_rest(self, tokens: Tokens, keep: Tensor, stage: Stage, scores: Tensor) -> Tokens:
        """Drop the patch tokens of each image that are not to `keep` `[B, N]` bool; `torch.jit.trace` masks them.

        `scores` `[B, N]` are those by which they were selected.
        """
        if torch.jit.is_tracing():  # which would fix how many there are
            return tokens.mask_out(keep.float(), stage)
        keep = keep if tokens.attended is None else keep & tokens.attended
        index, valid = kept_first(keep)
        return tokens.drop(index, stage, scores, valid=valid)

    def after_optimizer_step(self) -> None:
        """Clamp parameters to their valid range after a step of the optimizer."""

    def budget_loss(self, decisions: tuple[Decision, ...]) -> Tensor:
        """Return how far the mean cost of the batch is from `budget` x the dense model's, from the masks."""
        num_patches, depth = decisions[0].kept.shape[1], self.config.num_hidden_layers
        kept = [cast(Tensor, decision.mask).sum(dim=1) for decision in decisions]  # [B] each
        cost = self.model_multiply_adds(num_patches, self.token_counts(num_patches, depth, kept))
        dense = self.model_multiply_adds(num_patches, [(num_patches, num_patches)] * depth)
        return (cost.mean() / dense - self.budget).abs()

    def model_multiply_adds(self, num_patches: int, counts: list[tuple[Any, Any]]) -> Any:
        """Multiply-adds of the whole ViT with its classifier; counts may be tensors."""
        num_outputs = self.config.num_labels or 0
        left = self.num_left(counts, num_patches)
        return vit_multiply_adds(self.config, num_patches, counts, self.config.num_prefix, num_outputs, left)

    def token_counts(self, num_patches, depth, kept=None):
        if kept is None:
            raise ValueError(
                f"{self.config.reducer} keeps as many patches as each image needs; hand in a batch of images to count "
                "them."
            )
        counts, current, stages = [], num_patches, dict(zip(self.layers, kept, strict=True))
        for layer in range(depth):
            entering, current = current, stages.get(layer, current)
            counts.append((current if self.acts == "before" else entering, current))
        return counts
