# Copyright 2026 The hf_dynamicvit authors. Evo-ViT (AAAI 2022): https://arxiv.org/abs/2108.01390
"""Evo-ViT on LeViT: in each stage some patches take the slow path, the others go along as one token and come back."""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.models.levit.modeling_levit import LevitClassificationLayer

from .reducer import Constants, TokenReducer
from .reducer_evovit import EvoViTReducer
from .schedules import SCHEDULES, Schedule
from .selection import keep_count
from .tokens import Stage, Tokens


def stage_sides(side: int, count: int) -> list[int]:
    """Patches along an edge of the image in each of `count` stages, of which the first has `side`."""
    sides = [side]
    for _ in range(count - 1):
        sides.append((sides[-1] + 1) // 2)
    return sides


def take_every_other(values: Tensor, side: int) -> Tensor:
    """Take the patches of every other row and column of `values` `[B, side * side, ...]`."""
    return values.unflatten(1, (side, side))[:, ::2, ::2].flatten(1, 2)


class EvoLevitReducer(EvoViTReducer):
    """Evo-ViT's method in the stages of a LeViT; a stage works on `int(patches of its grid * ratio)` and one token.

    The first two blocks of the first stage see every patch. What joins them in a later one is the mean of the patches
    that wait, weighted with the global class attention; behind the group each of those has added to it what the blocks
    did to that token. Where the grid gets coarser every patch is there, and new.

    Args:
        config: a `DynamicLevitConfig`.
        grouping: `"stage"` selects once in a stage, and learns how much each attention counts in the running average;
            `"layer"` selects anew in every block, where each counts one half, as published for the first two thirds
            of the training (`GroupingSwitch`).
    """

    loss_weights = dict.fromkeys(("classification", "auxiliary", "hard_distill", "auxiliary_hard_distill"), 0.25)

    def __init__(self, config: Any, grouping: str = "stage"):
        super().__init__(config, grouping, "class", representative_token=True)
        self.reads_class_token = False
        self.loss_weights = type(self).loss_weights
        self.depths: list[int] = [*config.depths]
        self.widths: list[int] = [*config.hidden_sizes]
        # a number for each attention, those that make the grid coarser too
        self.tradeoffs = Constants([0.0] * (self.depth + len(self.depths) - 1))
        self.class_heads = nn.ModuleList()
        if config.num_labels:
            heads = (LevitClassificationLayer(self.widths[-1], config.num_labels) for _ in range(2))
            self.class_heads = nn.ModuleList(heads)

    def stage_of_layer(self, layer: int) -> int:
        """Return the index of the stage that the block at `layer` is in."""
        return next(stage for stage in range(len(self.depths)) if layer < sum(self.depths[: stage + 1]))

    def grid_patches(self, num_patches: int) -> list[int]:
        """Patches of the grid of each stage for an image of `num_patches`."""
        return [side**2 for side in stage_sides(math.isqrt(num_patches), len(self.depths))]

    def stage_at(self, layer: int, num_patches: int) -> Stage | None:
        """Return the stage at `layer`, whose grid has `num_patches`, or `None`."""
        if layer not in self.decision_layers:
            return None
        index = max(index for index, start in enumerate(self.layers) if start <= layer)
        ratio = self.keep_ratios[index]
        return Stage(layer, index, ratio, keep_count(num_patches, ratio))

    def entered_patches(self, num_patches: int) -> list[int]:
        """Patches of the grid that each group of blocks is on."""
        grids = self.grid_patches(num_patches)
        return [grids[self.stage_of_layer(layer)] for layer in self.layers]

    def stage_counts(self, num_patches: int) -> list[int]:
        entered = self.entered_patches(num_patches)
        return [keep_count(patches, ratio) for patches, ratio in zip(entered, self.keep_ratios, strict=True)]

    def all_counts(self, num_patches: int) -> list[tuple[int, int]]:
        """Patch tokens of each block where nobody waits."""
        grids = self.grid_patches(num_patches)
        patches = [grids[self.stage_of_layer(layer)] for layer in range(self.depth)]
        return [*zip(patches, patches, strict=True)]

    def token_counts(self, num_patches: int, depth: int, kept: list[int] | None = None) -> list[tuple[int, int]]:
        counts = self.all_counts(num_patches)
        for start, slow in zip(self.layers, self.stage_counts(num_patches), strict=True):
            end = sum(self.depths[: self.stage_of_layer(start) + 1])
            if slow < counts[start][0]:  # those, and one for the others
                counts[start:end] = [(slow + 1, slow + 1)] * (end - start)
        return counts

    def share(self, attention: int) -> Tensor | float:
        """Return how much the attention of that number counts in the running average."""
        return self.tradeoffs(attention).sigmoid() if self.grouping == "stage" else 0.5

    @property
    def unread(self) -> list[str]:
        """Those of the first attention, which starts the average, and of the last stage, behind its selection."""
        if self.grouping == "layer":
            return [f"tradeoffs.{index}" for index in range(len(self.tradeoffs))]
        last = range(self.layers[-1] + len(self.depths) - 1, len(self.tradeoffs))
        return [f"tradeoffs.{index}" for index in (0, *last)]

    def average(self, tokens: Tokens, attention: Tensor, layer: int) -> Tokens:
        """Take the class `attention` `[B, N]` of the block at `layer` into the global one."""
        if tokens.importance is None:
            return tokens.change(importance=attention)
        if not any(start > layer for start in self.decision_layers):  # nobody reads it
            return tokens
        share = self.share(layer + self.stage_of_layer(layer))
        if tokens.waiting is None:
            return tokens.change(importance=(1 - share) * tokens.importance + share * attention)
        index = cast(Tensor, tokens.waiting.index)
        live = attention[:, : index.shape[1]]  # without the representative token
        average = (1 - share) * tokens.importance.gather(1, index) + share * live
        return tokens.change(importance=tokens.importance.scatter(1, index, average))

    def coarsen(self, importance: Tensor, attention: Tensor, stage: int, side: int) -> Tensor:
        """Return the global class attention of the grid behind `stage`, of the same sum over all patches.

        `importance` and `attention` `[B, N]` are of its own grid, of `side` x `side` patches: the global one, and that
        of the attention that makes it coarser.
        """
        share = self.share(sum(self.depths[: stage + 1]) + stage)
        taken, seen = take_every_other(importance, side), take_every_other(attention, side)
        mixed = (1 - share) * taken + share * seen
        return mixed * (importance.sum(dim=1, keepdim=True) / mixed.sum(dim=1, keepdim=True))

    def class_logits(self, class_token: Tensor) -> Tensor | None:
        """`[B, 2, K]` of the class token `[B, D]`, for labels and for the teacher's answers; training only."""
        if not self.training or not len(self.class_heads):
            return None
        return torch.stack([head(class_token) for head in self.class_heads], dim=1)

    def multiply_adds(self, counts, num_patches, num_prefix):
        grids, total = self.grid_patches(num_patches), 0
        for layer in self.decision_layers:  # the mean of those that wait
            stage = self.stage_of_layer(layer)
            total += grids[stage] * self.widths[stage] if counts[layer][0] < grids[stage] else 0
        return total


LEVIT_REDUCERS: dict[str, type[TokenReducer]] = {"evovit": EvoLevitReducer}
LEVIT_SCHEDULES: dict[str, Schedule] = {"evovit": SCHEDULES["evovit"]}
