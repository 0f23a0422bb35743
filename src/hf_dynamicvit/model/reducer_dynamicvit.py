# Copyright 2026 The hf_dynamicvit authors. DynamicViT (NeurIPS 2021): https://arxiv.org/abs/2106.02034
"""DynamicViT: light predictors score the tokens before some blocks; masked in training, dropped at inference."""

from typing import cast

import torch
from torch import Tensor
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTLayer

from .reducer import TokenReducer
from .scoring import TokenScorePredictor, predictors_for
from .selection import gumbel_keep, keep_count, top_k
from .tokens import Decision, Tokens


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

    def __init__(self, config: ViTConfig, tau: float = 1.0, start_at_target: bool = False):
        super().__init__(config)
        self.check(
            tau=(tau, isinstance(tau, int | float) and tau > 0, "a number above 0"),
            start_at_target=(start_at_target, isinstance(start_at_target, bool), "true or false"),
        )
        self.tau = tau
        self.width = config.hidden_size
        self.predictors = predictors_for(config.hidden_size, self.keep_ratios, start_at_target)

    def before(self, tokens: Tokens, block: ViTLayer, layer: int) -> Tokens:
        if layer not in self.layers:
            return tokens
        stage = self.layers.index(layer)
        keep_ratio = self.keep_ratios[stage]
        count = keep_count(tokens.num_patches, keep_ratio)
        if not self.training and count >= tokens.num_live:  # nothing to choose
            return tokens.keep_all(layer, keep_ratio)
        # SCORE
        alive = tokens.attended if tokens.mask is None else tokens.mask
        log_probs = self.predictors[stage](tokens.patches, alive)  # [B, N, 2], keep is column 0
        if self.training:
            # SELECT by sampling, REST masked: the sequence keeps its length and every decision its gradient
            return tokens.mask_out(gumbel_keep(log_probs, self.tau), layer, keep_ratio)
        # SELECT the highest scores, REST dropped
        scores = log_probs[..., 0]
        return tokens.drop(top_k(scores, count, tokens.attended), layer, keep_ratio, scores)

    def losses(self, decisions: tuple[Decision, ...]) -> dict[str, Tensor]:
        return {"ratio": keep_ratio_loss(decisions)}

    def token_counts(self, num_patches, depth, kept=None):
        return self.fixed_counts(num_patches, depth)

    def multiply_adds(self, counts, num_patches, num_prefix):
        left = [counts[layer][0] for layer in self.layers]
        scored = [before for before, after in zip([num_patches, *left], left, strict=False) if after < before]
        return sum(scored) * TokenScorePredictor.multiply_adds(self.width)
