# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit train`: as typed, else of a recipe, else what suits the method."""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from transformers import HfArgumentParser, TrainingArguments

from .command_line import Parser, add_json_option, examples_text
from .model.configuration_dynamicvit import DynamicViTConfig
from .model.reducer import TokenReducer
from .model.reducers import REDUCERS
from .model_source import read_config
from .training.arguments import DynamicViTTrainingArguments
from .training.recipes import RECIPES, learning_rate_for, settings_without_recipe


EXAMPLES = """
# on your own pictures, a folder for each class: the dense model learns them first, then teaches the sparse one
hf-dynamicvit train --model facebook/deit-small-patch16-224 --dataset my_pictures --teacher_epochs 3 \\
    --output_dir my-dynamicvit
# from a dense model that knows the classes, another method at 0.6 of its cost
hf-dynamicvit train --model my-dense-vit --dataset my_pictures --reducer evit --budget 0.6 --output_dir my-evit
# the published settings, in bfloat16; what is typed goes before them
hf-dynamicvit train --recipe dynamicvit-deit-small --model facebook/deit-small-patch16-224 \\
    --dataset ILSVRC/imagenet-1k --same_classes --bf16 --num_train_epochs 5 --output_dir recipe
# on where it was stopped
hf-dynamicvit train --model my-dense-vit --dataset my_pictures --output_dir my-evit --resume_from_checkpoint last
"""

# Trains a dense model: as a DynamicViT that keeps everything, with all that its Trainer has.
DENSE = "none"


@dataclass
class ModelArguments:
    """Which model, which method, which teacher."""

    model: str = field(metadata={"help": "ViT or DeiT classifier, dense or sparse: a folder or a name on the Hub."})
    recipe: str | None = field(
        default=None,
        metadata={"help": f"Published settings; what is typed goes before them. One of {', '.join(RECIPES)}."},
    )
    reducer: str | None = field(
        default=None,
        metadata={
            "help": f"Method: {', '.join(REDUCERS)}; {DENSE} trains a dense model. Default: that of a sparse model, "
            "dynamicvit for a dense one."
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
        metadata={"help": "Multiply-adds as a fraction of the dense model's, in place of keep_ratio."},
    )
    reducer_args: str | None = field(
        default=None, metadata={"help": """Options of the method as JSON, such as '{"tau": 0.5}'."""}
    )
    reducer_layers: list[int] | None = field(default=None, metadata={"help": "Blocks that reduce, counted from 0."})
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
    distill: bool = field(default=True, metadata={"help": "Whether there is a teacher, where the method wants one."})
    teacher_epochs: float = field(
        default=0.0,
        metadata={
            "help": "Fine-tune the dense model on the pictures first, for so many epochs: it becomes the start and "
            "the teacher. For models that were trained on other classes."
        },
    )
    teacher_learning_rate: float = field(default=1e-4, metadata={"help": "Of that fine-tuning."})
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
        default="stop", metadata={"help": "What an unreadable picture does: stop, or skip (all are read once before)."}
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only so many, taken at random."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many, taken at random."})
    augmentation: str = field(
        default="plain",
        metadata={"help": "none; plain: crop and flip; full: RandAugment and erasing too (torchvision); auto."},
    )
    crop_scale: float = field(default=0.35, metadata={"help": "Least part of the area that a training crop keeps."})
    randaugment_magnitude: int = field(default=9, metadata={"help": "0 to 10, with augmentation full."})
    random_erasing: float = field(default=0.25, metadata={"help": "Probability, with augmentation full."})
    color_jitter: float = field(default=0.0, metadata={"help": "Strength, with augmentation full."})
    mixup: float = field(default=0.0, metadata={"help": "Alpha of Mixup, 0 for none (torchvision)."})
    cutmix: float = field(default=0.0, metadata={"help": "Alpha of CutMix, 0 for none (torchvision)."})


GROUPS = (ModelArguments, DataArguments, DynamicViTTrainingArguments)


def names_of(*groups: Any) -> list[str]:
    return [option.name for group in groups for option in dataclasses.fields(group) if option.init]


ABOUT_TEACHER = ["teacher", "distill", "teacher_epochs", "teacher_learning_rate", "teacher_dtype", "cache_teacher"]

# What the help shows, in this order: our own options and the usual ones of TrainingArguments; --help-all, the others.
SECTIONS = {
    "what is trained": [
        *("model", "dataset", "output_dir"),
        *(name for name in names_of(ModelArguments)[1:] if name not in ABOUT_TEACHER),
    ],
    "teacher": ABOUT_TEACHER,
    "pictures": names_of(DataArguments)[1:],
    "training": [
        *("num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps"),
        *("bf16", "use_cpu", "dataloader_num_workers", "seed", "resume_from_checkpoint", "learning_rate"),
        *(
            name
            for name in names_of(DynamicViTTrainingArguments)
            if name not in (*names_of(TrainingArguments), *ABOUT_TEACHER)
        ),
    ],
    "what comes out": ["json", "push_to_hub", "hub_model_id", "hub_token", "report_to"],
}

# Of TrainingArguments, in fewer words or as it is here.
REWORDED = {
    "output_dir": "Folder to write; must be new or empty, but with --resume_from_checkpoint.",
    "num_train_epochs": "Passes over the pictures.",
    "max_steps": "Stop after so many optimizer steps, whatever --num_train_epochs says; -1: at its end.",
    "learning_rate": "Of the reducer, and of all where it learns nothing. Default: as published for the method.",
    "per_device_train_batch_size": "Pictures at a time on each device.",
    "gradient_accumulation_steps": "Batches in an optimizer step.",
    "bf16": "Train in bfloat16 mixed precision.",
    "seed": "Of weights, order and augmentation.",
    "use_cpu": "Leave a GPU alone.",
    "dataloader_num_workers": "Processes that read pictures; 0: the training process itself.",
    "resume_from_checkpoint": "Go on in --output_dir: last for its newest whole checkpoint, or the folder of one.",
    "push_to_hub": "Upload the model and its card as it is saved.",
    "hub_model_id": "user/name of the repository. Default: the name of --output_dir.",
    "hub_token": "Default: the one of `hf auth login`.",
    "report_to": "Where the log goes too: tensorboard, wandb, ...; all; none.",
}


class TrainParser(Parser, HfArgumentParser):
    """The parser of the options of `GROUPS`, whose help is that of `SECTIONS`, or of all with `--help-all`."""

    def format_help(self) -> str:
        return self.help_of(SECTIONS)

    def help_of(self, sections: dict[str, list[str]]) -> str:
        """The help with the options of these names only."""
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, [])
        formatter.add_text(self.description)
        for title, names in ({"help": ["help", "help_all"]} | sections).items():
            formatter.start_section(title)
            for name in names:
                formatter.add_arguments(action for action in self._actions if action.dest == name)
            formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()


class HelpAll(argparse.Action):
    """`--help-all`."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        shown = {name for names in SECTIONS.values() for name in names}
        others = [name for name in names_of(TrainingArguments) if name not in shown]
        print(cast(TrainParser, parser).help_of(SECTIONS | {"all others of TrainingArguments": others}))
        parser.exit()


def make_parser() -> TrainParser:
    parser = TrainParser(
        cast(Any, GROUPS),
        prog="hf-dynamicvit train",
        usage="hf-dynamicvit train --model MODEL --dataset DATASET --output_dir FOLDER [options]",
        description="Fine-tune a model, sparse or dense, on pictures from the Hub, a folder or a file; the model, its "
        "image processor and results.json are in --output_dir. Defaults are those of the method, or of --recipe. All "
        "options of Transformers' TrainingArguments work too, and --help-all lists them; each can be typed with "
        "hyphens in place of underscores.",
        epilog=examples_text(EXAMPLES),
    )
    add_json_option(parser)
    parser.add_argument("--help-all", action=HelpAll, nargs=0, default=argparse.SUPPRESS, help="show all options")
    for action in parser._actions:
        action.help = REWORDED.get(action.dest, action.help)
        if "--distill" in action.option_strings:
            action.help = argparse.SUPPRESS
        if "--no_distill" in action.option_strings:
            action.help = "Go without a teacher."
    parser.set_defaults(
        output_dir="dynamicvit-output",
        per_device_train_batch_size=32,
        per_device_eval_batch_size=64,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        logging_steps=10,
        metric_for_best_model="accuracy",
        remove_unused_columns=False,
        report_to="none",
    )
    return parser


def parse(argv: Sequence[str]) -> tuple[ModelArguments, DataArguments, DynamicViTTrainingArguments]:
    """Options as typed, else of the recipe, else what suits the method.

    Raises:
        ValueError: there is no such recipe or method, or an option is out of range.
    """
    parser, unset = make_parser(), object()
    parser.parse_args(argv)  # what is wrong is said, and help given, with the true defaults
    watch = make_parser()
    watch.set_defaults(**dict.fromkeys(names_of(*GROUPS), unset))
    typed = {name: value for name, value in vars(watch.parse_args(argv)).items() if value is not unset}
    recipe = typed.get("recipe")
    if recipe is not None and recipe not in RECIPES:
        raise ValueError(f"recipe is {recipe!r}; it must be one of {', '.join(RECIPES)}.")
    settings = {} if recipe is None else recipe_settings(recipe, typed)
    reducer = typed.get("reducer") or settings.get("reducer") or reducer_of(typed["model"])
    if reducer not in (*REDUCERS, DENSE):
        raise ValueError(f"reducer is {reducer!r}; it must be one of {', '.join(REDUCERS)} or {DENSE}.")
    if recipe is None:
        settings = settings_without_recipe(None if reducer == DENSE else method_of(reducer, typed.get("reducer_args")))
    check_typed(reducer, typed)
    pins = torch.accelerator.is_available()  # without one torch warns at every loader that it cannot
    parser.set_defaults(**{"dataloader_pin_memory": pins, **settings, "reducer": reducer})
    groups: Any = parser.parse_args_into_dataclasses(list(argv), look_for_args_file=False)
    model, data, training, _ = groups
    if recipe is not None:
        if "learning_rate" not in typed:
            training.learning_rate = learning_rate_for(RECIPES[recipe], images_in_step(training))
        if training.should_log:
            print_recipe(recipe, typed, training)
    return model, data, training


def recipe_settings(name: str, typed: dict[str, Any]) -> dict[str, Any]:
    """Those of the recipe that go with what is typed."""
    settings = RECIPES[name].settings
    another = typed.get("reducer", settings["reducer"]) != settings["reducer"]
    replaced = {
        "lr_scheduler_kwargs": "lr_scheduler_type" in typed,
        "keep_ratio": another or "budget" in typed,
        "loss_weights": another,
        "reducer_args": another,
        "layer_grouping_fraction": another,
    }
    return {option: value for option, value in settings.items() if not replaced.get(option)}


def check_typed(reducer: str, typed: dict[str, Any]) -> None:
    """Refuse options that would be ignored."""
    kept = [name for name in ("keep_ratio", "budget") if name in typed]
    if reducer == DENSE and kept:
        raise ValueError(f"--{kept[0]} is typed, but --reducer {DENSE} keeps everything.")
    if len(kept) == 2:
        raise ValueError("--keep_ratio and --budget both say how much is kept; type one.")
    if reducer != DENSE and REDUCERS[reducer].adaptive and "keep_ratio" in typed:
        raise ValueError(f"--keep_ratio is typed, but with --reducer {reducer} each image decides; type --budget.")
    if typed.get("distill") is False and "teacher" in typed:
        raise ValueError(f"--teacher is {typed['teacher']}, but --no_distill goes without; type one.")
    if typed.get("remove_unused_columns"):
        raise ValueError("--remove_unused_columns true would remove the pictures; leave it out.")
    if reducer == DENSE and typed.get("push_to_hub"):
        raise ValueError(f"--push_to_hub is for sparse models; upload what --reducer {DENSE} saves with `hf upload`.")
    if typed.get("cache_teacher") and (
        typed.get("augmentation") != "none" or typed.get("mixup") or typed.get("cutmix")
    ):
        raise ValueError(
            "--cache_teacher needs the same pictures in every epoch: type --augmentation none, no mixing."
        )


def method_of(reducer: str, reducer_args: str | None) -> TokenReducer:
    """A method with its options, without memory: for what it learns, how fast, and from whom."""
    return DynamicViTConfig(reducer=reducer, reducer_args=json_of(reducer_args)).reducer_without_memory()


def json_of(text: str | None) -> dict[str, Any]:
    """The options of a method from a command line."""
    example = """'{"tau": 0.5}'"""
    try:
        options = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"reducer_args is {text!r}, which is no JSON such as {example}: {error}") from error
    if not isinstance(options, dict):
        raise ValueError(f"reducer_args is {text!r}; it must be a JSON object such as {example}.")
    return options


def images_in_step(training: DynamicViTTrainingArguments) -> int:
    return training.train_batch_size * training.gradient_accumulation_steps * training.world_size


def print_recipe(name: str, typed: dict[str, Any], training: DynamicViTTrainingArguments) -> None:
    recipe = RECIPES[name]
    print(f"Recipe {name}: {recipe.source}.")
    applied = recipe_settings(name, typed)
    for option, value in recipe.settings.items():
        note = "" if option in applied else " -> left out, as it does not go with what is typed"
        if option in typed:
            note = f" -> {typed[option]}, as typed"
        elif option == "learning_rate":
            note = f" at {recipe.batch} images a step -> {training.learning_rate:.3g} at {images_in_step(training)}"
        print(f"  {option}: {value}{note}")
    for difference in recipe.differs:
        print(f"  differs: {difference}")


def reducer_of(model: str) -> str:
    """The method of a sparse checkpoint; `dynamicvit` for a dense one."""
    return getattr(read_config(model), "reducer", "dynamicvit")
