# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""DINOv2 that reduces tokens."""

from torch import Tensor
from transformers.models.dinov2.modeling_dinov2 import (
    Dinov2Attention,
    Dinov2Backbone,
    Dinov2Embeddings,
    Dinov2ForImageClassification,
    Dinov2Layer,
    Dinov2MLP,
    Dinov2Model,
    Dinov2PreTrainedModel,
)

from .block import DynamicAttention, alias
from .classification import ReducedForImageClassification
from .configuration_dynamicdinov2 import DynamicDinov2Config
from .dino import ClassAndMeanModel, DinoBackbone, ScaledLayer
from .packed import DynamicMLP
from .pretrained import ReducedPreTrainedModel
from .spatial import interpolate_positions


class DynamicDinov2Embeddings(Dinov2Embeddings):
    """`Dinov2Embeddings` whose positions interpolate between any two grids, square or not, any patch shape."""

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        """Position embeddings `[1, 1 + num_patches, D]` for an image of `height` x `width` pixels."""
        return interpolate_positions(self, 1, height, width)


class DynamicDinov2Attention(DynamicAttention, Dinov2Attention):
    pass


class DynamicDinov2MLP(DynamicMLP, Dinov2MLP):
    pass


class DynamicDinov2Layer(ScaledLayer, Dinov2Layer):
    pass


class DynamicDinov2PreTrainedModel(ReducedPreTrainedModel, Dinov2PreTrainedModel):
    config: DynamicDinov2Config
    config_class = DynamicDinov2Config
    embeddings_class, layer_class = DynamicDinov2Embeddings, DynamicDinov2Layer
    attention_class, mlp_class = DynamicDinov2Attention, DynamicDinov2MLP


class DynamicDinov2Model(DynamicDinov2PreTrainedModel, ClassAndMeanModel, Dinov2Model):
    """DINOv2 whose tokens a reducer thins out between blocks. See `DynamicViTConfig`."""

    layers = alias("encoder.layer")


class DynamicDinov2ForImageClassification(
    DynamicDinov2PreTrainedModel, ReducedForImageClassification, Dinov2ForImageClassification
):
    """A linear classifier of the class token and the mean of the patches that are left, weighted by their size."""

    dinov2: DynamicDinov2Model
    model_class, dense_class = DynamicDinov2Model, Dinov2ForImageClassification


class DynamicDinov2Backbone(DynamicDinov2PreTrainedModel, DinoBackbone, Dinov2Backbone):
    """Feature maps of every patch, at the stages `out_features`, for heads of depth and segmentation."""

    layers = alias("encoder.layer")


__all__ = [
    "DynamicDinov2Backbone",
    "DynamicDinov2ForImageClassification",
    "DynamicDinov2Model",
    "DynamicDinov2PreTrainedModel",
]
