# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""DynamicViT on Hugging Face ViT."""

from torch import Tensor
from transformers.models.vit.modeling_vit import (
    ViTAttention,
    ViTEmbeddings,
    ViTForImageClassification,
    ViTLayer,
    ViTMLP,
    ViTModel,
    ViTPreTrainedModel,
)

from .block import DynamicAttention, DynamicLayer
from .classification import ReducedForImageClassification
from .configuration_dynamicvit import DynamicViTConfig
from .packed import DynamicMLP
from .pretrained import ReducedPreTrainedModel
from .reduction import ReducedModel
from .spatial import interpolate_positions


class DynamicViTEmbeddings(ViTEmbeddings):
    """`ViTEmbeddings` whose position embeddings interpolate between any two grids, square or not, any patch shape."""

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        """Position embeddings `[1, 1 + num_patches, D]` for an image of `height` x `width` pixels."""
        return interpolate_positions(self, 1, height, width)


class DynamicViTAttention(DynamicAttention, ViTAttention):
    pass


class DynamicViTMLP(DynamicMLP, ViTMLP):
    pass


class DynamicViTLayer(DynamicLayer, ViTLayer):
    pass


class DynamicViTPreTrainedModel(ReducedPreTrainedModel, ViTPreTrainedModel):
    config: DynamicViTConfig
    config_class = DynamicViTConfig
    embeddings_class, layer_class = DynamicViTEmbeddings, DynamicViTLayer
    attention_class, mlp_class = DynamicViTAttention, DynamicViTMLP


class DynamicViTModel(DynamicViTPreTrainedModel, ReducedModel, ViTModel):
    """ViT whose tokens a reducer thins out between blocks. See `DynamicViTConfig`."""


class DynamicViTForImageClassification(
    DynamicViTPreTrainedModel, ReducedForImageClassification, ViTForImageClassification
):
    """DynamicViT with a linear classifier on the class token (Evo-ViT: the patches). Loads any dense ViT classifier:

    ```python
    name = "facebook/deit-small-patch16-224"
    model = DynamicViTForImageClassification.from_pretrained(name, keep_ratio=0.7)
    ```
    """

    vit: DynamicViTModel
    model_class, dense_class = DynamicViTModel, ViTForImageClassification


__all__ = ["DynamicViTForImageClassification", "DynamicViTModel", "DynamicViTPreTrainedModel"]
