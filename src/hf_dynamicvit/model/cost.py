# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""One counter of multiply-adds, for reports, benchmarks and losses; norms, softmax and activations are not counted."""

from collections.abc import Sequence
from typing import Any


def as_pair(size: int | list[int] | tuple[int, ...]) -> tuple[int, int]:
    """`(height, width)` of a size given as one number or as two."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def image_tower(config: Any) -> Any:
    """Return the configuration of the image tower where `config` has two towers, else `config`."""
    return getattr(config, "vision_config", config)


def grid_size(config: Any, image_size: int | tuple[int, int] | None = None) -> tuple[int, int]:
    """Patches `(down, across)` of an image of `image_size` pixels (`None`: the configuration's).

    Those of a pyramid are the positions of its reduced stage.
    """
    config = image_tower(config)
    height, width = as_pair(config.image_size if image_size is None else image_size)
    if hasattr(config, "reduced_grid"):
        return config.reduced_grid(height, width)
    patch_height, patch_width = as_pair(config.patch_size)
    return height // patch_height, width // patch_width


def patch_pixels(config: Any) -> tuple[int, int]:
    """Pixels `(height, width)` of one patch of `grid_size`."""
    config = image_tower(config)
    return config.reduced_patch_size if hasattr(config, "reduced_patch_size") else as_pair(config.patch_size)


def feature_width(config: Any) -> int:
    """Channels of the features that a classifier reads, also of a native pyramid, whose stages have each its own."""
    return config.hidden_sizes[-1] if hasattr(config, "hidden_sizes") else config.hidden_size


def block_multiply_adds(width: int, mlp_size: int, attention_tokens: Any, mlp_tokens: Any) -> Any:
    """One encoder block: projections and attention over `attention_tokens`, MLP over `mlp_tokens`, prefix included.

    `mlp_size` is the number of weights of the MLP.
    """
    attention = 4 * attention_tokens * width**2 + 2 * attention_tokens**2 * width
    return attention + mlp_tokens * mlp_size


def vit_multiply_adds(
    config: Any,
    num_patches: int,
    counts: Sequence[tuple[Any, Any]],
    num_prefix: int,
    num_outputs: int,
    num_left: Any = None,
) -> Any:
    """One image through a ViT: patch projection, blocks, classifier.

    Args:
        config: a `ReductionConfig`, for its sizes.
        num_patches: patches of the image.
        counts: patch tokens in the attention and in the MLP of each block, integers, or differentiable tensors (one
            number an image); `[(num_patches, num_patches)] * depth` is the dense model.
        num_prefix: prefix tokens, which every block has besides.
        num_outputs: classes of the linear classifiers, 0 for none.
        num_left: patch tokens that leave the last block, as `counts`; `None` for those in its MLP.
    """
    width = config.hidden_size
    blocks = sum(
        block_multiply_adds(width, config.mlp_size, attention + num_prefix, mlp + num_prefix)
        for attention, mlp in counts
    )
    classified = counts[-1][1] if num_left is None else num_left
    heads = config.head_multiply_adds(num_outputs) + classified * config.token_classifier_size * num_outputs
    return num_patches * config.patch_multiply_adds + blocks + heads
