# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit train`: as typed, else of a recipe, else what suits the method."""

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any, cast

import torch
from transformers import HfArgumentParser, TrainingArguments

from ..checkpoints.source import read_config
from ..machine import bfloat16_is_faster, devices
from ..model.configuration_dynamicvit import DynamicViTConfig
from ..model.reducer import TokenReducer
from ..model.reducers import is_adaptive
from ..training.arguments import DynamicViTTrainingArguments
from ..training.predictor_start import has_predictors
from ..training.recipes import RECIPES, learning_rate_for, settings_without_recipe
from .parser import Parser, SectionedHelp, add_json_option, check_ranges
from .train_options import (
    DENSE,
    DESCRIPTION,
    RANGES,
    REWORDED,
    SECTIONS,
    SET,
    TRAINER_OPTIONS,
    USAGE,
    DataArguments,
    ModelArguments,
    canonical,
    names_of,
)


GROUPS = (ModelArguments, DataArguments, DynamicViTTrainingArguments)


class TrainParser(SectionedHelp, Parser, HfArgumentParser):
    """The parser of the options of `GROUPS`."""

    sections = SECTIONS


def help_of_all(epilog: str) -> str:
    """Return the help with every option of `TrainingArguments`."""
    parser = make_parser()
    parser.epilog = epilog
    parser.add_argument("--help-all", action="store_true", help="show all options")
    shown = {name for names in SECTIONS.values() for name in names}
    others = [name for name in names_of(TrainingArguments) if name not in shown]
    return parser.help_of(SECTIONS | {"all others of TrainingArguments": others})


def make_parser() -> TrainParser:
    """Return the parser that knows every option and its type."""
    parser = TrainParser(cast(Any, GROUPS), prog="hf-dynamicvit train", usage=USAGE, description=DESCRIPTION)
    add_json_option(parser)
    texts = {name: option.help for name, option in TRAINER_OPTIONS.items()} | REWORDED
    for action in parser._actions:
        action.help = texts.get(action.dest, action.help)
        if "--distill" in action.option_strings:
            action.help = argparse.SUPPRESS
    parser.set_defaults(**SET)
    return parser


def parse(argv: Sequence[str]) -> tuple[ModelArguments, DataArguments, DynamicViTTrainingArguments]:
    """Options as typed, else of the recipe, else what suits the method.

    Raises:
        ValueError: an option is out of range, or would be ignored beside the others.
    """
    argv, parser = [canonical(word) for word in argv], make_parser()
    typed = typed_options(argv)
    check_ranges(typed, RANGES, {})
    recipe = typed.get("recipe")
    settings = {} if recipe is None else recipe_settings(recipe, typed)
    reducer = typed.get("reducer") or settings.get("reducer") or reducer_of(typed["model"])
    if recipe is None:
        settings = settings_without_recipe(None if reducer == DENSE else method_of(reducer, typed.get("reducer_args")))
    settings = {**chosen_by_default(reducer, typed), **settings}
    check_typed(reducer, typed, settings)
    pins = torch.accelerator.is_available()  # without one torch warns at every loader that it cannot
    parser.set_defaults(**{"dataloader_pin_memory": pins, **settings, "reducer": reducer})
    groups: Any = parser.parse_args_into_dataclasses(list(argv), look_for_args_file=False)
    model, data, training, _ = groups
    if recipe is None and "loss_weights" in typed:  # those that are not typed stay
        training = training.changed(loss_weights=settings.get("loss_weights", {}) | training.loss_weights)
    if recipe is not None:
        if "learning_rate" not in typed:
            rate = learning_rate_for(RECIPES[recipe], images_in_step(training))
            training = training.changed(learning_rate=rate)
        if training.process_index == 0:
            print_recipe(recipe, typed, training)
    return model, data, training


def chosen_by_default(reducer: str, typed: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that depend on the machine, and on what is `typed`."""
    settings: dict[str, Any] = {}
    asked = {"bf16", "fp16"} & typed.keys() or os.environ.get("ACCELERATE_MIXED_PRECISION", "no") != "no"
    if not asked:
        device = torch.device("cpu" if typed.get("use_cpu") else devices()[0])
        settings["bf16"] = bfloat16_is_faster(device)
    # an epoch that keeps more than the others is not a better one
    decides = reducer != DENSE and is_adaptive(reducer)
    if not decides and not {"eval_strategy", "save_strategy"} & typed.keys():
        settings["load_best_model_at_end"] = True
    return settings


def typed_options(argv: Sequence[str]) -> dict[str, Any]:
    """Return the value of each option that is typed in `argv`, by name."""
    parser, unset = make_parser(), object()
    parser.set_defaults(**dict.fromkeys(names_of(*GROUPS), unset))
    values = vars(parser.parse_args([canonical(word) for word in argv]))
    return {name: value for name, value in values.items() if value is not unset and name != "json"}


def chosen_options(argv: Sequence[str]) -> set[str]:
    """Return the names of the options that `argv` sets, and of those that its recipe does."""
    typed = typed_options(argv)
    return {*typed} | ({*recipe_settings(typed["recipe"], typed)} if "recipe" in typed else set())


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
        "predictor_start": another,
    }
    return {option: value for option, value in settings.items() if not replaced.get(option)}


# Options that are ignored, each unless the second, which is named as it can be typed, is there too.
ONLY_WITH = {
    "teacher_learning_rate": ("teacher_epochs", "--teacher_epochs 3"),
    "hub_model_id": ("push_to_hub", "--push_to_hub"),
}

# Options of augmentation that are ignored at other levels.
AT_LEVELS = {
    "crop_scale": ("plain", "full", "auto"),
    "randaugment_magnitude": ("full", "auto"),
    "random_erasing": ("full", "auto"),
    "color_jitter": ("full", "auto"),
}


def check_typed(reducer: str, typed: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse options that would be ignored; `settings` are those that are not typed."""
    for name, (needed, as_typed) in ONLY_WITH.items():
        if name in typed and not typed.get(needed):
            raise ValueError(f"--{name} is typed, but has no effect without {as_typed}.")
    level = (settings | typed).get("augmentation", DataArguments.augmentation)
    for name, levels in AT_LEVELS.items():
        if name in typed and level not in levels:
            raise ValueError(f"--{name} is typed, but has no effect with --augmentation {level}.")
    learned = reducer != DENSE and has_predictors(method_of(reducer, (settings | typed).get("reducer_args")))
    if "predictor_start" in typed and not learned:
        raise ValueError(f"--predictor_start is typed, but --reducer {reducer} has no predictors.")
    taught = [name for name in ("teacher", "teacher_epochs") if typed.get(name)]
    if reducer == DENSE and taught:
        raise ValueError(f"--{taught[0]} is typed, but --reducer {DENSE} learns from no teacher.")
    if reducer == DENSE and typed.get("compare_dense"):
        raise ValueError(f"--compare_dense is typed, but --reducer {DENSE} trains the dense model itself.")
    kept = [name for name in ("keep_ratio", "budget") if name in typed]
    if reducer == DENSE and kept:
        raise ValueError(f"--{kept[0]} is typed, but --reducer {DENSE} keeps everything.")
    if len(kept) == 2:
        raise ValueError("--keep_ratio and --budget both say how much is kept; type one.")
    if reducer != DENSE and is_adaptive(reducer) and "keep_ratio" in typed:
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
