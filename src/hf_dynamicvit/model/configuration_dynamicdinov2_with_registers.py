# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configuration of a DINOv2 with registers that reduces tokens."""

from huggingface_hub.dataclasses import strict
from transformers.models.dinov2_with_registers.configuration_dinov2_with_registers import Dinov2WithRegistersConfig

from .configuration_dynamicdinov2 import Dinov2ReductionConfig


@strict
class DynamicDinov2WithRegistersConfig(Dinov2ReductionConfig, Dinov2WithRegistersConfig):
    """A `Dinov2WithRegistersConfig` plus a token reducer, whose fields `DynamicViTConfig` describes.

    `drop_path_rate` is the native one: the same in all blocks.
    """

    model_type = "dynamicdinov2_with_registers"
    dense_model_type = "dinov2_with_registers"

    @property
    def num_prefix(self) -> int:
        """The class token and the registers."""
        return 1 + self.num_register_tokens
