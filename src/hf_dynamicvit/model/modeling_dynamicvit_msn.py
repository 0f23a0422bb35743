# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""ViT-MSN that reduces tokens."""

from torch import Tensor
from transformers.models.vit_msn.modeling_vit_msn import (
    ViTMSNAttention,
    ViTMSNEmbeddings,
    ViTMSNForImageClassification,
    ViTMSNLayer,
    ViTMSNMLP,
    ViTMSNModel,
    ViTMSNPreTrainedModel,
)

from .block import DynamicAttention, DynamicLayer
from .classification import ReducedForImageClassification
from .configuration_dynamicvit_msn import DynamicViTMSNConfig
from .packed import DynamicMLP
from .pretrained import ReducedPreTrainedModel
from .reduction import ReducedModel
from .spatial import interpolate_positions


class DynamicViTMSNEmbeddings(ViTMSNEmbeddings):
    """`ViTMSNEmbeddings` whose positions interpolate between any two grids, square or not, any patch shape."""

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        """Position embeddings `[1, 1 + num_patches, D]` for an image of `height` x `width` pixels."""
        return interpolate_positions(self, 1, height, width)


class DynamicViTMSNAttention(DynamicAttention, ViTMSNAttention):
    pass


class DynamicViTMSNMLP(DynamicMLP, ViTMSNMLP):
    pass


class DynamicViTMSNLayer(DynamicLayer, ViTMSNLayer):
    pass


class DynamicViTMSNPreTrainedModel(ReducedPreTrainedModel, ViTMSNPreTrainedModel):
    config: DynamicViTMSNConfig
    config_class = DynamicViTMSNConfig
    embeddings_class, layer_class = DynamicViTMSNEmbeddings, DynamicViTMSNLayer
    attention_class, mlp_class = DynamicViTMSNAttention, DynamicViTMSNMLP


class DynamicViTMSNModel(DynamicViTMSNPreTrainedModel, ReducedModel, ViTMSNModel):
    """ViT-MSN whose tokens a reducer thins out between blocks. See `DynamicViTConfig`."""

    pooler = None


class DynamicViTMSNForImageClassification(
    DynamicViTMSNPreTrainedModel, ReducedForImageClassification, ViTMSNForImageClassification
):
    """A linear classifier on the class token."""

    vit: DynamicViTMSNModel
    model_class, dense_class = DynamicViTMSNModel, ViTMSNForImageClassification


__all__ = ["DynamicViTMSNForImageClassification", "DynamicViTMSNModel", "DynamicViTMSNPreTrainedModel"]
