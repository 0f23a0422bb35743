# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The recipes run from end to end, on a toy model and noise."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from datasets import ClassLabel, Dataset, Features, Image
from methods import usual
from native_toys import native_model
from paths import EXAMPLES
from PIL import Image as PILImage
from programs import run_script
from toys import toy_dense
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_dynamicvit import DynamicViTForImageClassification
from hf_dynamicvit.export import export
from hf_dynamicvit.families import FAMILIES


pytestmark = pytest.mark.slow


@pytest.fixture
def toy_folder(tmp_path):
    """A dense checkpoint in `dense/` and two parquet files of noise in `data/`."""
    labels = {"id2label": dict(enumerate("abc")), "label2id": dict(zip("abc", range(3), strict=True))}
    dense = toy_dense(image_size=224, patch_size=16, num_labels=3, **labels)
    dense.save_pretrained(tmp_path / "dense")
    ViTImageProcessorPil(size={"height": 224, "width": 224}).save_pretrained(tmp_path / "dense")
    generator = np.random.default_rng(0)
    features = Features({"image": Image(), "label": ClassLabel(names=list("abc"))})
    (tmp_path / "data").mkdir()
    for split, count in (("train", 8), ("test", 6)):
        images = [PILImage.fromarray(generator.integers(0, 255, (224, 224, 3), dtype=np.uint8)) for _ in range(count)]
        data = Dataset.from_dict({"image": images, "label": [index % 3 for index in range(count)]}, features)
        data.to_parquet(tmp_path / "data" / f"{split}.parquet")
    return tmp_path


def run(script: str, folder: Path, *arguments: str) -> str:
    result = run_script(EXAMPLES / script, "--model", "dense", "--data", "data", *arguments, folder=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_finetune_flowers(toy_folder):
    budget = ("--reducers", "evit", "asvit", "--budget", "0.7")
    out = run("finetune_flowers.py", toy_folder, "--epochs", "1", "--dense", "dense", "--batch-size", "4", *budget)
    assert "evit: " in out and "asvit: " in out and "of dense" in out
    assert (toy_folder / "output" / "flowers" / "asvit" / "model.safetensors").is_file()


def test_compare_without_training(toy_folder):
    settings = ("--fractions", "0.8", "0.1", "--calibrate", "4", "--batch-size", "3")
    out = run("compare_without_training.py", toy_folder, "--output", "table", *settings)
    results = json.loads((toy_folder / "table" / "results.json").read_text())
    dense = results["dense"]["gmacs"]
    assert len(results["results"]) == 19  # every method at 0.8, none at 0.1
    for result in results["results"]:
        assert result["fraction"] == 0.8 and 0.6 * dense < result["gmacs"] < 0.95 * dense
    table = (toy_folder / "table" / "table.md").read_text()
    assert table in out and table.count("out of reach") == 2 * 19  # of all images, and of those at even places
    assert (toy_folder / "table" / "plot.png").stat().st_size > 1000
    for result in [results["dense"], *results["results"]]:
        assert result["top1"] == pytest.approx(1 - len(result["wrong"]) / 6)
        paired = [(index not in result["wrong"]) - (index not in results["dense"]["wrong"]) for index in range(6)]
        assert result["difference"]["mean"] == pytest.approx(np.mean(paired))
        assert result["difference"]["error"] == pytest.approx(np.std(paired, ddof=1) / 6**0.5)


def test_compare_schedules_without_training(toy_folder):
    settings = ("--fractions", "0.8", "--batch-size", "3", "--methods", "tome", "--schedules", "late", "cosine")
    out = run("compare_without_training.py", toy_folder, "--output", "schedules", *settings)
    results = json.loads((toy_folder / "schedules" / "results.json").read_text())["results"]
    assert [row["method"] for row in results] == ["tome, late", "tome, cosine"]
    assert "| tome, late |" in out and results[0]["gmacs"] != results[1]["gmacs"]


def test_compare_tuned_without_training(toy_folder):
    """What is searched on the images at odd places is told on those at even ones, too."""
    settings = ("--fractions", "0.8", "--batch-size", "3", "--methods", "--tuned", "tome", "--refinements", "2")
    out = run("compare_without_training.py", toy_folder, "--output", "tuned", *settings)
    record = json.loads((toy_folder / "tuned" / "results.json").read_text())
    (row,) = record["results"]
    assert row["method"] == "tome, tuned" and row["tuned"]["images"] == 3 and row["tuned"]["trials"] > 5
    assert row["tuned"]["loss"] <= min(row["tuned"]["named"].values())
    assert row["unseen"]["top1"] == pytest.approx(1 - sum(index % 2 == 0 for index in row["wrong"]) / 3)
    assert "**top-1 in %, images at even places**" in out


@pytest.fixture
def compare(toy_folder, monkeypatch, capsys):
    """Run the comparison in this process on the toy images with the model in `encoder/`; return record and module."""
    monkeypatch.chdir(toy_folder)

    def run(*options: str) -> tuple[dict, dict]:
        arguments = ("--model", "encoder", "--data", "data", "--output", "table", *options)
        monkeypatch.setattr(sys, "argv", ["compare_without_training.py", *arguments])
        module = runpy.run_path(str(EXAMPLES / "compare_without_training.py"), run_name="__main__")
        return json.loads((toy_folder / "table" / "results.json").read_text()), module

    return run


def save_encoder(folder: Path, key: str, kind: str = "model") -> None:
    native_model(key, kind).save_pretrained(folder)
    name = f"{FAMILIES[key].processor}ImageProcessorPil"
    getattr(transformers, name if hasattr(transformers, name) else "ViTImageProcessorPil")().save_pretrained(folder)


@usual(key=["dynamicdinov2", "dynamicsiglip"])
@pytest.mark.parametrize("key", FAMILIES)
def test_encoders_of_every_family_are_compared(key, toy_folder, compare):
    two_towers = FAMILIES[key].two_towers and key != "dynamicaimv2"  # whose image tower does not find its part of both
    kind = "zero_shot" if two_towers else "model"
    save_encoder(toy_folder / "encoder", key, kind)
    record, _ = compare("--methods", "tome", "random", "--fractions", "0.8")
    assert record["settings"]["bank"] == 8 and record["settings"]["images"] == 6
    dense, (tome, random) = record["dense"], record["results"]
    assert 0.7 * dense["gmacs"] < tome["gmacs"] <= 0.8 * dense["gmacs"]
    for name in [name for name, each in dense.items() if isinstance(each, dict)]:
        assert dense[name]["cosine"]["mean"] == pytest.approx(1) and tome[name]["cosine"]["mean"] < 1 - 1e-6
        for bank in ("own bank", "dense bank"):
            assert dense[name][bank]["agreement"] == 1 and dense[name][bank]["difference"]["mean"] == 0
            assert random[name][bank]["top1"] == pytest.approx(1 - len(random[name][bank]["wrong"]) / 6)
    table = (toy_folder / "table" / "table.md").read_text()
    assert "**features: same class as dense in %, own bank**" in table
    assert "**features: cosine**" in table and "**features: k-NN top-1 in %, dense bank**" in table
    assert (toy_folder / "table" / "plot.png").stat().st_size > 1000


def test_a_pooler_that_a_checkpoint_lacks_is_not_read(toy_folder, compare):
    """It would be random."""
    toy_dense().vit.save_pretrained(toy_folder / "encoder")
    ViTImageProcessorPil().save_pretrained(toy_folder / "encoder")
    record, _ = compare("--methods", "tome", "--fractions", "0.8", "--optimize")
    assert [name for name, each in record["dense"].items() if isinstance(each, dict)] == ["features"]


def test_a_comparison_goes_on_where_it_stopped(toy_folder, compare):
    save_encoder(toy_folder / "encoder", "dynamicdinov2")
    first, _ = compare("--methods", "tome", "--fractions", "0.8", "0.1")
    assert first["out_of_reach"] == [["tome", 0.1]]
    first["results"][0]["mark"] = 1
    (toy_folder / "table" / "results.json").write_text(json.dumps(first))
    second, _ = compare("--methods", "tome", "evit", "--fractions", "0.8", "0.1")
    assert [row["method"] for row in second["results"]] == ["tome", "evit"] and second["results"][0]["mark"] == 1
    assert second["out_of_reach"] == [["tome", 0.1], ["evit", 0.1]]
    with pytest.raises(ValueError, match="name another --output"):
        compare("--bank", "4")


def test_compare_quantised(toy_folder):
    pytest.importorskip("torchao")
    model = DynamicViTForImageClassification.from_pretrained(toy_folder / "dense")
    model.save_pretrained(toy_folder / "sparse")
    ViTImageProcessorPil(size={"height": 224, "width": 224}).save_pretrained(toy_folder / "sparse")
    options = ("--model", "sparse", "--data", "data/test.parquet", "--batch-size", "2", "--repeats", "1")
    out = run("compare_quantised.py", toy_folder, *options)
    for name in ("dense", "dynamicvit"):
        for precision in ("float32", "bfloat16", "int8", "int8 weights"):
            assert f"| {name} | {precision} |" in out


def test_compare_onnx(tmp_path):
    export(toy_dense(num_hidden_layers=1), "onnx", tmp_path / "first.onnx", torch.zeros(2, 3, 32, 32))
    shutil.copy(tmp_path / "first.onnx", tmp_path / "second.onnx")
    options = ("first.onnx", "second.onnx", "--repeats", "2")
    result = run_script(EXAMPLES / "compare_onnx.py", *options, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "| 1 | first.onnx |" in result.stdout and "| 8 | second.onnx |" in result.stdout


def test_measure_step_time(toy_folder):
    options = ("--model", "dense", "--batch-size", "2", "--cpu", "--repeats", "1")
    result = run_script(EXAMPLES / "measure_step_time.py", *options, folder=toy_folder)
    assert result.returncode == 0, result.stderr
    for name in ("dense", "dynamicvit, no teacher", "dynamicvit, cached teacher", "evit, no teacher", "images"):
        assert f"| {name}" in result.stdout


def test_plot_training(tmp_path):
    log = [{"step": 1, "loss_classification": 1.0, "kept_stage_3": 0.5}, {"step": 2, "eval_accuracy": 0.9}]
    (tmp_path / "results.json").write_text(json.dumps({"log": log}))
    options = (str(tmp_path), "--output", str(tmp_path / "out.png"))
    result = run_script(EXAMPLES / "plot_training.py", *options, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out.png").stat().st_size > 1000


@pytest.mark.long
def test_compare_predictor_start(monkeypatch, capsys):
    monkeypatch.setattr("hf_dynamicvit.commands.quickstart_run.DENSE_EPOCHS", 0.05)
    settings = ["--keep-ratios", "0.7", "--seeds", "0", "--epochs", "0.05"]
    monkeypatch.setattr(sys, "argv", ["compare_predictor_start.py", *settings])
    runpy.run_path(str(EXAMPLES / "compare_predictor_start.py"), run_name="__main__")
    assert "| 0.7 |" in capsys.readouterr().out


def test_figure_of_kept_flowers(toy_folder, monkeypatch, capsys):
    """One row a photograph, a column for each stage, and the photographers' names."""
    data = Dataset.from_parquet(str(toy_folder / "data" / "test.parquet"))
    data.add_column("attribution", [f"by {index}" for index in range(6)]).to_parquet(toy_folder / "named.parquet")
    figure = toy_folder / "kept.jpg"
    command = [
        "draw_kept_flowers.py",
        "--model",
        str(toy_folder / "dense"),
        "--data",
        str(toy_folder / "named.parquet"),
    ]
    monkeypatch.setattr(sys, "argv", [*command, "--rows", "4", "1", "--output", str(figure)])
    runpy.run_path(str(EXAMPLES / command[0]), run_name="__main__")
    assert capsys.readouterr().out == "by 4\nby 1\n"
    with PILImage.open(figure) as drawn:
        assert drawn.width == 4 * (224 + 4) + 4 and drawn.height > 2 * 224
