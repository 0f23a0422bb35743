# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configuration of DynamicDeiT: DynamicViT's, with a distillation token beside the class token."""

from huggingface_hub.dataclasses import strict

from .configuration_dynamicvit import DynamicViTConfig


@strict
class DynamicDeiTConfig(DynamicViTConfig):
    """A `DynamicViTConfig` for DeiT with distillation token; reads dense checkpoints of model type `deit`."""

    model_type = "dynamicdeit"
    dense_model_type = "deit"

    @property
    def num_prefix(self) -> int:
        """The class token and the distillation token."""
        return 2

    @property
    def classifier_size(self) -> int:
        """Count the inputs of two classifiers, one on each prefix token."""
        return 2 * self.hidden_size
