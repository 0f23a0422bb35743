# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""How much a model keeps, what that costs, and how to change it at run time."""

import copy
import itertools
import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor

from .adaptive import AdaptiveReducer
from .cost import grid_size, vit_multiply_adds
from .flags import refuse_flags
from .reducer import TokenReducer
from .reduction_config import ReductionConfig


Images = int | tuple[int, int] | Tensor | None
Counts = list[tuple[int, int]]


def with_keep_ratio(config: ReductionConfig, keep_ratio: float | list[float]) -> ReductionConfig:
    """Copy `config` with another keep ratio, without the options that would stand in for one.

    A method whose images decide for themselves has no keep ratio; the copy then has a method of the same stages.

    Raises:
        ValueError: the keep ratio is not possible.
    """
    changed, reducer = copy.deepcopy(config), config.methods[config.reducer]
    changed.keep_ratio = keep_ratio
    changed.reducer_args = {
        name: value for name, value in config.reducer_args.items() if name not in reducer.count_options
    }
    if config.is_adaptive:
        changed.reducer, changed.reducer_layers, changed.reducer_args = "random", config.stage_layers, {}
    changed.check_reduction()
    return changed


def with_schedule(
    config: ReductionConfig, schedule: str | list[int], keep_ratio: float | list[float] | list[int] | None
) -> ReductionConfig:
    """Copy `config` with another schedule; arguments and errors as in `set_schedule`."""
    if config.is_adaptive:
        raise ValueError(f"schedule is {schedule!r}; with reducer {config.reducer!r} each image decides.")
    given: Any = config.keep_ratio if keep_ratio is None else keep_ratio
    if given is None or (keep_ratio is None and isinstance(given, list)):
        raise ValueError(f"schedule is {schedule!r}; give keep_ratio too, as the model has no single number.")
    changed = copy.deepcopy(config)
    if isinstance(schedule, str):
        changed.schedule, changed.reducer_layers = schedule, None
        changed.check_schedule()
    else:
        changed.reducer_layers = [*schedule]
    return with_keep_ratio(changed, given)


def for_budget(config: ReductionConfig, keep_ratio: float) -> float | list[float]:
    """Return the keep ratio at point `keep_ratio` of the search of `set_budget`, 0 to 1; cost grows with it.

    A list where stages can remove only so much: the schedule's, as near as they come.
    """
    least_left = config.methods[config.reducer].least_left
    if not least_left:
        return keep_ratio
    ratios = config.named_schedule.keep_ratios(keep_ratio, len(config.stage_layers))
    return list(itertools.accumulate(ratios, lambda before, ratio: max(ratio, before * least_left), initial=1.0))[1:]


def least_keep_ratio(config: ReductionConfig) -> float:
    """Find the lowest number that `set_budget` may try, to 2^-30."""
    least, most = 0.0, 1.0
    for _ in range(30):
        middle = (least + most) / 2
        try:
            with_keep_ratio(config, for_budget(config, middle))
            most = middle
        except ValueError:
            least = middle
    return most


def check_fraction(fraction: float, name: str = "fraction") -> None:
    """Refuse a budget, which the user knows as `name`, that is no fraction.

    Raises:
        ValueError: it is not above 0 and at most 1.
    """
    refuse_flags(**{name: fraction})
    if not 0 < fraction <= 1:
        raise ValueError(
            f"{name} is {fraction:g}; a budget is a fraction of the dense model's multiply-adds, above 0, at most 1."
        )


@contextmanager
def in_eval_mode(model: Any) -> Generator[None]:
    """Put every module into eval mode, and back into its own mode at the end of the block."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def restored_on_error(config: ReductionConfig, reducer: TokenReducer) -> Generator[None]:
    """Set the parameters and options of `reducer` back to what they were if the block ends with an error."""
    before, options = copy.deepcopy(reducer.state_dict()), config.reducer_args
    calibrated = reducer.calibrated if isinstance(reducer, AdaptiveReducer) else {}
    try:
        yield
    except BaseException:
        reducer.load_state_dict(before)
        config.reducer_args = options
        if isinstance(reducer, AdaptiveReducer):
            reducer.calibrated = calibrated
        raise


class BudgetMixin:
    """The part of the models that counts and sets how much is kept."""

    config: ReductionConfig
    training: bool

    @property
    def backbone(self) -> Any:
        """The base model, with the loop and the reducer."""
        raise NotImplementedError

    @property
    def decision_layers(self) -> list[int]:
        """The layer of each decision in `outputs.kept`, in order."""
        return self.backbone.reducer.decision_layers

    def set_keep_ratio(self, keep_ratio: float | list[float], pixel_values: Tensor | None = None) -> None:
        """Keep another fraction of the tokens from now on; `config.keep_ratio` follows. Nothing is retrained.

        Args:
            keep_ratio: one number or one a stage, as in the configuration. A count set in `reducer_args`, such as
                ToMe's `r`, gives way to it.
            pixel_values: `[B, channels, height, width]`, typical images. Only methods whose images decide need
                them: they are set so that these images keep that fraction on average.

        Raises:
            ValueError: `keep_ratio` is not in (0, 1], increases or has the wrong length; `pixel_values` are missing.
        """
        changed, reducer = with_keep_ratio(self.config, keep_ratio), self.backbone.reducer
        if isinstance(reducer, AdaptiveReducer):
            self._calibrate(reducer, changed.stage_keep_ratios, pixel_values)
        else:
            self.config.keep_ratio, self.config.reducer_args = changed.keep_ratio, changed.reducer_args
            reducer.set_keep_ratios(changed.stage_keep_ratios, changed.given_counts)

    def set_schedule(
        self, schedule: str | list[int], keep_ratio: float | list[float] | list[int] | None = None
    ) -> None:
        """Reduce in other blocks, or along another curve, from now on; the configuration follows.

        Args:
            schedule: a name in `SCHEDULES`, or the blocks that reduce, counted from 0.
            keep_ratio: as in the configuration, for the new stages; `None` keeps the number that there is.

        Raises:
            ValueError: the method learned something for the blocks it has, or each image decides; the schedule is not
                known; `keep_ratio` is missing as there is a list or a count, or is out of range.
        """
        changed = with_schedule(self.config, schedule, keep_ratio)
        reducer = self.backbone.reducer
        if changed.stage_layers != self.config.stage_layers and any(True for _ in reducer.parameters()):
            raise ValueError(
                f"{self.config.reducer} was trained for blocks {self.config.stage_layers}; it cannot reduce in "
                f"{changed.stage_layers}. Give another keep_ratio, or train it with that schedule."
            )
        names = ("schedule", "reducer_layers", "keep_ratio", "reducer_args")
        for name in names:
            setattr(self.config, name, getattr(changed, name))
        reducer.layers = changed.stage_layers
        reducer.set_keep_ratios(changed.stage_keep_ratios, changed.given_counts)

    @torch.no_grad()
    def _calibrate(self, reducer: AdaptiveReducer, keep_ratios: list[float], pixel_values: Tensor | None) -> None:
        if pixel_values is None:
            raise ValueError(
                f"reducer {self.config.reducer!r} decides by image; hand in pixel_values, a batch of typical images."
            )
        if any(parameter.is_meta for parameter in reducer.parameters()):
            raise ValueError("the thresholds are offloaded and cannot be set; set them first, then offload the model.")
        with in_eval_mode(self), restored_on_error(self.config, reducer), reducer.calibrating(keep_ratios):
            self.backbone(pixel_values, interpolate_pos_encoding=True)
        self.config.reducer_args = {**self.config.reducer_args, **reducer.calibrated}

    def set_budget(
        self, gmacs: float | None = None, *, fraction: float | None = None, pixel_values: Tensor | None = None
    ) -> int:
        """Keep as much as a budget allows, from now on, by one keep ratio for all stages. Nothing is retrained.

        ToMe then has a list of ratios where one number would ask for more than half of the tokens to merge at once.

        Args:
            gmacs: multiply-adds of one image of the size of `pixel_values` in units of 10^9.
            fraction: the same as a fraction of the dense model's, above 0, at most 1; give one of the two.
            pixel_values: `[B, channels, height, width]`; `None` is the configuration's size. AS-ViT needs them: its
                thresholds are set so that the mean cost of these images meets the budget.

        Returns:
            the multiply-adds that one image then takes, at most the budget.

        Raises:
            ValueError: both or none are given, `fraction` is none, or the budget cannot be met; the message names the
                least and the most.
        """
        if (gmacs is None) == (fraction is None):
            raise ValueError(f"gmacs is {gmacs} and fraction is {fraction}; give one of them.")
        refuse_flags(gmacs=gmacs)
        if fraction is not None:
            check_fraction(fraction)
        dense = self.dense_multiply_adds(pixel_values)
        target = gmacs * 1e9 if gmacs is not None else cast(float, fraction) * dense
        with restored_on_error(self.config, self.backbone.reducer):
            point = self._search(target, dense, fraction, pixel_values)
            self.set_keep_ratio(for_budget(self.config, point), pixel_values)
            return self.multiply_adds(pixel_values)

    def _search(self, target: float, dense: int, fraction: float | None, images: Tensor | None) -> float:
        """Find the point from 0 to 1 with the highest cost up to `target`; arguments as in `_out_of_reach`."""
        low, high = least_keep_ratio(self.config), 1.0
        least, most = self._cost(low, images), self._cost(high, images)
        if not least <= target <= max(dense, most):
            raise ValueError(self._out_of_reach(target, fraction, least, most, dense))
        if most <= target:
            return high
        for _ in range(12 if self.config.is_adaptive else 30):
            middle = (low + high) / 2
            low, high = (middle, high) if self._cost(middle, images) <= target else (low, middle)
        return low

    def _cost(self, point: float, images: Tensor | None) -> int:
        """Multiply-adds of one image at a point of the search; a method whose images decide is set to it."""
        keep_ratio = for_budget(self.config, point)
        if self.config.is_adaptive:
            self.set_keep_ratio(keep_ratio, images)
            return self.multiply_adds(images)
        changed = with_keep_ratio(self.config, keep_ratio)
        with torch.device("meta"):
            other = changed.methods[changed.reducer](changed, **changed.reducer_args)
        num_patches = self._num_patches(images)
        counts = other.token_counts(num_patches, changed.depth)
        return self.multiply_adds_at(other, counts, num_patches, images)

    def _out_of_reach(self, target: float, fraction: float | None, least: int, most: int, dense: int) -> str:
        """Say what the budget is, and from where to where it may be."""
        method = self.config.reducer
        if fraction is None:
            return (
                f"the budget is {target / 1e9:.4g} GMACs; {method} here takes from {least / 1e9:.4g} to "
                f"{most / 1e9:.4g}, and the dense model {dense / 1e9:.4g}."
            )
        lowest = math.ceil(10_000 * least / dense) / 10_000  # rounded up, so that it can be met
        return (
            f"the budget is {fraction:g} of the dense model's multiply-adds; {method} here takes from {lowest:g} to "
            f"{min(1, most / dense):.4g}."
        )

    def token_counts(self, images: Images = None) -> list[int]:
        """Patch tokens after each decision, at inference, for one image; `images` as in `multiply_adds`.

        Where images decide those of the images that keep most, to which the others of their batch are padded.
        """
        counts, num_patches = self.block_counts(images)
        behind = [self.backbone.reducer.counts_behind(image, num_patches) for image in counts]
        return [max(stage) for stage in zip(*behind, strict=True)]

    def multiply_adds(self, images: Images = None) -> int:
        """Multiply-adds of one image at inference: everything that runs, predictors and classifier included.

        Args:
            images: `(height, width)` or one number, in pixels; `None` is the configuration's. A batch
                `[B, channels, height, width]` gives the mean over its images, each as if alone; a method whose
                images decide needs one, and runs it.

        Raises:
            ValueError: a method whose images decide, without a batch.
        """
        counts, num_patches = self.block_counts(images)
        totals = [self.multiply_adds_at(self.backbone.reducer, image, num_patches, images) for image in counts]
        return round(sum(totals) / len(totals))

    def dense_multiply_adds(self, images: Images = None) -> int:
        """Multiply-adds of one image through the dense model of the same sizes; `images` as in `multiply_adds`."""
        num_patches = self._num_patches(images)
        counts = [(num_patches, num_patches)] * self.config.depth
        return vit_multiply_adds(self.config, num_patches, counts, self.config.num_prefix, self.num_outputs)

    def multiply_adds_at(self, reducer: TokenReducer, counts: Counts, num_patches: int, images: Images = None) -> int:
        """Multiply-adds of one image of `num_patches` with `counts` patch tokens in each block, under `reducer`.

        Pyramids ask `images`, as in `multiply_adds`, for its size.
        """
        num_prefix = self.config.num_prefix
        left = reducer.num_left(counts, num_patches)
        vit = vit_multiply_adds(self.config, num_patches, counts, num_prefix, self.num_outputs, left)
        if getattr(self, "pooler", None) is not None:
            vit += self.config.hidden_size**2
        return vit + reducer.multiply_adds(counts, num_patches, num_prefix)

    @property
    def num_outputs(self) -> int:
        """Outputs of the linear classifiers together, 0 of a base model."""
        is_base_model = self.backbone is self
        return 0 if is_base_model else self.config.num_labels or 0

    def _num_patches(self, images: Images) -> int:
        size = (images.shape[-2], images.shape[-1]) if isinstance(images, Tensor) else images
        down, across = grid_size(self.config, size)
        return down * across

    @torch.no_grad()
    def block_counts(self, images: Images) -> tuple[list[Counts], int]:
        """Patch tokens in attention and MLP of each block, by image (one where they do not differ); patches of one."""
        reducer, depth, num_patches = self.backbone.reducer, self.config.depth, self._num_patches(images)
        if not (self.config.is_adaptive and isinstance(images, Tensor)):
            return [reducer.token_counts(num_patches, depth)], num_patches
        with in_eval_mode(self):
            kept = self.backbone(images, interpolate_pos_encoding=True).kept
        return [reducer.token_counts(num_patches, depth, image) for image in kept.sum(dim=-1).tolist()], num_patches
