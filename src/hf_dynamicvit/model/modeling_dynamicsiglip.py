# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""SigLIP whose image tower reduces tokens: the tower, a classifier on it, and both towers."""

from typing import Any

from torch import Tensor, nn
from transformers.models.siglip.modeling_siglip import (
    SiglipAttention,
    SiglipEncoderLayer,
    SiglipForImageClassification,
    SiglipMLP,
    SiglipModel,
    SiglipPreTrainedModel,
    SiglipVisionModel,
)

from .block import alias
from .classification import ReducedForImageClassification
from .configuration_dynamicsiglip import DynamicSiglipConfig, DynamicSiglipVisionConfig
from .packed import DynamicMLP
from .pretrained import ReducedPreTrainedModel
from .scoring import weighted_attention
from .tower import TowerAttention, TowerLayer, TowerModel, TwoTowerModel


class DynamicSiglipAttention(TowerAttention, SiglipAttention):
    pass


class DynamicSiglipMLP(DynamicMLP, SiglipMLP):
    pass


class DynamicSiglipLayer(TowerLayer, SiglipEncoderLayer):
    pass


class DynamicSiglipVisionModel(TowerModel, SiglipVisionModel):
    """The image tower, whose tokens a reducer thins out between blocks. See `DynamicViTConfig`."""

    layernorm = alias("post_layernorm")

    def pool(self, states: Tensor, weights: Tensor | None) -> Tensor | None:
        if not self.use_head or weights is None:
            return self.head(states) if self.use_head else None
        head, attention = self.head, self.head.attention
        of_probe, of_states = attention.in_proj_weight.split((states.shape[-1], 2 * states.shape[-1]))
        probe_bias, state_bias = attention.in_proj_bias.split((states.shape[-1], 2 * states.shape[-1]))
        query = nn.functional.linear(head.probe.expand(len(states), -1, -1), of_probe, probe_bias)
        both = nn.functional.linear(states, of_states, state_bias).chunk(2, dim=-1)
        query, key, value = (each.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for each in (query, *both))
        pooled = attention.out_proj(weighted_attention(query, key, value, weights).transpose(1, 2).flatten(2))
        return (pooled + head.mlp(head.layernorm(pooled)))[:, 0]

    config: Any
    config_class = DynamicSiglipVisionConfig
    layer_class, attention_class, mlp_class = DynamicSiglipLayer, DynamicSiglipAttention, DynamicSiglipMLP


class DynamicSiglipPreTrainedModel(ReducedPreTrainedModel, SiglipPreTrainedModel):
    config: Any
    config_class = DynamicSiglipConfig
    base_model_prefix = "vision_model"


class DynamicSiglipForImageClassification(
    DynamicSiglipPreTrainedModel, ReducedForImageClassification, SiglipForImageClassification
):
    """A linear classifier on the mean of the patches that are left, weighted by their size."""

    vision_model: DynamicSiglipVisionModel
    model_class, dense_class = DynamicSiglipVisionModel, SiglipForImageClassification


class DynamicSiglipModel(DynamicSiglipPreTrainedModel, TwoTowerModel, SiglipModel):
    """Both towers, for zero-shot classification: called as the native model is."""

    vision_model: DynamicSiglipVisionModel
    model_class, dense_class = DynamicSiglipVisionModel, SiglipModel


__all__ = ["DynamicSiglipForImageClassification", "DynamicSiglipModel", "DynamicSiglipVisionModel"]
