# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configurations of a MetaCLIP 2 whose image tower reduces tokens."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import SubConfigSpec
from transformers.models.metaclip_2.configuration_metaclip_2 import (
    MetaClip2Config,
    MetaClip2TextConfig,
    MetaClip2VisionConfig,
)

from .reduction_config import ReductionConfig, TwoTowerReductionConfig


@strict
class DynamicMetaClip2VisionConfig(ReductionConfig, MetaClip2VisionConfig):
    """A `MetaClip2VisionConfig` plus a token reducer, whose fields `DynamicViTConfig` describes."""

    model_type = "dynamicmetaclip_2_vision_model"
    dense_model_type = "metaclip_2_vision_model"
    square_only = True

    @property
    def classifies_class_token(self) -> bool:
        """A classifier reads the mean of the patches."""
        return False


@strict
class DynamicMetaClip2Config(TwoTowerReductionConfig, MetaClip2Config):
    """A `MetaClip2Config` whose image tower reduces tokens; its fields can be given here too: `reducer="tome"`."""

    model_type = "dynamicmetaclip_2"
    dense_model_type = "metaclip_2"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "vision_config": SubConfigSpec(DynamicMetaClip2VisionConfig),
        "text_config": SubConfigSpec(MetaClip2TextConfig),
    }
