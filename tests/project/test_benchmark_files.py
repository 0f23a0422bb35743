# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The files of `benchmarks/` are what the pages show."""

import importlib.util
import json
import re
import sys
from types import ModuleType

import pytest
from native_toys import native_model
from paths import ROOT
from shelf import save_parquet


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def training():
    return load_script("training")


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


def test_features_of_backbones_are_compared(tmp_path, monkeypatch, capsys):
    """A row for every method and fraction that it can go to, under one of how unlike two images are."""
    save_parquet(tmp_path, "test")
    native_model("dynamicdinov2", "model").save_pretrained(tmp_path / "model")
    script, argv = load_script("backbone_features"), ["--model", str(tmp_path / "model"), "--fractions", "0.8"]
    argv += ["--images", str(tmp_path / "test.parquet"), "--count", "2", "--image-size", "48"]
    monkeypatch.setattr(sys, "argv", ["backbone_features.py", *argv])
    script.main()
    rows = re.findall(r"^\| (.+?) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", capsys.readouterr().out, re.M)
    assert [name for name, *_ in rows] == ["another image", *(f"0.8 {name}" for name in script.METHODS)]
    assert all(0 < float(cosine) <= 1 for _, *cosines in rows for cosine in cosines)


def test_the_page_on_backbones_names_the_methods_of_the_script():
    page = (ROOT / "docs" / "backbones.md").read_text(encoding="utf-8")
    for method in load_script("backbone_features").METHODS.values():
        args = f", `reducer_args={json.dumps(method['reducer_args'])}`" if "reducer_args" in method else ""
        assert f"| `{method['reducer']}`{args.replace('true', 'True')} | " in page
