# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The files of `benchmarks/` are what the pages show."""

import importlib.util
import itertools
import json
import re
import sys
from typing import Any

import pytest
from native_toys import native_model
from paths import ROOT
from shelf import save_parquet


# what the page shows beside the cosines
SHOWN = (
    "pooler_output: same class as dense in %, dense bank",
    "pooler_output: k-NN top-1 in %, own bank",
    "pooler_output: k-NN top-1 in %, dense bank",
)


def load_script(folder: str, name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"{name}_script", ROOT / folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


def read_results(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))


def read_page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


@pytest.fixture
def training():
    return load_script("benchmarks", "training")


@pytest.fixture
def speed():
    return load_script("benchmarks", "speed")


@pytest.fixture
def comparison():
    return load_script("examples", "compare_without_training")


def test_the_page_on_recipes_has_the_runs_of_the_file(training):
    assert training.table(read_results("training")) in read_page("recipes")


def test_every_run_can_be_made_again(training):
    """Its options are those of its setting, and `train` takes them."""
    from hf_dynamicvit.commands.cli import command_parser

    for run in read_results("training"):
        assert run["options"] == training.SETTINGS[run["setting"]]
        typed = [word for name, value in run["options"].items() for word in (f"--{name}", value)]
        command_parser("train").parse_args(["--model", "m", "--dataset", "d", *typed, *training.ALWAYS])
        assert run["top1"] == run["top1_by_epoch"][-1]


def test_features_of_backbones_are_compared(tmp_path, monkeypatch, capsys):
    """A row for every method and fraction that it can go to, under one of how unlike two images are."""
    save_parquet(tmp_path, "test")
    native_model("dynamicdinov2", "model").save_pretrained(tmp_path / "model")
    script, argv = (
        load_script("benchmarks", "backbone_features"),
        ["--model", str(tmp_path / "model"), "--fractions", "0.8"],
    )
    argv += ["--images", str(tmp_path / "test.parquet"), "--count", "2", "--image-size", "48"]
    monkeypatch.setattr(sys, "argv", ["backbone_features.py", *argv])
    script.main()
    rows = re.findall(r"^\| (.+?) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", capsys.readouterr().out, re.M)
    assert [name for name, *_ in rows] == ["another image", *(f"0.8 {name}" for name in script.METHODS)]
    assert all(0 < float(cosine) <= 1 for _, *cosines in rows for cosine in cosines)


def test_the_page_on_backbones_names_the_methods_of_the_script():
    page = read_page("backbones")
    for method in load_script("benchmarks", "backbone_features").METHODS.values():
        args = f", `reducer_args={json.dumps(method['reducer_args'])}`" if "reducer_args" in method else ""
        assert f"| `{method['reducer']}`{args.replace('true', 'True')} | " in page


def test_the_page_on_benchmarks_has_the_speeds_of_the_file(speed):
    runs = read_results("speed")
    assert [run["run"] for run in runs] == [*speed.RUNS]
    assert speed.table(runs) in read_page("benchmarks")


def test_every_speed_can_be_measured_again(speed):
    from hf_dynamicvit.commands.cli import command_parser

    for run in read_results("speed"):
        typed = run["command"].split()
        assert all(option in typed for option in [*speed.ALWAYS, *run["run"]])
        command_parser("benchmark").parse_args(typed[2:])
        assert {row["clock"] for row in run["measurements"]} == {"cpu"}


def test_the_page_on_benchmarks_has_the_comparison_of_encoders(comparison):
    record, page = read_results("dinov2_without_training"), read_page("benchmarks")
    measures = comparison.list_measures(record["dense"])
    for title in ("pooler_output: cosine", "features: cosine", *SHOWN):
        assert comparison.table(record, measures[title]) in page
    assert record["settings"]["images"] == 736


def test_the_comparison_of_encoders_says_what_it_counted(comparison):
    """The paired differences are those of the images that it names."""
    record = read_results("dinov2_without_training")
    count = record["settings"]["images"]
    for row in record["results"]:
        assert abs(row["gmacs"] / record["dense"]["gmacs"] - row["fraction"]) < 0.01
        for name, bank in itertools.product(("pooler_output", "features"), comparison.BANKS):
            found, dense = row[name][bank], record["dense"][name][bank]
            gained, lost = (len({*a["wrong"]} - {*b["wrong"]}) for a, b in ((dense, found), (found, dense)))
            mean = (gained - lost) / count
            assert found["difference"]["mean"] == pytest.approx(mean)
            error = ((gained + lost - count * mean**2) / (count - 1) / count) ** 0.5
            assert found["difference"]["error"] == pytest.approx(error)
