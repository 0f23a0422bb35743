# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Options are called alike in all commands: by one name, with hyphens; what was typed before goes on working."""

import argparse
import re
from pathlib import Path

import pytest

from hf_dynamicvit.commands.cli import COMMANDS, command_parser
from hf_dynamicvit.commands.parser import RENAMED
from hf_dynamicvit.commands.train import make_parser
from hf_dynamicvit.commands.train_arguments import help_of_all


# What each command cannot do without.
NEEDED = {
    "quickstart": [],
    "train": ["--model", "m", "--dataset", "d"],
    "predict": ["--model", "m", "--images", "i"],
    "evaluate": ["--model", "m", "--dataset", "d"],
    "visualize": ["--model", "m", "--images", "i", "--output", "o"],
    "demo": [],
    "tune": ["--model", "m", "--images", "i", "--output", "o", "--fraction", "0.5"],
    "benchmark": ["--model", "m"],
    "serve": ["--model", "m"],
    "export": ["--model", "m", "--format", "onnx", "--output", "o"],
    "push": ["m", "me/m"],
    "convert": ["m", "--output", "o"],
    "completion": ["bash"],
}

# Options of launchers, as these spell them.
LAUNCHERS = {"--config_file", "--machine_rank", "--main_process_ip", "--nproc_per_node"}

ROOT = Path(__file__).parents[2]

every_command = pytest.mark.parametrize("name", COMMANDS)


def long_options(name: str) -> dict[str, argparse.Action]:
    """The options of a command but `--help` and its like, which end it."""
    parser = command_parser(name)
    ends = ("help", "help_all")
    named = parser._option_string_actions.items()
    return {option: action for option, action in named if option.startswith("--") and action.dest not in ends}


def value_for(action: argparse.Action) -> list[str]:
    """Words that the option takes."""
    if action.nargs == 0 or action.const is True:
        return []
    count = action.nargs if isinstance(action.nargs, int) else 1
    word = next(iter(action.choices)) if action.choices else "1"
    return ["{}"] if "reducer_args" in action.dest else [str(word)] * count


def parsed(name: str, *words: str) -> dict:
    return vars(command_parser(name).parse_args([*NEEDED[name], *words]))


def test_every_command_is_here():
    assert NEEDED.keys() == COMMANDS.keys()


@every_command
def test_options_are_spelled_with_hyphens(name):
    """In the parser, so in help, completion and errors; `--an_option` is in no text either."""
    parser = command_parser(name)
    assert not [option for option in parser._option_string_actions if "_" in option]
    assert not re.findall(r"--\w+_\w+", parser.format_help())


def test_all_options_of_training_are_spelled_with_hyphens():
    text = help_of_all(make_parser().epilog)
    assert "--torch-compile" in text and not re.findall(r"--\w+_\w+", text)


def test_no_text_names_an_option_otherwise():
    """Neither errors and printed commands nor README, docs, examples and benchmarks."""
    files = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for folder in ("src", "examples", "benchmarks"):
        files += [file for file in (ROOT / folder).rglob("*.*") if file.suffix in (".py", ".md", ".yaml", ".ipynb")]
    assert len(files) > 100
    for file in files:
        named = set(re.findall(r"(?<![\w-])--[a-z]\w*(?:-\w+)*", file.read_text(encoding="utf-8")))
        assert not {option for option in named if "_" in option} - LAUNCHERS, file
        assert file.name == "parser.py" or not named & RENAMED.keys(), file


@every_command
def test_underscores_are_understood(name):
    found = 0
    for option, action in long_options(name).items():
        spelled = f"--{option[2:].replace('-', '_')}"
        if spelled == option:
            continue
        words, found = value_for(action), found + 1
        assert parsed(name, spelled, *words) == parsed(name, option, *words), option
        if words and action.nargs in (None, "?"):
            assert parsed(name, f"{spelled}={words[0]}", *words[1:]) == parsed(
                name, f"{option}={words[0]}", *words[1:]
            )
    assert found or name in ("completion", "demo", "export", "quickstart")


@pytest.mark.parametrize("old", RENAMED)
def test_the_names_that_options_had_are_understood(old):
    """By the commands that had them; they are in no help and no completion."""
    new, understood = RENAMED[old], []
    for name in COMMANDS:
        options = long_options(name)
        assert old not in options and f"{old} " not in command_parser(name).format_help()
        if new in options and new not in NEEDED[name]:
            words = value_for(options[new])
            assert parsed(name, old, *words) == parsed(name, new, *words)
            understood.append(name)
    assert understood


def test_an_old_name_of_another_option_is_no_option(capsys):
    """`train` has no `--limit`, so it has not `--max-samples` either."""
    with pytest.raises(SystemExit):
        parsed("train", "--max-samples", "3")
    assert "there is no option --max-samples; did you mean --max-" in capsys.readouterr().err


def test_values_are_left_as_they_are():
    assert parsed("train", "--output_dir", "my_model")["output_dir"] == "my_model"
    assert parsed("push", "--dataset_name=my_pets")["dataset_name"] == "my_pets"
    assert command_parser("convert").parse_args(["--output", "o", "--", "--model_of_mine"]).source == "--model_of_mine"


def test_one_thing_has_one_name():
    """An option of one name takes the same kind of value everywhere; images, data sets and models have one name."""
    kinds: dict[str, set] = {}
    for name in COMMANDS:
        for option, action in long_options(name).items():
            kinds.setdefault(option, set()).add(action.type if action.type in (int, float) else "words")
    assert not {option: types for option, types in kinds.items() if len(types) > 1}
    others = {
        "--files",
        "--photos",
        "--image",
        "--data",
        "--data-set",
        "--checkpoint",
        "--models",
        "--count",
        "--max-images",
    }
    assert not kinds.keys() & (others | RENAMED.keys())
    having = {option: {name for name in COMMANDS if option in long_options(name)} for option in kinds}
    assert having["--images"] == {"predict", "visualize", "demo", "tune", "benchmark", "export", "push"}
    assert having["--dataset"] == {"train", "evaluate", "benchmark", "push"}  # what an accuracy was measured on
    assert having["--limit"] == {"evaluate", "visualize", "tune"}
    named = {"train", "predict", "evaluate", "visualize", "demo", "tune", "benchmark", "serve", "export"}
    assert having["--model"] == named


@pytest.mark.parametrize(
    "words, expected",
    [
        (["benchmark", "m", "n", "--repeats", "2"], {"model": ["m", "n"], "repeats": 2}),
        (["benchmark", "--repeats", "2", "m", "n"], {"model": ["m", "n"], "repeats": 2}),
        (["benchmark", "--model", "m", "n"], {"model": ["m", "n"]}),
        (["export", "--format", "onnx", "m", "--output", "o"], {"model": "m", "format": "onnx"}),
        (["export", "--format=onnx", "--json", "m", "--output", "o"], {"model": "m", "json": True}),
        (["predict", "a", "b", "--model", "m", "--top-k", "2"], {"images": [Path("a"), Path("b")], "model": "m"}),
        (["predict", "--model", "m", "a", "--json"], {"images": [Path("a")], "json": True}),
        (["push", "--model", "m", "me/m"], {"folder": "m", "repo_id": "me/m"}),
        (["convert", "--model=m", "--output", "o"], {"source": "m"}),
        (["train", "--bf16", "false", "m", "--dataset", "d"], {"model": "m", "bf16": "false"}),
        (["evaluate", "--keep-ratios", "1", "0.5", "--dataset", "d", "m"], {"model": "m", "keep_ratios": [1.0, 0.5]}),
        (["evaluate", "--max-changed", "-1", "--dataset", "d", "m"], {"model": "m", "max_changed": -1}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_model_is_found_wherever_it_stands(words, expected):
    found = vars(command_parser(words[0]).parse_args(words[1:]))
    assert {name: str(found[name]) for name in expected} == {name: str(value) for name, value in expected.items()}
