# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""One counter of multiply-adds, for reports, benchmarks and losses; norms, softmax and activations are not counted."""

from transformers.models.vit.configuration_vit import ViTConfig


def as_pair(size: int | list[int] | tuple[int, ...]) -> tuple[int, int]:
    """`(height, width)` of a size given as one number or as two."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def grid_size(config: ViTConfig, image_size: int | tuple[int, int] | None = None) -> tuple[int, int]:
    """Patches `(down, across)` of an image of `image_size` pixels (`None`: the configuration's)."""
    height, width = as_pair(config.image_size if image_size is None else image_size)
    patch_height, patch_width = as_pair(config.patch_size)
    return height // patch_height, width // patch_width


def block_multiply_adds(width: int, mlp_width: int, attention_tokens: float, mlp_tokens: float) -> float:
    """One encoder block: projections and attention over `attention_tokens`, MLP over `mlp_tokens`, prefix included."""
    attention = 4 * attention_tokens * width**2 + 2 * attention_tokens**2 * width
    return attention + 2 * mlp_tokens * width * mlp_width


def encoder_multiply_adds(config: ViTConfig, num_prefix: int, counts: list[tuple[int, int]]) -> float:
    """All blocks, given the patch tokens `(attention, MLP)` of each."""
    return sum(
        block_multiply_adds(config.hidden_size, config.intermediate_size, attention + num_prefix, mlp + num_prefix)
        for attention, mlp in counts
    )


def embedding_multiply_adds(config: ViTConfig, num_patches: int) -> int:
    """The patch projection."""
    patch_height, patch_width = as_pair(config.patch_size)
    return num_patches * config.hidden_size * config.num_channels * patch_height * patch_width
