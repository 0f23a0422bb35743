# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configuration of a ConvNeXt in one stage of which positions take a fast path."""

from typing import ClassVar

from huggingface_hub.dataclasses import strict
from transformers.models.convnext.configuration_convnext import ConvNextConfig

from .cost import as_pair
from .pyramid_config import PyramidConfig


@strict
class DynamicConvNextConfig(PyramidConfig, ConvNextConfig):
    """A `ConvNextConfig` plus a method for the last stage but one; what is added, `DynamicSwinConfig` describes.

    Predictors choose before blocks `[1, 2, 3]` of 9 and `[3, 6, 9]` of 27, as published. The native default of
    `layer_norm_eps`, of the last norm, is 1e-12; the official files are of 1e-6, and a checkpoint has its own.
    """

    model_type = "dynamicconvnext"
    dense_model_type = "convnext"
    reducer_norm_eps: ClassVar[float] = 1e-6
    fast_path_scale: ClassVar[float | None] = 1e-6

    @property
    def hidden_size(self) -> int:
        """Channels of the last stage."""
        return self.stage_widths[-1]

    @property
    def stage_widths(self) -> list[int]:
        """Channels of each stage."""
        return list(self.hidden_sizes or ())

    @property
    def mlp_size(self) -> int:
        """Weights of both layers of one block of the reduced stage."""
        return 8 * self.reduced_width**2

    def stage_grids(self, height: int, width: int) -> list[tuple[int, int]]:
        """Positions `(down, across)` of each stage: what does not come out even is cut off."""
        patch_height, patch_width = as_pair(self.patch_size)
        down, across = height // patch_height, width // patch_width
        return [(down >> stage, across >> stage) for stage in range(len(self.stage_depths))]

    def dense_multiply_adds(self, height: int, width: int, num_outputs: int) -> int:
        """Multiply-adds of one image: convolutions, MLPs, downsampling, embedding, classifier."""
        patch_height, patch_width = as_pair(self.patch_size)
        widths, grids = self.stage_widths, self.stage_grids(height, width)
        total = grids[0][0] * grids[0][1] * widths[0] * self.num_channels * patch_height * patch_width
        for channels, depth, (down, across) in zip(widths, self.stage_depths, grids, strict=True):
            total += depth * down * across * (49 * channels + 8 * channels**2)
        reduced = zip(widths, widths[1:], grids[1:], strict=False)
        total += sum(down * across * 4 * before * channels for before, channels, (down, across) in reduced)
        return total + self.classifier_size * num_outputs

    def check_sizes(self):
        super().check_sizes()
        stages = self.num_stages, len(self.stage_depths), len(self.stage_widths)
        if len(set(stages)) > 1:
            raise ValueError("num_stages, depths and hidden_sizes are of {}, {} and {} stages.".format(*stages))
