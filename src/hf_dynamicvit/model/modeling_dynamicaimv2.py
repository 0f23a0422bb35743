# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""AIMv2 whose image tower reduces tokens: the tower, and both towers."""

from typing import Any

from torch import Tensor
from transformers.models.aimv2.modeling_aimv2 import (
    Aimv2Attention,
    Aimv2EncoderLayer,
    Aimv2Model,
    Aimv2VisionModel,
)

from .block import DynamicLayer, alias
from .configuration_dynamicaimv2 import DynamicAimv2Config, DynamicAimv2VisionConfig
from .scoring import weighted_attention
from .tower import TowerAttention, TowerModel, TwoTowerModel, refuse_masked


class DynamicAimv2Attention(TowerAttention, Aimv2Attention):
    pass


class DynamicAimv2Layer(DynamicLayer, Aimv2EncoderLayer):
    layernorm_before, layernorm_after, mlp = alias("rms_norm1"), alias("rms_norm2"), alias("ffn")

    def branch(self, output: Tensor, part: int) -> Tensor:
        return self.drop_path(output)


class DynamicAimv2VisionModel(TowerModel, Aimv2VisionModel):
    """The image tower, whose tokens a reducer thins out between blocks. See `DynamicViTConfig`."""

    config: Any
    config_class = DynamicAimv2VisionConfig
    layer_class, attention_class = DynamicAimv2Layer, DynamicAimv2Attention
    layernorm = alias("rms_norm")

    def embed_patches(self, pixel_values: Tensor, bool_masked_pos: Tensor | None, interpolate: bool) -> Tensor:
        refuse_masked(self, bool_masked_pos)
        return self.embeddings(pixel_values.to(self.embeddings.patch_embed.weight.dtype))

    def pool(self, states: Tensor, weights: Tensor | None) -> Tensor | None:
        if not self.use_head or weights is None:
            return self.head(states) if self.use_head else None
        head = self.head
        query, key, value = (
            each.unflatten(-1, (head.num_heads, -1)).transpose(1, 2)
            for each in (head.cls_token.expand(len(states), -1, -1), head.k_proj(states), head.v_proj(states))
        )
        return head.output_proj(weighted_attention(query, key, value, weights).transpose(1, 2).flatten(2)[:, 0])


class DynamicAimv2Model(TwoTowerModel, Aimv2Model):
    """Both towers."""

    config: Any
    config_class = DynamicAimv2Config
    base_model_prefix = "vision_model"
    auto_names = ("AutoModel",)
    vision_model: DynamicAimv2VisionModel
    model_class, dense_class = DynamicAimv2VisionModel, Aimv2Model


__all__ = ["DynamicAimv2Model", "DynamicAimv2VisionModel"]
