# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit train`: as typed, else of a recipe, else what suits the method."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import HfArgumentParser, TrainingArguments

from ..checkpoints.checkpoint import Checkpoint, read_checkpoint
from ..machine import bfloat16_is_faster, list_devices
from ..model.reducers import is_adaptive
from ..training.arguments import DynamicViTTrainingArguments
from ..training.recipes import RECIPES, learning_rate_for, settings_without_recipe
from .help_text import SectionedHelp
from .parser import Parser, add_json_option
from .ranges import check_ranges
from .train_conflicts import build_method, check_typed
from .train_help import DESCRIPTION, REWORDED, SECTIONS, SET, TRAINER_OPTIONS, USAGE, canonical
from .train_options import DENSE, DataArguments, ModelArguments, option_names
from .train_ranges import RANGES


# The method of a dense model.
DEFAULT = "dynamicvit"

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
    others = [name for name in option_names(TrainingArguments) if name not in shown]
    return parser.format_help_for(SECTIONS | {"all others of TrainingArguments": others})


def make_parser() -> TrainParser:
    """Return the parser that knows every option and its type."""
    parser = TrainParser(cast(Any, GROUPS), prog="hf-dynamicvit train", usage=USAGE, description=DESCRIPTION)
    add_json_option(parser)
    spell_with_hyphens(parser)
    texts = {name: option.help for name, option in TRAINER_OPTIONS.items()} | REWORDED
    for action in parser._actions:
        action.help = texts.get(action.dest, action.help)
        if "--distill" in action.option_strings:
            action.help = argparse.SUPPRESS
    parser.set_defaults(**SET)
    return parser


@dataclass(frozen=True)
class TrainOptions:
    """All options of a training.

    Attributes:
        model, data, training: by subject.
        start: the checkpoint that `--model` names; `None` where it was not read, as the method was typed.
        chosen: names of those that were typed, and of those that the recipe sets.
    """

    model: ModelArguments
    data: DataArguments
    training: DynamicViTTrainingArguments
    start: Checkpoint | None
    chosen: frozenset[str]


def spell_with_hyphens(parser: argparse.ArgumentParser) -> None:
    """Leave the options that `HfArgumentParser` adds one spelling each: `Parser.spelled` knows the other."""
    for action in parser._actions:
        action.option_strings = [name for name in action.option_strings if "_" not in name]
    for name in [name for name in parser._option_string_actions if "_" in name]:
        del parser._option_string_actions[name]


def parse(argv: Sequence[str]) -> tuple[ModelArguments, DataArguments, DynamicViTTrainingArguments]:
    """Return the options of `read_options` by subject."""
    options = read_options(argv)
    return options.model, options.data, options.training


def read_options(argv: Sequence[str]) -> TrainOptions:
    """Read a command line: options as typed, else of the recipe, else what suits the method.

    Raises:
        ValueError: an option is out of range, or would be ignored beside the others; the model cannot be read.
    """
    parser = make_parser()
    typed = typed_options(parser, argv)
    check_ranges(typed, RANGES)
    recipe = typed.get("recipe")
    settings = {} if recipe is None else recipe_settings(recipe, typed)
    reducer, start = typed.get("reducer") or settings.get("reducer"), None
    if reducer is None:
        start = read_checkpoint(typed["model"])
        reducer = start.reducer or DEFAULT
    if recipe is None:
        settings = settings_without_recipe(
            None if reducer == DENSE else build_method(reducer, typed.get("reducer_args"))
        )
    settings = {**chosen_by_default(reducer, typed), **settings}
    check_typed(reducer, typed, settings)
    pins = torch.accelerator.is_available()  # without one torch warns at every loader that it cannot
    values = {"dataloader_pin_memory": pins, **settings, **typed, "reducer": reducer}
    groups: list[Any] = [group(**in_group(parser, group, values)) for group in GROUPS]
    model, data, training = groups
    training = settle(training, recipe, typed, settings)
    applied = () if recipe is None else recipe_settings(recipe, typed)
    return TrainOptions(model, data, training, start, frozenset([*typed, *applied]))


def in_group(parser: argparse.ArgumentParser, group: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Return what `group` is made of: `values`, else the defaults of the command."""
    return {name: values.get(name, parser.get_default(name)) for name in option_names(group)}


def settle(
    training: DynamicViTTrainingArguments, recipe: str | None, typed: dict[str, Any], settings: dict[str, Any]
) -> DynamicViTTrainingArguments:
    """Complete loss weights of which some are typed; scale the learning rate of a recipe, and print it."""
    if recipe is None:
        if "loss_weights" not in typed:
            return training
        return training.changed(loss_weights=settings.get("loss_weights", {}) | training.loss_weights)
    if "learning_rate" not in typed:
        training = training.changed(learning_rate=learning_rate_for(RECIPES[recipe], images_in_step(training)))
    if training.process_index == 0:
        print_recipe(recipe, typed, training)
    return training


def chosen_by_default(reducer: str, typed: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that depend on the machine, and on what is `typed`."""
    settings: dict[str, Any] = {}
    asked = {"bf16", "fp16"} & typed.keys() or os.environ.get("ACCELERATE_MIXED_PRECISION", "no") != "no"
    if not asked:
        device = torch.device("cpu" if typed.get("use_cpu") else list_devices()[0])
        settings["bf16"] = bfloat16_is_faster(device)
    # an epoch that keeps more than the others is not a better one
    decides = reducer != DENSE and is_adaptive(reducer)
    if not decides and not {"eval_strategy", "save_strategy"} & typed.keys():
        settings["load_best_model_at_end"] = True
    return settings


def typed_options(parser: Parser, argv: Sequence[str]) -> dict[str, Any]:
    """Return the value of each option that is typed in `argv`, by name."""
    names, unset = option_names(*GROUPS), object()
    namespace = argparse.Namespace(**dict.fromkeys(names, unset))
    values = vars(parser.parse_args([canonical(word) for word in argv], namespace))
    return {name: values[name] for name in names if values[name] is not unset}


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
