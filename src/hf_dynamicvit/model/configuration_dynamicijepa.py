# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configuration of a I-JEPA that reduces tokens."""

from huggingface_hub.dataclasses import strict
from transformers.models.ijepa.configuration_ijepa import IJepaConfig

from .reduction_config import ReductionConfig


@strict
class DynamicIJepaConfig(ReductionConfig, IJepaConfig):
    """A `IJepaConfig` plus a token reducer, whose fields `DynamicViTConfig` describes."""

    model_type = "dynamicijepa"
    dense_model_type = "ijepa"

    @property
    def num_prefix(self) -> int:
        """There is no class token."""
        return 0
