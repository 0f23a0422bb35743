# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Every command serves every family that classifies images."""

from pathlib import Path

import numpy as np
import pytest
import transformers
from methods import usual
from native_toys import CLASSIFIERS, native_model, our_class
from PIL import Image
from transformers import AutoImageProcessor, pipeline

from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.demo.models import read_sources
from hf_dynamicvit.families import FAMILIES
from hf_dynamicvit.look.viewer import Viewer


NAMES = {0: "cat", 1: "dog"}


def save_native(folder: Path, key: str) -> Path:
    """A toy native classifier with its family's own image processor, where that works without torchvision."""
    model = native_model(key, "classifier", num_labels=2)
    model.config.id2label, model.config.label2id = NAMES, {name: index for index, name in NAMES.items()}
    model.save_pretrained(folder)
    name = f"{FAMILIES[key].processor}ImageProcessorPil"
    processor = getattr(transformers, name if hasattr(transformers, name) else "ViTImageProcessorPil")
    size = {"size": {"height": 32, "width": 32}, "do_center_crop": False}
    if FAMILIES[key].processor in ("Bit", "CLIP"):
        size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    processor(**size).save_pretrained(folder)
    return folder


def save_images(folder: Path) -> Path:
    for seed in range(8):
        file = folder / NAMES[seed % 2] / f"{seed}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 48, 3), dtype=np.uint8)).save(file)
    return folder


def run(*arguments: object) -> None:
    assert not main([str(each) for each in arguments])


def train(dense: Path, images: Path, output: Path) -> Path:
    """One epoch at another image size than that of `dense`."""
    how = ("--num_train_epochs", 1, "--image_size", 40, "--keep_ratio", 0.7, "--report_to", "none", "--use_cpu")
    run("train", "--model", dense, "--reducer", "dynamicvit", "--dataset", images, "--output_dir", output, *how)
    return output


@usual(key=["dynamicvit", "dynamicbeit", "dynamicdinov3_vit", "dynamicsiglip", "dynamiclvvit"])
@pytest.mark.slow
@pytest.mark.parametrize("key", CLASSIFIERS)
def test_what_was_trained_is_found(key, tmp_path, capsys):
    dense, images = save_native(tmp_path / "dense", key), save_images(tmp_path / "images")
    trained = train(dense, images, tmp_path / "trained")
    assert type(pipeline("image-classification", model=str(trained)).model) is our_class(key, "classifier")
    run("push", trained, "me/model", "--dry-run")
    assert 'model="me/model"' in capsys.readouterr().out
    assert [source.reducer for source in read_sources([str(dense), str(trained)])] == [None, "dynamicvit"]
    viewer = Viewer.load(str(trained))
    assert viewer.model.config.image_size == 40 and viewer.dense is not None


# The others take part with `pytest -m long`.
USUAL = ("dynamicbeit",)


@pytest.mark.slow
@pytest.mark.usefixtures("exports_run_here")
@pytest.mark.parametrize(
    "key", [key if key in USUAL else pytest.param(key, marks=pytest.mark.long) for key in CLASSIFIERS]
)
def test_looking_measuring_and_exporting(key, tmp_path):
    dense, images = save_native(tmp_path / "dense", key), save_images(tmp_path / "images")
    method = ("--model", dense, "--reducer", "tome")
    run("benchmark", dense, "--reducer", "tome", "--repeats", 1, "--warmup", 0, "--batch-sizes", 1)
    run("visualize", *method, "--budget", 0.8, "--images", images, "--output", tmp_path / "looked")
    run("evaluate", *method, "--dataset", images, "--output", tmp_path / "measured")
    trained = train(dense, images, tmp_path / "trained")
    run("export", trained, "--format", "torch-export", "--output", tmp_path / "model.pt2", "--pictures", images)


@pytest.mark.parametrize("key", CLASSIFIERS)
def test_image_processors_are_found(key, tmp_path):
    save_native(tmp_path, key)
    ours = our_class(key, "classifier")
    ours.config_class.from_pretrained(tmp_path).save_pretrained(tmp_path)
    name = type(AutoImageProcessor.from_pretrained(tmp_path)).__name__
    assert name.startswith(FAMILIES[key].processor) or FAMILIES[key].processor == "DINOv3ViT"
