# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configurations of a CLIP whose image tower reduces tokens."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import SubConfigSpec
from transformers.models.clip.configuration_clip import CLIPConfig, CLIPTextConfig, CLIPVisionConfig

from .reduction_config import ReductionConfig, TwoTowerReductionConfig


@strict
class DynamicCLIPVisionConfig(ReductionConfig, CLIPVisionConfig):
    """A `CLIPVisionConfig` plus a token reducer, whose fields `DynamicViTConfig` describes."""

    model_type = "dynamicclip_vision_model"
    dense_model_type = "clip_vision_model"
    square_only = True

    @property
    def classifies_class_token(self) -> bool:
        """A classifier reads the mean of the patches."""
        return False


@strict
class DynamicCLIPConfig(TwoTowerReductionConfig, CLIPConfig):
    """A `CLIPConfig` whose image tower reduces tokens; its fields can be given here too: `reducer="tome"`."""

    model_type = "dynamicclip"
    dense_model_type = "clip"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "vision_config": SubConfigSpec(DynamicCLIPVisionConfig),
        "text_config": SubConfigSpec(CLIPTextConfig),
    }
