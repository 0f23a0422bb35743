# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configuration of a YOLOS that reduces tokens."""

from huggingface_hub.dataclasses import strict
from transformers.models.yolos.configuration_yolos import YolosConfig

from .reduction_config import ReductionConfig


@strict
class DynamicYolosConfig(ReductionConfig, YolosConfig):
    """A `YolosConfig` plus a token reducer, whose fields `DynamicViTConfig` describes."""

    model_type = "dynamicyolos"
    dense_model_type = "yolos"
    square_patches = True

    @property
    def num_prefix(self) -> int:
        """The class token and the detection tokens."""
        return 1 + self.num_detection_tokens

    @property
    def classifies_class_token(self) -> bool:
        """Nothing classifies images."""
        return False

    @property
    def reads_prefix_alone(self) -> bool:
        """The heads read detection tokens."""
        return True

    def head_multiply_adds(self, num_outputs: int) -> int:
        """Count two heads of three layers, of `num_outputs` classes and of boxes, on each detection token."""
        width = self.hidden_size
        return self.num_detection_tokens * width * (4 * width + num_outputs + 4) if num_outputs else 0
