# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Merging as one product of matrices, which a GPU does several times as fast as it adds up rows."""

import torch
from torch import Tensor


def multiplies(states: Tensor) -> bool:
    """Return whether `states` merge by a product: on CUDA, three times as fast as by gathering and adding (H200)."""
    return states.device.type == "cuda"


def merge_by_product(hidden: Tensor, num_prefix: int, into: Tensor, weights: Tensor, count: int) -> Tensor:
    """Return the prefix, and for each of `count` groups the weighted mean of its patch tokens: `[B, P + count, D]`.

    In half precision the weights, which add up to 1, are rounded as the states are.

    Args:
        hidden: `[B, P + N, D]`.
        num_prefix: P, tokens that stay as they are.
        into: `[B, N]` int64, the group of each patch token.
        weights: `[B, N]` float32, in the mean of its group. A group of weight 0 gives 0.
        count: of groups.
    """
    batch, length = into.shape
    total = weights.new_zeros(batch, count).scatter_add(1, into, weights)
    shares = weights / total.clamp(min=torch.finfo(total.dtype).tiny).gather(1, into)
    prefix = torch.arange(num_prefix, device=into.device).expand(batch, -1)
    rows = torch.cat((prefix, into + num_prefix), dim=1)[:, None]  # [B, 1, P + N]: each column has one entry
    shares = torch.nn.functional.pad(shares, (num_prefix, 0), value=1.0).to(hidden.dtype)[:, None]
    with torch.autocast(hidden.device.type, enabled=False):
        return hidden.new_zeros(batch, num_prefix + count, num_prefix + length).scatter(1, rows, shares) @ hidden
