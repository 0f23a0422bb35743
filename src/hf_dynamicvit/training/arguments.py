# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Arguments of [`DynamicViTTrainer`]: what `TrainingArguments` lacks."""

from dataclasses import dataclass, field

from transformers import SchedulerType, TrainingArguments


@dataclass
class DynamicViTTrainingArguments(TrainingArguments):
    """[`TrainingArguments`] plus the weights of the loss terms and the two rates of DynamicViT.

    Raises:
        ValueError: a weight or rate is negative, or the freezing does not go with the learning-rate schedule.
    """

    classification_weight: float = field(default=1.0, metadata={"help": "Weight of the classification loss."})
    ratio_weight: float = field(
        default=2.0, metadata={"help": "Weight of the reducer's own loss, for DynamicViT the keep ratio."}
    )
    class_distill_weight: float = field(default=0.5, metadata={"help": "Weight of KL to the teacher's class logits."})
    token_distill_weight: float = field(
        default=0.5, metadata={"help": "Weight of the MSE to the teacher's patch features, on the tokens kept."}
    )
    backbone_lr_scale: float = field(
        default=0.01, metadata={"help": "Learning rate of everything but the reducer, as a fraction of learning_rate."}
    )
    freeze_backbone_epochs: float | None = field(
        default=None,
        metadata={
            "help": "Epochs at the start in which only the reducer learns. Default: a sixth of the training, as "
            "published (5 of 30 epochs)."
        },
    )

    def __post_init__(self):
        super().__post_init__()
        names = ["classification_weight", "ratio_weight", "class_distill_weight", "token_distill_weight"]
        for name in [*names, "backbone_lr_scale", "freeze_backbone_epochs"]:
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name} is {value}; it must be 0 or more.")
        # Freezing sets the learning rate of a group to 0 for a step; these compute the next rate from the last.
        schedule = SchedulerType(self.lr_scheduler_type).value
        if self.freeze_backbone_epochs != 0 and schedule in ("reduce_lr_on_plateau", "greedy"):
            raise ValueError(
                f"lr_scheduler_type is {schedule!r}, which needs freeze_backbone_epochs=0, "
                f"not {self.freeze_backbone_epochs}."
            )
