# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""DynamicDeiT on Hugging Face DeiT: two prefix tokens and two classifiers over the same loop and reducers."""

from typing import Any

from torch import Tensor
from transformers.models.deit.modeling_deit import (
    DeiTAttention,
    DeiTEmbeddings,
    DeiTForImageClassificationWithTeacher,
    DeiTLayer,
    DeiTMLP,
    DeiTModel,
    DeiTPreTrainedModel,
)

from .block import DynamicAttention, DynamicLayer
from .classification import ReducedForImageClassification
from .configuration_dynamicdeit import DynamicDeiTConfig
from .packed import DynamicMLP
from .pretrained import ReducedPreTrainedModel
from .reduction import ReducedModel
from .spatial import interpolate_positions


class DynamicDeiTEmbeddings(DeiTEmbeddings):
    """`DeiTEmbeddings` whose position embeddings interpolate between any two grids, square or not, any patch shape."""

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        """Position embeddings `[1, 2 + num_patches, D]` for an image of `height` x `width` pixels."""
        return interpolate_positions(self, 2, height, width)


class DynamicDeiTAttention(DynamicAttention, DeiTAttention):
    pass


class DynamicDeiTMLP(DynamicMLP, DeiTMLP):
    pass


class DynamicDeiTLayer(DynamicLayer, DeiTLayer):
    pass


class DynamicDeiTPreTrainedModel(ReducedPreTrainedModel, DeiTPreTrainedModel):
    config: Any  # no DeiTConfig
    config_class = DynamicDeiTConfig
    embeddings_class, layer_class = DynamicDeiTEmbeddings, DynamicDeiTLayer
    attention_class, mlp_class = DynamicDeiTAttention, DynamicDeiTMLP


class DynamicDeiTModel(DynamicDeiTPreTrainedModel, ReducedModel, DeiTModel):
    """DeiT whose tokens a reducer thins out between blocks; the first two tokens are never reduced."""


class DynamicDeiTForImageClassification(
    DynamicDeiTPreTrainedModel, ReducedForImageClassification, DeiTForImageClassificationWithTeacher
):
    """DynamicDeiT with a linear classifier on each prefix token; the logits are their mean, as in DeiT at inference.

    ```python
    name = "facebook/deit-tiny-distilled-patch16-224"
    model = DynamicDeiTForImageClassification.from_pretrained(name)
    ```
    """

    deit: DynamicDeiTModel
    model_class, dense_class = DynamicDeiTModel, DeiTForImageClassificationWithTeacher
    heads = ("cls_classifier", "distillation_classifier")


__all__ = ["DynamicDeiTForImageClassification", "DynamicDeiTModel", "DynamicDeiTPreTrainedModel"]
