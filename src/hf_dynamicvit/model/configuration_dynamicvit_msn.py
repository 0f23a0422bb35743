# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configuration of a ViT-MSN that reduces tokens."""

from huggingface_hub.dataclasses import strict
from transformers.models.vit_msn.configuration_vit_msn import ViTMSNConfig

from .reduction_config import ReductionConfig


@strict
class DynamicViTMSNConfig(ReductionConfig, ViTMSNConfig):
    """A `ViTMSNConfig` plus a token reducer, whose fields `DynamicViTConfig` describes."""

    model_type = "dynamicvit_msn"
    dense_model_type = "vit_msn"
