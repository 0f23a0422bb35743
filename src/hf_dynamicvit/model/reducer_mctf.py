# Copyright 2026 The hf_dynamicvit authors. MCTF (CVPR 2024): https://arxiv.org/abs/2403.10030
"""MCTF: patches that are similar, get little attention and are small are fused. No parameters; works untrained."""

import copy
import itertools
from typing import Any

import torch
from torch import Tensor, nn

from .matching import Fusion, merit_factors, two_way_matching
from .merging import patch_sizes, size_bias, summed
from .reducer import TokenReducer
from .scoring import attention_received, attention_weights
from .selection import is_number
from .tokens import GroupedAttention, Stage, Tokens, Trace


# Patch tokens below which a count `r` fuses none.
LEAST_PATCHES = 9


class MCTFReducer(TokenReducer):
    """In each of `config.stage_layers` (all but the first block), ahead of the attention, fuse patch tokens.

    Pairs are chosen by three criteria: how similar their features are, how little both are attended to in this block,
    and how few patches both have. A token is the mean of its patches, weighted with the attention that they get, which
    attention counts as often as it has patches. The attention is computed once, ahead of the fusion, and fused as
    the tokens are. At most half of the tokens go in one block, prefix tokens never.

    `keep_ratio=0.5` keeps half of the patches at the end, the same fraction less in every block; a list gives each
    block's fraction or number. `schedule="three-stage"` is the published fast form, of three blocks.

    Args:
        config: a `DynamicViTConfig`.
        r: patches to fuse in each block, in place of `keep_ratio`, an integer (published: 16 in every block), which
            leaves 9 at least, or the fraction of those that enter it, below 1 (0.35 in three blocks).
        tau_similarity, tau_attention, tau_size: temperatures of the criteria; the higher, the less one counts.
        fuse: `"ahead"`, as published; `"precise"`: the attention is computed anew, of the fused tokens; `"behind"`:
            fuse behind the MLP, by the block's own attention.
        pooling: weights of the mean: `"attention"` (times patches, as published), `"size"` (patches), `"mean"` (none).
        both_ways: half of the patches at even positions go, then half of those at odd ones; else of the even ones all.
    """

    rest = "merged"
    scores_patches = keeps_order = False
    least_left = 0.5
    default_schedule = "mctf"
    default_keep_ratio = 0.5
    count_options = ("r",)
    reduces_in_training = True

    def __init__(
        self,
        config: Any,
        r: int | float | None = None,
        tau_similarity: float = 1.0,
        tau_attention: float = 20.0,
        tau_size: float = 40.0,
        fuse: str = "ahead",
        pooling: str = "attention",
        both_ways: bool = True,
    ):
        super().__init__(config)
        taus = {"tau_similarity": tau_similarity, "tau_attention": tau_attention, "tau_size": tau_size}
        self.check(
            r=(r, r is None or self._is_count(r), "an integer of 0 or more, or a fraction from 0 to 0.5"),
            **{name: (tau, is_number(tau) and tau > 0, "a number above 0") for name, tau in taus.items()},
            fuse=(fuse, fuse in ("ahead", "precise", "behind"), "'ahead', 'precise' or 'behind'"),
            pooling=(pooling, pooling in ("attention", "size", "mean"), "'attention', 'size' or 'mean'"),
            both_ways=(both_ways, isinstance(both_ways, bool), "true or false"),
        )
        self.r, self.fuse, self.pooling, self.both_ways = r, fuse, pooling, both_ways
        self.tau_similarity, self.tau_attention, self.tau_size = tau_similarity, tau_attention, tau_size
        self.width = config.hidden_size

    @staticmethod
    def _is_count(r: Any) -> bool:
        return is_number(r) and r >= 0 and (isinstance(r, int) or r <= 0.5)

    def set_keep_ratios(self, keep_ratios: list[float], counts: list[int] | None = None) -> None:
        super().set_keep_ratios(keep_ratios, counts)
        self.r = None

    def milder(self, share: float) -> TokenReducer:
        if self.r is None:
            return super().milder(share)
        other = copy.copy(self)
        other.r = share * self.r if isinstance(self.r, float) else int(share * self.r)
        return other

    def stage_counts(self, num_patches: int) -> list[int]:
        if self.r is None:
            return super().stage_counts(num_patches)
        rs = [self.r] * len(self.layers)
        return list(itertools.accumulate(rs, fused_count, initial=num_patches))[1:]

    def before(self, tokens: Tokens, block: nn.Module, layer: int) -> Tokens:
        return tokens if self.fuse == "behind" else super().before(tokens, block, layer)

    def reduce(self, tokens: Tokens, stage: Stage, source: Any) -> Tokens:
        if stage.count >= tokens.num_live:  # nothing is fused
            return tokens.keep_all(stage)
        normed = source.layernorm_before(tokens.hidden)
        query, key = source.attention.queries_and_keys(normed, tokens)
        weights = self.weights(tokens, query, key, source.relative(tokens))
        received = attention_received(weights.detach(), tokens.num_prefix, tokens.attention_mask)  # SCORE
        fusion = self.select(tokens, stage, received)
        fused, shares = self.take_in(tokens, fusion, stage, received)  # REST
        if self.fuse == "precise":
            return fused
        return fused.change(attention=group_attention(weights, tokens.num_prefix, fusion, shares))

    def between(self, tokens: Tokens, trace: Trace, layer: int) -> Tokens:
        stage = self.stage_at(layer, tokens.num_patches) if self.fuse == "behind" else None
        if stage is None or stage.count >= tokens.num_live:
            return tokens
        with torch.no_grad():
            weights = self.weights(tokens, trace.query, trace.key, trace.relative)
            return tokens.change(importance=attention_received(weights, tokens.num_prefix, tokens.attention_mask))

    def after(self, tokens: Tokens, layer: int) -> Tokens:
        stage = self.stage_at(layer, tokens.num_patches) if self.fuse == "behind" else None
        if stage is None:
            return tokens
        received = tokens.importance
        if received is None:
            return tokens.keep_all(stage)
        tokens = tokens.change(importance=None)
        return self.take_in(tokens, self.select(tokens, stage, received), stage, received)[0]

    def weights(self, tokens: Tokens, query: Tensor, key: Tensor, relative: Tensor | None) -> Tensor:
        """Compute the attention of the block among `tokens`: `[B, H, T, T]` float32."""
        return attention_weights(query, key, tokens.num_prefix, tokens.attention_mask, relative, self.key_bias(tokens))

    @torch.no_grad()
    def select(self, tokens: Tokens, stage: Stage, received: Tensor) -> Fusion:
        """SELECT by similarity, by the attention `received` `[B, N]`, and by size."""
        first, device = tokens.num_prefix % 2, tokens.hidden.device.type
        with torch.autocast(device, enabled=False):  # half precision makes ties
            patches = nn.functional.normalize(tokens.patches.float(), dim=-1)
            cosine = patches[:, first::2] @ patches[:, 1 - first :: 2].transpose(1, 2)
        factors = merit_factors(received, patch_sizes(tokens), self.tau_attention, self.tau_size)
        score = ((cosine + 1) / 2).clamp(min=0) ** (1 / self.tau_similarity)
        score = score * factors[:, first::2, None] * factors[:, None, 1 - first :: 2]
        r = tokens.num_live - stage.count
        return two_way_matching(score, r, tokens.num_prefix, tokens.attended, self.both_ways)

    def take_in(self, tokens: Tokens, fusion: Fusion, stage: Stage, received: Tensor) -> tuple[Tokens, Tensor]:
        """Fuse the tokens, as weighted means; return them and each one's weight in its group's, `[B, N]`."""
        size = patch_sizes(tokens)
        weights = {"attention": received * size, "size": size, "mean": torch.ones_like(size)}[self.pooling]
        weights = weights if tokens.attended is None else weights * tokens.attended
        fused = tokens.merge(*fusion, weights, stage)
        total = summed(weights, *fusion)  # [B, K]
        total = total.clamp(min=torch.finfo(total.dtype).tiny)
        of_host = torch.zeros_like(weights).scatter(1, fusion.index, total)
        of_host = of_host.scatter(1, fusion.rest, total.gather(1, fusion.host))
        return fused.change(size=summed(size, *fusion)), weights / of_host

    def key_bias(self, tokens: Tokens) -> Tensor | None:
        return size_bias(tokens)

    def prefix_suffices(self, layer: int) -> bool:
        return super().prefix_suffices(layer) and not (self.fuse == "behind" and layer in self.layers)

    def token_counts(self, num_patches, depth, kept=None):
        counts = super().token_counts(num_patches, depth)
        if self.fuse != "behind":
            return counts
        entering = [num_patches, *(count for _, count in counts[:-1])]
        return [(count, count) for count in entering]

    def counts_behind(self, counts, num_patches):
        return self.stage_counts(num_patches)

    def multiply_adds(self, counts, num_patches, num_prefix):
        total, entering = 0, num_patches
        for count in self.stage_counts(num_patches):
            if count < entering:
                total += self.fusing_multiply_adds(entering, count, num_prefix)
            entering = min(entering, count)
        return total

    def fusing_multiply_adds(self, entering: int, leaving: int, num_prefix: int) -> int:
        """Multiply-adds of one fusion, from `entering` patches to `leaving`, beside those that a block has anyway."""
        width, before, after = self.width, entering + num_prefix, leaving + num_prefix
        attention = {
            # queries, keys, logits and means are of all, not of those that are left
            "ahead": 2 * (before - after) * width**2 + 2 * (before**2 - after**2) * width,
            "precise": 2 * before * width**2 + before**2 * width,
            "behind": before**2 * width,
        }[self.fuse]
        return attention + (entering // 2) * (entering - entering // 2) * width


def fused_count(left: int, r: int | float) -> int:
    """Patches that are left of `left` where `r` of them are to be fused, a number or a fraction below 1."""
    r = int(left * r) if isinstance(r, float) else min(r, left - LEAST_PATCHES)
    return left - max(0, min(r, left // 2))


def group_attention(weights: Tensor, num_prefix: int, fusion: Fusion, shares: Tensor) -> GroupedAttention:
    """Give the `weights` `[B, H, T, T]` of all tokens to those that are left; `shares` `[B, N]` as of `take_in`."""
    batch, count = fusion.index.shape
    places = torch.arange(count, device=weights.device).expand(batch, -1)
    group = torch.zeros_like(shares, dtype=torch.int64).scatter(1, fusion.index, places)
    group = group.scatter(1, fusion.rest, fusion.host)
    prefix = torch.arange(num_prefix, device=weights.device).expand(batch, -1)
    group = torch.cat((prefix, group + num_prefix), dim=1)
    return GroupedAttention(weights, group, nn.functional.pad(shares, (num_prefix, 0), value=1.0))
