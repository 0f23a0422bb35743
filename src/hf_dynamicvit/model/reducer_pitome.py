# Copyright 2026 The hf_dynamicvit authors. PiToMe (NeurIPS 2024): https://arxiv.org/abs/2405.16148
"""PiToMe: in every block, patches of large clusters are merged first. No parameters; works without training."""

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from .merging import merge_by_size, size_bias
from .reducer import TokenReducer
from .selection import is_number
from .tokens import Stage, Tokens, Trace, gather_tokens


# Margin of the energy in the first block; it falls linearly, to 0 behind the last.
FIRST_MARGIN = 0.75


def cluster_energy(similarity: Tensor, margin: float, attended: Tensor | None = None) -> Tensor:
    """Return the mean of elu(`similarity` - `margin`) over all patches: `[B, N]`, high where many are alike (PiToMe).

    Args:
        similarity: `[B, N, N]` cosines.
        margin: from which on two count as alike.
        attended: `[B, N]` bool or `None`; what it excludes counts for none and has the highest energy of all.
    """
    gains = torch.nn.functional.elu(similarity - margin)
    if attended is None:
        return gains.mean(dim=-1)
    present = attended[:, None].to(gains.dtype)
    energy = (gains * present).sum(dim=-1) / present.sum(dim=-1).clamp(min=1)
    return energy.masked_fill(~attended, 2.0)  # elu of a cosine is at most 1


def energy_matching(
    metric: Tensor, r: int, margin: float, all_may_go: bool, attended: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the r tokens that merge, and into which (PiToMe, section 3): those of highest energy alternate.

    Every other one of that order is a source; the others are destinations.

    Args:
        metric: `[B, N, d]`, patch tokens only.
        r: at most N // 2.
        margin: as in `cluster_energy`.
        all_may_go: all tokens alternate and the r most similar pairs merge; else the 2r of highest energy do, and each
            of their sources goes.
        attended: `[B, N]` bool or `None`; what it excludes goes first, and is nobody's destination while another is.

    Returns:
        `[B, N - r]` positions that stay, ascending; `[B, r]` positions that go; `[B, r]` which of those that stay
        takes each in.
    """
    with torch.no_grad(), torch.autocast(metric.device.type, enabled=False):  # half precision makes ties
        metric = torch.nn.functional.normalize(metric.float(), dim=-1)
        similarity = metric @ metric.transpose(1, 2)
        stable = {} if torch.onnx.is_in_onnx_export() else {"stable": True}  # as in `bipartite_matching`
        order = cluster_energy(similarity, margin, attended).argsort(dim=1, descending=True, **stable)
        order = order if all_may_go else order[:, : 2 * r]
        sources, destinations = order[:, ::2], order[:, 1::2]
        pairs = gather_tokens(similarity, sources)
        pairs = pairs.gather(2, destinations[:, None].expand(-1, pairs.shape[1], -1))
        if attended is not None:
            pairs = pairs.masked_fill(~attended.gather(1, destinations)[:, None], -2.0)  # below any cosine
        best, partner = pairs.max(dim=-1)
        if attended is not None:
            best = best.masked_fill(~attended.gather(1, sources), 2.0)
        goes = best.topk(r, dim=1, sorted=False).indices
    host = destinations.gather(1, partner.gather(1, goes))
    goes = sources.gather(1, goes)
    stays = torch.ones_like(metric[..., 0], dtype=torch.int64).scatter(1, goes, 0)
    everywhere = torch.arange(metric.shape[1], device=metric.device)
    index = everywhere.where(stays > 0, metric.shape[1]).sort(dim=1).values[:, : metric.shape[1] - r]
    return index, goes, (stays.cumsum(dim=1) - 1).gather(1, host)


class PiToMeReducer(TokenReducer):
    """In each of `config.stage_layers` (every block), between attention and MLP, merge patches of large clusters.

    Tokens are compared by their keys; one that is like many others has a high energy and may merge, one that is like
    few is protected. In the first half of the blocks all may, in the second the 2r of highest energy alone.

    `keep_ratio=0.5` keeps half of the patches at the end, the same fraction less in every block; a list gives each
    block's fraction of all. Written from the description of the paper.

    Args:
        config: a `DynamicViTConfig`.
        ratio: fraction of its tokens that each block leaves, in place of `keep_ratio` (published: 0.9 to 0.975).
        proportional_attention: add log(size) to the attention logits, as the paper says; as released, off.
    """

    acts, rest = "between", "merged"
    reads_patches = False  # keys are of the trace
    scores_patches = False
    least_left = 0.5
    default_schedule = "geometric"
    default_keep_ratio = 0.5
    count_options = ("ratio",)
    reduces_in_training = True

    def __init__(self, config: Any, ratio: float | None = None, proportional_attention: bool = False):
        super().__init__(config)
        self.check(
            ratio=(ratio, ratio is None or (is_number(ratio) and 0.5 <= ratio <= 1), "a number from 0.5 to 1"),
            proportional_attention=(proportional_attention, isinstance(proportional_attention, bool), "true or false"),
        )
        self.ratio, self.proportional_attention = ratio, proportional_attention
        self.depth, self.head_dim = config.num_hidden_layers, config.hidden_size // config.num_attention_heads

    def set_keep_ratios(self, keep_ratios: list[float], counts: list[int] | None = None) -> None:
        super().set_keep_ratios(keep_ratios, counts)
        self.ratio = None

    def stage_counts(self, num_patches: int) -> list[int]:
        if self.ratio is None:
            return super().stage_counts(num_patches)
        ratios = [self.ratio] * len(self.layers)  # in double precision, as released: 0.9 of 100 is 90 there
        counts = itertools.accumulate(ratios, lambda left, ratio: left - int(left - left * ratio), initial=num_patches)
        return list(counts)[1:]

    def reduce(self, tokens: Tokens, stage: Stage, source: Trace) -> Tokens:
        r = tokens.num_live - stage.count
        if r <= 0:  # nothing merges
            return tokens.keep_all(stage)
        # SCORE and SELECT
        metric = source.key[:, :, tokens.num_prefix :].mean(dim=1)
        margin = FIRST_MARGIN * (1 - stage.layer / self.depth)
        in_first_half = stage.layer < math.ceil(self.depth / 2)
        index, rest, host = energy_matching(metric, r, margin, in_first_half, tokens.attended)
        return merge_by_size(tokens, index, rest, host, stage)  # REST

    def key_bias(self, tokens: Tokens) -> Tensor | None:
        return size_bias(tokens) if self.proportional_attention else None

    def multiply_adds(self, counts, num_patches, num_prefix):
        return sum(before**2 * self.head_dim for before, _ in self.reductions(counts, num_patches))
