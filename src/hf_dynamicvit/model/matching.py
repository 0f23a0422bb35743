# Copyright 2026 The hf_dynamicvit authors. MCTF (CVPR 2024): https://arxiv.org/abs/2403.10030
"""SELECT of MCTF: pairs of patch tokens by several criteria, matched both ways."""

from typing import NamedTuple

import torch
from torch import Tensor


class Fusion(NamedTuple):
    """Which tokens are fused.

    Attributes:
        index: `[B, K]` positions that stay, in their new order.
        rest: `[B, R]` positions that go.
        host: `[B, R]` which of the K takes each in.
    """

    index: Tensor
    rest: Tensor
    host: Tensor


def merit_factors(received: Tensor, size: Tensor, tau_attention: float, tau_size: float) -> Tensor:
    """Return how readily each token is fused, `[B, N]` up to 1: the less attention it gets and the smaller it is.

    The score of a pair is its similarity times the factors of both (MCTF, section 3.1).

    Args:
        received: `[B, N]` mean attention that each token gets.
        size: `[B, N]` patches in each.
        tau_attention, tau_size: temperatures; the higher, the less the criterion counts.
    """
    logs = -received.clamp(min=1e-12).log() / tau_attention - size.clamp(min=1).log() / tau_size
    return (logs - logs.amax(dim=1, keepdim=True)).exp()


def two_way_matching(
    score: Tensor, r: int, num_prefix: int, attended: Tensor | None = None, both_ways: bool = True
) -> Fusion:
    """Choose the r tokens that are fused, and into which (MCTF, section 3.1): half of one parity, then of the other.

    Positions of the whole sequence, prefix included, alternate. Of those at even ones the r // 2 with the best partner
    go into it; then, of those at odd ones, the best of the others go into an even one that stays, with what they took
    in. The order of the result is part of the method: even ones ascending, odd ones by falling score.

    Args:
        score: `[B, E, O]` from 0 to 1, of patches at even positions with those at odd ones.
        r: at most N // 2.
        num_prefix: P; prefix tokens neither go nor take in.
        attended: `[B, N]` bool or `None`; what it excludes goes first, and is nobody's destination while another is.
        both_ways: else all r are of those at even positions, and the others stay in their order.
    """
    batch, num_even, num_odd = score.shape
    first = num_prefix % 2
    everywhere = torch.arange(num_even + num_odd, device=score.device).expand(batch, -1)
    even, odd = everywhere[:, first::2], everywhere[:, 1 - first :: 2]
    even_out = odd_out = None
    if attended is not None:
        even_out, odd_out = ~attended[:, first::2], ~attended[:, 1 - first :: 2]
    goes, remains, partner = best_pairs(score, r // 2 if both_ways else r, even_out, odd_out)
    left = score.transpose(1, 2).scatter(2, goes[:, None].expand(-1, num_odd, -1), -2.0)
    odd_goes, odd_remains, taker = best_pairs(left, r - goes.shape[1], odd_out, even_out)
    odd_remains = odd_remains if both_ways else odd_remains.sort(dim=1).values
    index = torch.cat((even.gather(1, remains.sort(dim=1).values), odd.gather(1, odd_remains)), dim=1)
    place = torch.zeros_like(everywhere).scatter(1, index, everywhere[:, : index.shape[1]])
    odd_hosts = place.gather(1, even.gather(1, taker))
    place = place.scatter(1, odd.gather(1, odd_goes), odd_hosts)  # with what they took in
    even_hosts = place.gather(1, odd.gather(1, partner))
    rest = torch.cat((even.gather(1, goes), odd.gather(1, odd_goes)), dim=1)
    return Fusion(index, rest, torch.cat((even_hosts, odd_hosts), dim=1))


def best_pairs(
    score: Tensor, r: int, sources_out: Tensor | None, destinations_out: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Order the sources by their best destination, and take the first r.

    Args:
        score: `[B, S, D]` of sources with destinations.
        r: sources that go.
        sources_out, destinations_out: `[B, S]` and `[B, D]` bool, what the user's mask excludes, or `None`.

    Returns:
        `[B, r]` positions of those that go; `[B, S - r]` of the others, best first; `[B, r]` the destinations.
    """
    if destinations_out is not None:
        score = score.masked_fill(destinations_out[:, None], -1.0)
    best, partner = score.max(dim=-1)
    if sources_out is not None:
        best = best.masked_fill(sources_out, 2.0)
    stable = {} if torch.onnx.is_in_onnx_export() else {"stable": True}  # as in `bipartite_matching`
    order = best.argsort(dim=1, descending=True, **stable)
    return order[:, :r], order[:, r:], partner.gather(1, order[:, :r])
