# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The counter against published tables and against what runs."""

import pytest
import torch
from methods import usual
from torch.utils.flop_counter import FlopCounterMode
from toys import toy_images, toy_model

from hf_dynamicvit import DynamicViTConfig, DynamicViTForImageClassification
from hf_dynamicvit.model.cost import vit_multiply_adds


@pytest.mark.parametrize(
    "width, heads, keep_ratio, giga",
    # matrix products and convolutions of the published models at 224 px, counted on the published code
    [(256, 4, 0.7, 1.375), (384, 6, 0.7, 2.981), (768, 12, 0.7, 11.476)],
)
def test_published_models(width, heads, keep_ratio, giga):
    config = DynamicViTConfig(
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        num_labels=1000,
        keep_ratio=keep_ratio,
    )
    with torch.device("meta"):
        model = DynamicViTForImageClassification(config)
    assert model.token_counts() == [137, 96, 67]
    assert round(model.multiply_adds() / 1e9, 3) == giga


def test_dense_deit_small():
    config = DynamicViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536)
    assert round(vit_multiply_adds(config, 196, [(196, 196)] * 12, num_prefix=1, num_outputs=1000) / 1e9, 3) == 4.599


@usual(reducer=["dynamicvit", "tome"])
@usual(size=[(48, 16)])
@pytest.mark.parametrize("overrides, size", [({}, 32), ({}, (48, 16)), ({"num_channels": 1, "keep_ratio": 0.4}, 32)])
def test_equals_what_runs(reducer, overrides, size):
    model = toy_model(reducer=reducer, **overrides)
    model.set_attn_implementation("eager")  # the flop counter does not see SDPA on the CPU
    height, width = (size, size) if isinstance(size, int) else size
    images = toy_images(1, height, width, channels=overrides.get("num_channels", 3))
    with FlopCounterMode(display=False) as counter:  # with gradients on, the last block computes every token
        model(images, interpolate_pos_encoding=True)
    assert counter.get_total_flops() == 2 * model.multiply_adds(images)
    if not model.config.is_adaptive:
        assert model.multiply_adds(size) == model.multiply_adds(images)
