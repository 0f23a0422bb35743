# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configuration of the image tower of Idefics3, which reduces tokens."""

from huggingface_hub.dataclasses import strict
from transformers.models.idefics3.configuration_idefics3 import Idefics3VisionConfig

from .reduction_config import ReductionConfig


@strict
class DynamicIdefics3VisionConfig(ReductionConfig, Idefics3VisionConfig):
    """An `Idefics3VisionConfig` plus a token reducer, whose fields `DynamicViTConfig` describes."""

    model_type = "dynamicidefics3_vision"
    dense_model_type = "idefics3_vision"
    square_only = True

    @property
    def num_prefix(self) -> int:
        """There is no class token."""
        return 0
