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
        starts: `[B + 1]` int32, the same on the device.
        padded: (B, T), with T the tokens of the image that has most.
    """

    rows: Tensor
    bounds: tuple[int, ...]
    starts: Tensor
    padded: tuple[int, int]

    @classmethod
    def of(cls, real: Tensor) -> "Layout":
        """Lay out the tokens that are `real` `[B, T]` bool; waits for the device."""
        starts = torch.nn.functional.pad(real.sum(dim=1).cumsum(dim=0), (1, 0))
        rows = real.flatten().nonzero()[:, 0]
        return cls(rows, tuple(starts.tolist()), starts.int(), (real.shape[0], real.shape[1]))

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
        return (self.starts[:-1, None] + torch.arange(count, device=self.rows.device)).flatten()


def attends_raggedly(query: Tensor, implementation: str | None) -> bool:
    """Return whether `ragged_attention` takes `query`: only in place of SDPA, and on a GPU not in float32."""
    if implementation != "sdpa":
        return False
    if query.device.type == "cuda":
        has_kernel = varlen_attn is not None and torch.backends.cuda.is_flash_attention_available()
        is_half = query.dtype in (torch.float16, torch.bfloat16)
        return has_kernel and is_half and torch.cuda.get_device_capability(query.device) >= (8, 0)
    return query.device.type == "cpu"


def ragged_attention(query: Tensor, key: Tensor, value: Tensor, layout: Layout, count: int | None = None) -> Tensor:
    """Attention of each image's queries to its own tokens: `[1, Q, H, d]`.

    On a GPU one call of torch's variable-length attention; on the CPU one SDPA call for each image, which measured
    faster than padding (less work) and than nested tensors.

    Args:
        query: `[1, Q, H, d]`, of all tokens, or of `count` tokens an image.
        key, value: `[1, L, H, d]`.
        layout: of keys and values.
        count: queries of each image, `None` for those of `layout`.
    """
    batch = len(layout.bounds) - 1
    bounds = layout.bounds if count is None else tuple(range(0, batch * count + 1, count))
    if query.device.type == "cuda" and varlen_attn is not None:
        starts = layout.starts
        if count is not None:
            starts = torch.arange(0, batch * count + 1, count, dtype=torch.int32, device=query.device)
        longest = layout.padded[1]
        context = varlen_attn(query[0], key[0], value[0], starts, layout.starts, count or longest, longest)
        return cast(Tensor, context)[None]
    output = torch.empty_like(query)
    query, key, value = (states.transpose(1, 2) for states in (query, key, value))
    for (first, last), (start, end) in zip(pairwise(bounds), pairwise(layout.bounds), strict=True):
        context = scaled_dot_product_attention(query[:, :, first:last], key[:, :, start:end], value[:, :, start:end])
        output[:, first:last] = context.transpose(1, 2)
    return output
