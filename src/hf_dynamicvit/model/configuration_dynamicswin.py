# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configuration of a Swin in one stage of which positions take a fast path."""

from huggingface_hub.dataclasses import strict
from transformers.models.swin.configuration_swin import SwinConfig

from .cost import as_pair
from .pyramid_config import PyramidConfig


@strict
class DynamicSwinConfig(PyramidConfig, SwinConfig):
    """A `SwinConfig` plus a method for the last stage but one.

    Args:
        reducer: name of the method: `"dynamicvit"`, slow and fast paths.
        schedule: as in `DynamicViTConfig`; `None` becomes `"slow-fast"`.
        reducer_layers: 0-based blocks of the reduced stage before which predictors choose, strictly increasing. `None`
            leaves them to the schedule: `[1, 2, 3]` of 6 blocks, `[2, 4, 6]` of 18, as published.
        keep_ratio: how many positions take the slow path. A number r means r, r - 0.2 and r - 0.4 of all, as
            published; above 0.9 less falls away, and with 1 all stay slow. A list gives each stage's fraction, or its
            number of positions. `None` is 0.7.
        reducer_args: the method's own options.
        drop_path_rate: the native one, on both branches of a block. 0.2 and 0.5 are published for Swin-T and S, and B.
        **kwargs: every field of `SwinConfig`.

    Raises:
        ValueError: a value is out of its range; the message names it and what is allowed.
    """

    model_type = "dynamicswin"
    dense_model_type = "swin"
    keys_to_ignore_at_inference = [*PyramidConfig.keys_to_ignore_at_inference, "reshaped_hidden_states"]

    drop_path_rate: float | int = 0.1

    @property
    def stage_widths(self) -> list[int]:
        """Channels of each stage: twice those of the one before."""
        return [self.embed_dim << stage for stage in range(len(self.depths))]

    @property
    def mlp_size(self) -> int:
        """Weights of the MLP of one block of the reduced stage."""
        return 2 * self.reduced_width * int(self.mlp_ratio * self.reduced_width)

    def stage_grids(self, height: int, width: int) -> list[tuple[int, int]]:
        """Positions `(down, across)` of each stage: patches and pairs that do not come out even are padded."""
        patch_height, patch_width = as_pair(self.patch_size)
        grids = [(-(-height // patch_height), -(-width // patch_width))]
        for _ in self.depths[1:]:
            down, across = grids[-1]
            grids.append(((down + 1) // 2, (across + 1) // 2))
        return grids

    def dense_multiply_adds(self, height: int, width: int, num_outputs: int) -> int:
        """Multiply-adds of one image: attention in windows, padded ones too, MLPs, merging, embedding, classifier."""
        patch_height, patch_width = as_pair(self.patch_size)
        grids = self.stage_grids(height, width)
        total = grids[0][0] * grids[0][1] * self.embed_dim * self.num_channels * patch_height * patch_width
        for channels, depth, (down, across) in zip(self.stage_widths, self.depths, grids, strict=True):
            window = min(self.window_size, down, across)
            padded = -(-down // window) * -(-across // window) * window**2
            attention = padded * (4 * channels**2 + 2 * window**2 * channels)
            total += depth * (attention + down * across * 2 * channels * int(self.mlp_ratio * channels))
        merged = zip(self.stage_widths, grids[1:], strict=False)
        total += sum(down * across * 8 * channels**2 for channels, (down, across) in merged)
        return total + self.classifier_size * num_outputs

    def check_sizes(self):
        super().check_sizes()
        if not (0 < self.mlp_ratio <= 1024 and int(self.mlp_ratio * self.embed_dim)):
            raise ValueError(
                f"mlp_ratio is {self.mlp_ratio}; it must be at most 1024, and times embed_dim, {self.embed_dim}, 1 or "
                "more."
            )
        if not 1 <= self.window_size <= 1024:
            raise ValueError(f"window_size is {self.window_size}; it must be from 1 to 1024.")
        if len(self.num_heads) != len(self.depths):
            raise ValueError(f"num_heads is {list(self.num_heads)}; one for each of {len(self.depths)} stages.")
        for width, heads in zip(self.stage_widths, self.num_heads, strict=True):
            if heads < 1 or width % heads:
                raise ValueError(f"num_heads is {list(self.num_heads)}; each must divide {self.stage_widths}.")
