# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""MetaCLIP 2 whose image tower reduces tokens: the tower, a classifier on it, and both towers."""

from typing import Any

from transformers.models.metaclip_2.modeling_metaclip_2 import (
    MetaClip2Attention,
    MetaClip2EncoderLayer,
    MetaClip2ForImageClassification,
    MetaClip2MLP,
    MetaClip2Model,
    MetaClip2PreTrainedModel,
    MetaClip2VisionModel,
)

from .classification import ReducedForImageClassification
from .configuration_dynamicmetaclip_2 import DynamicMetaClip2Config, DynamicMetaClip2VisionConfig
from .packed import DynamicMLP
from .pretrained import ReducedPreTrainedModel
from .tower import ClassTowerModel, TowerAttention, TowerLayer, TwoTowerModel


class DynamicMetaClip2Attention(TowerAttention, MetaClip2Attention):
    pass


class DynamicMetaClip2MLP(DynamicMLP, MetaClip2MLP):
    pass


class DynamicMetaClip2Layer(TowerLayer, MetaClip2EncoderLayer):
    pass


class DynamicMetaClip2VisionModel(ClassTowerModel, MetaClip2VisionModel):
    """The image tower, whose tokens a reducer thins out between blocks. See `DynamicViTConfig`."""

    config: Any
    config_class = DynamicMetaClip2VisionConfig
    layer_class, attention_class, mlp_class = DynamicMetaClip2Layer, DynamicMetaClip2Attention, DynamicMetaClip2MLP


class DynamicMetaClip2PreTrainedModel(ReducedPreTrainedModel, MetaClip2PreTrainedModel):
    config: Any
    config_class = DynamicMetaClip2Config
    base_model_prefix = "vision_model"


class DynamicMetaClip2ForImageClassification(
    DynamicMetaClip2PreTrainedModel, ReducedForImageClassification, MetaClip2ForImageClassification
):
    """A linear classifier on the mean of the patches that are left, weighted by their size."""

    vision_model: DynamicMetaClip2VisionModel
    model_class, dense_class = DynamicMetaClip2VisionModel, MetaClip2ForImageClassification


class DynamicMetaClip2Model(DynamicMetaClip2PreTrainedModel, TwoTowerModel, MetaClip2Model):
    """Both towers, for zero-shot classification: called as the native model is."""

    vision_model: DynamicMetaClip2VisionModel
    model_class, dense_class = DynamicMetaClip2VisionModel, MetaClip2Model


__all__ = ["DynamicMetaClip2ForImageClassification", "DynamicMetaClip2Model", "DynamicMetaClip2VisionModel"]
