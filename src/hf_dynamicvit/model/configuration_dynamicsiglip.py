# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configurations of a SigLIP whose image tower reduces tokens."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import SubConfigSpec
from transformers.models.siglip.configuration_siglip import SiglipConfig, SiglipTextConfig, SiglipVisionConfig

from .reduction_config import ReductionConfig, TwoTowerReductionConfig


@strict
class DynamicSiglipVisionConfig(ReductionConfig, SiglipVisionConfig):
    """A `SiglipVisionConfig` plus a token reducer, whose fields `DynamicViTConfig` describes."""

    model_type = "dynamicsiglip_vision_model"
    dense_model_type = "siglip_vision_model"
    square_only = True

    @property
    def num_prefix(self) -> int:
        """There is no class token."""
        return 0


@strict
class DynamicSiglipConfig(TwoTowerReductionConfig, SiglipConfig):
    """A `SiglipConfig` whose image tower reduces tokens; its fields can be given here too: `reducer="tome"`."""

    model_type = "dynamicsiglip"
    dense_model_type = "siglip"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "vision_config": SubConfigSpec(DynamicSiglipVisionConfig),
        "text_config": SubConfigSpec(SiglipTextConfig),
    }
