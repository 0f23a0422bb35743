# Copyright 2026 The hf_dynamicvit authors. Top-K: the baseline of EViT (ICLR 2022), https://arxiv.org/abs/2202.07800
"""Top-K: the patches to which the class token attends least are dropped. No parameters; training as inference."""

from torch import Tensor
from transformers.models.vit.configuration_vit import ViTConfig

from .reducer import TokenReducer
from .scoring import class_attention
from .selection import compounding_counts, split_top_k, top_k
from .tokens import Tokens


class TopKReducer(TokenReducer):
    """In each of `config.stage_layers`, between attention and MLP, keep `ceil(rate * current)` patch tokens.

    `keep_ratio=0.7` keeps 0.7 of the tokens that enter each stage; a list gives fractions of the original patches, and
    the rate of a stage is its fraction over the one before.
    """

    rounds_up = True
    num_fused = 0

    def __init__(self, config: ViTConfig):
        super().__init__(config)
        self.width = config.hidden_size

    def between(self, tokens: Tokens, trace, layer: int) -> Tokens:
        if layer not in self.layers:
            return tokens
        stage = self.layers.index(layer)
        count = compounding_counts(tokens.num_patches, self.keep_ratios, self.num_fused)[stage]
        if count >= tokens.num_live:  # nothing to choose
            return tokens.keep_all(layer, self.keep_ratios[stage])
        # SCORE
        scores = class_attention(trace.query, trace.key, tokens.num_prefix, tokens.attention_mask).mean(dim=1)
        # SELECT
        if not self.num_fused:
            return tokens.drop(top_k(scores, count, tokens.attended), layer, self.keep_ratios[stage], scores)
        kept, rest = split_top_k(scores, count, tokens.attended)
        # REST
        return tokens.drop(kept, layer, self.keep_ratios[stage], scores, self.fuse(tokens, scores, rest))

    def prefix_suffices(self, layer: int) -> bool:
        return True  # scores are of the trace, and nobody reads a fused token there

    def fuse(self, tokens: Tokens, scores: Tensor, rest: Tensor) -> Tensor | None:
        """The token `[B, 1, D]` that speaks for the dropped ones at `rest` `[B, R]`; here none."""
        return None

    def token_counts(self, num_patches, depth, kept=None):
        return self.compounding_counts(num_patches, depth, self.num_fused)

    def multiply_adds(self, counts, num_patches, num_prefix):
        scored = [before for before, after in (counts[layer] for layer in self.layers) if after < before]
        return sum(self.width * (before + num_prefix) for before in scored)
