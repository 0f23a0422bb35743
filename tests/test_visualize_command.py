# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit visualize` over files and folders."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_viewer import pictures, processor_of
from toys import toy_dense, toy_model

from hf_dynamicvit import DynamicViTForImageClassification, visualize_command
from hf_dynamicvit.cli import main
from hf_dynamicvit.visualize_command import names_of, some_of


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A model in `model`, pictures in `images`, one of them broken."""
    monkeypatch.chdir(tmp_path)
    toy_model().save_pretrained("model")
    processor_of().save_pretrained("model")
    toy_dense().save_pretrained("dense")
    processor_of().save_pretrained("dense")
    for name, picture in zip(("a.png", "b/a.jpg", "c.png"), pictures((50, 40), (20, 60), (9, 9)), strict=True):
        Path("images", name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(Path("images", name))
    Path("images", "broken.jpg").write_bytes(Path("images", "b", "a.jpg").read_bytes()[:300])
    return tmp_path


def visualize(*arguments: str) -> int:
    return main(["visualize", "--output", "seen", *arguments])


def test_a_folder(folder, capsys):
    assert visualize("--model", "model", "--images", "images", "--batch-size", "2") == 0
    captured = capsys.readouterr()
    assert "pictures: 3." in captured.out and "broken.jpg" in captured.out
    assert "skipped: Cannot read the picture" in captured.err
    written = {path.name for path in Path("seen").iterdir()}
    names = ("a", "b-a", "c")
    assert written == {"overview_001.png", "views.json", *(f"{n}.png" for n in names), *(f"{n}.gif" for n in names)}
    record = json.loads(Path("seen", "views.json").read_text())
    model = DynamicViTForImageClassification.from_pretrained("model").eval()
    for entry in record["pictures"]:
        pixels = processor_of()(Image.open(entry["file"]).convert("RGB"), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            outputs, dense = model(pixels), model.to_dense()(pixels)
        assert entry["kept"] == outputs.kept[0].sum(-1).tolist()
        assert entry["sparse"][0][0] == f"LABEL_{outputs.logits.argmax()}"
        assert entry["dense"][0][0] == f"LABEL_{dense.logits.argmax()}" and len(entry["dense"]) == 5
    assert record["skipped"] == ["images/broken.jpg"] and not record["untrained"]


def test_json_alone_on_standard_output(folder, capsys):
    given = ("--model", "dense", "--reducer", "tome", "--keep-ratio", "0.5", "--images", "images/a.png", "--json")
    assert visualize(*given) == 0
    record = json.loads(capsys.readouterr().out)
    (entry,) = record["pictures"]
    assert record["reducer"] == "tome" and entry["kept"][-1] == 32
    assert record == json.loads(Path("seen", "views.json").read_text())


def test_budget_size_and_overviews_alone(folder, monkeypatch):
    monkeypatch.setattr(visualize_command, "ROWS", 2)
    given = ("--model", "model", "--budget", "0.7", "--image-size", "40", "64", "--only-overview")
    assert visualize(*given, "--images", "images", "images/a.png") == 0
    assert {path.name for path in Path("seen").iterdir()} == {"overview_001.png", "overview_002.png", "views.json"}
    record = json.loads(Path("seen", "views.json").read_text())
    assert [entry["patches"] for entry in record["pictures"]] == [[10, 16]] * 3  # a.png is looked at once
    model = DynamicViTForImageClassification.from_pretrained("model")
    model.set_budget(fraction=0.7)
    assert record["pictures"][0]["multiply_adds"] == model.multiply_adds((40, 64))


def test_untrained_predictors_are_named(folder, capsys):
    assert visualize("--model", "dense", "--images", "images", "--limit", "1", "--only-overview") == 0
    assert "dense was not trained with dynamicvit" in capsys.readouterr().err
    assert len(json.loads(Path("seen", "views.json").read_text())["pictures"]) == 1


def test_asvit_sets_its_thresholds_on_the_pictures(folder, capsys):
    assert visualize("--model", "dense", "--reducer", "asvit", "--images", "images", "--only-overview") == 0
    entries = json.loads(Path("seen", "views.json").read_text())["pictures"]
    mean = sum(entry["multiply_adds"] for entry in entries) / len(entries)
    assert 0.5 < mean / entries[0]["dense_multiply_adds"] <= 0.65
    assert "was not trained" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--images", "nowhere"], "--images nowhere: there is no such file or folder"),
        (["--images", "model"], "The folder model has no pictures"),
        (["--images", "images/broken.jpg"], "None of the pictures can be read"),
        (["--images", "images", "--batch-size", "0"], "--batch-size is 0; at least 1"),
        (["--images", "images", "--seconds", "0"], "--seconds is 0.0; a number above 0"),
        (["--images", "images", "--image-size", "1", "2", "3"], "--image-size is 1 2 3; one number of pixels, or two"),
        (["--images", "images", "--keep-ratio", "2"], "keep_ratio"),
        (["--images", "images", "--device", "tpu"], "device is 'tpu'; this machine has cpu"),
        (["--images", "images", "--dense", "model"], "model holds a sparse model"),
    ],
)
def test_refusals_come_before_anything_is_written(folder, capsys, given, message):
    assert visualize("--model", "model", *given) == 1
    assert message in capsys.readouterr().err
    assert not Path("seen").exists()


def test_what_is_there_stays(folder, capsys):
    Path("seen").mkdir()
    Path("seen", "mine.txt").write_text("mine")
    assert visualize("--model", "model", "--images", "images") == 1
    assert "seen exists already" in capsys.readouterr().err
    assert [path.name for path in Path("seen").iterdir()] == ["mine.txt"]


def test_a_limit_takes_pictures_evenly():
    files = [f"{folder}/{index}" for folder in "abc" for index in range(10)]
    assert some_of(files, 3) == ["a/0", "b/0", "c/0"] and some_of(files, None) == files == some_of(files, 99)


def test_names_do_not_collide():
    files = ["x/a.jpg", "x/a.png", "x/b/a.jpg", "x/b-a.jpg", "x/views.png", "x/overview_001.jpg", "y/A.jpg"]
    names = names_of(files, [Path("x")])
    assert [*names.values()] == ["a", "a-2", "b-a", "b-a-2", "views-2", "overview_001-2", "A-3"]
