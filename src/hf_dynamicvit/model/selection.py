# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""SELECT: which patch tokens go on."""

import torch
from torch import Tensor


def keep_count(num_patches: int, keep_ratio: float) -> int:
    """Patches to keep of `num_patches` original ones: `int(num_patches * keep_ratio)`, at least 1."""
    return max(1, int(num_patches * keep_ratio))


def top_k(scores: Tensor, count: int, attended: Tensor | None = None) -> Tensor:
    """`[B, count]` positions of the highest `scores` `[B, N]`, best first; patches not `attended` come last."""
    if attended is not None:
        scores = scores.masked_fill(~attended, -torch.inf)
    return scores.topk(count, dim=1).indices


def gumbel_keep(log_probs: Tensor, tau: float) -> Tensor:
    """Sample hard keep decisions `[B, N]` with a straight-through gradient from `log_probs` `[B, N, 2]`.

    One `gumbel_softmax` call on the float32 log-probabilities, so that a seeded forward draws the published samples
    (DynamicViT, section 3.3).
    """
    return torch.nn.functional.gumbel_softmax(log_probs.float(), tau=tau, hard=True, dim=-1)[..., 0]
