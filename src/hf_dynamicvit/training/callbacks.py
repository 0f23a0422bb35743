# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Follow schedules while training goes on: what is frozen, how much is kept."""

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any, cast

from torch import Tensor
from transformers import TrainerCallback

from ..model.adaptive import AdaptiveReducer
from ..model.flags import refuse_flags
from ..model.logger import logger
from ..model.reducer_evovit import EvoViTReducer
from .adapters import acting_reducer


class FreezeBackbone(TrainerCallback):
    """Holds the backbone's learning rate at 0 in the first epochs, as published for DynamicViT.

    `args.freeze_backbone_epochs` says how many; `None` means the published fraction of the training.
    """

    def on_step_begin(self, args, state, control, *, model, optimizer, **kwargs):
        if args.freeze_backbone_epochs is None:
            frozen = state.global_step < state.max_steps * acting_reducer(model).frozen_fraction
        else:
            frozen = state.epoch < args.freeze_backbone_epochs
        if frozen:  # the scheduler sets the rate anew after every step
            for group in optimizer.param_groups:
                if group.get("backbone"):  # an optimizer of the user's own has no such group
                    group["lr"] = 0.0


class WithinSteps(TrainerCallback):
    """Something that holds within training steps only: `set_up` before each, `restore` after it and before all else.

    `DynamicViTTrainer.train` restores too (`end_steps`), whatever ends the training.
    """

    def set_up(self, args, state, model) -> None:
        """Make it hold in `model`."""
        raise AssertionError("a subclass says what holds")

    def restore(self, model) -> None:
        """Make what holds otherwise hold again in `model`."""
        raise AssertionError("a subclass says what holds otherwise")

    holds = False

    def end(self, model) -> None:
        """Restore what was set up; nothing where nothing was, as when training refused to begin."""
        if self.holds:
            self.holds = False
            self.restore(model)

    def on_step_begin(self, args, state, control, *, model, **kwargs):
        self.holds = True
        self.set_up(args, state, model)

    def on_step_end(self, args, state, control, *, model, **kwargs):
        self.end(model)

    def on_epoch_end(self, args, state, control, *, model, **kwargs):
        self.end(model)  # an epoch may end in the middle of a step


def end_steps(callbacks: Iterable[TrainerCallback], model: Any) -> None:
    """Restore in `model` what one of `callbacks` has set up, whatever ended the training."""
    for callback in callbacks:
        if isinstance(callback, WithinSteps):
            callback.end(model)


class KeepRatioWarmup(WithinSteps):
    """Lets the keep ratio fall from 1 to its target along a cosine, as published for EViT.

    Everything is kept before `start_epoch`; the target is reached `epochs` later (published: 10 and 100 of 300 from
    scratch, 0 and 0 when fine-tuning). Evaluation and checkpoints always have the target.

    Raises:
        ValueError: a number of epochs is negative, or (when training begins) the method has no keep ratio.
    """

    def __init__(self, epochs: float, start_epoch: float = 0.0):
        if not epochs >= 0 or not start_epoch >= 0:
            raise ValueError(f"epochs is {epochs} and start_epoch {start_epoch}; both must be 0 or more.")
        self.epochs = epochs
        self.start_epoch = start_epoch

    def dropped_fraction(self, epoch: float) -> float:
        """Return how much of the way from 1 to the target has been gone at `epoch`, 0 to 1."""
        if epoch < self.start_epoch:
            return 0.0
        if epoch >= self.start_epoch + self.epochs:
            return 1.0
        return (1 - math.cos(math.pi * (epoch - self.start_epoch) / self.epochs)) / 2

    def on_train_begin(self, args, state, control, *, model, **kwargs):
        instead = model.config.count_options
        if model.config.is_adaptive or instead:
            reason = f"reducer_args sets {', '.join(instead)}" if instead else "each image decides"
            raise ValueError(f"KeepRatioWarmup needs a keep ratio; with reducer {model.config.reducer!r} {reason}.")

    def set_up(self, args, state, model):
        progress = self.dropped_fraction(state.epoch)
        config = copy.copy(model.config)
        target = config.keep_ratio if config.given_counts is None else config.stage_keep_ratios
        if isinstance(target, list):
            config.keep_ratio = [1 - (1 - ratio) * progress for ratio in target]
        else:
            config.keep_ratio = 1 - (1 - target) * progress
        acting_reducer(model).set_keep_ratios(config.stage_keep_ratios)

    def restore(self, model):
        config = model.config
        acting_reducer(model).set_keep_ratios(config.stage_keep_ratios, config.given_counts)


class GroupingSwitch(WithinSteps):
    """Evo-ViT's schedule: patches are selected anew in every block at first, then once a stage.

    Evaluation and checkpoints always have the grouping of `config.reducer_args`, by default once a stage.

    Args:
        fraction: of the training, after which the switch comes (published: 200 of 300 epochs).

    Raises:
        ValueError: `fraction` is not from 0 to 1, or (when training begins) the method is another.
    """

    def __init__(self, fraction: float = 2 / 3):
        refuse_flags(fraction=fraction)
        if not 0 <= fraction <= 1:
            raise ValueError(f"fraction is {fraction}; it must be from 0 to 1.")
        self.fraction = fraction

    def on_train_begin(self, args, state, control, *, model, **kwargs):
        if not isinstance(acting_reducer(model), EvoViTReducer):
            raise ValueError(f"GroupingSwitch is for reducer 'evovit'; the model's is {model.config.reducer!r}.")

    def set_up(self, args, state, model):
        early = state.global_step < state.max_steps * self.fraction
        cast(EvoViTReducer, acting_reducer(model)).set_grouping("layer" if early else "stage")

    def restore(self, model):
        grouping = model.config.reducer_args.get("grouping", "stage")
        cast(EvoViTReducer, acting_reducer(model)).set_grouping(grouping)


class TrainingBegins(TrainerCallback):
    """Tells the trainer when training begins, also when it begins again with a smaller batch.

    Args:
        begin: what is called then.
    """

    def __init__(self, begin: Callable[[], None]):
        self.begin = begin

    def on_train_begin(self, args, state, control, **kwargs):
        self.begin()


class ClampReducer(TrainerCallback):
    """Lets the reducer put its parameters back into their range after each step of the optimizer."""

    def on_optimizer_step(self, args, state, control, *, model, **kwargs):
        reducer = acting_reducer(model)
        if isinstance(reducer, AdaptiveReducer):
            reducer.after_optimizer_step()


class StuckParameters(TrainerCallback):
    """Warns of a learned parameter of the reducer that got no gradient at all since the last log.

    AS-ViT's thresholds have one only while a score lies close to them; one outside all scores never moves again.
    """

    def on_train_begin(self, args, state, control, **kwargs):
        self.moved: dict[str, Tensor] = {}

    def on_pre_optimizer_step(self, args, state, control, *, model, **kwargs):
        for name, parameter in acting_reducer(model).named_parameters():
            if parameter.grad is not None:
                moved = (parameter.grad != 0).any()
                self.moved[name] = self.moved[name] | moved if name in self.moved else moved

    def on_log(self, args, state, control, *, model, logs=None, **kwargs):
        if "loss" in (logs or {}):
            unread = acting_reducer(model).unread
            stuck = [name for name, moved in self.moved.items() if not moved and name not in unread]
            if stuck:
                logger.warning(
                    f"No gradient reached reducer parameter {', '.join(stuck)} since the last log: stuck. A threshold "
                    "is when no score lies near it; model.set_keep_ratio or set_budget with images moves it there."
                )
            self.moved = {}
