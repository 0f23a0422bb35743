# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""SELECT: which patch tokens go on."""

import math
from typing import Any

import torch
from torch import Tensor

from .tokens import stable_argsort


def is_number(value: Any) -> bool:
    """Return whether an option is an integer or a float, not a boolean."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def keep_count(num_patches: int, keep_ratio: float) -> int:
    """Patches to keep of `num_patches` original ones: `int(num_patches * keep_ratio)`, at least 1."""
    return max(1, int(num_patches * keep_ratio))


def top_k(scores: Tensor, count: int, attended: Tensor | None = None) -> Tensor:
    """Return the positions `[B, count]` of the highest `scores` `[B, N]`, ascending.

    Tokens keep the order of the grid: that of the scores would change with their rounding. Patches not `attended` are
    taken last.
    """
    if attended is not None:
        scores = scores.masked_fill(~attended, -torch.inf)
    return scores.topk(count, dim=1, sorted=False).indices.sort(dim=1).values


def kept_first(keep: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the positions `[B, K]` of the tokens to `keep` `[B, N]` bool, and which of them are no padding.

    K is the number of the image that keeps most, for which it waits; where all keep as many, nothing is padding and
    the second is `None`.
    """
    counts = keep.sum(dim=1)
    shortest, longest = torch.stack((counts.min(), counts.max())).tolist()
    index = (~keep).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]  # the kept ones, as they stand
    valid = torch.arange(longest, device=index.device) < counts[:, None] if shortest < longest else None
    return index, valid


def compounding_counts(num_patches: int, keep_ratios: list[float], extra: int = 0) -> list[int]:
    """Tokens to keep at each stage when each keeps `ceil(rate * current)`, as Top-K and EViT do.

    The rate of a stage is its fraction of the original patches over that of the stage before; `extra` tokens (EViT's
    fused one) join after every stage that drops something and count at the next. Rates are decimal fractions that
    binary ones only come close to, hence the rounding before `ceil`; it leaves one token at least.
    """
    counts, current, previous = [], num_patches, 1.0
    for ratio in keep_ratios:
        count = max(1, math.ceil(round(ratio / previous * current, 6)))
        counts.append(count)
        current, previous = count + (extra if count < current else 0), ratio
    return counts


def scaled_counts(counts: list[int], made_for: int, num_patches: int) -> list[int]:
    """Return `counts` of an image of `made_for` patches for one of `num_patches`: the same fractions, rounded."""
    if num_patches == made_for:
        return counts
    return [max(1, round(count * num_patches / made_for)) for count in counts]


def within_reach(counts: list[int], num_patches: int, least_left: float) -> list[int]:
    """Raise `counts` so that no stage removes more than `1 - least_left` of what enters it, nor adds any."""
    reached, current = [], num_patches
    for count in counts:
        current = min(current, max(count, current - int(current * (1 - least_left))))
        reached.append(current)
    return reached


def split_top_k(scores: Tensor, count: int, attended: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Positions `[B, count]` of the highest `scores` `[B, N]` and `[B, N - count]` of the rest, each ascending."""
    if attended is not None:
        scores = scores.masked_fill(~attended, -torch.inf)
    order = scores.topk(scores.shape[1], dim=1).indices
    return order[:, :count].sort(dim=1).values, order[:, count:].sort(dim=1).values


def gumbel_keep(log_probs: Tensor, tau: float) -> Tensor:
    """Sample hard keep decisions `[B, N]` with a straight-through gradient from `log_probs` `[B, N, 2]`.

    One `gumbel_softmax` call on the float32 log-probabilities, so that a seeded forward draws the published samples
    (DynamicViT, section 3.3).
    """
    return torch.nn.functional.gumbel_softmax(log_probs.float(), tau=tau, hard=True, dim=-1)[..., 0]


def bipartite_matching(
    metric: Tensor, r: int, num_prefix: int, attended: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Which r tokens merge into which others (ToMe, section 3): each of one half with its most similar of the other.

    Positions of the whole sequence, prefix included, alternate between the sources (even) and the destinations (odd);
    of the sources, the r with the highest cosine similarity to their best destination go. The order of the result is
    part of the method: the next layer splits it anew.

    Args:
        metric: `[B, N, d]`, patch tokens only.
        r: at most N // 2.
        num_prefix: P; prefix tokens neither go nor take in.
        attended: `[B, N]` bool or `None`; what it excludes goes first, and is nobody's destination while another is.

    Returns:
        `[B, N - r]` positions that stay, the remaining sources ahead of the destinations, each ascending; `[B, r]`
        positions that go; `[B, r]` which of those that stay takes each in.
    """
    even = torch.arange(num_prefix % 2, metric.shape[1], 2, device=metric.device).expand(metric.shape[0], -1)
    odd = torch.arange(1 - num_prefix % 2, metric.shape[1], 2, device=metric.device).expand(metric.shape[0], -1)
    with torch.no_grad(), torch.autocast(metric.device.type, enabled=False):  # half precision makes ties
        metric = torch.nn.functional.normalize(metric.float(), dim=-1)
        similarity = metric[:, num_prefix % 2 :: 2] @ metric[:, 1 - num_prefix % 2 :: 2].transpose(1, 2)
        if attended is not None:
            similarity = similarity.masked_fill(~attended.gather(1, odd)[:, None], -2.0)  # below any cosine
        best, partner = similarity.max(dim=-1)
        if attended is not None:
            best = best.masked_fill(~attended.gather(1, even), 2.0)
        order = stable_argsort(best, descending=True)
    goes, remains = order[:, :r], order[:, r:].sort(dim=1).values
    stays = torch.cat((even.gather(1, remains), odd), dim=1)
    return stays, even.gather(1, goes), remains.shape[1] + partner.gather(1, goes)
