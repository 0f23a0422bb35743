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
from toys import toy_model
from viewers import processor_of


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
def high_resolution():
    return load_script("benchmarks", "high_resolution")


@pytest.fixture
def comparison():
    return load_script("examples", "compare_without_training")


def test_the_page_on_recipes_has_the_runs_of_the_file(training):
    assert training.table(read_results("training")) in read_page("recipes")


@pytest.mark.parametrize("name", ["pyramids_speed", "pyramids_training"])
def test_the_page_on_pyramids_has_the_runs_of_the_files(name):
    assert load_script("benchmarks", name).table(read_results(name)["rows"]) in read_page("pyramids")


@pytest.mark.slow
def test_pyramids_are_trained_and_timed(tmp_path, monkeypatch, capsys):
    """A step or two each: what the scripts write is what they read."""
    pytest.importorskip("sklearn")
    script = load_script("benchmarks", "pyramids_training")
    monkeypatch.setattr(script, "EPOCHS", 0.02)
    monkeypatch.setattr(script, "MORE_EPOCHS", 0.02)
    monkeypatch.setattr(sys, "argv", ["x", "--output", str(tmp_path / "training.json"), "--seeds", "1"])
    script.main()
    rows = json.loads((tmp_path / "training.json").read_text())["rows"]
    assert [each["family"] for each in rows] == 6 * ["swin"] + 4 * ["convnext"]
    budget = rows[3]["multiply_adds"]
    assert all(0.95 * budget < each["multiply_adds"] <= budget for each in rows[4:6])
    script = load_script("benchmarks", "pyramids_speed")
    argv = ["x", "--output", str(tmp_path / "speed.json"), "--sizes", "64", "--batches", "1", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", argv)
    script.main()
    rows = json.loads((tmp_path / "speed.json").read_text())["rows"]
    assert script.table(rows) in capsys.readouterr().out and len(rows) == 4


def test_every_run_can_be_made_again(training):
    """Its options are those of its setting, and `train` takes them."""
    from hf_dynamicvit.commands.cli import command_parser

    for run in read_results("training"):
        assert run["options"] == training.SETTINGS[run["setting"]]
        typed = [word for name, value in run["options"].items() for word in (f"--{name}", value)]
        command_parser("train").parse_args(["--model", "m", "--dataset", "d", *typed, *training.ALWAYS])
        assert run["top1"] == run["top1_by_epoch"][-1]


def test_the_page_has_the_server_under_load():
    """As kept; no good request went without an answer, and every bad one was refused."""
    found = read_results("serving")
    assert load_script("benchmarks", "serving").table(found) in read_page("benchmarks")
    among_bad = {name: {*statuses} for name, statuses in found["dense_among_bad"]["statuses"].items()}
    assert among_bad == {"good": {"200"}, "broken": {"422"}, "huge": {"413"}, "slow": {"408"}}
    runs = [run for turns in found["turns"].values() for run in turns]
    assert len(runs) == 2 * found["settings"]["turns"]
    assert all({*run["statuses"]["good"]} == {"200"} for run in runs)


@pytest.mark.slow
def test_a_server_is_loaded(tmp_path, capsys):
    toy_model(num_hidden_layers=2).to_dense().save_pretrained(tmp_path / "model")
    processor_of().save_pretrained(tmp_path / "model")
    script = load_script("benchmarks", "serving")
    script.main(
        ["--model", str(tmp_path / "model"), "--seconds", "1", "--turns", "1", "--clients", "2", "--budget", "0.9"]
    )
    found = json.loads(capsys.readouterr().out)
    assert script.table(found).count("\n") == 4
    statuses = found["dense_among_bad"]["statuses"]
    assert statuses["good"].keys() == {"200"} and statuses["broken"].keys() == {"422"}
    assert statuses["slow"].keys() == {"408"}


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


def test_the_page_on_benchmarks_has_the_speeds_of_large_images(high_resolution):
    assert high_resolution.table(read_results("high_resolution")["runs"]) in read_page("benchmarks")


def test_large_images_are_measured_beside_native(high_resolution, tmp_path, monkeypatch, capsys):
    """A size or a shape that is in the results is not measured again."""
    monkeypatch.setattr(high_resolution, "WARM", 64)
    narrow = {"hidden_size": 48, "num_attention_heads": 3}
    for name in ("SMALL", "TINY"):
        monkeypatch.setattr(high_resolution, name, getattr(high_resolution, name) | narrow)
    file = tmp_path / "high.json"
    how = ["--results", str(file), "--methods", "evit", "algm", "--fractions", "0.9"]
    for sizes in (["112"], ["112", "128"]):
        monkeypatch.setattr(sys, "argv", ["x", *how, "--sizes", *sizes])
        high_resolution.main()
    runs = json.loads(file.read_text())["runs"]
    assert [(run["shape"], run["pixels"]) for run in runs] == [
        (shape, size) for size in (112, 128) for shape in ("DINOv2-S backbone", "YOLOS-tiny encoder")
    ]
    for run in runs:
        native, evit, algm = run["rows"]
        assert native["method"] == "native" and evit["multiply_adds"] <= 0.9 * native["multiply_adds"]
        assert all(row["seconds"] for row in run["rows"]) and algm["multiply_adds"] < native["multiply_adds"]
    row = {"method": "tome at 0.5", "multiply_adds": 5_000_000_000, "seconds": [2.0, 1.0, 4.0]}
    whole = {"method": "native", "multiply_adds": 10_000_000_000, "seconds": [3.0]}
    run = {"shape": "YOLOS", "pixels": 518, "rows": [whole, row]}
    written = high_resolution.table([run]).splitlines()[-1]
    assert written == "| YOLOS | 518 | tome at 0.5 | 5.0 | 0.50 | 2.00x | 1.50x | 2.00 (1.00 to 4.00) |"


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


def test_the_page_on_benchmarks_has_the_speeds_on_a_gpu():
    from hf_dynamicvit.benchmark.suites import MODELS, build_suite_table, gpu_cases

    record = read_results("gpu")
    assert build_suite_table(record) in read_page("benchmarks")
    for case in record:
        assert case["machine"]["gpus"] == ["NVIDIA H200"] and case["model"] in MODELS
    measured = {(case["model"], case["batch"], case["setting"]["compiled"], case["fraction"]) for case in record}
    for case in gpu_cases():
        assert all((case.model, batch, case.setting.compiled, case.fraction) in measured for batch in case.batches)


def test_the_page_on_benchmarks_has_the_fine_tuned_runs():
    script, runs = load_script("benchmarks", "finetuned"), read_results("finetuned")
    assert script.table(runs) in read_page("benchmarks")
    for run in runs:
        budget = {} if run["setting"] == "dense" else {"budget": script.FRACTION}
        assert run["options"] == script.SETTINGS[run["setting"]] | budget
        assert run["start"] == script.START


def test_fine_tuning_is_told_beside_the_dense_model_of_its_seed():
    script = load_script("benchmarks", "finetuned")
    tops = {("dense", 0): 0.9, ("dense", 1): 0.8, ("evit", 0): 0.91, ("evit", 1): 0.83}
    runs = [{"setting": name, "seed": seed, "top1": top, "gmacs": 1.0} for (name, seed), top in tops.items()]
    assert "| evit | 1.000 | 91.0, 83.0 | 87.0 | +2.0 ± 1.0 |" in script.table(runs)


def test_the_page_on_benchmarks_has_the_tuned_schedules(comparison):
    record, page = read_results("deit_tiny_schedules"), read_page("benchmarks")
    tuned = [row for row in record["results"] if "tuned" in row]
    assert {row["method"].removesuffix(comparison.TUNED) for row in tuned} <= {*comparison.METHODS}
    for row in tuned:
        apart, found = row["unseen"]["difference"], row["tuned"]
        told = [f"{found['loss']:.4f} ({min(found['named'].values()):.4f})", f"{100 * row['unseen']['top1']:.1f}"]
        told += [f"{100 * apart['mean']:+.1f} ± {100 * apart['error']:.1f}", f"{100 * row['top1']:.1f}"]
        assert f"| {row['method']} | {row['gmacs']:.3f} | {' | '.join(told)} |" in page
        assert found["images"] == 500 and record["settings"]["images"] == 1000


def test_the_readme_begins_with_measured_numbers():
    """Accuracy of one model and its speed, of the same sizes; and what a GPU and a search said."""
    readme, page = (ROOT / "README.md").read_text(encoding="utf-8"), read_page("benchmarks")
    rows = {
        (row["model"], row["batch"]): row
        for row in read_results("deit_tiny_speed")["measurements"]
        if row["kind"] == "sparse"
    }
    for method in ("dynamicvit", "evit", "tome"):
        speeds = [f"{rows[f'deit-tiny {method} 0.7', batch]['over_dense']:.2f}x" for batch in (1, 8, 32)]
        assert f"| {method} | {' | '.join(speeds)} |" in page
    row = rows["deit-tiny dynamicvit 0.7", 1]
    assert f"runs {row['over_dense']:.2f}x as" in readme
    assert f"{100 - 100 * row['multiply_adds'] / row['dense_multiply_adds']:.0f} % fewer multiply-adds" in readme
    assert (
        "93.2 of its 93.8 %" in readme
        and "| dense | 93.75 % |" in page
        and "| DynamicViT, keep ratio 0.7 | 93.21 % |" in page
    )
    speeds = {}
    for case in read_results("gpu"):
        if (case["model"], case["batch"], case["setting"]["compiled"]) == ("deit-base", 256, "eager"):
            ours = {row["model"]: row["over_dense"] for row in case["measurements"] if row["kind"] == "sparse"}
            speeds[case["fraction"]] = ours["tome, three-stage"]
    assert f"runs {speeds[0.7]:.2f}x as" in readme and f"half {speeds[0.5]:.1f}x" in readme
