# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The files of `benchmarks/` are what the pages show: `benchmarks/tables.py` makes tables and knows the numbers."""

import dataclasses
import importlib.util
import itertools
import json
import re
import sys
from typing import Any

import pytest
from native_toys import native_model
from paths import ROOT
from PIL import Image
from shelf import save_parquet
from toys import toy_model
from viewers import processor_of

from hf_dynamicvit import tune
from hf_dynamicvit.tuning.result import Latency


FILES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.json"))


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


def test_a_server_under_load_answered():
    """No good request went without an answer, and every bad one was refused."""
    found = read_results("serving")
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


def test_every_speed_can_be_measured_again(speed):
    from hf_dynamicvit.commands.cli import command_parser

    for run in read_results("speed"):
        typed = run["command"].split()
        assert all(option in typed for option in [*speed.ALWAYS, *run["run"]])
        command_parser("benchmark").parse_args(typed[2:])
        assert {row["clock"] for row in run["measurements"]} == {"cpu"}


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


def test_the_speeds_on_a_gpu_are_those_of_the_suite():
    """But for cases that joined since, which the page names."""
    from hf_dynamicvit.benchmark.suites import MODELS, gpu_cases

    record = read_results("gpu")
    not_measured = read_page("benchmarks").split("### Not measured")[1].split("## ")[0]
    for case in record:
        assert case["machine"]["gpus"] == ["NVIDIA H200"] and case["model"] in MODELS
    measured = {(case["model"], case["batch"], case["setting"]["compiled"], case["fraction"]) for case in record}
    for case in gpu_cases():
        known = [(case.model, batch, case.setting.compiled, case.fraction) in measured for batch in case.batches]
        assert all(known) or (not any(known) and f"`{case.model}`" in not_measured)


@pytest.mark.parametrize("name", ["finetuned", "finetuned_cpu"])
def test_fine_tuned_runs_are_those_of_the_script(name):
    script, runs = load_script("benchmarks", "finetuned"), read_results(name)
    assert {run["seed"] for run in runs} == {0, 1, 2}
    for run in runs:
        own = run["setting"] == "dense" or run["setting"].endswith(", tuned")
        budget = {} if own else {"budget": script.FRACTION}
        assert run["options"] == script.SETTINGS[run["setting"]] | budget
        assert run["start"] == script.START


def test_fine_tuning_is_told_beside_the_dense_model_of_its_seed():
    script = load_script("benchmarks", "finetuned")
    tops = {("dense", 0): 0.9, ("dense", 1): 0.8, ("evit", 0): 0.91, ("evit", 1): 0.83}
    runs = [{"setting": name, "seed": seed, "top1": top, "gmacs": 1.0} for (name, seed), top in tops.items()]
    assert "| evit | 1.000 | 91.0, 83.0 | 87.0 | +2.0 ± 1.0 |" in script.table(runs)


def test_a_latency_is_asked_for_and_told(tmp_path, monkeypatch, capsys):
    """The times are made up: those of a toy say nothing, and a busy machine may not reach them."""
    script = load_script("benchmarks", "latency")
    native_model("dynamicdinov2", "model").save_pretrained(tmp_path / "model")
    for place in range(3):
        Image.new("RGB", (40, 30), (80 * place, 10, 10)).save(tmp_path / f"{place}.png")

    def without_clock(model, images, speedup, batch_size, **options):
        assert images.shape == (2, 3, 64, 64) and speedup == 1.4
        found = tune(model, images, fraction=0.8, refinements=0, progress=False)
        return dataclasses.replace(found, latency=Latency(batch_size, 0.1, 0.1, 0.099, 0.14))

    for name, value in {"SIDE": 64, "IMAGES": 2, "tune": without_clock}.items():
        monkeypatch.setattr(script, name, value)
    output = tmp_path / "latency.json"
    options = ["--model", tmp_path / "model", "--images", tmp_path, "--batch-sizes", "2", "--output", output]
    monkeypatch.setattr(sys, "argv", ["latency.py", *map(str, options)])
    script.main()
    (run,) = json.loads(output.read_text())
    assert run["images"] == 2 and run["latency"]["reached"] == 0.099
    assert f"| 2 | 140.0 ms | 100.0 ms | 99.0 ms | {run['loss']:.4f} |" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["deit_tiny_schedules", "deit_tiny_tuned"])
def test_tuned_schedules_are_of_half_the_images(comparison, name):
    record = read_results(name)
    tuned = [row for row in record["results"] if "tuned" in row]
    assert {row["method"].removesuffix(comparison.TUNED) for row in tuned} <= {*comparison.METHODS}
    assert record["settings"]["images"] == 1000 and tuned
    assert all(row["tuned"]["images"] <= 500 for row in tuned)


def test_the_time_of_one_image_is_split_into_steps():
    """Between the dense model and the method, so that they add up."""
    script = load_script("benchmarks", "batch_one")
    names = ["dense", *(name.format("dynamicvit") for pair in script.STEPS.values() for name in pair[1:])]
    seconds = {name: [0.01 * place, 0.01 * place] for place, name in enumerate(names)}
    rows = script.split("dynamicvit", seconds)
    assert [row["step"] for row in rows] == [*script.STEPS]
    assert sum(row["milliseconds"] for row in rows) == pytest.approx(40)
    del seconds["dynamicvit, free scores"]  # as of methods without predictors
    rows = script.split("dynamicvit", seconds)
    assert [row["step"] for row in rows][2:] == ["scores, choosing and moving tokens"]
    assert sum(row["milliseconds"] for row in rows) == pytest.approx(40)


@pytest.mark.slow
def test_speeds_are_measured_where_a_file_of_accuracies_says(tmp_path, monkeypatch, capsys):
    toy_model(num_hidden_layers=4).to_dense().save_pretrained(tmp_path / "model")
    processor_of().save_pretrained(tmp_path / "model")
    rows = [{"method": "tome", "fraction": fraction, "top1": top1} for fraction, top1 in ((0.9, 0.78), (0.7, 0.74))]
    (tmp_path / "found.json").write_text(json.dumps({"dense": {"top1": 0.78}, "results": rows}))
    words = ["--accuracies", str(tmp_path / "found.json"), "--model", str(tmp_path / "model")]
    monkeypatch.setattr(sys, "argv", ["matched.py", *words, "--output", str(tmp_path / "matched.json")])
    load_script("benchmarks", "matched").main()
    record = json.loads((tmp_path / "matched.json").read_text())
    assert [row["fraction"] for row in record["matched"]] == pytest.approx([0.875, 0.85])
    assert {"command", "commit", "machine"} <= record.keys() and "| tome | 0.88 |" in capsys.readouterr().out


# ----- one mechanism for every page


@pytest.fixture(scope="module")
def tables():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module("tables")
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.mark.parametrize("name", FILES)
def test_every_file_says_how_it_was_made(name, tables):
    """Or null where nobody wrote it down."""
    for run in tables.read_runs(name):
        assert {*tables.ABOUT} <= run.keys()
        assert isinstance(run["command"], str | None) and isinstance(run["commit"], str | None)
        assert run["machine"] is None or {"cpu", "gpus", "threads", "torch", "transformers"} <= run["machine"].keys()


def test_every_number_of_the_pages_is_that_of_a_file(tables, monkeypatch):
    """And no file is left that no page shows."""
    read, real = set(), tables.read_results

    def remember(name):
        read.add(name)
        return real(name)

    monkeypatch.setattr(tables, "read_results", remember)
    assert [*tables.check()] == []
    assert {*FILES} == read


def test_every_table_is_on_a_page(tables):
    pages = "".join(page.read_text(encoding="utf-8") for page in tables.PAGES)
    assert {name for name, _ in tables.REGION.findall(pages)} == {*tables.TABLES}


@pytest.fixture
def page(tables, tmp_path, monkeypatch):
    """A page of its own, and what `check` says of a text."""
    import sentences

    monkeypatch.setattr(tables, "TABLES", {"some": lambda: "| a |\n| --- |\n| 1.5x |"})
    monkeypatch.setattr(sentences, "MEASURED", {"page.md": lambda: ["it is 1.50x as fast"]})
    others = [(sentences.SET, "within 3 %"), (sentences.PUBLISHED, "81.6 % top-1")]
    monkeypatch.setattr(sentences, "OTHERS", {"page.md": others})
    return lambda text: [*sentences.check("page.md", text)]


HELD = """# Page

<!-- from some -->

| a |
| --- |
| 9.99x |

<!-- end -->

Here it is 1.50x as
fast, within 3 % of what was asked for at 0.65 of the cost: `rate=0.123`, 3 images.

## Published

[They](https://arxiv.org/abs/1) have 81.6 % top-1.
"""


def test_sentences_are_held_to_the_files(page):
    assert page(HELD) == []
    assert "1.50x as fast" in page(HELD.replace("1.50x", "1.60x"))[0]
    assert "nothing is known of 1.60" in page(HELD.replace("1.50x", "1.60x"))[1]
    for more in ("It takes 12 ms.", "A gain of 1.7x.", "At 93.5 of 94.", "3.1 ± 0.2", "2 points", "a cosine of .993"):
        assert len(page(f"{HELD}\n{more}\n")) >= 1, more
    assert "within 3 %" in page(HELD.replace("3 %", "4 %"))[0]
    (problem,) = page(HELD.replace("[They](https://arxiv.org/abs/1)", "They"))
    assert "names no source" in problem


def test_tables_are_written_from_the_files(page, tables):
    written = tables.write_tables(HELD)
    assert "| 1.5x |" in written and "9.99x" not in written and tables.write_tables(written) == written
    empty = "<!-- from some -->\n\n<!-- end -->\n\n<!-- from some -->\n\n<!-- end -->\n"
    assert tables.write_tables(empty).count("| 1.5x |") == 2


def test_a_plot_says_what_it_is_drawn_from(tables, tmp_path, monkeypatch):
    from PIL import Image

    content = {"rows": [1]}
    monkeypatch.setattr(tables, "read_results", lambda name: content)
    tables.draw(tmp_path / "plot.png", "some", lambda name, file: Image.new("RGB", (4, 4), "red").save(file))
    assert tables.is_drawn_from(tmp_path / "plot.png", "some")
    content["rows"] = [2]
    assert not tables.is_drawn_from(tmp_path / "plot.png", "some")
