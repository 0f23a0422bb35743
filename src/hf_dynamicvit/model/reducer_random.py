# Copyright 2026 The hf_dynamicvit authors. A control for experiments: what any method must beat.
"""Random: a seeded random choice of patches is dropped, the same ones for every image."""

import torch
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTLayer

from .reducer import TokenReducer
from .scoring import hashed_scores
from .selection import keep_count, top_k
from .tokens import Tokens


class RandomReducer(TokenReducer):
    """Before each of `config.stage_layers`, keep `int(num_patches * ratio)` patch tokens at random.

    Args:
        config: a `DynamicViTConfig`.
        seed: another seed keeps other patches.
    """

    def __init__(self, config: ViTConfig, seed: int = 0):
        super().__init__(config)
        self.check(seed=(seed, type(seed) is int and seed >= 0, "an integer, 0 or more"))
        self.seed = seed

    def before(self, tokens: Tokens, block: ViTLayer, layer: int) -> Tokens:
        if layer not in self.layers:
            return tokens
        keep_ratio = self.keep_ratios[self.layers.index(layer)]
        count = keep_count(tokens.num_patches, keep_ratio)
        if count >= tokens.num_live:  # nothing to choose
            return tokens.keep_all(layer, keep_ratio)
        positions = torch.arange(tokens.num_live, device=tokens.hidden.device)
        scores = hashed_scores(positions, self.seed * 1009 + layer).expand(tokens.hidden.shape[0], -1)  # SCORE
        kept = top_k(scores, count, tokens.attended)  # SELECT
        return tokens.drop(kept, layer, keep_ratio, scores)  # REST

    def token_counts(self, num_patches, depth, kept=None):
        return self.fixed_counts(num_patches, depth)
