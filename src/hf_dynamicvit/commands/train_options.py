# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit train` that `TrainingArguments` has not, without importing torch."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..folders import check_folder
from ..names import AUGMENTATIONS, METHODS, SCHEDULES, UNCHECKED, UNREADABLE
from ..training.recipes import RECIPES


# Trains a dense model: as a DynamicViT that keeps everything, with all that its Trainer has.
DENSE = "none"


@dataclass
class ModelArguments:
    """Which model, which method, which teacher."""

    model: str = field(
        metadata={"help": "Image classifier of any family, dense or sparse: a folder or a name on the Hub."}
    )
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
        metadata={"help": "Multiply-adds as a fraction of the dense model's, 0 to 1, in place of --keep-ratio."},
    )
    reducer_args: str | None = field(
        default=None, metadata={"help": """Options of the method as JSON, such as '{"tau": 0.5}'."""}
    )
    schedule: str | None = field(
        default=None,
        metadata={
            "help": "In which blocks, and along which curve the keep ratio is reached. Default: the model's own, or "
            "the method's. One of",
            "choices": [*SCHEDULES],
        },
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
            "help": "The model's classes are those of the images in the same order, whatever they are called (such "
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
            "help": "Train the dense start for as many epochs as the sparse model too, into --output-dir/dense, so "
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
            "help": "Fine-tune the dense model on the images first, for so many epochs: it becomes the start and "
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
    """Which images, and what happens to them."""

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
            "help": "What unreadable images do, for which all are read once before: stop, or skip (they are left "
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


def option_names(*groups: Any) -> list[str]:
    return [option.name for group in groups for option in dataclasses.fields(group) if option.init]


def check_output_folder(folder: str | Path, resumes: bool, option: str = "--output-dir") -> None:
    """Refuse a folder that cannot be written, or that holds a file already; empty folders in it are no obstacle.

    Args:
        folder: for the model.
        resumes: whether training goes on there.
        option: that names it, as it was typed.

    Raises:
        ValueError: names the option and says why.
    """
    place = Path(folder).expanduser()
    unused = place.is_dir() and all(path.is_dir() for path in place.rglob("*"))
    try:
        check_folder(place, resumes or unused, "or go on there with --resume-from-checkpoint last")
    except ValueError as error:
        raise ValueError(f"{option} {error}") from error
