# Copyright 2026 The hf_dynamicvit authors. EViT (ICLR 2022): https://arxiv.org/abs/2202.07800
"""EViT: the patches to which the class token attends least are fused into one token. No parameters."""

from torch import Tensor

from .reducer_topk import TopKReducer
from .tokens import Tokens


class EViTReducer(TopKReducer):
    """Top-K whose dropped tokens go on as one, their sum weighted with the class attention.

    The weights are not normalised, as released, so the fused token is short. It stands last, has no position of its
    own, and is an ordinary token from then on: it counts, is scored, and may be kept or fused again later.
    """

    num_fused = 1

    def fuse(self, tokens: Tokens, scores: Tensor, rest: Tensor) -> Tensor:
        dropped = tokens.patches.gather(1, rest[..., None].expand(-1, -1, tokens.patches.shape[-1]))
        weights = scores.gather(1, rest)  # 0 where the user's mask forbids attention
        return (weights[..., None].to(dropped.dtype) * dropped).sum(dim=1, keepdim=True)
