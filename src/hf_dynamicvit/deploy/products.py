# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Write merges as matrix products, for runtimes that lack scatter with a sum, or get it wrong."""

import torch
from torch import Tensor


def add_by_product(values: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """Compute `values.scatter_add(1, index, source)` by a product with a matrix of zeros and ones.

    Args:
        values: `[B, K]`, or `[B, K, D]`.
        dim: 1.
        index: `[B, R]`, or the same for all D.
        source: `[B, R]`, or `[B, R, D]`.

    Raises:
        ValueError: it adds along another axis, or to other places for each D.
    """
    wide = index.ndim == 3
    if dim != 1 or index.ndim not in (2, 3) or (wide and index.stride(2) != 0 and index.shape[2] > 1):
        raise ValueError("this method's merges cannot be written as products; leave them as they are.")
    places, added = (index[..., 0], source) if wide else (index, source[..., None])  # [B, R], [B, R, D]
    host = torch.arange(values.shape[1], device=values.device)[:, None]
    chosen = (places[:, None] == host).to(source.dtype)  # [B, K, R]
    sums = chosen @ added  # [B, K, D]
    return values + (sums if wide else sums[..., 0])


def merge_by_products(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Exchange every scatter with a sum in the graph for a product.

    Raises:
        ValueError: as `add_by_product`.
    """
    return program.run_decompositions({torch.ops.aten.scatter_add.default: add_by_product})
