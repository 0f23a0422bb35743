# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The image tower of SmolVLM, which reduces tokens."""

from typing import Any

from transformers.models.smolvlm.modeling_smolvlm import (
    SmolVLMEncoderLayer,
    SmolVLMVisionAttention,
    SmolVLMVisionMLP,
    SmolVLMVisionTransformer,
)

from .configuration_dynamicsmolvlm_vision import DynamicSmolVLMVisionConfig
from .packed import DynamicMLP
from .tower import MaskedTowerModel, TowerAttention, TowerLayer


class DynamicSmolVLMVisionAttention(TowerAttention, SmolVLMVisionAttention):
    pass


class DynamicSmolVLMVisionMLP(DynamicMLP, SmolVLMVisionMLP):
    pass


class DynamicSmolVLMVisionLayer(TowerLayer, SmolVLMEncoderLayer):
    pass


class DynamicSmolVLMVisionModel(MaskedTowerModel, SmolVLMVisionTransformer):
    """The image tower, whose tokens a reducer thins out between blocks. See `DynamicViTConfig`."""

    config: Any
    config_class = DynamicSmolVLMVisionConfig
    layer_class, attention_class, mlp_class = (
        DynamicSmolVLMVisionLayer,
        DynamicSmolVLMVisionAttention,
        DynamicSmolVLMVisionMLP,
    )


__all__ = ["DynamicSmolVLMVisionModel"]
