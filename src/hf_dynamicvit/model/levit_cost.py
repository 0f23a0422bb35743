# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Multiply-adds of a LeViT, part by part; norms, softmax and activations are not counted."""

import itertools
from typing import Any


def stem_multiply_adds(config: Any, num_patches: int) -> int:
    """Four convolutions, each of which halves the image."""
    channels = [config.num_channels, *(config.hidden_sizes[0] // part for part in (8, 4, 2, 1))]
    pairs = enumerate(itertools.pairwise(channels))
    return sum(9 * num_patches * 4 ** (3 - index) * entering * leaving for index, (entering, leaving) in pairs)


def attention_multiply_adds(config: Any, stage: int, tokens: int) -> int:
    """One block: projections and attention over `tokens`, and its MLP."""
    width, heads, key = (sizes[stage] for sizes in (config.hidden_sizes, config.num_attention_heads, config.key_dim))
    value = config.attention_ratio[stage] * key
    attention = tokens * width * heads * (2 * key + 2 * value) + tokens**2 * heads * (key + value)
    return attention + mlp_multiply_adds(tokens, width, config.mlp_ratio[stage])


def mlp_multiply_adds(tokens: int, width: int, ratio: int) -> int:
    """Two linear layers, the first `ratio` times as wide."""
    return 2 * tokens * ratio * width**2


def coarser_multiply_adds(config: Any, stage: int, before: int, after: int) -> int:
    """Attention from `after` tokens to the `before` of a stage, and the MLP behind it."""
    _, key, heads, ratio, mlp_ratio, _ = config.down_ops[stage]
    width, wider = config.hidden_sizes[stage : stage + 2]
    keys, values = heads * key, heads * key * ratio
    projections = before * width * (keys + values) + after * (width * keys + values * wider)
    return projections + before * after * (keys + values) + mlp_multiply_adds(after, wider, mlp_ratio)
