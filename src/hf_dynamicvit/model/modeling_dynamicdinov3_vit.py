# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""DINOv3 that reduces tokens: rotary positions follow the tokens."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.models.dinov3_vit.modeling_dinov3_vit import (
    DINOv3ViTAttention,
    DINOv3ViTBackbone,
    DINOv3ViTLayer,
    DINOv3ViTModel,
    DINOv3ViTPreTrainedModel,
    rotate_half,
)

from .block import DynamicAttention, alias
from .classification import ReducedForImageClassification
from .configuration_dynamicdinov3_vit import DynamicDINOv3ViTConfig
from .cost import grid_size
from .dino import ClassAndMeanModel, DinoBackbone, ScaledLayer
from .pretrained import ReducedPreTrainedModel
from .tokens import Tokens


class DynamicDINOv3ViTAttention(DynamicAttention, DINOv3ViTAttention):
    turns = True
    num_attention_heads, attention_dropout = alias("num_heads"), alias("dropout")

    def turn(self, states: Tensor, tokens: Tokens) -> Tensor:
        table: Any = tokens.table  # [P + num_patches + 1, 2d]
        rows = table[None, :-1] if tokens.places is None else table[tokens.places]
        if tokens.layout is not None:
            rows = tokens.layout.pack(rows.expand(*tokens.layout.padded, -1))
        cos, sin = rows[..., None, :].chunk(2, dim=-1)  # [B, T, 1, d]
        return states * cos + rotate_half(states) * sin


class DynamicDINOv3ViTLayer(ScaledLayer, DINOv3ViTLayer):
    pass


class DynamicDINOv3ViTPreTrainedModel(ReducedPreTrainedModel, DINOv3ViTPreTrainedModel):
    config: DynamicDINOv3ViTConfig
    config_class = DynamicDINOv3ViTConfig
    base_model_prefix = "dinov3_vit"
    layer_class, attention_class = DynamicDINOv3ViTLayer, DynamicDINOv3ViTAttention


class TurningModel(ClassAndMeanModel):
    """An encoder whose blocks turn queries and keys by the places of their tokens."""

    layers, layernorm = alias("model.layer"), alias("norm")
    rope_embeddings: Any

    def locate(self, tokens: Tokens, pixel_values: Tensor) -> Tokens:
        """Cosines and sines of every place; the prefix and a token that is nowhere are not turned."""
        cos, sin = self.rope_embeddings(pixel_values.to(self.embeddings.patch_embeddings.weight.dtype))
        still = torch.cat((torch.ones_like(cos[:1]), torch.zeros_like(sin[:1])), dim=1)
        table = torch.cat((still.expand(tokens.num_prefix, -1), torch.cat((cos, sin), dim=1), still))
        height, width = pixel_values.shape[-2:]
        return tokens.on_grid(grid_size(self.config, (height, width)), table)


class DynamicDINOv3ViTModel(DynamicDINOv3ViTPreTrainedModel, TurningModel, DINOv3ViTModel):
    """DINOv3 whose tokens a reducer thins out between blocks. See `DynamicViTConfig`."""


class DenseDINOv3ViTForImageClassification(DINOv3ViTPreTrainedModel):
    """A dense linear classifier of the class token and the mean of the patches; Transformers has none."""

    base_model_prefix = "dinov3_vit"

    def __init__(self, config: Any):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.dinov3_vit = DINOv3ViTModel(config)
        size = 2 * config.hidden_size
        self.classifier = nn.Linear(size, config.num_labels) if config.num_labels else nn.Identity()
        self.post_init()

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None, **kwargs) -> ImageClassifierOutput:
        states = self.dinov3_vit(pixel_values, **kwargs).last_hidden_state
        patches = states[:, 1 + self.config.num_register_tokens :]
        logits = self.classifier(torch.cat((states[:, 0], patches.mean(dim=1)), dim=1))
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return ImageClassifierOutput(loss=loss, logits=logits)


class DynamicDINOv3ViTForImageClassification(
    DynamicDINOv3ViTPreTrainedModel, ReducedForImageClassification, DenseDINOv3ViTForImageClassification
):
    """A linear classifier of the class token and the mean of the patches that are left, weighted by their size."""

    dinov3_vit: DynamicDINOv3ViTModel
    model_class, dense_class = DynamicDINOv3ViTModel, DenseDINOv3ViTForImageClassification


class DynamicDINOv3ViTBackbone(DynamicDINOv3ViTPreTrainedModel, DinoBackbone, TurningModel, DINOv3ViTBackbone):
    """Feature maps of every patch, at the stages `out_features`, for heads of depth and segmentation."""

    def normalise(self, states: Tensor, stage: int) -> Tensor:
        last = stage == len(self.stage_names) - 1
        return self.layernorm(states) if last else super().normalise(states, stage)

    def shape_map(self, states: Tensor, grid: tuple[int, int]) -> Tensor:
        shaped = super().shape_map(states, grid)
        return shaped if self.config.reshape_hidden_states else shaped[:, self.config.num_prefix :]

    @property
    def returns_class_tokens(self) -> bool:
        return getattr(self.config, "return_class_token", False)  # as natively, in no configuration class


__all__ = [
    "DynamicDINOv3ViTBackbone",
    "DynamicDINOv3ViTForImageClassification",
    "DynamicDINOv3ViTModel",
    "DynamicDINOv3ViTPreTrainedModel",
]
