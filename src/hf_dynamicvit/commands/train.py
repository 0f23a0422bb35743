# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit train`."""

import argparse
import dataclasses
import os
import re
import sys
import types
import typing
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..training.options import DynamicViTOptions
from .help_text import SectionedHelp, examples_text
from .parser import Parser, add_json_option
from .ranges import as_option, check_ranges
from .train_help import ALIASES, DESCRIPTION, REWORDED, SECTIONS, TRAINER_OPTIONS, USAGE, TrainerOption, canonical
from .train_options import DataArguments, ModelArguments, check_output_folder, option_names
from .train_ranges import RANGES


EXAMPLES = """
# on your own images, a folder for each class: the dense model learns them first, then teaches the sparse one
hf-dynamicvit train --model facebook/deit-small-patch16-224 --dataset my_images --teacher-epochs 3 \\
    --output-dir my-dynamicvit
# from a dense model that knows the classes, another method at 0.6 of its cost
hf-dynamicvit train --model my-dense-vit --dataset my_images --reducer evit --budget 0.6 --output-dir my-evit
# the published settings, in bfloat16; what is typed goes before them
hf-dynamicvit train --recipe dynamicvit-deit-small --model facebook/deit-small-patch16-224 \\
    --dataset ILSVRC/imagenet-1k --same-classes --bf16 --num-train-epochs 5 --output-dir recipe
# on where it was stopped
hf-dynamicvit train --model my-dense-vit --dataset my_images --output-dir my-evit --resume-from-checkpoint last
"""


OWN = (ModelArguments, DataArguments, DynamicViTOptions)


class TrainParser(SectionedHelp, Parser):
    """A parser of names, and of the values of our own options.

    What it parsed has `argv`, the words as `train_arguments.read_options` takes them, and `spelled`, the names of
    options as they were typed. What `TrainingArguments` alone knows is checked there, as it takes seconds to import.
    """

    sections = SECTIONS

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        words = self.as_declared(sys.argv[1:] if args is None else args)
        parsed = super().parse_args(words, namespace)
        names = [word.partition("=")[0] for word in words]
        options = self._option_string_actions
        parsed.spelled = {options[name].dest: name for name in names if name in options}
        parsed.argv = [canonical(word) for word in words]
        return parsed


class HelpAll(argparse.Action):
    """`--help-all`: with the options of `TrainingArguments`, which takes seconds to import."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        from .train_arguments import help_of_all

        print(help_of_all(parser.epilog))
        parser.exit()


def make_parser() -> TrainParser:
    """Return the parser of all options, without importing torch."""
    parser = TrainParser(prog="hf-dynamicvit train", usage=USAGE, description=DESCRIPTION)
    parser.epilog = examples_text(EXAMPLES)
    add_json_option(parser)
    parser.add_argument("--help-all", action=HelpAll, nargs=0, default=argparse.SUPPRESS, help="show all options")
    for group in OWN:
        for field in dataclasses.fields(group):
            add_field(parser, field, typing.get_type_hints(group)[field.name])
    for name in trainer_option_names():
        if name not in option_names(DynamicViTOptions):
            add_trainer_option(parser, name, TRAINER_OPTIONS.get(name))
    return parser


def spellings(name: str) -> list[str]:
    """Return what can be typed for the option `name`, the usual one first."""
    return [as_option(name), *(alias for alias, meant in ALIASES.items() if meant == as_option(name))]


def add_field(parser: argparse.ArgumentParser, field: dataclasses.Field, kind: Any) -> None:
    """Add an option of our own with values of type `kind`, as `HfArgumentParser` adds it."""
    text = REWORDED.get(field.name, field.metadata["help"])
    union = isinstance(kind, types.UnionType)
    kinds = [part for part in typing.get_args(kind) if part is not types.NoneType] if union else [kind]
    if field.default is True:
        add_flag(parser, [as_option(f"no_{field.name}")], field.name, text, True)
        return
    if kind is bool:
        add_flag(parser, spellings(field.name), field.name, text, False)
        return
    listed = typing.get_origin(kinds[0]) is list
    value = typing.get_args(kinds[0])[0] if listed else kinds[-1]
    options: dict[str, Any] = {"nargs": "+"} if listed else {}
    if "choices" in field.metadata:
        options["choices"] = field.metadata["choices"]
    required = field.default is dataclasses.MISSING
    default = None if required else field.default
    parser.add_argument(*spellings(field.name), type=value, default=default, required=required, help=text, **options)


def add_flag(parser: argparse.ArgumentParser, names: list[str], name: str, text: str, default: bool | None) -> None:
    """Add an option that is typed alone, or with true or false behind it."""
    parser.add_argument(*names, dest=name, nargs="?", const=True, default=default, help=text)


def add_trainer_option(parser: argparse.ArgumentParser, name: str, option: TrainerOption | None) -> None:
    """Add an option of `TrainingArguments`: with its type where the help shows it, else with any values."""
    if option is None:
        parser.add_argument(*spellings(name), nargs="*", help="an option of TrainingArguments; see --help-all")
    elif option.type is bool:
        add_flag(parser, spellings(name), name, option.help, option.default)
    else:
        parser.add_argument(*spellings(name), type=option.type, default=option.default, help=option.help)


def trainer_option_names() -> list[str]:
    """Return the options of `TrainingArguments`, read off its source, since importing it takes seconds."""
    transformers = find_spec("transformers")
    assert transformers is not None and transformers.origin is not None
    source = Path(transformers.origin).with_name("training_args.py").read_text(encoding="utf-8")
    return re.findall(r"^    (\w+): [^=\n]+ = field\(", source, flags=re.MULTILINE)


def main(args: argparse.Namespace) -> None:
    check_ranges({name: vars(args)[name] for name in args.spelled}, RANGES, args.spelled)
    if os.environ.get("RANK", "0") == "0":  # of several processes the first one writes
        option = args.spelled.get("output_dir", "--output-dir")
        check_output_folder(args.output_dir, args.resume_from_checkpoint is not None, option)
    from .train_run import run_command

    run_command(args.argv, args.json)
