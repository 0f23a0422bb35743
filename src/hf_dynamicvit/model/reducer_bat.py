# Copyright 2026 The hf_dynamicvit authors. BAT (CVPR 2023), from its description alone: https://arxiv.org/abs/2211.11315
"""BAT: patches of little class attention are clustered and averaged; of the others the most alike pairs merge."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .clustering import density_peaks, scaled_distances
from .merging import patch_sizes, size_bias, summed
from .reducer import TokenReducer
from .scoring import class_attention
from .selection import bipartite_matching, is_number, split_top_k
from .tokens import Stage, Tokens, Trace, gather_tokens


@dataclass(frozen=True)
class Split:
    """What a stage makes of its tokens.

    Attributes:
        attentive: tokens of the highest class attention, which are not clustered.
        pairs: of them that merge into another.
        clusters: of all other tokens.
    """

    attentive: int
    pairs: int
    clusters: int


class BATReducer(TokenReducer):
    """In each of `config.stage_layers`, between attention and MLP, decouple tokens by class attention and merge them.

    The tokens of least class attention (of the mean query, where there is no class token) are clustered by density
    peaks, and each cluster goes on as one token, their mean weighted with that attention, so that the image stays
    diverse. Of the others the most alike pairs become their mean. No parameters; training as inference.

    From the paper's description, which leaves open the numbers of clusters, pairs and neighbours, and how pairs are
    found (here: as in ToMe, by features).

    Args:
        config: a `DynamicViTConfig`.
        cluster_share: fraction of the tokens that a stage leaves which are clusters, one at least.
        pair_share: merged pairs as a fraction of the tokens that a stage leaves and that are no clusters.
        neighbours: of which the density of a token is the mean.
        proportional_attention: attention counts a merged token as often as it has patches.
    """

    acts, rest = "between", "merged"
    keeps_order = False
    reduces_in_training = True

    def __init__(
        self,
        config: Any,
        cluster_share: float = 0.1,
        pair_share: float = 0.1,
        neighbours: int = 5,
        proportional_attention: bool = False,
    ):
        super().__init__(config)
        clusters_fit = is_number(cluster_share) and 0 < cluster_share <= 1
        pairs_fit = is_number(pair_share) and 0 <= pair_share <= 1
        counted = type(neighbours) is int and neighbours >= 1
        self.check(
            cluster_share=(cluster_share, clusters_fit, "a number above 0, at most 1"),
            pair_share=(pair_share, pairs_fit, "a number from 0 to 1"),
            neighbours=(neighbours, counted, "an integer of 1 or more"),
            proportional_attention=(proportional_attention, isinstance(proportional_attention, bool), "true or false"),
        )
        self.cluster_share, self.pair_share, self.neighbours = cluster_share, pair_share, neighbours
        self.proportional_attention, self.width = proportional_attention, config.hidden_size

    def split(self, entering: int, count: int) -> Split:
        """Return how `entering` tokens become `count`."""
        clusters = max(1, round(self.cluster_share * count))
        left = count - clusters
        pairs = min(round(self.pair_share * left), entering - count)
        return Split(left + pairs, pairs, clusters)

    def reduce(self, tokens: Tokens, stage: Stage, source: Trace) -> Tokens:
        if stage.count >= tokens.num_live:  # nothing to choose
            return tokens.keep_all(stage)
        # SCORE
        prefix, mask, bias = tokens.num_prefix, tokens.attention_mask, self.key_bias(tokens)
        with torch.no_grad():
            attention = class_attention(source.query, source.key, prefix, mask, None, source.relative, bias)
            scores = attention.mean(dim=1)
        # SELECT
        split = self.split(tokens.num_live, stage.count)
        attentive, others = split_top_k(scores, split.attentive, tokens.attended)
        stays, goes, pair_hosts = self.pair(tokens, attentive, split.pairs)
        peaks, members, cluster_hosts = self.cluster(tokens, others, split.clusters)
        # REST
        index, rest = torch.cat((stays, peaks), dim=1), torch.cat((goes, members), dim=1)
        host = torch.cat((pair_hosts, stays.shape[1] + cluster_hosts), dim=1)
        weights = torch.ones_like(scores).scatter(1, others, scores.gather(1, others))
        merged = tokens.merge(index, rest, host, weights, stage, scores)
        return merged.change(size=summed(patch_sizes(tokens), index, rest, host))

    def pair(self, tokens: Tokens, attentive: Tensor, pairs: int) -> tuple[Tensor, Tensor, Tensor]:
        """Choose `pairs` of the tokens at `attentive` `[B, A]` to go into others of them.

        Returns:
            `[B, A - pairs]` positions of those that stay; `[B, pairs]` of those that go; `[B, pairs]` which of the
            first takes each in.
        """
        if not pairs:
            return attentive, attentive[:, :0], attentive[:, :0]
        metric = gather_tokens(tokens.patches, attentive)
        attended = None if tokens.attended is None else tokens.attended.gather(1, attentive)
        stays, goes, host = bipartite_matching(metric, pairs, 0, attended)
        return attentive.gather(1, stays), attentive.gather(1, goes), host

    def cluster(self, tokens: Tokens, others: Tensor, clusters: int) -> tuple[Tensor, Tensor, Tensor]:
        """Cluster the tokens at `others` `[B, R]`.

        Returns:
            `[B, clusters]` positions of the peaks; `[B, R - clusters]` of the others; `[B, R - clusters]` which of the
            peaks takes each in.
        """
        with torch.no_grad():
            attended = None if tokens.attended is None else tokens.attended.gather(1, others)
            distances = scaled_distances(gather_tokens(tokens.patches, others), attended)
            peaks, nearest = density_peaks(distances, clusters, self.neighbours)
        members = split_top_k(torch.zeros_like(distances[:, 0]).scatter(1, peaks, -1.0), others.shape[1] - clusters)[0]
        return others.gather(1, peaks), others.gather(1, members), nearest.gather(1, members)

    def key_bias(self, tokens: Tokens) -> Tensor | None:
        return size_bias(tokens) if self.proportional_attention else None

    def multiply_adds(self, counts, num_patches, num_prefix):
        total = 0
        for before, after in self.reductions(counts, num_patches):
            split = self.split(before, after)
            halves = (split.attentive // 2) * ((split.attentive + 1) // 2) if split.pairs else 0
            total += self.width * (before + num_prefix + halves + (before - split.attentive) ** 2)
        return total
