# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Images with different numbers of tokens in one batch without padding: one row of tokens, attention by image."""

from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch before 2.10
    varlen_attn = None


@dataclass(frozen=True)
class Layout:
    """Where the tokens of each image stand in a packed row `[1, L, ...]`, one image after the other.

    Attributes:
        rows: `[L]` int64, their positions in the flattened padded batch `[B * T]`.
        bounds: B + 1 numbers; image i has `bounds[i]` to `bounds[i + 1]`.
        padded: (B, T), with T the tokens of the image that has most.
    """

    rows: Tensor
    bounds: tuple[int, ...]
    padded: tuple[int, int]

    @classmethod
    def of(cls, real: Tensor) -> "Layout":
        """The layout of the tokens that are `real` `[B, T]` bool; waits for the device."""
        ends = real.sum(dim=1).cumsum(dim=0).tolist()
        return cls(real.flatten().nonzero()[:, 0], (0, *ends), (real.shape[0], real.shape[1]))

    def pack(self, states: Tensor) -> Tensor:
        """`[B, T, ...]` -> `[1, L, ...]`."""
        return states.flatten(0, 1).index_select(0, self.rows)[None]

    def unpack(self, states: Tensor) -> Tensor:
        """`[1, L, ...]` -> `[B, T, ...]`, padding 0."""
        batch, length = self.padded
        padded = states.new_zeros(batch * length, *states.shape[2:]).index_copy(0, self.rows, states[0])
        return padded.unflatten(0, (batch, length))

    def first(self, count: int) -> Tensor:
        """`[B * count]` int64 positions in the row of the first `count` tokens of each image."""
        starts = torch.tensor(self.bounds[:-1], device=self.rows.device)
        return (starts[:, None] + torch.arange(count, device=self.rows.device)).flatten()


def attends_raggedly(query: Tensor, implementation: str | None) -> bool:
    """Whether `ragged_attention` is there for `query`: not for other kernels than SDPA's, nor for float32 on a GPU."""
    if implementation != "sdpa":
        return False
    if query.device.type == "cuda":
        return varlen_attn is not None and query.dtype in (torch.float16, torch.bfloat16)
    return query.device.type == "cpu"


def ragged_attention(
    query: Tensor, key: Tensor, value: Tensor, query_bounds: tuple[int, ...], bounds: tuple[int, ...]
) -> Tensor:
    """Attention of each image's queries to its own tokens: `[1, Q, H, d]`.

    On a GPU one call of torch's variable-length attention; on the CPU one SDPA call for each image, which measured
    faster than padding (less work) and than nested tensors.

    Args:
        query: `[1, Q, H, d]`, of image i from `query_bounds[i]` to `query_bounds[i + 1]`.
        key, value: `[1, L, H, d]`, of image i from `bounds[i]` to `bounds[i + 1]`.
        query_bounds, bounds: B + 1 numbers each.
    """
    spans = list(zip(pairwise(query_bounds), pairwise(bounds), strict=True))
    if query.device.type == "cuda" and varlen_attn is not None:
        starts, key_starts = (
            torch.tensor(each, dtype=torch.int32, device=query.device) for each in (query_bounds, bounds)
        )
        most, most_keys = max(b - a for (a, b), _ in spans), max(b - a for _, (a, b) in spans)
        context = varlen_attn(query[0], key[0], value[0], starts, key_starts, most, most_keys)
        return cast(Tensor, context)[None]
    output = torch.empty_like(query)
    query, key, value = (states.transpose(1, 2) for states in (query, key, value))
    for (first, last), (start, end) in spans:
        context = scaled_dot_product_attention(query[:, :, first:last], key[:, :, start:end], value[:, :, start:end])
        output[:, first:last] = context.transpose(1, 2)
    return output
