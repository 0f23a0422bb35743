# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Methods whose images decide for themselves how many patches they keep, trained towards a budget."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor, nn

from .cost import vit_multiply_adds
from .reducer import TokenReducer
from .tokens import Decision, Stage, Tokens


class AdaptiveReducer(TokenReducer):
    """A method without `keep_ratio`, whose cost depends on the image.

    Its loss `budget` is how far the mean cost of the batch is from `budget` x the dense model's.

    Args:
        config: a `DynamicViTConfig`, its `keep_ratio` `None`.
        budget: the multiply-adds to train for, as a fraction of the dense model's.
    """

    default_keep_ratio = None

    def __init__(self, config: Any, budget: float):
        super().__init__(config)
        self.check(budget=(budget, isinstance(budget, int | float) and 0 < budget <= 1, "a number above 0, at most 1"))
        self.config, self.budget = config, budget
        self.targets: list[float] | None = None

    @contextmanager
    def calibrating(self, keep_ratios: list[float]) -> Generator[None]:
        """Set each stage, on the images that pass in the block, so that they keep its ratio on average."""
        self.targets = keep_ratios
        try:
            yield
        finally:
            self.targets = None

    def before(self, tokens: Tokens, block: nn.Module, layer: int) -> Tokens:
        stage = self.stage_at(layer, tokens.num_patches)
        if stage is not None and self.targets is not None:
            self.calibrate(tokens, stage, self.targets[stage.index])
        return super().before(tokens, block, layer)

    def stage_counts(self, num_patches: int) -> list[int]:
        return [num_patches] * len(self.layers)

    def calibrate(self, tokens: Tokens, stage: Stage, keep_ratio: float) -> None:
        """Set the stage so that the images keep `keep_ratio` of their patches on average.

        `tokens` are those that enter the block; where fewer are alive, all of them are kept.
        """
        raise NotImplementedError

    def after_optimizer_step(self) -> None:
        """Clamp parameters to their valid range after a step of the optimizer."""

    def losses(self, decisions: tuple[Decision, ...]) -> dict[str, Tensor]:
        num_patches, depth = decisions[0].kept.shape[1], self.config.num_hidden_layers
        kept = [cast(Tensor, decision.mask).sum(dim=1) for decision in decisions]  # [B] each
        cost = self.model_multiply_adds(num_patches, self.token_counts(num_patches, depth, kept))
        dense = self.model_multiply_adds(num_patches, [(num_patches, num_patches)] * depth)
        return {"budget": (cost.mean() / dense - self.budget).abs()}

    def model_multiply_adds(self, num_patches: int, counts: list[tuple[Any, Any]]) -> Any:
        """Multiply-adds of the whole ViT with its classifier; counts may be tensors."""
        num_outputs = self.config.num_labels or 0
        return vit_multiply_adds(self.config, num_patches, counts, self.config.num_prefix, num_outputs)

    def token_counts(self, num_patches, depth, kept=None):
        if kept is None:
            raise ValueError(
                f"{self.config.reducer} keeps as many patches as each image needs; hand in a batch of images to count "
                "them."
            )
        current, stages = num_patches, dict(zip(self.layers, kept, strict=True))
        return [(current := stages.get(layer, current),) * 2 for layer in range(depth)]
