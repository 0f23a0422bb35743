# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit tune`: what it writes, refuses and goes on with."""

import json

import numpy as np
import pytest
from native_toys import native_model
from PIL import Image
from toys import toy_dense, toy_model
from transformers import AutoImageProcessor, AutoModel, AutoModelForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.tuning.objective import Objective


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with images."""
    monkeypatch.chdir(tmp_path)
    for seed in range(8):
        file = tmp_path / "images" / str(seed % 2) / f"{seed}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(file)
    return tmp_path


def save(model, name="model"):
    model.save_pretrained(name)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(name)
    return name


def run(*words, model="model", output="tuned", fraction=("--fraction", "0.7")):
    how = ["--step", "8", "--refinements", "4", "--device", "cpu"]
    return main(["tune", model, "--images", "images", "--output", output, *fraction, *how, *words])


def test_a_dense_classifier_becomes_a_tuned_one(folder, capsys):
    save(toy_dense())
    assert run() == 0
    told = capsys.readouterr().out
    assert "| linear |" in told and "Wrote tuned" in told
    written = sorted(file.name for file in (folder / "tuned").iterdir())
    made = ["config.json", "front.png", "model.safetensors", "preprocessor_config.json"]
    assert written == [*made, "trials.jsonl", "tune.json", "tune.md"]
    tuned = json.loads((folder / "tuned/tune.json").read_text())
    model = AutoModelForImageClassification.from_pretrained("tuned")
    assert model.config.reducer == "tome" == tuned["reducer"] and model.token_counts() == tuned["counts"]
    assert model.multiply_adds() == tuned["multiply_adds"] <= 0.7 * model.dense_multiply_adds()
    assert tuned["images"] == 8 and tuned["machine"]
    AutoImageProcessor.from_pretrained("tuned")


def test_json_alone_on_standard_output(folder, capsys):
    save(toy_model(reducer="evit"))
    assert run("--json", "--limit", "3") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["reducer"] == "evit" and found["images"] == 3 and found["output"] == "tuned"


@pytest.mark.parametrize("key, kind", [("dynamicdinov2", "model"), ("dynamicclip", "zero_shot")])
def test_models_without_a_classifier(folder, key, kind):
    save(native_model(key, kind))
    assert run() == 0
    model = AutoModel.from_pretrained("tuned")
    assert model.token_counts() == json.loads((folder / "tuned/tune.json").read_text())["counts"]
    assert type(model).__name__ == {"model": "DynamicDinov2Model", "zero_shot": "DynamicCLIPModel"}[kind]


def test_a_search_that_was_stopped_goes_on(folder, monkeypatch, capsys):
    save(toy_dense())
    real, trials = Objective.losses, []

    def stops(self):
        trials.append(1)
        if len(trials) == 4:
            raise KeyboardInterrupt
        return real(self)

    monkeypatch.setattr(Objective, "losses", stops)
    assert run() == 130
    assert [file.name for file in (folder / "tuned").iterdir()] == ["trials.jsonl"]
    assert run() == 0
    whole = len(trials)
    assert json.loads((folder / "tuned/tune.json").read_text())["trials"] == whole - 1
    assert run() == 1 and "tuned exists already" in capsys.readouterr().err
    assert run("--overwrite") == 0
    assert len(trials) == 2 * whole - 1  # from the start


@pytest.mark.parametrize(
    "words, problem",
    [
        (["--fraction", "70"], "--fraction is 70; it must be above 0 and at most 1"),
        (["--speedup", "1"], "--speedup is 1; it must be above 1"),
        (["--latency", "0"], "--latency is 0; it must be above 0"),
        (["--fraction", "0.01"], "fraction is 0.01; no schedule of tome on this model meets it, the nearest is"),
    ],
)
def test_budgets_out_of_range_write_nothing(folder, capsys, words, problem):
    save(toy_dense())
    assert run(fraction=words) == 1
    assert problem in capsys.readouterr().err
    assert not (folder / "tuned").exists()


def test_what_was_found_stays_until_another_search_begins(folder, capsys):
    save(toy_model(reducer="evit"))
    assert run() == 0
    before = (folder / "tuned/trials.jsonl").read_bytes()
    assert run("--overwrite", model="mistyped") == 1
    assert (folder / "tuned/trials.jsonl").read_bytes() == before


def test_untrained_predictors_are_not_tuned(folder, capsys):
    save(toy_dense())
    assert run("--reducer", "dynamicvit") == 1
    assert "was not trained with dynamicvit, whose choice would be random" in capsys.readouterr().err
