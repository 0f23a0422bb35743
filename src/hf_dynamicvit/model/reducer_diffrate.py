# Copyright 2026 The hf_dynamicvit authors. DiffRate (ICCV 2023): https://arxiv.org/abs/2305.17997
"""DiffRate: in every block the patches of least class attention are dropped, and the next ones merged."""

from typing import Any

import torch
from torch import Tensor

from .merging import most_similar, patch_sizes, size_bias
from .reducer import TokenReducer
from .scoring import class_attention
from .selection import scaled_counts
from .tokens import Stage, Tokens, Trace


# Patch tokens of 196 that each of twelve blocks leaves, behind dropping and behind merging, as published.
PUBLISHED = {
    "deit-small-2.9": (
        (196, 195, 189, 167, 149, 138, 128, 116, 98, 77, 57, 2),
        (196, 193, 175, 155, 140, 132, 120, 106, 87, 63, 55, 2),
    ),
    "deit-small-2.3": (
        (196, 191, 167, 142, 120, 104, 91, 73, 61, 44, 32, 2),
        (196, 179, 155, 126, 108, 97, 79, 65, 51, 36, 30, 2),
    ),
}
PUBLISHED_PATCHES = 196


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
    """

    acts, rest = "between", "merged"
    default_schedule = "diffrate"
    default_keep_ratio = 0.5
    count_options = ("counts",)

    def __init__(self, config: Any, counts: str | list[list[int]] | None = None, pruned_share: float = 0.4):
        super().__init__(config)
        depth, share = len(self.layers), pruned_share
        named = isinstance(counts, str) and counts in PUBLISHED
        self.check(
            counts=(
                counts,
                counts is None or named or is_pairs(counts, depth),
                f"{' or '.join(map(repr, PUBLISHED))}, or {depth} pairs of integers of 1 or more that never grow",
            ),
            pruned_share=(
                share,
                isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share <= 1,
                "a number from 0 to 1",
            ),
        )
        if named and depth != len(PUBLISHED[counts][0]):
            raise ValueError(f"reducer_args: counts {counts!r} are of 12 blocks; here {depth} reduce.")
        self.pairs = None if counts is None else self._read_pairs(counts, config.num_patches)
        self.pruned_share, self.width = pruned_share, config.hidden_size

    @staticmethod
    def _read_pairs(counts: str | list[list[int]], num_patches: int) -> tuple[tuple[list[int], list[int]], int]:
        """Return (patches left behind dropping, and behind merging; the patches of the image that they are of)."""
        if isinstance(counts, str):
            pruned, merged = PUBLISHED[counts]
            return (list(pruned), list(merged)), PUBLISHED_PATCHES
        return ([pair[0] for pair in counts], [pair[1] for pair in counts]), num_patches

    def set_keep_ratios(self, keep_ratios: list[float], counts: list[int] | None = None) -> None:
        super().set_keep_ratios(keep_ratios, counts)
        self.pairs = None

    def stage_pairs(self, num_patches: int) -> list[tuple[int, int]]:
        """Patch tokens that each stage leaves of an image of `num_patches`, behind dropping and behind merging."""
        if self.pairs is None:
            pairs, current = [], num_patches
            for count in super().stage_counts(num_patches):
                left = min(count, current)
                pairs.append((current - round((current - left) * self.pruned_share), left))
                current = left
            return pairs
        (pruned, merged), made_for = self.pairs
        pruned, merged = (scaled_counts(each, made_for, num_patches) for each in (pruned, merged))
        return list(zip(pruned, merged, strict=True))

    def stage_counts(self, num_patches: int) -> list[int]:
        return [merged for _, merged in self.stage_pairs(num_patches)]

    def reduce(self, tokens: Tokens, stage: Stage, source: Trace) -> Tokens:
        if stage.count >= tokens.num_live:  # nothing to choose
            return tokens.keep_all(stage)
        # SCORE
        attention = class_attention(
            source.query,
            source.key,
            tokens.num_prefix,
            tokens.attention_mask,
            relative=source.relative,
            key_bias=self.key_bias(tokens),
        )
        scores = attention.mean(dim=1)
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

    def multiply_adds(self, counts, num_patches, num_prefix):
        total, entering = 0, num_patches
        for pruned, merged in self.stage_pairs(num_patches):
            if merged < entering:
                total += self.width * (entering + num_prefix + (min(pruned, entering) - merged) * merged)
            entering = min(merged, entering)
        return total
