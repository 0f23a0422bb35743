# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Whatever is wrong with a model that is typed: one line that says so and what to type, whichever the command."""

import json
import re

import pytest
from PIL import Image
from toys import toy_dense, toy_model
from transformers import ResNetConfig, ResNetForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_dynamicvit import DynamicViTForImageClassification
from hf_dynamicvit.checkpoints.source import find_processor, read_config, read_processor
from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.demo.models import read_sources


COMMANDS = {
    "benchmark": ["benchmark", "MODEL"],
    "export": ["export", "MODEL", "--format", "torch-export", "--output", "new.pt2"],
    "push": ["push", "MODEL", "me/model"],
    "predict": ["predict", "images", "--model", "MODEL"],
    "evaluate": ["evaluate", "--model", "MODEL", "--dataset", "images"],
    "visualize": ["visualize", "--model", "MODEL", "--images", "images/red.png", "--output", "new"],
    "train": ["train", "--model", "MODEL", "--dataset", "images", "--output-dir", "new"],
}

# What is typed -> what the answer says
WRONG = {
    "saved/spars": r"there is no folder saved/spars\b.*; did you mean saved/sparse\?",
    "saved": "the folder saved is no checkpoint, as it has no config.json; type one of those in it: saved/broken, ",
    "empty": "the folder empty is no checkpoint, as it has no config.json; a model is the folder of a saved one",
    "./nothing/at/all": r"there is no folder (\./)?nothing/at/all",
    "saved/broken": "model.safetensors is damaged",
    "saved/no-json": "is not a valid JSON file.",
    "saved/no-type": "model_type",
    "saved/resnet": "resnet",
    "saved/timm": "saved/timm is a checkpoint of timm; convert it: hf-dynamicvit convert saved/timm --output NEW.",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`saved/` with `dense`, `sparse`, and others that are broken in several ways."""
    folder = tmp_path_factory.mktemp("models")
    saved = folder / "saved"
    for name in ("sparse", "broken"):
        toy_model().save_pretrained(saved / name)
        ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(saved / name)
    toy_dense().save_pretrained(saved / "dense")
    weights = saved / "broken" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    for name, text in (("no-json", "{"), ("no-type", "{}")):
        (saved / name).mkdir()
        (saved / name / "config.json").write_text(text)
    (saved / "timm").mkdir()
    about = {"architecture": "vit_tiny_patch16_224", "num_classes": 10, "pretrained_cfg": {"mean": [0.5, 0.5, 0.5]}}
    (saved / "timm" / "config.json").write_text(json.dumps(about))
    resnet = ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], num_labels=2)
    ResNetForImageClassification(resnet).save_pretrained(saved / "resnet")
    for name in ("empty", "images"):
        (folder / name).mkdir()
    Image.new("RGB", (32, 32), "red").save(folder / "images" / "red.png")
    (folder / "weights.pth").write_text("no weights")
    (folder / "notes.txt").write_text("no model")
    return folder


@pytest.mark.parametrize("model", WRONG)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_to_type(name, model, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    assert main([model if word == "MODEL" else word for word in COMMANDS[name]]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"hf-dynamicvit {name}: ") and re.search(WRONG[model], line)
    assert line.endswith((".", "?")) and not (place / "new").exists()


def test_files_and_names(place, monkeypatch):
    monkeypatch.chdir(place)
    assert read_config("saved/sparse").reducer == read_config("saved/sparse/config.json").reducer == "dynamicvit"
    wrong = {
        "notes.txt": r"notes\.txt is a file; a model is the folder of a saved one",
        "weights.pth": r"weights\.pth is a file; .*`hf-dynamicvit convert` reads",
        "nobody/nothing": "there is no folder nobody/nothing, and on the Hub: ",
        "a name": "there is no folder a name; a model is ",
        "saved/timm/config.json": "saved/timm/config.json is a checkpoint of timm; convert it: .*convert saved/timm ",
    }
    for source, message in wrong.items():
        with pytest.raises(ValueError, match=message):
            read_config(source)


def test_an_image_processor_is_missing(place, monkeypatch):
    monkeypatch.chdir(place)
    assert read_processor("saved/sparse").size["height"] == 32
    with pytest.raises(ValueError, match="saved/dense has no image processor"):
        read_processor("saved/dense")


@pytest.mark.parametrize("name", ["predict", "evaluate", "visualize", "train"])
def test_no_image_processor_is_made_up_where_numbers_depend_on_it(name, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    assert main(["saved/dense" if word == "MODEL" else word for word in COMMANDS[name]]) == 1
    assert "saved/dense has no image processor, such as preprocessor_config.json" in capsys.readouterr().err


def test_a_damaged_image_processor_is_not_a_missing_one(place, monkeypatch, tmp_path):
    monkeypatch.chdir(place)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"the image processor of .* cannot be read: .*JSON"):
        find_processor(tmp_path)


def test_the_page_offers_no_model_that_it_cannot_show_rightly(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    wrong = {"saved/timm": "convert it: hf-dynamicvit convert saved/timm", "saved/dense": "has no image processor"}
    for source, message in wrong.items():
        with pytest.raises(ValueError, match=message):
            read_sources([source])


def test_from_pretrained_names_convert_for_a_checkpoint_of_timm(place, monkeypatch):
    monkeypatch.chdir(place)
    with pytest.raises(ValueError, match=r"saved/timm is a checkpoint of timm; .*-dynamicvit convert saved/timm"):
        DynamicViTForImageClassification.from_pretrained("saved/timm")


def test_what_the_hub_cannot_be_asked_for_is_not_missing():
    """The suite is offline: whether the repository has an image processor is not known."""
    with pytest.raises(ValueError, match="of nobody/nothing is not on this disk, and the Hub cannot be reached"):
        find_processor("nobody/nothing")
