# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The files of `benchmarks/` are what the pages show."""

import importlib.util
import json

import pytest
from paths import ROOT


@pytest.fixture
def training():
    spec = importlib.util.spec_from_file_location("training_benchmark", ROOT / "benchmarks" / "training.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_on_recipes_has_the_runs_of_the_file(training):
    runs = json.loads((ROOT / "benchmarks" / "training.json").read_text(encoding="utf-8"))
    assert training.table(runs) in (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")


def test_every_run_can_be_made_again(training):
    """Its options are those of its setting, and `train` takes them."""
    from hf_dynamicvit.commands.cli import command_parser

    runs = json.loads((ROOT / "benchmarks" / "training.json").read_text(encoding="utf-8"))
    for run in runs:
        assert run["options"] == training.SETTINGS[run["setting"]]
        typed = [word for name, value in run["options"].items() for word in (f"--{name}", value)]
        command_parser("train").parse_args(["--model", "m", "--dataset", "d", *typed, *training.ALWAYS])
        assert run["top1"] == run["top1_by_epoch"][-1]
