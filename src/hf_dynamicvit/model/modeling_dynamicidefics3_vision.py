# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The image tower of Idefics3, which reduces tokens."""

from typing import Any

from transformers.models.idefics3.modeling_idefics3 import (
    Idefics3EncoderLayer,
    Idefics3VisionAttention,
    Idefics3VisionMLP,
    Idefics3VisionTransformer,
)

from .configuration_dynamicidefics3_vision import DynamicIdefics3VisionConfig
from .packed import DynamicMLP
from .tower import MaskedTowerModel, TowerAttention, TowerLayer


class DynamicIdefics3VisionAttention(TowerAttention, Idefics3VisionAttention):
    pass


class DynamicIdefics3VisionMLP(DynamicMLP, Idefics3VisionMLP):
    pass


class DynamicIdefics3VisionLayer(TowerLayer, Idefics3EncoderLayer):
    pass


class DynamicIdefics3VisionModel(MaskedTowerModel, Idefics3VisionTransformer):
    """The image tower, whose tokens a reducer thins out between blocks. See `DynamicViTConfig`."""

    config: Any
    config_class = DynamicIdefics3VisionConfig
    layer_class, attention_class, mlp_class = (
        DynamicIdefics3VisionLayer,
        DynamicIdefics3VisionAttention,
        DynamicIdefics3VisionMLP,
    )


__all__ = ["DynamicIdefics3VisionModel"]
