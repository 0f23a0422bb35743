# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""On the grid: positions for any size of image, and features of every patch where it is."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .adaptive import AdaptiveReducer
from .cost import as_pair, grid_size
from .reducer import TokenReducer
from .reduction_config import ReductionConfig
from .tokens import Tokens, as_number, gather_tokens


def interpolate_positions(
    embeddings: Any, num_prefix: int, height: int, width: int, antialias: bool = False
) -> Tensor:
    """Position embeddings `[1, P + num_patches, D]` of an image of `height` x `width` pixels; the prefix as it is."""
    patch_height, patch_width = as_pair(embeddings.patch_embeddings.patch_size)
    base_height, base_width = as_pair(embeddings.patch_embeddings.image_size)
    base = base_height // patch_height, base_width // patch_width
    grid = as_number(height) // patch_height, as_number(width) // patch_width
    positions = embeddings.position_embeddings
    if grid == base:
        return positions
    first, patches = positions[:, :num_prefix], positions[:, num_prefix:]
    patches = patches.reshape(1, *base, -1).permute(0, 3, 1, 2).float()  # half precision would shift them
    patches = nn.functional.interpolate(patches, size=grid, mode="bicubic", align_corners=False, antialias=antialias)
    return torch.cat((first, patches.flatten(2).transpose(1, 2).to(positions.dtype)), dim=1)


def scatter_to_grid(
    config: ReductionConfig,
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
    states, start = outputs.hidden_states, config.num_prefix
    if states is None:
        raise ValueError("scatter_to_grid needs the outputs of a call with output_hidden_states=True.")
    down, across = find_grid(config, outputs, image_size)
    if config.full_grid:
        return states[-1][:, start:]
    features = states[-1].new_zeros(states[-1].shape[0], down * across, states[-1].shape[-1])
    alive = torch.ones_like(outputs.kept[:, 0])
    owner = torch.arange(down * across, device=features.device).expand(features.shape[0], -1)
    steps = [*zip(reducer.decision_layers, outputs.kept.unbind(1), outputs.owner.unbind(1), strict=True)]
    for layer, kept, next_owner in steps:
        after = kept if reducer.rest == "dropped" else next_owner >= 0
        leaves = alive & ~after
        tokens = states[layer][:, start:]
        if tokens.shape[1]:  # else nobody was left to leave
            features = torch.where(leaves[..., None], gather_tokens(tokens, owner.clamp(min=0)), features)
        alive, owner = alive & after, next_owner
    final = states[-1][:, start:]
    if final.shape[1]:
        features = torch.where(alive[..., None], gather_tokens(final, owner.clamp(min=0)), features)
    return features


def follow_patches(states: Sequence[Tokens], stages: Collection[int], reducer: TokenReducer) -> list[Tensor]:
    """Put the tokens of `stages` where their patches are: `[B, P + num_patches, D]` each.

    Args:
        states: the tokens that enter the first block and those that leave each.
        stages: indices into them, ascending.
        reducer: of the model that made them.
    """
    patches, found, rest = states[0].patches, [], reducer.rest
    # patches that go leave something behind; a merged one has its group's, unless a mask excludes it
    masks = (states[0].attention_mask, states[-1].mask)
    remembers = reducer.loses_patches or any(mask is not None for mask in masks)
    for stage, (tokens, following) in enumerate(zip(states, [*states[1:], states[-1]], strict=True)):
        leaving = len(following.decisions) > len(tokens.decisions)
        if stage in stages or (remembers and leaving):
            patches = read_patches(tokens.rejoin(), patches, rest)
        if stage in stages:
            found.append(torch.cat((tokens.prefix, patches), dim=1))
    return found


def put_patches_back(model: Any, outputs: Any) -> Any:
    """Return `outputs`, which have `tokens`, with every patch in its place in the states, as natively.

    A patch whose token was merged has its group's features, one that sits out its own, a dropped one those that it
    left its last block with.
    """
    last, asked = len(outputs.tokens) - 1, outputs.hidden_states or ()
    stages = sorted({last, *(stage for stage, states in enumerate(asked) if states is not None)})
    followed = dict(zip(stages, follow_patches(outputs.tokens, stages, model.reducer), strict=True))
    ordered = {stage: model.native_order(states) for stage, states in followed.items()}
    hidden = tuple(None if states is None else ordered[stage] for stage, states in enumerate(asked)) or None
    return replace(outputs, last_hidden_state=model.layernorm(ordered[last]), hidden_states=hidden)


def read_patches(tokens: Tokens, earlier: Tensor, rest: str) -> Tensor:
    """Features of every patch, `[B, num_patches, D]`: its token's, or those it had `earlier` where it is gone.

    A mask of training takes the place of what is gone, and so gets the gradient of what is read.
    """
    if not tokens.decisions:
        return tokens.patches
    if not tokens.num_live:
        return earlier
    if tokens.mask is not None:
        held = tokens.mask[..., None].to(earlier.dtype)
        return held * tokens.patches + (1 - held) * earlier
    kept = tokens.decisions[-1].kept if rest == "dropped" else tokens.owner >= 0
    own = gather_tokens(tokens.patches, tokens.owner.clamp(min=0))
    return torch.where(kept[..., None], own, earlier)


def find_grid(config: ReductionConfig, outputs: Any, image_size: int | tuple[int, int] | None) -> tuple[int, int]:
    """Patches `(down, across)` of the images of `outputs`.

    Raises:
        ValueError: an image of `image_size` has another number of patches.
    """
    down, across = grid_size(config, image_size)
    if outputs.kept.shape[-1] != down * across:
        raise ValueError(
            f"the outputs have {outputs.kept.shape[-1]} patches, an image of size {image_size or config.image_size} "
            f"has {down} x {across}; give the image_size of the call."
        )
    return down, across


def tokens_to_grid(
    config: ReductionConfig,
    reducer: TokenReducer,
    tokens: Tensor,
    outputs: Any,
    layer: int,
    image_size: int | tuple[int, int] | None = None,
) -> Tensor:
    """Place the tokens of one block where their patches are: `[B, D, down, across]`; 0 for patches without one.

    Args:
        config, reducer: of the model that made them.
        tokens: `[B, P + N, D]`, in, or as they leave, the block `layer`.
        outputs: of the model for the same images, in eval mode.
        layer: index of the block, 0-based.
        image_size: of the images, in pixels; `None` is the configuration's.

    Raises:
        ValueError: `tokens` are of no call whose outputs these are, or where they stand cannot be told.
    """
    grid = find_grid(config, outputs, image_size)
    if tokens.ndim != 3 or len(tokens) != len(outputs.kept) or tokens.shape[1] < config.num_prefix:
        raise ValueError(
            f"tokens have shape {tuple(tokens.shape)}; [{len(outputs.kept)}, {config.num_prefix} + N, D] are wanted, "
            "as blocks hand them on with gradients or output_hidden_states=True."
        )
    patches = tokens[:, config.num_prefix :]
    places = find_places(reducer, outputs, patches.shape[1], layer)  # [B, num_patches]
    if not patches.shape[1]:
        return patches.new_zeros(len(patches), patches.shape[2], *grid)
    found = gather_tokens(patches, places.clamp(min=0)).masked_fill(places[..., None] < 0, 0)
    return found.transpose(1, 2).unflatten(2, grid)


def find_places(reducer: TokenReducer, outputs: Any, count: int, layer: int) -> Tensor:
    """Find which of the `count` patch tokens in block `layer` each patch has: `[B, num_patches]` int64, -1 for none.

    A decision of this very block is ahead of some of its modules and behind others; the number of tokens tells.

    Raises:
        ValueError: there are never so many, or both before and after that decision.
    """
    everywhere = torch.arange(outputs.kept.shape[2], device=outputs.kept.device).expand(len(outputs.kept), -1)
    found = {"before": (everywhere.shape[1], everywhere)}
    decisions = zip(reducer.decision_layers, outputs.kept.unbind(1), outputs.owner.unbind(1), strict=True)
    for decided, kept, owner in decisions:
        if decided > layer:
            break
        if reducer.rest == "idle":  # those that wait are put back behind the group of blocks
            going = kept.sum(dim=1)
            alike = going.amax() == going.amin() or isinstance(reducer, AdaptiveReducer)  # which pads behind them
            length = int(going.amax()) if alike else -1  # a mask leaves some of those out
            extra = reducer.num_representatives if length < everywhere.shape[1] else 0
            found["after"] = length + extra, (kept.cumsum(dim=1) - 1).where(kept, -1)
        else:
            after = int(owner.amax()) + 1, owner if reducer.rest == "merged" else owner.where(kept, -1)
            found = {"before": found.popitem()[1], "after": after} if decided == layer else {"before": after}
    fitting = [places for length, places in found.values() if length == count]
    if not fitting or not torch.equal(fitting[0], fitting[-1]):
        seen = " or ".join(str(length) for length, _ in found.values())
        raise ValueError(
            f"tokens have {count} patches; in block {layer} there are {seen}, and where each is must follow from that."
        )
    return fitting[0]
