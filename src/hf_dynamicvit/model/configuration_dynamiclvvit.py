# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configuration of an LV-ViT that reduces tokens."""

from huggingface_hub.dataclasses import strict

from .configuration_lvvit import LVViTConfig
from .cost import as_pair
from .reduction_config import ReductionConfig


@strict
class DynamicLVViTConfig(ReductionConfig, LVViTConfig):
    """An `LVViTConfig` plus a token reducer, whose fields `DynamicViTConfig` describes."""

    model_type = "dynamiclvvit"
    dense_model_type = "lvvit"

    @property
    def classifies_class_token(self) -> bool:
        """A classifier reads every token."""
        return False

    @property
    def token_classifier_size(self) -> int:
        """Each patch token has a classifier besides."""
        return self.hidden_size

    @property
    def patch_multiply_adds(self) -> int:
        """Three convolutions on images of half the size, and the projection."""
        height, width = (size // 2 for size in as_pair(self.patch_size))
        stem = self.stem_width * (self.num_channels * 7**2 + 2 * self.stem_width * 3**2)
        return height * width * (stem + self.stem_width * self.hidden_size)
