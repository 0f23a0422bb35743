# Copyright 2026 The hf_dynamicvit authors. EViT (ICLR 2022): https://arxiv.org/abs/2202.07800
"""EViT: the patches to which the class token attends least are fused into one token. No parameters."""

from torch import Tensor

from .reducer_topk import TopKReducer
from .selection import split_top_k
from .tokens import Stage, Tokens, gather_tokens


class EViTReducer(TopKReducer):
    """Top-K whose dropped tokens go on as one, their sum weighted with the class attention.

    The weights are not normalised, as released, so the fused token is short. It stands last, has no position of its
    own, and is an ordinary token from then on: it counts, is scored, and may be kept or fused again later.
    """

    num_representatives = 1

    def take_out(self, tokens: Tokens, stage: Stage, scores: Tensor) -> Tokens:
        """SELECT the highest `scores` `[B, N]`, REST fused."""
        kept, rest = split_top_k(scores, stage.count, tokens.attended)
        dropped = gather_tokens(tokens.patches, rest)
        weights = scores.gather(1, rest)  # 0 where the user's mask forbids attention
        fused = (weights[..., None].to(dropped.dtype) * dropped).sum(dim=1, keepdim=True)
        return tokens.drop(kept, stage, scores, fused)
