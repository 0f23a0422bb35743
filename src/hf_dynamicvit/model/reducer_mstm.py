# Copyright 2026 The hf_dynamicvit authors. MSTM (2023), from its description alone: https://arxiv.org/abs/2306.04897
"""MSTM: patches also see the image at larger scales; then those of little class attention go into the most alike."""

from typing import Any

import torch
from torch import Tensor, nn

from .cost import grid_size
from .reducer_tps import ETPSReducer
from .selection import is_number
from .tokens import Tokens


# Each has a linear map of its own; a file from anywhere must not ask for more.
MOST_SCALES = 16


class ScaleProjection(nn.Linear):
    """A linear map that starts at zero, so that what it adds to changes nothing until it is trained."""


def average_squares(tokens: Tokens, grid: tuple[int, int], side: int) -> Tensor:
    """Average the patch tokens of each square of `side` x `side` patches, `[B, N, D]`, the same for all in a square.

    All patches are there, in the order of the `grid`; squares at its ends may have fewer. What the user's mask
    excludes is in no mean.
    """
    patches = tokens.patches.float()
    places = [torch.arange(length, device=patches.device) // side for length in grid]
    square = (places[0][:, None] * grid[1] + places[1]).flatten().expand(patches.shape[0], -1)  # [B, N]
    weights = torch.ones_like(patches[..., 0]) if tokens.attended is None else tokens.attended.float()
    count = torch.zeros_like(weights).scatter_add(1, square, weights).gather(1, square).clamp(min=1)
    index = square[..., None].expand_as(patches)
    total = torch.zeros_like(patches).scatter_add(1, index, patches * weights[..., None]).gather(1, index)
    return (total / count[..., None]).to(tokens.hidden.dtype)


class MSTMReducer(ETPSReducer):
    """In each of `config.stage_layers`, between attention and MLP, patches of little class attention go into others.

    Ahead of the first of them each patch has added to it what learned linear maps, one a scale, make of the mean of
    the square of patches around it: features of larger patches. Then the patches of least class attention (of the mean
    query, where there is no class token) are averaged into the most similar of the others, by their similarity, as in
    TPS. Training computes what inference computes.

    From the paper's description, which leaves open the score, the weights and the scales (here: squares of 2 and of 4
    patches a side), and how features of several scales are fused (here: a sum that starts as the patches alone).

    Args:
        config: a `DynamicViTConfig`.
        scales: patches along a side of the squares, 2 or more each; none leaves the merging alone.
        temperature: of the weights exp(cosine / temperature), at least 0.02.
    """

    def __init__(self, config: Any, scales: list[int] | tuple[int, ...] = (2, 4), temperature: float = 1.0):
        listed = isinstance(scales, list | tuple) and len(scales) <= MOST_SCALES
        listed = listed and all(type(side) is int and side >= 2 for side in scales)
        self.check(
            scales=(scales, listed, f"a list of at most {MOST_SCALES} integers of 2 or more"),
            temperature=(temperature, is_number(temperature) and temperature >= 0.02, "0.02 or more"),
        )
        super().__init__(config, temperature)
        self.scales, self.grid = [*scales], grid_size(config)
        self.projections = nn.ModuleList([ScaleProjection(self.width, self.width) for _ in self.scales])

    def before(self, tokens: Tokens, block: nn.Module, layer: int) -> Tokens:
        """Add the larger scales, ahead of the first stage."""
        if layer != self.layers[0]:
            return tokens
        patches = tokens.patches
        for side, project in zip(self.scales, self.projections, strict=True):
            patches = patches + project(average_squares(tokens, tokens.grid or self.grid, side))
        return tokens.change(hidden=torch.cat((tokens.prefix, patches), dim=1))

    def multiply_adds(self, counts, num_patches, num_prefix):
        projecting = len(self.scales) * num_patches * self.width**2
        return super().multiply_adds(counts, num_patches, num_prefix) + projecting
