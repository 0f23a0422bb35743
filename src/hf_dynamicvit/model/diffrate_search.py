# Copyright 2026 The hf_dynamicvit authors. DiffRate (ICCV 2023): https://arxiv.org/abs/2305.17997
"""DiffRate's search: how many patches each block drops and merges is learned, with the weights frozen."""

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from .cost import vit_multiply_adds
from .merging import most_similar, patch_sizes
from .tokens import Stage, Tokens, gather_tokens, weighted_merge


# Fractions of the patches by which the means of untrained counts lie below all of them: dropped, and merged besides.
FIRST_DROPPED, FIRST_REMOVED = 0.03, 0.06

# A mean above a number by less is that number.
ROUNDING = 1e-3


class LearnedCounts(nn.ParameterList):
    """Logits over numbers of patches to keep, of each stage. Called with an index it gives those of that stage.

    A count is the mean of the candidates by their probabilities, rounded up (DiffRate, section 3.2).

    Args:
        candidates: the numbers of each stage, falling.
        removed: fraction of the highest by which untrained means lie below it, about.
    """

    def __init__(self, candidates: list[list[int]], removed: float):
        self.start = [
            [(number - numbers[0]) / max(1.0, removed * numbers[0]) for number in numbers] for numbers in candidates
        ]
        super().__init__(nn.Parameter(torch.tensor(logits)) for logits in self.start)
        self.candidates = candidates

    __call__ = nn.Module.__call__  # which a list of parameters has not

    def forward(self, index: int) -> Tensor:
        return self[index]

    def probabilities(self, index: int) -> Tensor:
        """Return the probability of each candidate of a stage, float32."""
        return self(index).float().softmax(dim=0)

    def count(self, index: int) -> Tensor:
        """Return the number of patches that a stage keeps, a scalar with the gradient of the mean."""
        shares = self.probabilities(index)
        mean = (shares * shares.new_tensor(self.candidates[index])).sum()
        rounded = (mean.detach() - ROUNDING).ceil()
        return rounded + (mean - mean.detach())

    def keep(self, index: int, count: int, left: int, num_patches: int) -> Tensor:
        """Return 0 for the places from `count` to `left` of `num_patches`, which go, and 1 for the others.

        `[num_patches]`. The gradient is that of the probability that the place is among those that are kept.
        """
        shares = self.probabilities(index)
        places = torch.arange(num_patches, device=shares.device)
        kept = places < shares.new_tensor(self.candidates[index])[:, None]  # [candidates, num_patches]
        soft = (shares[:, None] * kept).sum(dim=0)
        hard = (places < count) | (
            places >= left
        )  # those behind are out already, by decisions with their own gradient
        return hard.to(soft.dtype) + (soft - soft.detach())


class CountSearch(nn.Module):
    """What the search learns, and how tokens are masked with it in training (DiffRate, section 3).

    Args:
        config: a `DynamicViTConfig`.
        budget: the multiply-adds to search for, as a fraction of the dense model's.
        granularity: every so many numbers of patches are candidates.
    """

    def __init__(self, config: Any, budget: float, granularity: int):
        super().__init__()
        self.config, self.budget = config, budget
        self.layers = [layer for layer in config.stage_layers if layer]  # the first block is left alone, as published
        candidates = [list(range(config.num_patches, 0, -granularity)) for _ in self.layers]
        self.pruned = LearnedCounts(candidates, FIRST_DROPPED)
        self.merged = LearnedCounts(candidates, FIRST_REMOVED)

    @torch.no_grad()
    def pairs(self) -> list[tuple[int, int]]:
        """Return the patches that each stage leaves, behind dropping and behind merging: what the search has found."""
        num_patches, stages = self.config.num_patches, self.config.stage_layers
        counts = [each.count(index) for index in range(len(self.pruned)) for each in (self.pruned, self.merged)]
        numbers = [int(count) for count in torch.stack(counts).tolist()]  # at once: on a device it waits
        running = list(itertools.accumulate(numbers, min, initial=num_patches))[1:]
        alone = [(num_patches, num_patches)] * (len(stages) - len(self.layers))
        return [*alone, *zip(running[::2], running[1::2], strict=True)]

    def relax(self, tokens: Tokens, stage: Stage, scores: Tensor) -> Tokens:
        """Drop and merge as inference does, with every token still there and a gradient for the counts.

        Args:
            tokens: behind the attention.
            stage: at which they are reduced.
            scores: `[B, N]`, the class attention; 0 for tokens that are out.

        Raises:
            ValueError: the images are not of the configuration's size.
        """
        pairs, num_patches = self.pairs(), self.config.num_patches
        if tokens.num_patches != num_patches:
            raise ValueError(
                f"the images have {tokens.num_patches} patches; the search counts those of the configuration's, "
                f"{num_patches}."
            )
        if stage.layer not in self.layers:
            return tokens.keep_all(stage, scores)
        left = pairs[stage.index - 1][1] if stage.index else num_patches
        index, (pruned, merged) = self.layers.index(stage.layer), pairs[stage.index]
        order = scores.detach().argsort(dim=1, descending=True)
        keep = torch.ones(num_patches, device=scores.device)
        if pruned < left:
            keep = keep * self.pruned.keep(index, pruned, left, num_patches)
        size = patch_sizes(tokens)
        if merged < pruned:
            tokens, size = self.merge(tokens, order[:, :merged], order[:, merged:pruned], size)
            keep = keep * self.merged.keep(index, merged, pruned, num_patches)
        by_token = torch.zeros_like(scores).scatter(1, order, keep.expand_as(scores))
        return tokens.change(size=size).mask_out(by_token, stage)

    @staticmethod
    def merge(tokens: Tokens, index: Tensor, rest: Tensor, size: Tensor) -> tuple[Tokens, Tensor]:
        """Average the tokens at `rest` `[B, R]` into those at `index` `[B, K]`, where all stay; return sizes, too."""
        cosine, host = most_similar(tokens, rest, index)
        patches = tokens.patches
        one = torch.ones_like(size)
        means = weighted_merge(
            gather_tokens(patches, index),
            gather_tokens(patches, rest),
            host,
            one.gather(1, index),
            one.gather(1, rest),
        )
        patches = patches.scatter(1, index[..., None].expand_as(means), means)
        added = (size.gather(1, rest) * cosine).clamp(min=1)  # as published, unlike at inference
        size = size.scatter_add(1, index.gather(1, host), added)
        return tokens.change(hidden=torch.cat((tokens.prefix, patches), dim=1)), size

    def multiply_adds(self) -> Tensor:
        """Multiply-adds of one image with the counts of now, without scores and similarities, with their gradient."""
        current: Any = self.config.num_patches
        counts = []
        for layer in range(self.config.num_hidden_layers):
            entering = current
            if layer in self.layers:
                index = self.layers.index(layer)
                current = least(entering, self.pruned.count(index), self.merged.count(index))
            counts.append((entering, current))
        return vit_multiply_adds(
            self.config, self.config.num_patches, counts, self.config.num_prefix, self.config.num_labels or 0
        )

    def loss(self) -> Tensor:
        """Return the squared distance of the multiply-adds from the budget, both as fractions of the dense model's."""
        num_patches = self.config.num_patches
        everything = [(num_patches, num_patches)] * self.config.num_hidden_layers
        outputs = self.config.num_labels or 0
        dense = vit_multiply_adds(self.config, num_patches, everything, self.config.num_prefix, outputs)
        return (self.multiply_adds() / dense - self.budget).square()


def least(entering: Tensor | int, pruned: Tensor, merged: Tensor) -> Tensor:
    """Return the least of three counts; its gradient goes whole to `pruned` and to `merged`, as published."""
    value = min(int(entering), int(pruned), int(merged))
    return value + (pruned - pruned.detach()) + (merged - merged.detach())
