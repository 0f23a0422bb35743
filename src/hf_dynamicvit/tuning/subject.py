# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A model whose schedule is being searched: what can be set, and what that costs."""

import copy
import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from ..benchmark.measure import mean_counts
from ..model.adaptive import AdaptiveReducer
from ..model.budget import Counts, restored_on_error, with_schedule
from ..model.selection import scaled_counts
from .search import Numbers, pruned


# Images on which methods whose images decide set their thresholds, and on which their cost is measured.
CALIBRATING = 64


class Subject:
    """A reduced model whose stages are set to this and that number of tokens, and put back if nothing comes of it.

    A method without parameters may reduce in every block; one that learned something for its blocks, in these.

    Args:
        model: reduced, in eval mode.
        images: `[N, channels, height, width]`, what it will see.

    Attributes:
        layers: the block of each stage that is searched over; of a method that drops and then merges, a block is two
            stages.
        num_patches: of one of the images.
    """

    def __init__(self, model: Any, images: Tensor):
        self.model, self.reducer = model, model.backbone.reducer
        self.adaptive = isinstance(self.reducer, AdaptiveReducer)
        self.typical = images[:CALIBRATING].to(model.device, model.dtype)
        self.size = (images.shape[-2], images.shape[-1])
        self.num_patches = model.block_counts(self.size)[1] if not self.adaptive else model._num_patches(self.size)
        self.pairs = self.reducer.numbers_per_stage == 2
        blocks = self.find_layers()
        self.layers = [layer for layer in blocks for _ in range(self.reducer.numbers_per_stage)]
        self.least_left = self.reducer.least_left

    @property
    def in_any_block(self) -> bool:
        """Return whether the method learned nothing for blocks of its own, nor lets each image decide in them."""
        return not self.adaptive and not any(True for _ in self.reducer.parameters())

    def find_layers(self) -> list[int]:
        """Return the blocks that may reduce.

        Between attention and MLP of the last one nothing is gained: a classifier that reads the class token computes
        no other MLP there, and whoever reads the patches wants them.
        """
        config, own = self.model.config, self.model.config.stage_layers
        end = config.depth - (self.reducer.acts == "between" and config.depth > 1)
        if not self.in_any_block:
            return own
        for first in (0, 1):  # a method that reads the block before cannot reduce in the first
            layers = [*range(first, end)]
            try:
                with_schedule(config, layers, [config.num_patches] * len(layers))
            except ValueError:
                continue
            return layers
        return own

    def set(self, counts: Numbers) -> None:
        """Leave `counts` patch tokens at the stages from now on."""
        ratios = [count / self.num_patches for count in counts]
        if self.adaptive:
            self.model.set_keep_ratio(ratios, self.typical)
            return
        each = self.reducer.numbers_per_stage  # the last of a block is what it leaves
        self.reducer.layers, self.reducer.counted_patches = self.layers[::each], self.num_patches
        self.reducer.set_keep_ratios(ratios[each - 1 :: each], [*counts[each - 1 :: each]])
        if self.pairs:
            self.reducer.set_pairs(in_pairs(counts), self.num_patches)

    def expansions(self) -> list[Callable[[list[int]], Numbers]]:
        """Return what makes counts of the stages from those behind the blocks.

        A method that drops and then merges shares as its option says, or drops nothing.
        """
        return [self.expand, self.merge_alone] if self.pairs else [tuple]

    def expand(self, counts: list[int]) -> Numbers:
        """Return the counts of the stages that leave `counts` behind the blocks, as the method shares them."""
        return tuple(count for each in self.reducer.share(self.num_patches, counts) for count in each)

    def merge_alone(self, counts: list[int]) -> Numbers:
        """Return the counts of the stages that merge down to `counts` and drop nothing before."""
        entering = (self.num_patches, *counts[:-1])
        return tuple(count for each in zip(entering, counts, strict=True) for count in each)

    def block_counts(self, counts: Numbers) -> Counts:
        """Return the patch tokens in attention and MLP of each block at `counts`; means where each image decides."""
        self.set(counts)
        if self.adaptive:
            return mean_counts(self.model, self.typical)
        return self.reducer.token_counts(self.num_patches, self.model.config.depth)

    def multiply_adds(self, counts: Numbers) -> int:
        """Return the multiply-adds of an image at `counts`."""
        self.set(counts)
        return self.model.multiply_adds(self.typical if self.adaptive else self.size)

    def keep(self, counts: Numbers) -> tuple[list[int], list[int]]:
        """Make `counts` the model's own, in its configuration too; return its stages, and what each leaves."""
        if self.adaptive:
            self.set(counts)
            return self.layers, [*counts]
        layers, left = self.layers, [*counts]
        if self.pairs:
            self.keep_pairs(counts)
            return layers, left
        if self.reducer.rest != "idle" and self.in_any_block:
            layers, left = pruned(layers, counts, self.num_patches)
        own = self.model.config.num_patches
        are_counts = own == self.num_patches and max(left) > 1  # a list of ones keeps everything
        scaled = left if are_counts else [math.nextafter(count / self.num_patches, 1) for count in left]
        self.reducer.layers, self.reducer.counted_patches = self.model.config.stage_layers, own
        self.model.set_schedule(layers, scaled)
        return layers, left

    def keep_pairs(self, counts: Numbers) -> None:
        """Make `counts` the model's own, of a method whose configuration has pairs."""
        config, own = self.model.config, self.model.config.num_patches
        pairs = in_pairs(scaled_counts([*counts], self.num_patches, own))
        changed = copy.deepcopy(config)
        changed.reducer_layers, changed.keep_ratio = self.layers[::2], None
        changed.reducer_args = {**config.reducer_args, "counts": pairs}
        changed.check_reduction()
        config.reducer_layers, config.keep_ratio = changed.reducer_layers, None
        config.reducer_args = changed.reducer_args
        self.set(counts)
        self.reducer.set_keep_ratios([])
        self.reducer.set_pairs(pairs, own)

    @contextmanager
    def put_back(self) -> Generator[None]:
        """Set the model back to what it was, if the block ends with an error."""
        own = vars(self.reducer)  # with the counts of the method's own options, and what learns them
        before = {name: copy.copy(value) if isinstance(value, list | dict) else value for name, value in own.items()}
        with restored_on_error(self.model.config, self.reducer):
            try:
                yield
            except BaseException:
                own.clear()
                own.update(before)
                raise


def in_pairs(counts: Numbers | list[int]) -> list[list[int]]:
    """Return the counts of each block, behind dropping and behind merging."""
    return [[*each] for each in zip(counts[::2], counts[1::2], strict=True)]
