# Copyright 2026 The hf_dynamicvit authors. ToMe (ICLR 2023): https://arxiv.org/abs/2210.09461
"""ToMe: in every block the most similar pairs of patches are merged. No parameters; works without training."""

import itertools
from typing import Any

import torch
from torch import Tensor

from .merging import lengthen, merge_by_size, patch_sizes, size_bias, summed
from .reducer import TokenReducer
from .selection import bipartite_matching
from .tokens import Stage, Tokens, Trace


def merge_schedule(r: int | list[int | float], num_layers: int) -> list[int]:
    """Tokens to merge in each layer (ToMe, section 4): a number for all, or `[r, inflection]`.

    An inflection of -1 falls linearly from 2r to 0, 1 rises from 0 to 2r, 0 is constant; the total stays about
    r x layers. One integer a layer is taken as it is; missing ones are 0.
    """
    if isinstance(r, int):
        return [r] * num_layers
    if len(r) == 2 and isinstance(r[1], float):
        lowest = int(r[0] * (1 - r[1]))
        step = 2 * (r[0] - lowest) / max(1, num_layers - 1)
        return [int(lowest + step * layer) for layer in range(num_layers)]
    return [int(value) for value in r] + [0] * (num_layers - len(r))


class ToMeReducer(TokenReducer):
    """In each of `config.stage_layers` (every block), between attention and MLP, merge similar patch tokens.

    Tokens are compared by their keys. A merged token is the mean of its patches; attention counts it as often as it
    has patches. At most half of the tokens merge in one block, prefix tokens never.

    `keep_ratio=0.5` keeps half of the patches at the end, the same number less in every block; a list gives each
    block's fraction.

    Args:
        config: a `DynamicViTConfig`.
        r: tokens to merge in each block, in place of `keep_ratio`: a number, `[r, inflection]` with the inflection a
            float from -1.0 (2r falling to 0) to 1.0 (0 rising to 2r), or one integer a block.
        proportional_attention: add log(size) to the attention logits (published: on, except for models pretrained as
            masked autoencoders).
        merge: average the pairs; `False` drops the tokens that would have gone into others.
        prune_first: in blocks ahead of this one drop them, too (ToFu: half of the depth; https://arxiv.org/abs/2312.01026).
        keep_norm: a merged token is the plain mean of the tokens, at the norm of the longest of them (ToFu's MLERP).
    """

    acts, rest = "between", "merged"
    reads_patches = scores_patches = keeps_order = False  # keys are of the trace
    least_left = 0.5
    default_schedule = "linear"
    default_keep_ratio = 0.5
    count_options = ("r",)
    reduces_in_training = True

    def __init__(
        self,
        config: Any,
        r: int | list[int | float] | None = None,
        proportional_attention: bool = True,
        merge: bool = True,
        prune_first: int = 0,
        keep_norm: bool = False,
    ):
        super().__init__(config)
        self.check(
            r=(
                r,
                r is None or self._is_schedule(r, len(self.layers)),
                f"an integer of 0 or more, [integer, float from -1.0 to 1.0], or at most {len(self.layers)} integers",
            ),
            proportional_attention=(proportional_attention, isinstance(proportional_attention, bool), "true or false"),
            merge=(merge, isinstance(merge, bool), "true or false"),
            prune_first=(
                prune_first,
                isinstance(prune_first, int) and not isinstance(prune_first, bool) and prune_first >= 0,
                "an integer of 0 or more",
            ),
            keep_norm=(keep_norm, isinstance(keep_norm, bool), "true or false"),
        )
        if not merge and (prune_first or keep_norm):
            raise ValueError(
                "reducer_args: merge is false, so that nothing merges; leave prune_first and keep_norm out."
            )
        self.prune_first, self.keep_norm = (prune_first if merge else config.num_hidden_layers), keep_norm
        if not merge:
            self.rest = "dropped"
        self.merges = None if r is None else merge_schedule(r, len(self.layers))
        self.proportional_attention = proportional_attention
        self.metric_size = config.hidden_size // config.num_attention_heads

    @property
    def loses_patches(self) -> bool:
        return self.prune_first > 0

    @staticmethod
    def _is_schedule(r, num_layers: int) -> bool:
        def is_count(value):
            return isinstance(value, int) and not isinstance(value, bool) and value >= 0

        if isinstance(r, list | tuple):
            inflected = len(r) == 2 and is_count(r[0]) and isinstance(r[1], float) and -1 <= r[1] <= 1
            return inflected or (0 < len(r) <= num_layers and all(is_count(value) for value in r))
        return is_count(r)

    def set_keep_ratios(self, keep_ratios: list[float], counts: list[int] | None = None) -> None:
        super().set_keep_ratios(keep_ratios, counts)
        self.merges = None

    def stage_counts(self, num_patches: int) -> list[int]:
        if self.merges is None:
            return super().stage_counts(num_patches)
        counts = itertools.accumulate(
            self.merges, lambda left, merges: left - min(merges, left // 2), initial=num_patches
        )
        return list(counts)[1:]

    def reduce(self, tokens: Tokens, stage: Stage, source: Trace) -> Tokens:
        current = tokens.num_live
        if stage.count >= current:  # nothing merges
            return tokens.keep_all(stage)
        # SCORE and SELECT
        metric = self.metric(tokens, stage, source)
        index, rest, host = bipartite_matching(metric, current - stage.count, tokens.num_prefix, tokens.attended)
        # REST
        if stage.layer < self.prune_first:
            return tokens.drop(index, stage)
        if not self.keep_norm:
            return merge_by_size(tokens, index, rest, host, stage)
        size = patch_sizes(tokens)
        merged = tokens.merge(index, rest, host, torch.ones_like(size), stage)
        return lengthen(merged, tokens, index, rest, host).change(size=summed(size, index, rest, host))

    def metric(self, tokens: Tokens, stage: Stage, trace: Trace) -> Tensor:
        """`[B, N, d]`, of each patch token, whose cosine says how similar two are."""
        return trace.key[:, :, tokens.num_prefix :].mean(dim=1)

    def key_bias(self, tokens: Tokens) -> Tensor | None:
        return size_bias(tokens) if self.proportional_attention else None

    def multiply_adds(self, counts, num_patches, num_prefix):
        entering = [before for before, _ in self.reductions(counts, num_patches)]
        return sum((count // 2) * (count - count // 2) * self.metric_size for count in entering)
