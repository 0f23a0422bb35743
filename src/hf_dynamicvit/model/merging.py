# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""REST of methods that merge: means weighted by the patches in each token, which attention counts."""

import torch
from torch import Tensor

from .tokens import Stage, Tokens, gather_tokens, stable_argsort


def patch_sizes(tokens: Tokens) -> Tensor:
    """Return how many patches each token stands for, `[B, N]` float32: one ahead of the first merge."""
    if tokens.size is not None:
        return tokens.size
    size = tokens.hidden.new_ones(tokens.owner.shape[0], tokens.num_live, dtype=torch.float32)
    return size if tokens.attended is None else size * tokens.attended  # what the user's mask excludes counts for none


def summed(values: Tensor, index: Tensor, rest: Tensor, host: Tensor) -> Tensor:
    """Add the `values` `[B, N]` of the tokens at `rest` to their hosts' among those at `index`: `[B, K]`."""
    return values.gather(1, index).scatter_add(1, host, values.gather(1, rest))


def merge_by_size(
    tokens: Tokens,
    index: Tensor,
    rest: Tensor,
    host: Tensor,
    stage: Stage,
    scores: Tensor | None = None,
    weighs: bool = True,
) -> Tokens:
    """Merge by means over all patches and add up the sizes; arguments as in `Tokens.merge`.

    Without `weighs` they are means of the tokens that merge here, whatever their sizes.
    """
    size = patch_sizes(tokens)
    merged = tokens.merge(index, rest, host, size if weighs else torch.ones_like(size), stage, scores)
    return merged.change(size=summed(size, index, rest, host))


def merge_groups(tokens: Tokens, into: Tensor, order: Tensor, stage: Stage) -> Tokens:
    """Let groups of patch tokens, other numbers of them in each image, become the mean of their patches.

    Args:
        tokens: whose patch tokens merge.
        into: `[B, N]` int64, the position of the token that takes each in, itself where it stays.
        order: `[B, N]` int64, by which those that stay stand, ascending; the attention mask's others go.
        stage: at which they merge.
    """
    place = torch.arange(tokens.num_live, device=into.device)
    stays = into == place if tokens.attended is None else (into == place) & tokens.attended
    index = stable_argsort(order.masked_fill(~stays, torch.iinfo(torch.int32).max))
    counts, longest = stays.sum(dim=1, keepdim=True), tokens.num_live
    if not torch.jit.is_tracing():  # which would fix how many there are
        longest = int(counts.max())
    valid = place[:longest] < counts
    index, valid = index[:, :longest], None if not torch.jit.is_tracing() and bool(valid.all()) else valid
    weights = patch_sizes(tokens)
    size = torch.zeros_like(weights).scatter_add(1, into, weights)
    totals = tokens.patches.float() * weights[..., None]
    totals = torch.zeros_like(totals).scatter_add(1, into[..., None].expand_as(totals), totals)
    merged = (totals / size.clamp(min=torch.finfo(size.dtype).tiny)[..., None]).to(tokens.hidden.dtype)
    places = tokens.new_positions(index, valid)
    owners = torch.nn.functional.pad(places.gather(1, into), (0, 1), value=-1)
    changed = tokens.change(hidden=torch.cat((tokens.prefix, merged), dim=1), size=size, layout=None)
    changed = changed.gather(index, owners)
    changed = changed if valid is None else changed.without_padding(valid)
    kept = tokens.map_to_patches(places) >= 0
    return changed.decide(stage, kept if tokens.last_kept is None else kept & tokens.last_kept)


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
