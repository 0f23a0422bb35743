# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Arguments of [`DynamicViTTrainer`]: what `TrainingArguments` lacks."""

import json
import math
from dataclasses import dataclass, field

from transformers import TrainingArguments


@dataclass
class DynamicViTTrainingArguments(TrainingArguments):
    """[`TrainingArguments`] plus the weights of the loss terms and the two rates of learned reducers.

    Raises:
        ValueError: a weight or rate is negative.
    """

    loss_weights: dict[str, float] | str | None = field(
        default=None,
        metadata={
            "help": "Weights of loss terms by name, in place of the published ones of the method: classification, "
            "class_distill, token_distill, feature_distill and the method's own (DynamicViT: ratio). As JSON on a "
            """command line: '{"ratio": 4.0}'."""
        },
    )
    backbone_lr_scale: float | None = field(
        default=None,
        metadata={
            "help": "Learning rate of everything but the reducer, as a fraction of learning_rate. Default: as "
            "published for the method (DynamicViT: 0.01). Without effect on methods that have nothing to learn."
        },
    )
    freeze_backbone_epochs: float | None = field(
        default=None,
        metadata={
            "help": "Epochs at the start in which only the reducer learns. Default: as published for the method "
            "(DynamicViT: a sixth of the training, 5 of 30 epochs; the others none)."
        },
    )

    def __post_init__(self):
        if isinstance(self.loss_weights, str):
            try:
                self.loss_weights = json.loads(self.loss_weights)
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"loss_weights is {self.loss_weights!r}, which is no JSON such as '{{\"ratio\": 4.0}}': {error}"
                ) from error
        super().__post_init__()
        if self.loss_weights is not None and not isinstance(self.loss_weights, dict):
            raise ValueError(f"loss_weights is {self.loss_weights!r}; it must be a dictionary from names to numbers.")
        numbers = {f"loss_weights[{name!r}]": value for name, value in (self.loss_weights or {}).items()}
        rates = {name: getattr(self, name) for name in ("backbone_lr_scale", "freeze_backbone_epochs")}
        numbers |= {name: value for name, value in rates.items() if value is not None}
        for name, value in numbers.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} is {value!r}; it must be a number of 0 or more.")
