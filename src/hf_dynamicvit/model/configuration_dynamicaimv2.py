# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configurations of an AIMv2 whose image tower reduces tokens."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import SubConfigSpec
from transformers.models.aimv2.configuration_aimv2 import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig

from .reduction_config import ReductionConfig, TwoTowerReductionConfig


@strict
class DynamicAimv2VisionConfig(ReductionConfig, Aimv2VisionConfig):
    """An `Aimv2VisionConfig` plus a token reducer, whose fields `DynamicViTConfig` describes."""

    model_type = "dynamicaimv2_vision_model"
    dense_model_type = "aimv2_vision_model"
    square_only = True

    @property
    def num_prefix(self) -> int:
        """There is no class token."""
        return 0

    @property
    def mlp_size(self) -> int:
        """Count the weights of a gated MLP: three layers."""
        return 3 * self.hidden_size * self.intermediate_size


@strict
class DynamicAimv2Config(TwoTowerReductionConfig, Aimv2Config):
    """An `Aimv2Config` whose image tower reduces tokens; its fields can be given here too: `reducer="tome"`."""

    model_type = "dynamicaimv2"
    dense_model_type = "aimv2"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "vision_config": SubConfigSpec(DynamicAimv2VisionConfig),
        "text_config": SubConfigSpec(Aimv2TextConfig),
    }
