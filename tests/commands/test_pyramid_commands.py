# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Every command serves pyramids, or says why not in the words of the user."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from pyramids import KEYS, native_pyramid, our_class, pyramid, pyramid_images
from transformers import pipeline
from transformers.utils import is_torchvision_available

from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.demo.answer import Models
from hf_dynamicvit.demo.models import OWN, Choice, read_sources
from hf_dynamicvit.export import export
from hf_dynamicvit.families import PYRAMIDS
from hf_dynamicvit.look.viewer import Viewer


NAMES = {0: "cat", 1: "dog"}
EVERY = pytest.mark.parametrize("key", KEYS)


def add_names(model):
    """`model` with two named classes."""
    model.config.id2label, model.config.label2id = NAMES, {name: index for index, name in NAMES.items()}
    return model


def save_processor(folder: Path, key: str) -> Path:
    """The family's own image processor, for 64 pixels."""
    processor = getattr(transformers, f"{PYRAMIDS[key].processor}ImageProcessorPil")
    size = {"shortest_edge": 64} if key == "dynamicconvnext" else {"height": 64, "width": 64}
    processor(size=size, **({"crop_pct": 1.0} if key == "dynamicconvnext" else {})).save_pretrained(folder)
    return folder


def save_native(folder: Path, key: str) -> Path:
    add_names(native_pyramid(key, num_labels=2)).save_pretrained(folder)
    return save_processor(folder, key)


def save_sparse(folder: Path, key: str) -> Path:
    native = native_pyramid(key, num_labels=2)
    add_names(pyramid(key, native=native, keep_ratio=0.7)).save_pretrained(folder)
    return save_processor(folder, key)


def save_images(folder: Path) -> Path:
    for seed in range(8):
        file = folder / NAMES[seed % 2] / f"{seed}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (80, 96, 3), dtype=np.uint8)).save(file)
    return folder


def run(*arguments: object) -> None:
    assert not main([str(each) for each in arguments])


@pytest.mark.slow
@EVERY
def test_what_was_trained_is_found(key, tmp_path, capsys):
    dense, images, trained = save_native(tmp_path / "dense", key), save_images(tmp_path / "images"), tmp_path / "new"
    how = ("--num-train-epochs", 1, "--keep-ratio", 0.7, "--report-to", "none", "--use-cpu", "--image-size", 80)
    run("train", "--model", dense, "--dataset", images, "--output-dir", trained, *how)
    assert type(pipeline("image-classification", model=str(trained)).model) is our_class(key)
    run("push", trained, "me/model", "--dry-run")
    card = capsys.readouterr().out
    assert 'model="me/model"' in card
    assert f"A {PYRAMIDS[key].dense} in whose stage 3 positions are chosen" in " ".join(card.split())
    assert [source.reducer for source in read_sources([str(dense), str(trained)])] == [None, "dynamicvit"]
    viewer = Viewer.load(str(trained))
    assert viewer.model.config.image_size == 80 and viewer.dense is not None


@pytest.mark.slow
@EVERY
def test_looking_and_measuring(key, tmp_path):
    sparse, images = save_sparse(tmp_path / "sparse", key), save_images(tmp_path / "images")
    run("benchmark", sparse, "--repeats", 1, "--warmup", 0, "--batch-sizes", 1, "--image-size", 96)
    run("visualize", "--model", sparse, "--images", images, "--output", tmp_path / "looked")
    run("evaluate", "--model", sparse, "--dataset", images, "--output", tmp_path / "measured", "--keep-ratios", 0.9, 1)
    report = json.loads((tmp_path / "measured" / "report.json").read_text())
    assert [each["mean"] for each in report["stages"]] == [44 / 64, 31 / 64, 19 / 64]
    assert "With dynamicvit a position that is not kept takes the fast path, and may come back." in report["notes"]
    run("tune", "--model", sparse, "--images", images, "--fraction", 0.95, "--output", tmp_path / "tuned")


@pytest.mark.long
@pytest.mark.usefixtures("exports_run_here")
@EVERY
def test_exporting(key, tmp_path):
    model = pyramid(key, keep_ratio=0.7)
    export(model, "torch-export", tmp_path / "model.pt2", pyramid_images(6))


@EVERY
def test_images_of_any_size_are_looked_at(key):
    folder_size = [(64, 64), (70, 90), (24, 40) if key == "dynamicswin" else (40, 32)]
    model = pyramid(key, keep_ratio=0.7)
    for size in folder_size:
        outputs = model(pyramid_images(1, *size), output_scores=True)
        down, across = model.config.reduced_grid(*size)
        assert outputs.scores.shape == (1, 3, down * across)
    assert torch.equal(model(pyramid_images(1)).kept, model(pyramid_images(1)).kept)


@EVERY
@pytest.mark.parametrize("command", ["visualize", "evaluate", "benchmark", "tune", "train"])
def test_methods_of_tokens_are_refused_by_name(key, command, tmp_path, capsys):
    dense, images = save_native(tmp_path / "dense", key), save_images(tmp_path / "images")
    arguments = {
        "visualize": ["--model", dense, "--images", images, "--output", tmp_path / "out"],
        "evaluate": ["--model", dense, "--dataset", images, "--output", tmp_path / "out"],
        "benchmark": [dense],
        "tune": ["--model", dense, "--images", images, "--fraction", 0.8, "--output", tmp_path / "out"],
        "train": ["--model", dense, "--dataset", images, "--output-dir", tmp_path / "out"],
    }[command]
    ended = main([command, *map(str, arguments), "--reducer", "tome"])
    said = capsys.readouterr().err
    assert ended and "whose map must stay whole, it can be" in said and "Traceback" not in said


@EVERY
def test_predictors_cannot_start_from_class_attention(key, tmp_path, capsys):
    dense, images = save_native(tmp_path / "dense", key), save_images(tmp_path / "images")
    typed = ["--model", dense, "--dataset", images, "--output-dir", tmp_path / "out", "--predictor-start", "attention"]
    assert main(["train", *map(str, typed)])
    assert f"a {PYRAMIDS[key].dense} has no class token" in capsys.readouterr().err


def test_an_image_processor_that_makes_squares(tmp_path, capsys):
    dense, images = save_native(tmp_path / "dense", "dynamicconvnext"), save_images(tmp_path / "images")
    typed = ["--model", dense, "--dataset", images, "--output-dir", tmp_path / "out", "--image-size", 64, 80]
    assert main(["train", *map(str, typed)])
    # the class's name ends in Pil where there is no torchvision
    assert re.search(
        "--image-size is 64 80; a ConvNextImageProcessor(Pil)? makes squares only", capsys.readouterr().err
    )


@EVERY
def test_the_demo_answers(key, tmp_path):
    models = Models(read_sources([str(save_sparse(tmp_path / "sparse", key))]))
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 96, 3), dtype=np.uint8))
    answer = models.answer(image, Choice("sparse", OWN, 0.7))
    assert answer.view.counts == [44, 31, 19] and answer.view.grid == (8, 8) and answer.view.returned.any()
    assert set(answer.milliseconds) == {"sparse", "dense"} and answer.trained
    with pytest.raises(ValueError, match="reducer is 'tome'"):
        models.answer(image, Choice("sparse", "tome", 0.7))
    with pytest.raises(ValueError, match="keeps none"):
        models.answer(image, Choice("sparse", OWN, 0.3))


@pytest.mark.slow
@EVERY
def test_its_recipe_runs(key, tmp_path):
    dense, images = save_native(tmp_path / "dense", key), save_images(tmp_path / "images")
    full = [] if is_torchvision_available() else ["--augmentation", "auto", "--mixup", 0, "--cutmix", 0]
    recipe = {"dynamicswin": "dynamicswin-tiny", "dynamicconvnext": "dynamicconvnext-tiny"}[key]
    where = (
        "--model",
        dense,
        "--dataset",
        images,
        "--output-dir",
        tmp_path / "new",
        "--report-to",
        "none",
        "--use-cpu",
    )
    run("train", *where, "--recipe", recipe, "--max-steps", 2, *full)
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config["drop_path_rate"] == 0.2 and config["keep_ratio"] == 0.7 and config["model_type"] == key
