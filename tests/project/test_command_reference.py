# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The reference of the command line is what the parsers say: every option of every command, with its default."""

import re
import runpy

import pytest
from paths import ROOT

from hf_dynamicvit.commands.cli import COMMANDS, command_parser


PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
TOOL = runpy.run_path(str(ROOT / "tools" / "write_commands.py"))


def test_the_page_is_the_parsers():
    assert TOOL["write_page"]() == PAGE, "run: python tools/write_commands.py"


def section(name: str) -> str:
    return PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_told(name):
    """But for those of `TrainingArguments` that the help of `train` leaves to `--help-all`."""
    told = {word for line in re.findall(r"^- `(--[^`]+)`:", section(name), re.MULTILINE) for word in line.split(", ")}
    told = {word.split()[0] for word in told}
    for action in command_parser(name)._actions:
        if "see --help-all" not in (action.help or "") and action.dest not in ("help", "help_all"):
            assert {*action.option_strings} <= told, action.dest
    assert "**Examples**" in section(name)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("benchmark", "- `--batch-sizes N ...`: images at a time (default: 1 8 32)."),
        ("train", "- `--seed N`: Of weights, order and augmentation (default: 42)."),
        ("push", "- `FOLDER`: a saved sparse model with its image processor. *Needed.*"),
        ("predict", "- `--device DEVICE`: cpu, cuda, cuda:1, ... (default: the fastest)."),
    ],
)
def test_a_default_is_named(name, line):
    assert f"{line}\n" in section(name)


def test_words_of_the_help_are_no_markup():
    assert TOOL["escape"]("a <b>, eval_*, `c*` and --an-option") == r"a \<b>, eval_\*, `c*` and `--an-option`"


def test_examples_are_wide_enough_and_whole():
    blocks = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    assert blocks and max(len(line) for block in blocks for line in block.splitlines()) <= 88
    for name in ("train", "export"):
        words = " ".join(section(name).replace("\\\n", "").split())
        examples = TOOL["import_command"](name).EXAMPLES.replace("\\\n", "").splitlines()
        assert all(" ".join(line.split()) in words for line in examples if not line.startswith("#"))
