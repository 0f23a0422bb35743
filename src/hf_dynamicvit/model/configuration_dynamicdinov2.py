# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configuration of a DINOv2 that reduces tokens."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.models.dinov2.configuration_dinov2 import Dinov2Config

from .reduction_config import ReductionConfig


class Dinov2ReductionConfig(ReductionConfig):
    """What the configurations of DINOv2 with and without registers share."""

    @property
    def classifies_class_token(self) -> bool:
        """A classifier reads the mean of the patches too."""
        return False

    @property
    def classifier_size(self) -> int:
        """Count the features of the class token and of the mean of the patches."""
        native: Any = self  # no fields here, which would have no default
        return 2 * native.hidden_size

    @property
    def mlp_size(self) -> int:
        """Count the weights of two layers, or of a gated MLP's three: two thirds as wide, a multiple of 8."""
        native: Any = self
        width = int(native.hidden_size * native.mlp_ratio)
        return native.hidden_size * (3 * ((width * 2 // 3 + 7) // 8 * 8) if native.use_swiglu_ffn else 2 * width)


@strict
class DynamicDinov2Config(Dinov2ReductionConfig, Dinov2Config):
    """A `Dinov2Config` plus a token reducer, whose fields `DynamicViTConfig` describes.

    `drop_path_rate` is the native one: the same in all blocks.
    """

    model_type = "dynamicdinov2"
    dense_model_type = "dinov2"
