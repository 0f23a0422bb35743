# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What the families of DINO share: scaled branches, a classifier of the class token and the mean of the patches.

And backbones, which are base models with another output.
"""

from typing import Any

import torch
from torch import Tensor

from .backbone import ReducedBackbone
from .block import MLP, DynamicLayer, alias
from .reduction import ReducedModel
from .scoring import masked_mean


class ScaledLayer(DynamicLayer):
    """A block whose branches have a learned scale each."""

    layernorm_before, layernorm_after = alias("norm1"), alias("norm2")
    layer_scale1: Any
    layer_scale2: Any

    def branch(self, output: Tensor, part: int) -> Tensor:
        scale = self.layer_scale2 if part == MLP else self.layer_scale1
        return self.drop_path(scale(output))


class ClassAndMeanModel(ReducedModel):
    """A base model whose classifier reads the class token beside the mean of the patches, `[B, 2D]`."""

    def embed_patches(self, pixel_values: Tensor, bool_masked_pos: Tensor | None, interpolate: bool) -> Tensor:
        return self.embeddings(pixel_values, bool_masked_pos)  # images of any size

    def read(self, states: Tensor, weights: Tensor | None, num_prefix: int) -> Tensor:
        return torch.cat((states[:, 0], masked_mean(states[:, num_prefix:], weights)[:, 0]), dim=1)

    def pool(self, states: Tensor, weights: Tensor | None) -> Tensor:
        return states[:, 0]


class DinoBackbone(ReducedBackbone, ClassAndMeanModel):
    """A base model that hands out feature maps, through its last norm where the configuration says so."""

    def normalise(self, states: Tensor, stage: int) -> Tensor:
        return self.layernorm(states) if self.config.apply_layernorm else states
