# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Arguments of `DynamicViTTrainer`: what `TrainingArguments` lacks."""

import copy
import json
import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.utils import is_torch_xla_available

from ..model.flags import asks_for_number, refuse_flags
from ..model.logger import logger
from .options import TEACHER_DTYPES, DynamicViTOptions


@dataclass
class DynamicViTTrainingArguments(DynamicViTOptions, TrainingArguments):
    """`TrainingArguments` plus what the published recipes need: loss weights, rates, an average of the weights.

    Raises:
        ValueError: a value is out of its range; the message names it and what is allowed.
    """

    def __post_init__(self):
        if isinstance(self.loss_weights, str):
            try:
                self.loss_weights = json.loads(self.loss_weights)
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"loss_weights is {self.loss_weights!r}, which is no JSON such as '{{\"ratio\": 4.0}}': {error}"
                ) from error
        if not torch.accelerator.is_available() and not is_torch_xla_available():  # this can only mean the CPU
            self.dataloader_pin_memory = False
            self.use_cpu = self.use_cpu or self.bf16 or self.bf16_full_eval
        super().__post_init__()
        if self.fp16 and self.device.type == "cpu":
            logger.warning("fp16 has no effect on a CPU: the training computes in float32. bf16 has one.")
        self._check_options()

    def changed(self, **values: Any) -> "DynamicViTTrainingArguments":
        """Copy these arguments with other `values`, by name, checked as those of a new object where they are ours.

        What `TrainingArguments` makes of its own at first (devices, enumerations, folders) is not made again.

        Raises:
            ValueError: there is no such argument, or a value is out of its range.
        """
        unknown = sorted(values.keys() - {field.name for field in fields(self)})
        if unknown:
            raise ValueError(f"{type(self).__name__} has no argument {', '.join(unknown)}.")
        other = copy.copy(self)
        vars(other).update(values)
        other._check_options()
        return other

    def _check_numbers(self) -> None:
        if self.loss_weights is not None and not isinstance(self.loss_weights, dict):
            raise ValueError(f"loss_weights is {self.loss_weights!r}; it must be a dictionary from names to numbers.")
        numbers = {f"loss_weights[{name!r}]": value for name, value in (self.loss_weights or {}).items()}
        optional = ("backbone_lr_scale", "head_learning_rate", "freeze_backbone_epochs")
        rates = {name: getattr(self, name) for name in optional}
        numbers |= {name: value for name, value in rates.items() if value is not None}
        for name, value in numbers.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value!r}; it must be a number of 0 or more.")

    def _check_options(self) -> None:
        numbers = [field.name for field in fields(DynamicViTOptions) if asks_for_number(field.type)]
        refuse_flags(**{name: getattr(self, name) for name in numbers})
        self._check_numbers()
        if not 0 < self.layer_lr_decay <= 1:
            raise ValueError(f"layer_lr_decay is {self.layer_lr_decay}; it must be above 0 and at most 1.")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}; it must be 0 or more and below 1.")
        if self.evaluate_ema and self.ema_decay is None:
            raise ValueError("evaluate_ema is True, but there is no average; set ema_decay, such as 0.9999.")
        for name in ("second_pass_share", "consistency_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 to 1.")
        if self.teacher_dtype not in (None, *TEACHER_DTYPES):
            raise ValueError(
                f"teacher_dtype is {self.teacher_dtype!r}; it must be one of {', '.join(TEACHER_DTYPES)}."
            )
        if self.cache_teacher and self.remove_unused_columns:
            raise ValueError("cache_teacher adds columns; set remove_unused_columns=False.")
