# Copyright 2026 The hf_dynamicvit authors. A control for experiments: what any method must beat.
"""Random: a seeded random choice of patches is dropped, the same ones for every image."""

from typing import Any

import torch

from .reducer import TokenReducer
from .scoring import hashed_scores
from .selection import top_k
from .tokens import Stage, Tokens


class RandomReducer(TokenReducer):
    """Before each of `config.stage_layers`, keep `int(num_patches * ratio)` patch tokens at random.

    Args:
        config: a `DynamicViTConfig`.
        seed: another seed keeps other patches.
    """

    reduces_in_training = True

    def __init__(self, config: Any, seed: int = 0):
        super().__init__(config)
        self.check(seed=(seed, type(seed) is int and seed >= 0, "an integer, 0 or more"))
        self.seed = seed

    def reduce(self, tokens: Tokens, stage: Stage, source: Any) -> Tokens:
        if stage.count >= tokens.num_live:  # nothing to choose
            return tokens.keep_all(stage)
        positions = torch.arange(tokens.num_live, device=tokens.hidden.device)
        scores = hashed_scores(positions, self.seed * 1009 + stage.layer).expand(tokens.hidden.shape[0], -1)  # SCORE
        kept = top_k(scores, stage.count, tokens.attended)  # SELECT
        return tokens.drop(kept, stage, scores)  # REST
