# Copyright 2026 The hf_dynamicvit authors. Top-K: the baseline of EViT (ICLR 2022), https://arxiv.org/abs/2202.07800
"""Top-K: the patches to which the class token attends least are dropped. No parameters; training as inference."""

from typing import Any

from torch import Tensor

from .reducer import TokenReducer
from .scoring import class_attention
from .selection import top_k
from .tokens import Stage, Tokens, Trace


class TopKReducer(TokenReducer):
    """In each of `config.stage_layers`, between attention and MLP, keep `ceil(rate * current)` patch tokens.

    `keep_ratio=0.7` keeps 0.7 of the tokens that enter each stage; a list gives fractions of the original patches, and
    the rate of a stage is its fraction over the one before.
    """

    acts = "between"
    reads_patches = False  # scores are of the trace, and nobody reads a fused token in a last block
    rounds_up = True
    reduces_in_training = True

    def __init__(self, config: Any):
        super().__init__(config)
        self.width = config.hidden_size

    def reduce(self, tokens: Tokens, stage: Stage, source: Trace) -> Tokens:
        if stage.count >= tokens.num_live:  # nothing to choose
            return tokens.keep_all(stage)
        # SCORE
        prefix, mask = tokens.num_prefix, tokens.attention_mask
        attention = class_attention(source.query, source.key, prefix, mask, relative=source.relative)
        scores = attention.mean(dim=1)
        return self.take_out(tokens, stage, scores)

    def take_out(self, tokens: Tokens, stage: Stage, scores: Tensor) -> Tokens:
        """SELECT the highest `scores` `[B, N]`, REST dropped."""
        return tokens.drop(top_k(scores, stage.count, tokens.attended), stage, scores)

    def multiply_adds(self, counts, num_patches, num_prefix):
        return sum(self.width * (before + num_prefix) for before, _ in self.reductions(counts, num_patches))
