# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""On the grid: positions for any size of image, and features of every patch where it is."""

from typing import Any

import torch
from torch import Tensor, nn

from .configuration_dynamicvit import DynamicViTConfig
from .cost import as_pair, grid_size
from .reducer import TokenReducer
from .tokens import as_number, gather_tokens


def interpolate_positions(embeddings: Any, num_prefix: int, height: int, width: int) -> Tensor:
    """Position embeddings `[1, P + num_patches, D]` of an image of `height` x `width` pixels; the prefix as it is."""
    patch_height, patch_width = as_pair(embeddings.patch_size)
    base_height, base_width = as_pair(embeddings.image_size)
    base = base_height // patch_height, base_width // patch_width
    grid = as_number(height) // patch_height, as_number(width) // patch_width
    positions = embeddings.position_embeddings
    if grid == base:
        return positions
    first, patches = positions[:, :num_prefix], positions[:, num_prefix:]
    patches = patches.reshape(1, *base, -1).permute(0, 3, 1, 2)
    patches = nn.functional.interpolate(patches, size=grid, mode="bicubic", align_corners=False)
    return torch.cat((first, patches.flatten(2).transpose(1, 2)), dim=1)


def scatter_to_grid(
    config: DynamicViTConfig,
    reducer: TokenReducer,
    outputs: Any,
    image_size: int | tuple[int, int] | None = None,
) -> Tensor:
    """Features of every patch ahead of the final norm: `[B, num_patches, D]`.

    A patch whose token was merged has its group's, one that sat out or came back its own, a dropped one those that it
    left its last block with.

    Args:
        config, reducer: of the model that made them.
        outputs: of the model in eval mode, with `hidden_states`.
        image_size: of the images, in pixels; `None` is the configuration's.

    Raises:
        ValueError: `outputs` lack the hidden states, or are of images with another number of patches.
    """
    down, across = grid_size(config, image_size)
    states, start = outputs.hidden_states, config.num_prefix
    if states is None:
        raise ValueError("scatter_to_grid needs the outputs of a call with output_hidden_states=True.")
    if outputs.kept.shape[-1] != down * across:
        raise ValueError(
            f"the outputs have {outputs.kept.shape[-1]} patches, an image of size {image_size or config.image_size} "
            f"has {down} x {across}; give the image_size of the call."
        )
    features = states[-1].new_zeros(states[-1].shape[0], down * across, states[-1].shape[-1])
    alive = torch.ones_like(outputs.kept[:, 0])
    owner = torch.arange(down * across, device=features.device).expand(features.shape[0], -1)
    steps = [*zip(reducer.decision_layers, outputs.kept.unbind(1), outputs.owner.unbind(1), strict=True)]
    for layer, kept, next_owner in steps:
        after = next_owner >= 0 if reducer.merging else kept
        leaves = alive & ~after
        tokens = states[layer][:, start:]
        if tokens.shape[1]:  # else nobody was left to leave
            features = torch.where(leaves[..., None], gather_tokens(tokens, owner.clamp(min=0)), features)
        alive, owner = alive & after, next_owner
    final = states[-1][:, start:]
    if final.shape[1]:
        features = torch.where(alive[..., None], gather_tokens(final, owner.clamp(min=0)), features)
    return features
