# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""DINOv2 with registers that reduces tokens."""

from torch import Tensor
from transformers.models.dinov2_with_registers.modeling_dinov2_with_registers import (
    Dinov2WithRegistersAttention,
    Dinov2WithRegistersBackbone,
    Dinov2WithRegistersEmbeddings,
    Dinov2WithRegistersForImageClassification,
    Dinov2WithRegistersLayer,
    Dinov2WithRegistersMLP,
    Dinov2WithRegistersModel,
    Dinov2WithRegistersPreTrainedModel,
)

from .block import DynamicAttention, alias
from .classification import ReducedForImageClassification
from .configuration_dynamicdinov2_with_registers import DynamicDinov2WithRegistersConfig
from .dino import ClassAndMeanModel, DinoBackbone, ScaledLayer
from .packed import DynamicMLP
from .pretrained import ReducedPreTrainedModel
from .spatial import interpolate_positions


class DynamicDinov2WithRegistersEmbeddings(Dinov2WithRegistersEmbeddings):
    """`Dinov2WithRegistersEmbeddings` whose positions interpolate between any two grids, square or not."""

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        """Position embeddings `[1, 1 + num_patches, D]` for an image of `height` x `width` pixels."""
        return interpolate_positions(self, 1, height, width, antialias=True)


class DynamicDinov2WithRegistersAttention(DynamicAttention, Dinov2WithRegistersAttention):
    pass


class DynamicDinov2WithRegistersMLP(DynamicMLP, Dinov2WithRegistersMLP):
    pass


class DynamicDinov2WithRegistersLayer(ScaledLayer, Dinov2WithRegistersLayer):
    pass


class DynamicDinov2WithRegistersPreTrainedModel(ReducedPreTrainedModel, Dinov2WithRegistersPreTrainedModel):
    config: DynamicDinov2WithRegistersConfig
    config_class = DynamicDinov2WithRegistersConfig
    embeddings_class, layer_class = DynamicDinov2WithRegistersEmbeddings, DynamicDinov2WithRegistersLayer
    attention_class, mlp_class = DynamicDinov2WithRegistersAttention, DynamicDinov2WithRegistersMLP


class DynamicDinov2WithRegistersModel(
    DynamicDinov2WithRegistersPreTrainedModel, ClassAndMeanModel, Dinov2WithRegistersModel
):
    """DINOv2 with registers whose tokens a reducer thins out between blocks. See `DynamicViTConfig`."""

    layers = alias("encoder.layer")


class DynamicDinov2WithRegistersForImageClassification(
    DynamicDinov2WithRegistersPreTrainedModel, ReducedForImageClassification, Dinov2WithRegistersForImageClassification
):
    """A linear classifier of the class token and the mean of the patches that are left, weighted by their size."""

    dinov2_with_registers: DynamicDinov2WithRegistersModel
    model_class, dense_class = DynamicDinov2WithRegistersModel, Dinov2WithRegistersForImageClassification


class DynamicDinov2WithRegistersBackbone(
    DynamicDinov2WithRegistersPreTrainedModel, DinoBackbone, Dinov2WithRegistersBackbone
):
    """Feature maps of every patch, at the stages `out_features`, for heads of depth and segmentation."""

    layers = alias("encoder.layer")


__all__ = [
    "DynamicDinov2WithRegistersBackbone",
    "DynamicDinov2WithRegistersForImageClassification",
    "DynamicDinov2WithRegistersModel",
    "DynamicDinov2WithRegistersPreTrainedModel",
]
