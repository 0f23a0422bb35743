# Copyright 2026 The hf_dynamicvit authors. DynamicViT (NeurIPS 2021): https://arxiv.org/abs/2106.02034
"""DynamicViT: light predictors score the tokens before some blocks; masked in training, dropped at inference."""

from typing import Any, cast

import torch
from torch import Tensor

from .reducer import TokenReducer
from .scoring import TokenScorePredictor, predictors_for
from .selection import gumbel_keep, top_k
from .tokens import Decision, Stage, Tokens


def keep_ratio_loss(decisions: tuple[Decision, ...]) -> Tensor:
    """Mean over stages and images of (kept fraction - target)^2 (DynamicViT, section 3.4): a scalar.

    Fractions are of all patches, also of those that a user's `attention_mask` excludes.
    """
    fractions = torch.stack([cast(Tensor, decision.mask).mean(dim=1) for decision in decisions])  # [S, B]
    targets = fractions.new_tensor([decision.keep_ratio for decision in decisions])[:, None]
    return (fractions - targets).square().mean()


class DynamicViTReducer(TokenReducer):
    """Hierarchical token pruning with learned predictors, one before each of `config.stage_layers`.

    Args:
        config: a `DynamicViTConfig`.
        tau: temperature of the Gumbel-softmax sampling in training (published: 1, not annealed).
        start_at_target: untrained predictors keep as much as their stage asks for instead of one half (published).
    """

    _no_split_modules = ["TokenScorePredictor"]

    loss_weights = {"classification": 1.0, "ratio": 2.0, "class_distill": 0.5, "token_distill": 0.5}
    backbone_lr_scale = 0.01
    frozen_fraction = 1 / 6  # 5 of 30 epochs

    def __init__(self, config: Any, tau: float = 1.0, start_at_target: bool = False):
        super().__init__(config)
        self.check(
            tau=(tau, isinstance(tau, int | float) and tau > 0, "a number above 0"),
            start_at_target=(start_at_target, isinstance(start_at_target, bool), "true or false"),
        )
        self.tau = tau
        self.width = config.hidden_size
        self.predictors = predictors_for(config.hidden_size, self.keep_ratios, start_at_target)

    @property
    def aligns_labels(self) -> bool:
        return True  # masks say who is attended to

    def reduce(self, tokens: Tokens, stage: Stage, source: Any) -> Tokens:
        if not self.training and stage.count >= tokens.num_live:  # nothing to choose
            return tokens.keep_all(stage)
        # SCORE
        alive = tokens.attended if tokens.mask is None else tokens.mask
        log_probs = self.predictors[stage.index](tokens.patches, alive)  # [B, N, 2], keep is column 0
        # SELECT by sampling in training, the highest scores at inference
        if self.training:
            return self.mask_out(tokens, stage, gumbel_keep(log_probs, self.tau))
        return self.take_out(tokens, stage, log_probs[..., 0])

    def mask_out(self, tokens: Tokens, stage: Stage, keep: Tensor) -> Tokens:
        """REST masked: the sequence keeps its length and every decision of `keep` `[B, N]` its gradient."""
        return tokens.mask_out(keep, stage)

    def take_out(self, tokens: Tokens, stage: Stage, scores: Tensor) -> Tokens:
        """REST dropped: all but the tokens of highest `scores` `[B, N]`."""
        return tokens.drop(top_k(scores, stage.count, tokens.attended), stage, scores)

    def losses(self, decisions: tuple[Decision, ...]) -> dict[str, Tensor]:
        return {"ratio": keep_ratio_loss(decisions)}

    def multiply_adds(self, counts, num_patches, num_prefix):
        scored = sum(before for before, _ in self.reductions(counts, num_patches))
        return scored * TokenScorePredictor.multiply_adds(self.width)
