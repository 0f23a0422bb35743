# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""CLIP whose image tower reduces tokens: the tower, a classifier on it, and both towers."""

from typing import Any

from transformers.models.clip.modeling_clip import (
    CLIPMLP,
    CLIPAttention,
    CLIPEncoderLayer,
    CLIPForImageClassification,
    CLIPModel,
    CLIPPreTrainedModel,
    CLIPVisionModel,
)

from .classification import ReducedForImageClassification
from .configuration_dynamicclip import DynamicCLIPConfig, DynamicCLIPVisionConfig
from .packed import DynamicMLP
from .pretrained import ReducedPreTrainedModel
from .tower import ClassTowerModel, TowerAttention, TowerLayer, TwoTowerModel


class DynamicCLIPAttention(TowerAttention, CLIPAttention):
    pass


class DynamicCLIPMLP(DynamicMLP, CLIPMLP):
    pass


class DynamicCLIPLayer(TowerLayer, CLIPEncoderLayer):
    pass


class DynamicCLIPVisionModel(ClassTowerModel, CLIPVisionModel):
    """The image tower, whose tokens a reducer thins out between blocks. See `DynamicViTConfig`."""

    config: Any
    config_class = DynamicCLIPVisionConfig
    layer_class, attention_class, mlp_class = DynamicCLIPLayer, DynamicCLIPAttention, DynamicCLIPMLP


class DynamicCLIPPreTrainedModel(ReducedPreTrainedModel, CLIPPreTrainedModel):
    config: Any
    config_class = DynamicCLIPConfig
    base_model_prefix = "vision_model"


class DynamicCLIPForImageClassification(
    DynamicCLIPPreTrainedModel, ReducedForImageClassification, CLIPForImageClassification
):
    """A linear classifier on the mean of the patches that are left, weighted by their size."""

    vision_model: DynamicCLIPVisionModel
    model_class, dense_class = DynamicCLIPVisionModel, CLIPForImageClassification


class DynamicCLIPModel(DynamicCLIPPreTrainedModel, TwoTowerModel, CLIPModel):
    """Both towers, for zero-shot classification: called as the native model is."""

    vision_model: DynamicCLIPVisionModel
    model_class, dense_class = DynamicCLIPVisionModel, CLIPModel


__all__ = ["DynamicCLIPForImageClassification", "DynamicCLIPModel", "DynamicCLIPVisionModel"]
