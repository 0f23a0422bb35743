# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configuration of a LeViT by Evo-ViT: with a class token, and stages in which some patches wait."""

import itertools
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.models.levit.configuration_levit import LevitConfig

from .levit_reducer import LEVIT_REDUCERS, LEVIT_SCHEDULES, stage_sides
from .reduction_config import MOST_PATCHES, ReductionConfig


@strict
class DynamicLevitConfig(ReductionConfig, LevitConfig):
    """A `LevitConfig` plus Evo-ViT; the defaults of `LevitConfig` are those of LeViT-128.

    Args:
        reducer: `"evovit"`, the only method that there is for it.
        keep_ratio: how many patches of its grid each stage works on, a number or one for each group of blocks; `None`
            is 0.5.
        reducer_args: `grouping`, `"stage"` or `"layer"`.
        schedule, reducer_layers: must be `None`: groups are the stages, but for the first two blocks.
        **kwargs: every field of `LevitConfig`.

    Raises:
        ValueError: a value is out of its range; the message names it and what is allowed.
    """

    model_type = "dynamiclevit"
    dense_model_type = "levit"
    methods = LEVIT_REDUCERS
    schedules = LEVIT_SCHEDULES
    square_only = True
    fixed_stages = True

    reducer: str = "evovit"
    drop_path_rate: float | int = 0.0  # ty: ignore[incompatible-attribute-override]

    def __post_init__(self, **kwargs):
        kwargs.pop("down_ops", None)  # the native class makes them of the other fields, and its models add to them
        super().__post_init__(**kwargs)

    @property
    def num_hidden_layers(self) -> int:
        """Blocks of all stages."""
        return sum(self.depths)

    @property
    def hidden_size(self) -> int:
        """Width of the last stage."""
        return self.hidden_sizes[-1]

    @property
    def stage_sides(self) -> list[int]:
        """Patches along an edge of an image of the configuration's size, in each stage."""
        size: Any = self.image_size
        patch: Any = self.patch_size
        return stage_sides(size // patch, len(self.depths))

    @property
    def stage_layers(self) -> list[int]:
        """The first block of each group: the third, unless the first stage has but two, and those of later stages."""
        later = [*itertools.accumulate(self.depths)][:-1]
        return [2, *later] if self.depths[0] > 2 else later

    @property
    def given_counts(self) -> list[int] | None:
        """None: grids differ from stage to stage, so that fractions are given."""
        return None

    def unknown_method(self) -> str:
        return (
            f"reducer is {self.reducer!r}; a LeViT, whose patches come back before each coarser grid, takes 'evovit' "
            "alone. Take a ViT for the others."
        )

    def check_schedule(self):
        """Raise `ValueError` unless the stages decide which blocks go together."""
        if self.reducer_layers is not None or self.schedule not in (None, *self.schedules):
            raise ValueError(
                f"schedule is {self.schedule!r} and reducer_layers is {self.reducer_layers}; groups of blocks are the "
                "stages of a LeViT, so leave both out."
            )

    def check_sizes(self):
        own: Any = self
        lists = ("hidden_sizes", "num_attention_heads", "depths", "key_dim", "mlp_ratio", "attention_ratio")
        for name in lists:
            values = getattr(self, name)
            if len(values) != 3 or not all(1 <= value <= 65536 for value in values):
                raise ValueError(f"{name} is {list(values)}; it must be three numbers from 1 to 65536.")
        for name in ("depths", "mlp_ratio", "attention_ratio"):
            if max(getattr(self, name)) > 1024:
                raise ValueError(f"{name} is {list(getattr(self, name))}; each must be at most 1024.")
        joint = [heads * key for heads, key in zip(self.num_attention_heads, self.key_dim, strict=True)]
        if max(joint) > 65536:
            raise ValueError(f"num_attention_heads times key_dim is {joint}; each must be at most 65536.")
        if self.hidden_sizes[0] % 8 or any(width % self.key_dim[0] for width in self.hidden_sizes[:2]):
            raise ValueError(
                f"hidden_sizes is {list(self.hidden_sizes)}; the first must be a multiple of 8, and of key_dim, "
                f"{self.key_dim[0]}, as the second."
            )
        if (own.kernel_size, own.stride, own.padding, own.patch_size) != (3, 2, 1, 16):
            raise ValueError("kernel_size, stride, padding and patch_size of a LeViT are 3, 2, 1 and 16.")
        if not isinstance(own.image_size, int) or not 16 <= own.image_size <= 65536:
            raise ValueError(f"image_size is {own.image_size}; it must be one number from 16 to 65536.")
        if not 1 <= own.num_channels <= 4096 or self.num_patches > MOST_PATCHES:
            raise ValueError(f"num_channels is {own.num_channels}; it must be from 1 to 4096.")

    def _check_keeps_some(self):
        """Refuse a ratio that leaves a group without patches."""
        sides = self.stage_sides[-len(self.stage_layers) :]
        counts = [int(side**2 * ratio) for side, ratio in zip(sides, self.stage_keep_ratios, strict=True)]
        if min(counts) < 1:
            raise ValueError(f"keep_ratio is {self.keep_ratio}: groups of blocks keep {counts} patches, one at least.")
