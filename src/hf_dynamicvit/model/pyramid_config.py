# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What the configuration of a pyramid has beside its native one: stages of other widths, of which one is reduced."""

from collections.abc import Sequence
from typing import Any, ClassVar

from .cost import as_pair
from .pyramid_reducer import PYRAMID_REDUCERS, PYRAMID_SCHEDULES
from .reducer import TokenReducer
from .reduction_config import MOST_PATCHES, ReductionConfig
from .schedules import Schedule


class PyramidConfig(ReductionConfig):
    """A method for the last stage but one, where most of the blocks are: it stands ahead of the native configuration.

    Patches are the positions of that stage's map, and `reducer_layers` are counted from its first block.

    Attributes:
        reducer_norm_eps: of the norms in predictors and fast paths.
        fast_path_scale: first factor of a fast path's channels where the family's blocks scale their branches.
    """

    methods: ClassVar[dict[str, type[TokenReducer]]] = PYRAMID_REDUCERS
    schedules: ClassVar[dict[str, Schedule]] = PYRAMID_SCHEDULES
    reducer_norm_eps: ClassVar[float] = 1e-5
    fast_path_scale: ClassVar[float | None] = None

    @property
    def stage_depths(self) -> list[int]:
        """Blocks of each stage."""
        native: Any = self
        return list(native.depths)

    @property
    def stage_widths(self) -> list[int]:
        """Channels of each stage."""
        raise NotImplementedError

    def stage_grids(self, height: int, width: int) -> list[tuple[int, int]]:
        """Positions `(down, across)` of each stage for an image of `height` x `width` pixels."""
        raise NotImplementedError

    def dense_multiply_adds(self, height: int, width: int, num_outputs: int) -> int:
        """Multiply-adds of one image of that size through the dense model, with a classifier of `num_outputs`."""
        raise NotImplementedError

    @property
    def reduced_stage(self) -> int:
        """Index of the stage that is reduced: the last but one, 2 of 4."""
        return max(0, len(self.stage_depths) - 2)

    @property
    def reduced_width(self) -> int:
        """Channels of the reduced stage."""
        return self.stage_widths[self.reduced_stage]

    def reduced_grid(self, height: int, width: int) -> tuple[int, int]:
        """Positions `(down, across)` of the reduced stage for an image of `height` x `width` pixels."""
        return self.stage_grids(height, width)[self.reduced_stage]

    @property
    def reduced_patch_size(self) -> tuple[int, int]:
        """Pixels `(height, width)` of the image that a position of the reduced stage stands for."""
        native: Any = self
        height, width = as_pair(native.patch_size)
        return height << self.reduced_stage, width << self.reduced_stage

    @property
    def depth(self) -> int:
        """Blocks of the reduced stage."""
        return self.stage_depths[self.reduced_stage]

    @property
    def num_prefix(self) -> int:
        """None: a map has positions only."""
        return 0

    @property
    def classifier_size(self) -> int:
        """Channels of the last stage."""
        return self.stage_widths[-1]

    def unknown_method(self) -> str:
        """Say that there is no such method, and why others cannot be."""
        return (
            f"reducer is {self.reducer!r}; with a {self.dense_model_type}, whose map must stay whole, it can be "
            f"{', '.join(sorted(self.methods))}."
        )

    def check_sizes(self):
        native: Any = self
        sizes: list[tuple[str, Sequence[int], int]] = [
            ("depths", self.stage_depths, 1024),
            ("the width of a stage", self.stage_widths, 65536),
            ("image_size", as_pair(native.image_size), 65536),
            ("patch_size", as_pair(native.patch_size), 65536),
            ("num_channels", [native.num_channels], 4096),
        ]
        for name, values, largest in sizes:
            if not values or not all(1 <= value <= largest for value in values):
                raise ValueError(f"{name}: {list(values)}; each must be from 1 to {largest}.")
        if not 1 <= self.num_patches <= MOST_PATCHES:
            raise ValueError(
                f"image_size {native.image_size} gives {self.num_patches} positions in stage {self.reduced_stage}, "
                f"counted from 0; it must be from 1 to {MOST_PATCHES}."
            )
