# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Schedules: what is frozen and how much is kept while training goes on."""

import copy
import math

from transformers import TrainerCallback


class FreezeBackbone(TrainerCallback):
    """Holds the backbone's learning rate at 0 in the first epochs, as published for DynamicViT.

    `args.freeze_backbone_epochs` says how many; `None` means a sixth of the training.
    """

    def on_step_begin(self, args, state, control, *, optimizer, **kwargs):
        if args.freeze_backbone_epochs is None:
            frozen = state.global_step < state.max_steps / 6
        else:
            frozen = state.epoch < args.freeze_backbone_epochs
        if frozen:  # the scheduler sets the rate anew after every step
            for group in optimizer.param_groups:
                if group.get("backbone"):  # an optimizer of the user's own has no such group
                    group["lr"] = 0.0


class KeepRatioWarmup(TrainerCallback):
    """Lets the keep ratio fall from 1 to its target along a cosine, as published for EViT.

    Everything is kept before `start_epoch`; the target is reached `epochs` later (published: 10 and 100 of 300 from
    scratch, 0 and 0 when fine-tuning). Evaluation and checkpoints always have the target.

    Raises:
        ValueError: a number of epochs is negative.
    """

    def __init__(self, epochs: float, start_epoch: float = 0.0):
        if not epochs >= 0 or not start_epoch >= 0:
            raise ValueError(f"epochs is {epochs} and start_epoch {start_epoch}; both must be 0 or more.")
        self.epochs = epochs
        self.start_epoch = start_epoch

    def dropped_fraction(self, epoch: float) -> float:
        """How much of the way from 1 to the target has been gone at `epoch`, 0 to 1."""
        if epoch < self.start_epoch:
            return 0.0
        if epoch >= self.start_epoch + self.epochs:
            return 1.0
        return (1 - math.cos(math.pi * (epoch - self.start_epoch) / self.epochs)) / 2

    def on_step_begin(self, args, state, control, *, model, **kwargs):
        progress = self.dropped_fraction(state.epoch)
        config = copy.copy(model.config)
        target = config.keep_ratio
        if isinstance(target, list):
            config.keep_ratio = [1 - (1 - ratio) * progress for ratio in target]
        else:
            config.keep_ratio = 1 - (1 - target) * progress
        model.encoder.reducer.keep_ratios = config.stage_keep_ratios

    def on_step_end(self, args, state, control, *, model, **kwargs):
        model.encoder.reducer.keep_ratios = model.config.stage_keep_ratios
