# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configuration of the image tower of SmolVLM, which reduces tokens."""

from huggingface_hub.dataclasses import strict
from transformers.models.smolvlm.configuration_smolvlm import SmolVLMVisionConfig

from .reduction_config import ReductionConfig


@strict
class DynamicSmolVLMVisionConfig(ReductionConfig, SmolVLMVisionConfig):
    """A `SmolVLMVisionConfig` plus a token reducer, whose fields `DynamicViTConfig` describes."""

    model_type = "dynamicsmolvlm_vision"
    dense_model_type = "smolvlm_vision"
    square_only = True

    @property
    def num_prefix(self) -> int:
        """There is no class token."""
        return 0
