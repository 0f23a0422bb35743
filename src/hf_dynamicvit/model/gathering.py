# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Functions of tokens as tensors: gather, merge, sort."""

import torch
from torch import Tensor


def as_number(size: int) -> int:
    """Return a size as a number to compute counts from; in `torch.jit.trace` it is a tensor."""
    return int(size) if torch.jit.is_tracing() else size


def stable_argsort(values: Tensor, descending: bool = False) -> Tensor:
    """Sort `values` `[B, N]` along each row, equal ones as they stand: their positions `[B, N]` in that order."""
    # torch.onnx.export(dynamo=False) knows no stable sort, and writes the other as ONNX's TopK, which is stable
    stable = {} if torch.onnx.is_in_onnx_export() else {"stable": True}
    return values.argsort(dim=1, descending=descending, **stable)


def gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Gather the tokens `[B, K, D]` of `[B, N, D]` at `index` `[B, K]`, by rows: several times as fast as `gather`."""
    rows = flat_rows(index, tokens.shape[1])
    return tokens.flatten(0, 1).index_select(0, rows).unflatten(0, index.shape)


def flat_rows(index: Tensor, length: int) -> Tensor:
    """`[B * K]`, where tokens at `index` `[B, K]` of `[B, length, D]` stand in `[B * length, D]`."""
    return (index + length * torch.arange(index.shape[0], device=index.device)[:, None]).flatten()


def weighted_merge(kept: Tensor, rest: Tensor, host: Tensor, own: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of each kept token and those that go into it: `[B, K, D]`.

    Args:
        kept, rest: `[B, K, D]` and `[B, R, D]`.
        host: `[B, R]`, which of the K takes each of the R in.
        own, weights: `[B, K]` and `[B, R]`. A group of weight 0 gives 0.
    """
    total = own.float().scatter_add(1, host, weights.float())  # [B, K]
    summed = kept.float() * own[..., None]
    summed = summed.scatter_add(1, host[..., None].expand_as(rest), rest.float() * weights[..., None])
    return (summed / total.clamp(min=torch.finfo(total.dtype).tiny)[..., None]).to(kept.dtype)
