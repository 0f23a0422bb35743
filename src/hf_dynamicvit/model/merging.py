# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""REST of methods that merge: means weighted by the patches in each token, which attention counts."""

import torch
from torch import Tensor

from .tokens import Stage, Tokens, gather_tokens


def patch_sizes(tokens: Tokens) -> Tensor:
    """Return how many patches each token stands for, `[B, N]` float32: one ahead of the first merge."""
    if tokens.size is not None:
        return tokens.size
    size = tokens.hidden.new_ones(tokens.owner.shape[0], tokens.num_live, dtype=torch.float32)
    return size if tokens.attended is None else size * tokens.attended  # what the user's mask excludes counts for none


def summed(values: Tensor, index: Tensor, rest: Tensor, host: Tensor) -> Tensor:
    """Add the `values` `[B, N]` of the tokens at `rest` to their hosts' among those at `index`: `[B, K]`."""
    return values.gather(1, index).scatter_add(1, host, values.gather(1, rest))


def merge_by_size(tokens: Tokens, index: Tensor, rest: Tensor, host: Tensor, stage: Stage) -> Tokens:
    """Merge by means over all patches and add up the sizes; arguments as in `Tokens.merge`."""
    size = patch_sizes(tokens)
    return tokens.merge(index, rest, host, size, stage).change(size=summed(size, index, rest, host))


def lengthen(merged: Tokens, tokens: Tokens, index: Tensor, rest: Tensor, host: Tensor) -> Tokens:
    """Give each token of `merged` the norm of the longest token in it (ToFu, MLERP); the rest as in `Tokens.merge`.

    Means are shorter than what they are of, the less similar that is.
    """
    norms = tokens.patches.float().norm(dim=-1)  # [B, N]
    norms = norms if tokens.attended is None else norms * tokens.attended
    longest = norms.gather(1, index).scatter_reduce(1, host, norms.gather(1, rest), "amax")
    means = merged.patches
    factors = longest / means.float().norm(dim=-1).clamp(min=torch.finfo(torch.float32).tiny)
    patches = means * factors[..., None].to(means.dtype)
    return merged.change(hidden=torch.cat((merged.prefix, patches), dim=1))


def size_bias(tokens: Tokens) -> Tensor | None:
    """Return log(size) of each patch token as a key, `[B, N]` float32, or `None` ahead of the first merge.

    Attention then counts a token as often as it has patches (ToMe, proportional attention).
    """
    return None if tokens.size is None else tokens.size.clamp(min=1).log()


def most_similar(tokens: Tokens, rest: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine `[B, R]` of each patch token at `rest` with the most similar at `index`, and which `[B, R]` of them.

    What the user's mask excludes is nobody's host while another is.
    """
    with torch.no_grad(), torch.autocast(tokens.hidden.device.type, enabled=False):  # half precision makes ties
        patches = torch.nn.functional.normalize(tokens.patches.float(), dim=-1)
        similarity = gather_tokens(patches, rest) @ gather_tokens(patches, index).transpose(1, 2)
    if tokens.attended is not None:
        similarity = similarity.masked_fill(~tokens.attended.gather(1, index)[:, None], -2.0)  # below any cosine
    return similarity.max(dim=-1)
