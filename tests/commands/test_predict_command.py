# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit predict` over files and folders."""

import csv
import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from toys import toy_dense, toy_model
from transformers import AutoImageProcessor
from viewers import make_images, processor_of

from hf_dynamicvit.commands import predict_run
from hf_dynamicvit.commands.cli import main


LABELS = dict(enumerate(("ant", "bee", "cat", "dog", "eel, grey")))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Models in `sparse` and `dense`; images in `images`, at two depths, one of them broken."""
    monkeypatch.chdir(tmp_path)
    for name, model in (("sparse", toy_model(id2label=LABELS)), ("dense", toy_dense(id2label=LABELS))):
        model.save_pretrained(name)
        processor_of().save_pretrained(name)
    for name, image in zip(("a.png", "b/a.jpg", "c.png"), make_images((50, 40), (20, 60), (9, 9)), strict=True):
        Path("images", name).parent.mkdir(parents=True, exist_ok=True)
        image.save(Path("images", name))
    return tmp_path


def break_an_image() -> None:
    Path("images", "broken.jpg").write_bytes(Path("images", "b", "a.jpg").read_bytes()[:300])


def expected(model, name: str, file: str) -> torch.Tensor:
    # with torchvision it resizes a little otherwise than the one that was saved
    processor = AutoImageProcessor.from_pretrained(name)
    pixels = processor(Image.open(file).convert("RGB"), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return model(pixels).logits.softmax(dim=-1)[0]


@pytest.mark.parametrize("name, model", [("sparse", toy_model), ("dense", toy_dense)])
def test_json_has_the_classes_of_the_model(name, model, folder, capsys):
    assert main(["predict", "images", "--model", name, "--json", "--top-k", "2", "--batch-size", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == name and found["reducer"] == ("dynamicvit" if name == "sparse" else None)
    assert [row["file"] for row in found["images"]] == ["images/a.png", "images/b/a.jpg", "images/c.png"]
    for row in found["images"]:
        probabilities = expected(model(id2label=LABELS), name, row["file"])
        best = probabilities.topk(2)
        assert [named["label"] for named in row["classes"]] == [LABELS[index] for index in best.indices.tolist()]
        assert [named["probability"] for named in row["classes"]] == pytest.approx(best.values.tolist(), abs=1e-5)
    assert not found["unreadable"]


def test_csv_names_what_cannot_be_read_and_so_does_the_exit_status(folder, capsys):
    break_an_image()
    given = ["predict", "images/c.png", "images", "--model", "sparse", "--csv", "--top-k", "9"]
    assert main([*given, "--output", "classes.csv"]) == 3
    captured = capsys.readouterr()
    assert not captured.out and f"skipped: Cannot read the image {folder}/images/broken.jpg" in captured.err
    assert "3 images classified" in captured.err and "1 of 4 could not be read. Wrote classes.csv." in captured.err
    rows = [*csv.DictReader(io.StringIO(Path("classes.csv").read_text()))]
    assert [row["file"] for row in rows] == ["images/c.png", "images/a.png", "images/b/a.jpg", "images/broken.jpg"]
    assert {row["label_5"] for row in rows[:3]} <= {*LABELS.values()} and "label_6" not in rows[0]
    assert sum(float(rows[0][name]) for name in rows[0] if name.startswith("prob")) == pytest.approx(1, abs=1e-4)
    assert rows[3]["label"] == "" and rows[3]["error"].startswith(f"Cannot read the image {folder}/images/broken.jpg")
    assert {path.name for path in folder.iterdir()} == {"sparse", "dense", "images", "classes.csv"}


def test_a_line_of_pixels_is_named_and_left_out(folder, capsys):
    Image.new("RGB", (20000, 1)).save("images/thin.png")
    assert main(["predict", "images", "--model", "sparse"]) == 3
    said = capsys.readouterr()
    assert f"skipped: Cannot read the image {folder}/images/thin.png: it has 20000 x 1 pixels" in said.err
    assert len(said.out.splitlines()) == 3


def test_a_list_a_line_an_image(folder, capsys):
    break_an_image()
    assert main(["predict", "--model", "dense", "--images", "images"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["images/a.png", "images/b/a.jpg", "images/c.png"]
    assert all(line.endswith(" %") for line in lines)


def test_order_and_answers_do_not_depend_on_batches_and_threads(folder, capsys):
    found = set()
    for batch, workers in (("1", "1"), ("2", "3"), ("9", "2")):
        given = ["--csv", "--batch-size", batch, "--workers", workers, "--threads", "1"]
        assert main(["predict", "images", "--model", "sparse", *given]) == 0
        rows = csv.reader(io.StringIO(capsys.readouterr().out))
        found.add(tuple((file, label) for file, label, *_ in rows))
    assert len(found) == 1


def test_nothing_is_written_where_something_stops_the_rest(folder, monkeypatch, capsys):
    def stop(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(predict_run.Classifier, "classify", stop)
    assert main(["predict", "images", "--model", "sparse", "--csv", "--output", "out.csv"]) == 130
    assert not Path("out.csv").exists() and not capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nowhere"], "There is no file or folder nowhere"),
        (["images", "--top-k", "0"], "--top-k is 0; it must be 1 or more"),
        (["images", "--workers", "0"], "--workers is 0; it must be 1 or more"),
        (["images", "--device", "tpu"], "device is 'tpu'; this machine has"),
        (["images", "--output", "there.csv"], "there.csv exists already"),
        (["notes.txt"], "notes.txt: it is no image that Pillow knows"),
        (["images", "--output", "nowhere/out.csv"], "nowhere is no folder"),
    ],
)
def test_refusals(given, message, folder, capsys):
    Path("there.csv").write_text("precious")
    Path("notes.txt").write_text("no image")
    assert main(["predict", *given, "--model", "sparse"]) == 1
    assert message in capsys.readouterr().err
    assert Path("there.csv").read_text() == "precious"


def test_images_are_typed_once(folder, capsys):
    with pytest.raises(SystemExit):
        main(["predict", "a.png", "--images", "images", "--model", "sparse"])
    assert "'a.png' and --images both name images; type one" in capsys.readouterr().err


def test_models_that_name_no_classes(folder, capsys):
    toy_dense(problem_type="regression", num_labels=1).save_pretrained("number")
    processor_of().save_pretrained("number")
    assert main(["predict", "images", "--model", "number"]) == 1
    assert "config.problem_type is 'regression'" in capsys.readouterr().err
