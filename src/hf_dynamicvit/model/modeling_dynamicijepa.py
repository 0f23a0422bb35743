# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""I-JEPA that reduces tokens."""

from torch import Tensor
from transformers.models.ijepa.modeling_ijepa import (
    IJepaAttention,
    IJepaEmbeddings,
    IJepaForImageClassification,
    IJepaLayer,
    IJepaMLP,
    IJepaModel,
    IJepaPreTrainedModel,
)

from .block import DynamicAttention, DynamicLayer
from .classification import ReducedForImageClassification
from .configuration_dynamicijepa import DynamicIJepaConfig
from .packed import DynamicMLP
from .pretrained import ReducedPreTrainedModel
from .reduction import ReducedModel
from .spatial import interpolate_positions


class DynamicIJepaEmbeddings(IJepaEmbeddings):
    """`IJepaEmbeddings` whose positions interpolate between any two grids, square or not, any patch shape."""

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        """Position embeddings `[1, num_patches, D]` for an image of `height` x `width` pixels."""
        return interpolate_positions(self, 0, height, width)


class DynamicIJepaAttention(DynamicAttention, IJepaAttention):
    pass


class DynamicIJepaMLP(DynamicMLP, IJepaMLP):
    pass


class DynamicIJepaLayer(DynamicLayer, IJepaLayer):
    pass


class DynamicIJepaPreTrainedModel(ReducedPreTrainedModel, IJepaPreTrainedModel):
    config: DynamicIJepaConfig
    config_class = DynamicIJepaConfig
    embeddings_class, layer_class = DynamicIJepaEmbeddings, DynamicIJepaLayer
    attention_class, mlp_class = DynamicIJepaAttention, DynamicIJepaMLP


class DynamicIJepaModel(DynamicIJepaPreTrainedModel, ReducedModel, IJepaModel):
    """I-JEPA whose tokens a reducer thins out between blocks. See `DynamicViTConfig`."""

    def adopt(self) -> None:
        super().adopt()
        if self.pooler is not None:
            raise ValueError("add_pooling_layer is True: the pooler of I-JEPA reads patch 0, which may be gone.")


class DynamicIJepaForImageClassification(
    DynamicIJepaPreTrainedModel, ReducedForImageClassification, IJepaForImageClassification
):
    """A linear classifier on the mean of the patches that are left, weighted by their size."""

    ijepa: DynamicIJepaModel
    model_class, dense_class = DynamicIJepaModel, IJepaForImageClassification


__all__ = ["DynamicIJepaForImageClassification", "DynamicIJepaModel", "DynamicIJepaPreTrainedModel"]
