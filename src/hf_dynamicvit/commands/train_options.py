# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit train` and what its help says of them, without importing torch."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..folders import check_folder
from ..names import AUGMENTATIONS, METHODS, UNCHECKED, UNREADABLE
from ..training.options import DynamicViTOptions
from ..training.recipes import RATIO_WEIGHT, RECIPES, told_default
from .parser import BELOW_ONE, COUNT, FRACTION, KEEP_RATIO, NOT_NEGATIVE, SOME_FRACTION, Range


# Trains a dense model: as a DynamicViT that keeps everything, with all that its Trainer has.
DENSE = "none"


@dataclass
class ModelArguments:
    """Which model, which method, which teacher."""

    model: str = field(metadata={"help": "ViT or DeiT classifier, dense or sparse: a folder or a name on the Hub."})
    recipe: str | None = field(
        default=None,
        metadata={"help": "Published settings; what is typed goes before them. One of", "choices": [*RECIPES]},
    )
    reducer: str | None = field(
        default=None,
        metadata={
            "help": f"Method; {DENSE} trains a dense model. Default: that of a sparse model, dynamicvit for a dense "
            "one. One of",
            "choices": [*METHODS, DENSE],
        },
    )
    keep_ratio: list[float] | None = field(
        default=None,
        metadata={
            "help": "Kept at each stage: one number for its powers, or a number for each stage. "
            "Default: the model's own, or the method's."
        },
    )
    budget: float | None = field(
        default=None,
        metadata={"help": "Multiply-adds as a fraction of the dense model's, 0 to 1, in place of keep_ratio."},
    )
    reducer_args: str | None = field(
        default=None, metadata={"help": """Options of the method as JSON, such as '{"tau": 0.5}'."""}
    )
    reducer_layers: list[int] | None = field(default=None, metadata={"help": "Blocks that reduce, counted from 0."})
    image_size: list[int] | None = field(
        default=None,
        metadata={
            "help": "Pixels to train at, one number, or height and width; a model of another size has its position "
            "embeddings interpolated. Default: what its image processor makes."
        },
    )
    drop_path_rate: float | None = field(default=None, metadata={"help": "Stochastic depth, 0 to 1."})
    same_classes: bool = field(
        default=False,
        metadata={
            "help": "The model's classes are those of the pictures in the same order, whatever they are called (such "
            "as ImageNet's, which have other names everywhere)."
        },
    )
    from_scratch: bool = field(default=False, metadata={"help": "Take the shape of the model, not its weights."})
    teacher: str | None = field(
        default=None,
        metadata={"help": "Classifier of the same classes to learn from. Default: a frozen dense copy of the start."},
    )
    compare_dense: bool = field(
        default=False,
        metadata={
            "help": "Train the dense start for as many epochs as the sparse model too, into --output_dir/dense, so "
            "that both are compared as long trained."
        },
    )
    keep_checkpoints: bool = field(
        default=False,
        metadata={
            "help": "Keep the checkpoints of a training that has ended, by which more epochs could go on; each takes "
            "three times the room of the model."
        },
    )
    distill: bool = field(default=True, metadata={"help": "Whether there is a teacher, where the method wants one."})
    teacher_epochs: float = field(
        default=0.0,
        metadata={
            "help": "Fine-tune the dense model on the pictures first, for so many epochs: it becomes the start and "
            "the teacher. For models that were trained on other classes."
        },
    )
    teacher_learning_rate: float = field(default=2e-4, metadata={"help": "Of that fine-tuning."})
    predictor_start: str = field(
        default="attention",
        metadata={
            "help": "Where new predictors begin (dynamicvit, tps): attention, trained for seconds to tell the patches "
            "that the dense model's class token attends to most; random, as published. One of",
            "choices": ("attention", "random"),
        },
    )
    keep_ratio_warmup_epochs: float = field(
        default=0.0, metadata={"help": "Epochs in which the keep ratio falls from 1 to its target."}
    )
    layer_grouping_fraction: float = field(
        default=0.0,
        metadata={"help": "evovit: fraction of the training in which patches are selected anew in every block."},
    )


@dataclass
class DataArguments:
    """Which pictures, and what happens to them."""

    dataset: str = field(
        metadata={"help": "Folder of class folders (alone, or in train/ and test/), parquet, or a name on the Hub."}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a data set with several."})
    dataset_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit on the Hub."})
    train_split: str | None = field(default=None, metadata={"help": "Default: found."})
    validation_split: str | None = field(default=None, metadata={"help": "Default: found, or taken from training."})
    validation_fraction: float = field(default=0.15, metadata={"help": "Of training, where there is no validation."})
    image_column: str | None = field(default=None, metadata={"help": "Default: found."})
    label_column: str | None = field(default=None, metadata={"help": "Default: found."})
    unreadable: str = field(
        default="stop",
        metadata={
            "help": "What unreadable pictures do, for which all are read once before: stop, or skip (they are left "
            "out); unchecked: none is read before, and the first of them stops the training.",
            "choices": (*UNREADABLE, UNCHECKED),
        },
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only so many, taken at random."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many, taken at random."})
    augmentation: str = field(
        default="plain",
        metadata={
            "help": "none; plain: crop and flip; full: RandAugment and erasing too (torchvision); auto.",
            "choices": AUGMENTATIONS,
        },
    )
    crop_scale: float = field(default=0.7, metadata={"help": "Least part of the area that a training crop keeps."})
    randaugment_magnitude: int = field(default=9, metadata={"help": "0 to 10, with augmentation full."})
    random_erasing: float = field(default=0.25, metadata={"help": "Probability, with augmentation full."})
    color_jitter: float = field(default=0.0, metadata={"help": "Strength, with augmentation full."})
    mixup: float = field(default=0.0, metadata={"help": "Alpha of Mixup, 0 for none (torchvision)."})
    cutmix: float = field(default=0.0, metadata={"help": "Alpha of CutMix, 0 for none (torchvision)."})


USAGE = "hf-dynamicvit train --model MODEL --dataset DATASET --output_dir FOLDER [options]"
DESCRIPTION = (
    "Fine-tune a model, sparse or dense, on pictures from the Hub, a folder or a file; the model, its image processor "
    "and results.json are in --output_dir. Defaults are those of the method, or of --recipe. All options of "
    "Transformers' TrainingArguments work too, and --help-all lists them; each can be typed with hyphens in place of "
    "underscores."
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
        "Folder to write; must be new or empty, unless --resume_from_checkpoint is given.",
        default="dynamicvit-output",
        others=("--output",),
    ),
    "num_train_epochs": TrainerOption(
        f"Passes over the pictures. Default: {told_default('num_train_epochs')}.", float, others=("--epochs",)
    ),
    "max_steps": TrainerOption(
        "Stop after so many optimizer steps, whatever --num_train_epochs says; -1: at its end.", int, -1
    ),
    "per_device_train_batch_size": TrainerOption("Pictures at a time on each device.", int, 32, ("--batch-size",)),
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
    "dataloader_num_workers": TrainerOption("Processes that read pictures; 0: the training process itself.", int, 0),
    "seed": TrainerOption("Of weights, order and augmentation.", int, 42),
    "resume_from_checkpoint": TrainerOption(
        "Go on in --output_dir: last for its newest whole checkpoint, or the folder of one."
    ),
    "push_to_hub": TrainerOption("Upload the model and its card as it is saved.", bool, False),
    "hub_model_id": TrainerOption("user/name of the repository. Default: the name of --output_dir."),
    "hub_token": TrainerOption("Default: the one of `hf auth login`."),
    "report_to": TrainerOption("Where the log goes too: tensorboard, wandb, ...; all; none.", default="none"),
}

# Of our own, where the command has another default than the class.
REWORDED = {
    "backbone_lr_scale": "Learning rate of everything but the reducer, as a fraction of --learning_rate. Default: "
    f"{told_default('backbone_lr_scale')}; published for DynamicViT: 0.01.",
    "distill": "Go without a teacher.",
    "loss_weights": "Weights of loss terms by name, in place of the published ones of the method: classification, "
    "class_distill, token_distill, feature_distill and the method's own. As JSON: '{\"class_distill\": 1.0}'. "
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


SEED = Range(0, 2**32 - 1)
# of steps; a number below 1 is a fraction of all
INTERVAL = Range(0, above=True)

# What every option that takes numbers takes, by name: our own and those of TrainingArguments.
RANGES = {
    "keep_ratio": KEEP_RATIO,
    "budget": Range(0, 1, above=True, meaning=", a fraction of the dense model's multiply-adds"),
    "reducer_layers": Range(0, meaning=", as blocks are counted from 0"),
    "drop_path_rate": BELOW_ONE,
    "teacher_epochs": NOT_NEGATIVE,
    "teacher_learning_rate": NOT_NEGATIVE,
    "keep_ratio_warmup_epochs": NOT_NEGATIVE,
    "layer_grouping_fraction": FRACTION,
    "validation_fraction": Range(0, 1, above=True, below=True, meaning=", a fraction of each class"),
    "max_train_samples": COUNT,
    "max_eval_samples": COUNT,
    "crop_scale": SOME_FRACTION,
    "randaugment_magnitude": Range(0, 10),
    "random_erasing": FRACTION,
    "color_jitter": NOT_NEGATIVE,
    "mixup": NOT_NEGATIVE,
    "cutmix": NOT_NEGATIVE,
    "backbone_lr_scale": NOT_NEGATIVE,
    "head_learning_rate": NOT_NEGATIVE,
    "freeze_backbone_epochs": NOT_NEGATIVE,
    "layer_lr_decay": SOME_FRACTION,
    "ema_decay": BELOW_ONE,
    "num_train_epochs": Range(0, above=True),
    "max_steps": Range(1, besides=-1, meaning=" for no limit"),
    "per_device_train_batch_size": COUNT,
    "per_device_eval_batch_size": COUNT,
    "gradient_accumulation_steps": COUNT,
    "eval_accumulation_steps": COUNT,
    "learning_rate": NOT_NEGATIVE,
    "warmup_steps": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "adam_beta1": BELOW_ONE,
    "adam_beta2": BELOW_ONE,
    "adam_epsilon": NOT_NEGATIVE,
    "max_grad_norm": NOT_NEGATIVE,
    "label_smoothing_factor": FRACTION,
    "neftune_noise_alpha": NOT_NEGATIVE,
    "torch_empty_cache_steps": COUNT,
    "logging_steps": INTERVAL,
    "eval_steps": INTERVAL,
    "eval_delay": NOT_NEGATIVE,
    "save_steps": INTERVAL,
    "save_total_limit": COUNT,
    "seed": SEED,
    "data_seed": SEED,
    "dataloader_num_workers": NOT_NEGATIVE,
    "dataloader_prefetch_factor": COUNT,
    "ddp_bucket_cap_mb": COUNT,
    "ddp_timeout": COUNT,
}

# name that may be typed -> the name of the option
ALIASES = {alias: f"--{name}" for name, option in TRAINER_OPTIONS.items() for alias in option.others}


def canonical(word: str) -> str:
    """Replace another name of an option by its own in `word` of a command line."""
    name, equals, value = word.partition("=")
    return f"{ALIASES.get(name, name)}{equals}{value}"


def check_output(folder: str | Path, resumes: bool, option: str | None = None) -> None:
    """Refuse a folder that cannot be written, or that holds a file already; empty folders in it are no obstacle.

    Args:
        folder: for the model.
        resumes: whether training goes on there.
        option: what was typed to name it.

    Raises:
        ValueError: names the option and says why.
    """
    place = Path(folder).expanduser()
    unused = place.is_dir() and all(path.is_dir() for path in place.rglob("*"))
    try:
        check_folder(place, resumes or unused, "or go on there with --resume_from_checkpoint last")
    except ValueError as error:
        raise ValueError(f"{option or '--output_dir'} {error}") from error


def names_of(*groups: Any) -> list[str]:
    return [option.name for group in groups for option in dataclasses.fields(group) if option.init]


ABOUT_TEACHER = [
    *("teacher", "distill", "teacher_epochs", "teacher_learning_rate", "teacher_dtype", "cache_teacher"),
]
COMES_OUT = ["keep_checkpoints", "push_to_hub", "hub_model_id", "hub_token", "report_to"]

# What the help shows, in this order: our own options and the usual ones of TrainingArguments; --help-all, the others.
SECTIONS = {
    "what is trained": [
        *("model", "dataset", "output_dir"),
        *(name for name in names_of(ModelArguments)[1:] if name not in (*ABOUT_TEACHER, *COMES_OUT)),
    ],
    "teacher": ABOUT_TEACHER,
    "pictures": names_of(DataArguments)[1:],
    "training": [
        *(name for name in TRAINER_OPTIONS if name not in ("output_dir", *COMES_OUT)),
        *(name for name in names_of(DynamicViTOptions) if name not in ABOUT_TEACHER),
    ],
    "what comes out": ["json", *COMES_OUT],
}
