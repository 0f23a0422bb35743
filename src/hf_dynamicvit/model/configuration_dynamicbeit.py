# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configuration of a BEiT that reduces tokens."""

from huggingface_hub.dataclasses import strict
from transformers.models.beit.configuration_beit import BeitConfig

from .reduction_config import ReductionConfig


@strict
class DynamicBeitConfig(ReductionConfig, BeitConfig):
    """A `BeitConfig` plus a token reducer, whose fields `DynamicViTConfig` describes."""

    model_type = "dynamicbeit"
    dense_model_type = "beit"

    drop_path_rate: float | int = 0.1  # as natively

    @property
    def classifies_class_token(self) -> bool:
        """A classifier reads it, or the mean of the patches."""
        return not self.use_mean_pooling
