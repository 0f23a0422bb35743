# Copyright 2026 The hf_dynamicvit authors. DiffRate (ICCV 2023): https://arxiv.org/abs/2305.17997
"""DiffRate: in every block the patches of least class attention are dropped, and the next ones merged."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .diffrate_search import CountSearch
from .merging import most_similar, patch_sizes, size_bias
from .reducer import TokenReducer
from .scoring import class_attention
from .selection import is_number, scaled_counts
from .tokens import Decision, Stage, Tokens, Trace


# Patch tokens of 196 that each of twelve blocks leaves, behind dropping and behind merging, as published.
PUBLISHED = {
    "deit-small-2.9": (
        *((196, 196), (195, 193), (189, 175), (167, 155), (149, 140), (138, 132)),
        *((128, 120), (116, 106), (98, 87), (77, 63), (57, 55), (2, 2)),
    ),
    "deit-small-2.3": (
        *((196, 196), (191, 179), (167, 155), (142, 126), (120, 108), (104, 97)),
        *((91, 79), (73, 65), (61, 51), (44, 36), (32, 30), (2, 2)),
    ),
}
PUBLISHED_PATCHES = 196

# Of the loss that holds the search at its budget: 5 x the square of GMACs, with DeiT-S's 4.6 as published.
BUDGET_WEIGHT = 5 * 4.6**2

Pairs = Sequence[Sequence[int]]


def is_pairs(counts: Any, num_stages: int) -> bool:
    """Return whether `counts` is a pair of patch counts for each stage, which never grow."""

    def is_pair(pair: Any) -> bool:
        return isinstance(pair, list | tuple) and len(pair) == 2 and all(type(count) is int for count in pair)

    if not isinstance(counts, list | tuple) or len(counts) != num_stages or not all(map(is_pair, counts)):
        return False
    flat = [count for pair in counts for count in pair]
    return flat == sorted(flat, reverse=True) and flat[-1] >= 1


class DiffRateReducer(TokenReducer):
    """In each of `config.stage_layers` (every block), between attention and MLP, drop some patches and merge others.

    Patches are ordered by the class attention of the block (that of the mean query where there is no class token): the
    last are dropped, and the last of those that are left merge into the most similar of the others, by features. A
    merged token is the plain mean of its tokens, which attention counts as often as it has patches, each as much as it
    was similar.

    `keep_ratio=0.5` keeps half of the patches at the end, along the curve that the search found for DeiT; a list gives
    each block's fraction or number. Written from the description of the paper.

    Args:
        config: a `DynamicViTConfig`.
        counts: patches that each block leaves of an image of the configuration's size, in place of `keep_ratio`: a
            pair a block, behind dropping and behind merging, or a published table, `"deit-small-2.9"` or
            `"deit-small-2.3"` (GMACs of DeiT-S).
        pruned_share: fraction of what a block removes that is dropped and not merged, with `keep_ratio`.
        search: learn the counts of every block, in place of `keep_ratio`, for this fraction of the dense model's
            multiply-adds; training then moves nothing else. `reducer.search.pairs()` is what was found, for `counts`.
        granularity: of the search: every so many numbers of patches are candidates.
    """

    acts, rest = "between", "merged"
    numbers_per_stage = 2
    default_schedule = "diffrate"
    default_keep_ratio = 0.5
    count_options = ("counts", "search")
    reduces_in_training = True

    def __init__(
        self,
        config: Any,
        counts: str | list[list[int]] | None = None,
        pruned_share: float = 0.4,
        search: float | None = None,
        granularity: int = 4,
    ):
        super().__init__(config)
        depth, fraction = len(self.layers), lambda value: is_number(value) and 0 <= value <= 1
        self.check(
            counts=(
                counts,
                counts is None or (isinstance(counts, str) and counts in PUBLISHED) or is_pairs(counts, depth),
                f"{' or '.join(map(repr, PUBLISHED))}, or {depth} pairs of integers of 1 or more that never grow",
            ),
            pruned_share=(pruned_share, fraction(pruned_share), "a number from 0 to 1"),
            search=(search, search is None or (fraction(search) and search > 0), "a number above 0, at most 1"),
            granularity=(granularity, type(granularity) is int and granularity >= 1, "an integer of 1 or more"),
        )
        if search is not None and counts is not None:
            raise ValueError(f"reducer_args: counts is {counts!r} and search is {search}; give one of them.")
        self.pairs: Pairs | None = PUBLISHED[counts] if isinstance(counts, str) else counts
        self.made_for = PUBLISHED_PATCHES if isinstance(counts, str) else config.num_patches
        if self.pairs is not None and len(self.pairs) != depth:
            raise ValueError(f"reducer_args: counts {counts!r} are of {len(self.pairs)} blocks; here {depth} reduce.")
        self.pruned_share, self.width, self.num_patches = pruned_share, config.hidden_size, config.num_patches
        self.search = None if search is None else CountSearch(config, search, granularity)
        self.sought = search
        if self.search is not None:
            self.reduces_in_training = False
            self.loss_weights = {"classification": 1.0, "budget": BUDGET_WEIGHT}
            self.frozen_fraction = 1.0

    def set_keep_ratios(self, keep_ratios: list[float], counts: list[int] | None = None) -> None:
        super().set_keep_ratios(keep_ratios, counts)
        self.pairs = self.search = self.sought = None
        self.reduces_in_training = True
        self.loss_weights, self.frozen_fraction = TokenReducer.loss_weights, TokenReducer.frozen_fraction

    def set_pairs(self, pairs: Pairs, made_for: int) -> None:
        """Leave `pairs` of an image of `made_for` patches, a pair a stage, from now on."""
        self.pairs, self.made_for = pairs, made_for

    @property
    def loses_patches(self) -> bool:
        if self.search is not None:
            return True
        pairs = self.stage_pairs(self.num_patches)
        entering = [self.num_patches, *(merged for _, merged in pairs)]
        return any(pruned < before for before, (pruned, _) in zip(entering, pairs, strict=False))

    def stage_pairs(self, num_patches: int) -> list[tuple[int, int]]:
        """Patch tokens that each stage leaves of an image of `num_patches`, behind dropping and behind merging."""
        pairs = self.pairs if self.search is None else self.search.pairs()
        if pairs is None:
            return self.share(num_patches, super().stage_counts(num_patches))
        pruned, merged = (scaled_counts(list(each), self.made_for, num_patches) for each in zip(*pairs, strict=True))
        return list(zip(pruned, merged, strict=True))

    def share(self, num_patches: int, counts: list[int]) -> list[tuple[int, int]]:
        """Share what each stage removes, to leave `counts` of `num_patches`, between dropping and merging."""
        pairs, current = [], num_patches
        for count in counts:
            left = min(count, current)
            pairs.append((current - round((current - left) * self.pruned_share), left))
            current = left
        return pairs

    def stage_counts(self, num_patches: int) -> list[int]:
        return [merged for _, merged in self.stage_pairs(num_patches)]

    def reduce(self, tokens: Tokens, stage: Stage, source: Trace) -> Tokens:
        search = self.search if self.training else None
        if search is None and stage.count >= tokens.num_live:  # nothing to choose
            return tokens.keep_all(stage)
        # SCORE
        attention = class_attention(
            source.query,
            source.key,
            tokens.num_prefix,
            tokens.attention_mask,
            None if tokens.mask is None else tokens.mask.detach(),
            source.relative,
            key_bias=self.key_bias(tokens),
        )
        scores = attention.mean(dim=1)
        if search is not None:
            return search.relax(tokens, stage, scores)
        # SELECT
        pruned, _ = self.stage_pairs(tokens.num_patches)[stage.index]
        masked = scores if tokens.attended is None else scores.masked_fill(~tokens.attended, -torch.inf)
        order = masked.topk(min(pruned, tokens.num_live), dim=1).indices
        index = order[:, : stage.count].sort(dim=1).values  # in the order of the grid
        return self.take_out(tokens, index, order[:, stage.count :], stage, scores)

    def take_out(self, tokens: Tokens, index: Tensor, rest: Tensor, stage: Stage, scores: Tensor) -> Tokens:
        """REST: those at `rest` `[B, R]` merged into those at `index` `[B, K]`, all others dropped."""
        cosine, host = most_similar(tokens, rest, index)
        size = patch_sizes(tokens)
        merged = tokens.merge(index, rest, host, torch.ones_like(size), stage, scores)
        added = size.gather(1, rest) * cosine
        # a host that takes in its opposite counts as one patch at least, as in the published search
        return merged.change(size=size.gather(1, index).scatter_add(1, host, added).clamp(min=1))

    def key_bias(self, tokens: Tokens) -> Tensor | None:
        return size_bias(tokens)

    def losses(self, decisions: tuple[Decision, ...]) -> dict[str, Tensor]:
        return {} if self.search is None else {"budget": self.search.loss()}

    def multiply_adds(self, counts, num_patches, num_prefix):
        total, entering = 0, num_patches
        for pruned, merged in self.stage_pairs(num_patches):
            if merged < entering:
                total += self.width * (entering + num_prefix + (min(pruned, entering) - merged) * merged)
            entering = min(merged, entering)
        return total
