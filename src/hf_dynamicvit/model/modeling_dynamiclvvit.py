# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""LV-ViT that reduces tokens: patch tokens that are left have a say in the prediction."""

from typing import Any, Literal, cast

from torch import Tensor
from transformers.models.vit.modeling_vit import ViTAttention, ViTMLP

from .block import DynamicAttention, DynamicLayer
from .classification import ReducedForImageClassification
from .configuration_dynamiclvvit import DynamicLVViTConfig
from .modeling_lvvit import (
    LVViTForImageClassification,
    LVViTLayer,
    LVViTModel,
    LVViTPreTrainedModel,
    combine_answers,
)
from .outputs import Answer, DynamicViTModelOutput
from .packed import DynamicMLP
from .pretrained import ReducedPreTrainedModel
from .reduction import ReducedModel


class DynamicLVViTAttention(DynamicAttention, ViTAttention):
    pass


class DynamicLVViTMLP(DynamicMLP, ViTMLP):
    pass


class DynamicLVViTLayer(DynamicLayer, LVViTLayer):
    def branch(self, output: Tensor, part: Literal[0, 1]) -> Tensor:
        return super().branch(output, part) / self.branch_divisor


class DynamicLVViTPreTrainedModel(ReducedPreTrainedModel, LVViTPreTrainedModel):
    config: DynamicLVViTConfig
    config_class = DynamicLVViTConfig
    layer_class, attention_class, mlp_class = DynamicLVViTLayer, DynamicLVViTAttention, DynamicLVViTMLP


class DynamicLVViTModel(DynamicLVViTPreTrainedModel, ReducedModel, LVViTModel):
    """LV-ViT whose tokens a reducer thins out between blocks. See `DynamicViTConfig`."""


class DynamicLVViTForImageClassification(
    DynamicLVViTPreTrainedModel, ReducedForImageClassification, LVViTForImageClassification
):
    """A classifier of the class token plus half of the highest of those patch tokens that are left, by class."""

    lvvit: DynamicLVViTModel
    model_class, dense_class = DynamicLVViTModel, LVViTForImageClassification
    heads = ("classifier", "token_classifier")

    @classmethod
    def answer_dense(cls, dense: Any, states: Tensor) -> Answer:
        answers = dense.answer_tokens(states[:, 0], states[:, 1:])
        return Answer(combine_answers(answers), answers)

    def answer(self, outputs: DynamicViTModelOutput) -> Answer:
        features, states = cast(Tensor, outputs.features), cast(Tensor, outputs.last_hidden_state)
        answers = self.answer_tokens(features, states[:, 1:])
        return Answer(combine_answers(answers, outputs.weights), answers, outputs.auxiliary_logits)


__all__ = ["DynamicLVViTForImageClassification", "DynamicLVViTModel", "DynamicLVViTPreTrainedModel"]
