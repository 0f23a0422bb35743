# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configuration of a DINOv3 that reduces tokens."""

from huggingface_hub.dataclasses import strict
from transformers.models.dinov3_vit.configuration_dinov3_vit import DINOv3ViTConfig

from .reduction_config import ReductionConfig


@strict
class DynamicDINOv3ViTConfig(ReductionConfig, DINOv3ViTConfig):
    """A `DINOv3ViTConfig` plus a token reducer, whose fields `DynamicViTConfig` describes.

    `drop_path_rate` is the native one: the same in all blocks.
    """

    model_type = "dynamicdinov3_vit"
    dense_model_type = "dinov3_vit"
    turns = True

    @property
    def num_prefix(self) -> int:
        """The class token and the registers."""
        return 1 + self.num_register_tokens

    @property
    def classifies_class_token(self) -> bool:
        """A classifier reads the mean of the patches too."""
        return False

    @property
    def classifier_size(self) -> int:
        """Count the features of the class token and of the mean of the patches."""
        return 2 * self.hidden_size

    @property
    def mlp_size(self) -> int:
        """Count the weights of two layers, or of a gated MLP's three."""
        return (3 if self.use_gated_mlp else 2) * self.hidden_size * self.intermediate_size
