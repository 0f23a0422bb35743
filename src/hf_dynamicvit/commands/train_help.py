# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What the help of `hf-dynamicvit train` says, and what the command sets of `TrainingArguments`; without torch."""

from dataclasses import dataclass
from typing import Any

from ..training.options import DynamicViTOptions
from ..training.recipes import RATIO_WEIGHT, told_default
from .ranges import as_option
from .train_options import DataArguments, ModelArguments, option_names


USAGE = "hf-dynamicvit train --model MODEL --dataset DATASET --output-dir FOLDER [options]"
DESCRIPTION = (
    "Fine-tune a model, sparse or dense, on images from the Hub, a folder or a file; the model, its image processor "
    "and results.json are in --output-dir. Defaults are those of the method, or of --recipe. All options of "
    "Transformers' TrainingArguments work too, and --help-all lists them."
)


@dataclass(frozen=True)
class TrainerOption:
    """What the help says of an option of `TrainingArguments`.

    Attributes:
        help: in fewer words than there, or as it is here; names the default where that is not `default`.
        type: of its value.
        default: where it is the same for all methods.
        others: more names for it.
    """

    help: str
    type: type = str
    default: Any = None
    others: tuple[str, ...] = ()


# Of TrainingArguments, by name.
TRAINER_OPTIONS = {
    "output_dir": TrainerOption(
        "Folder to write; must be new or empty, unless --resume-from-checkpoint is given.",
        default="dynamicvit-output",
        others=("--output",),
    ),
    "num_train_epochs": TrainerOption(
        f"Passes over the images. Default: {told_default('num_train_epochs')}.", float, others=("--epochs",)
    ),
    "max_steps": TrainerOption(
        "Stop after so many optimizer steps, whatever --num-train-epochs says; -1: at its end.", int, -1
    ),
    "per_device_train_batch_size": TrainerOption("Images at a time on each device.", int, 32, ("--batch-size",)),
    "gradient_accumulation_steps": TrainerOption("Batches in an optimizer step.", int, 1),
    "learning_rate": TrainerOption(
        f"Of the reducer, and of all where it learns nothing. Default: {told_default('learning_rate')}.",
        float,
        others=("--lr",),
    ),
    "lr_scheduler_type": TrainerOption(
        f"How the rate falls: cosine, linear, constant, ... Default: {told_default('lr_scheduler_type')}."
    ),
    "warmup_steps": TrainerOption(
        f"Steps in which the rate rises; below 1, their fraction of all. Default: {told_default('warmup_steps')}.",
        float,
    ),
    "weight_decay": TrainerOption(f"Of AdamW. Default: {told_default('weight_decay')}.", float),
    "bf16": TrainerOption(
        "Compute in bfloat16, weights in float32; --bf16 false: all in float32. Default: where the processor has "
        "instructions for it, which are faster.",
        bool,
    ),
    "load_best_model_at_end": TrainerOption(
        "Keep the weights of the epoch with the best accuracy. Default: true, unless images decide how much is kept, "
        "or evaluations and checkpoints are not one an epoch.",
        bool,
    ),
    "use_cpu": TrainerOption("Leave a GPU alone.", bool, False),
    "dataloader_num_workers": TrainerOption("Processes that read images; 0: the training process itself.", int, 0),
    "seed": TrainerOption("Of weights, order and augmentation.", int, 42),
    "resume_from_checkpoint": TrainerOption(
        "Go on in --output-dir: last for its newest whole checkpoint, or the folder of one."
    ),
    "push_to_hub": TrainerOption("Upload the model and its card as it is saved.", bool, False),
    "hub_model_id": TrainerOption("user/name of the repository. Default: the name of --output-dir."),
    "hub_token": TrainerOption("Default: the one of `hf auth login`."),
    "report_to": TrainerOption("Where the log goes too: tensorboard, wandb, ...; all; none.", default="none"),
}

# Of our own, where the command has another default than the class.
REWORDED = {
    "backbone_lr_scale": "Learning rate of everything but the reducer, as a fraction of --learning-rate. Default: "
    f"{told_default('backbone_lr_scale')}; published for DynamicViT: 0.01.",
    "distill": "Go without a teacher.",
    "evaluate_ema": "Evaluate the averaged weights too: metrics eval_ema_*. Needs --ema-decay.",
    "cache_teacher": "Ask the teacher once for each training image, before training. Needs images that are the same "
    "in every epoch (--augmentation none); takes memory: of DeiT-Tiny 75 KiB an image where features are distilled.",
    "loss_weights": "Weights of loss terms by name, in place of the published ones of the method: classification, "
    "class_distill, token_distill, feature_distill, hard_distill, second_classification, consistency and the method's "
    "own. As JSON: '{\"class_distill\": 1.0}'. "
    f"Default: ratio {RATIO_WEIGHT:g} where there are predictors (published: 2), so that a few epochs reach the keep "
    "ratio; all others as published.",
}

# What else the command sets of TrainingArguments, whatever the method is.
SET = {
    "per_device_eval_batch_size": 64,
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 2,
    "logging_steps": 10,
    "metric_for_best_model": "accuracy",
    "remove_unused_columns": False,
} | {name: option.default for name, option in TRAINER_OPTIONS.items() if option.default is not None}


# name that may be typed -> the name of the option
ALIASES = {alias: as_option(name) for name, option in TRAINER_OPTIONS.items() for alias in option.others}


def canonical(word: str) -> str:
    """Replace another name of an option by its own in `word` of a command line."""
    name, equals, value = word.partition("=")
    return f"{ALIASES.get(name, name)}{equals}{value}"


ABOUT_TEACHER = [
    *("teacher", "distill", "teacher_epochs", "teacher_learning_rate", "teacher_dtype", "cache_teacher"),
]
COMES_OUT = ["keep_checkpoints", "push_to_hub", "hub_model_id", "hub_token", "report_to"]

# What the help shows, in this order: our own options and the usual ones of TrainingArguments; --help-all, the others.
SECTIONS = {
    "what is trained": [
        *("model", "dataset", "output_dir"),
        *(name for name in option_names(ModelArguments)[1:] if name not in (*ABOUT_TEACHER, *COMES_OUT)),
    ],
    "teacher": ABOUT_TEACHER,
    "images": option_names(DataArguments)[1:],
    "training": [
        *(name for name in TRAINER_OPTIONS if name not in ("output_dir", *COMES_OUT)),
        *(name for name in option_names(DynamicViTOptions) if name not in ABOUT_TEACHER),
    ],
    "what comes out": ["json", *COMES_OUT],
}
