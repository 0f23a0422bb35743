# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What detectors find, on images and in the command `visualize`; commands that are for classifiers refuse them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from native_toys import native_model, reduced_model
from PIL import Image
from toys import toy_dense
from transformers import YolosImageProcessorPil
from viewers import make_images, processor_of, view_of

from hf_dynamicvit.checkpoints.checkpoint import read_checkpoint
from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.look.boxes import Box, find_boxes
from hf_dynamicvit.look.drawing import BLUE, ORANGE, prediction_text, stage_images
from hf_dynamicvit.look.viewer import Viewer


KEY = "dynamicyolos"
CAT, DOG = Box(0, 0.9, (0.0, 0.0, 0.5, 0.5)), Box(1, 0.6, (0.25, 0.25, 1.0, 1.0))


def processor() -> YolosImageProcessorPil:
    return YolosImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 48})


def likely_native():
    """Natively every token is sure of its class."""
    native = native_model(KEY, "detector")
    with torch.no_grad():
        native.class_labels_classifier.layers[-1].weight.mul_(20)
    return native


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    native = likely_native()
    native.save_pretrained("dense")
    reduced_model(native, KEY, "detector", "tome", keep_ratio=0.6).save_pretrained("sparse")
    toy_dense().save_pretrained("classifier")
    for name in ("dense", "sparse"):
        processor().save_pretrained(name)
    processor_of().save_pretrained("classifier")
    Path("images").mkdir()
    for index, image in enumerate(make_images((50, 40), (40, 50), (60, 60))):
        image.save(f"images/{index}.png")
    return tmp_path


def test_boxes_of_the_likeliest_first():
    probabilities = torch.tensor([[0.2, 0.1], [0.1, 0.7], [0.9, 0.0]])
    boxes = torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.5, 0.4, 0.2, 0.4], [0.9, 0.9, 0.4, 0.2]])
    found = find_boxes(probabilities, boxes)
    assert [box.label for box in found] == [0, 1]
    assert found[0].corners == pytest.approx((0.7, 0.8, 1.0, 1.0)) and found[1].probability == pytest.approx(0.7)
    assert len(find_boxes(probabilities, boxes, 0.0)) == 3 and not find_boxes(probabilities, boxes, 0.95)


def test_a_view_has_the_boxes_of_both_models():
    native = likely_native()
    model = reduced_model(native, KEY, "detector", "tome", keep_ratio=0.5)
    images = make_images((50, 40), (40, 50))
    for view, image in zip(Viewer(model, processor(), native).look(images), images, strict=True):
        inputs = processor()(images=[image], return_tensors="pt")["pixel_values"]
        assert view.grid == (inputs.shape[2] // 4, inputs.shape[3] // 4)
        for boxes, probabilities, each in (
            (view.boxes, view.probabilities, model),
            (view.dense_boxes, view.dense_probabilities, native),
        ):
            with torch.no_grad():
                outputs = each(inputs)
            found = outputs.logits[0].softmax(-1)[:, :-1]
            sure = found.amax(dim=1) >= 0.5
            assert len(boxes) == sure.sum() > 0
            assert [box.probability for box in boxes] == pytest.approx(
                sorted(found.amax(dim=1)[sure].tolist(), reverse=True), abs=1e-4
            )
            assert torch.allclose(probabilities, found.amax(dim=0), atol=1e-4)
        assert Viewer(model, processor(), native, least=1.0).look([image])[0].boxes == ()


def test_boxes_are_drawn_on_what_is_kept():
    view = view_of([[0, 0, 0, 1]], boxes=(CAT,), dense_boxes=(DOG,))
    for image in stage_images(view):
        pixels = np.asarray(image)
        assert tuple(pixels[0, 10]) == BLUE and tuple(pixels[39, 30]) == ORANGE
    text = prediction_text(view, ["cat", "dog"])
    assert "sparse (blue): cat 90.0%\ndense (orange): dog 60.0%" in text
    many = prediction_text(replace(view, boxes=(CAT, DOG, CAT, DOG, CAT), dense_boxes=()), ["cat", "dog"])
    assert "cat 90.0%, dog 60.0%, cat 90.0% and 2 more" in many and "dense (orange): no object" in many


@pytest.mark.parametrize(
    "dense, differs", [((CAT, DOG), False), ((DOG, CAT), False), ((CAT,), True), ((CAT, CAT), True)]
)
def test_a_detector_differs_by_the_classes_it_finds(dense, differs):
    view = view_of([[0, 0, 0, 1]], boxes=(CAT, DOG), dense_boxes=dense, dense_probabilities=torch.tensor([0.9, 0.1]))
    assert view.differs == differs
    assert not replace(view, dense_probabilities=None, dense_boxes=None).differs
    assert replace(view, boxes=None, dense_boxes=None).differs  # the likeliest class is another


@pytest.mark.parametrize("source", ["sparse", "dense"])
def test_visualize(folder, source, capsys):
    options = ["--reducer", "tome", "--keep-ratio", "0.6"] if source == "dense" else []
    assert main(["visualize", "--model", source, "--images", "images", "--output", "seen", *options]) == 0
    assert "images: 3." in capsys.readouterr().out
    entries = json.loads(Path("seen/views.json").read_text())["pictures"]
    for entry in entries:
        assert entry["boxes"] and entry["dense_boxes"]
        assert entry["boxes"][0]["label"].startswith("LABEL_") and len(entry["boxes"][0]["box"]) == 4
    assert Image.open("seen/0.webp").size > (300, 200) and Path("seen/overview_001.webp").is_file()


def test_a_probability_is_for_detectors(folder, capsys):
    arguments = ["visualize", "--images", "images", "--output", "seen", "--least-probability"]
    assert main([*arguments, "1", "--model", "sparse"]) == 0
    assert not json.loads(Path("seen/views.json").read_text())["pictures"][0]["boxes"]
    arguments[4] = "others"
    assert main([*arguments, "0.5", "--model", "classifier"]) == 1
    assert (
        "--least-probability is for boxes of detectors; classifier is an image classifier." in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--dataset", "images", "--output", "out", "--model"],
        ["export", "--format", "onnx", "--output", "out.onnx", "--model"],
        ["push"],
    ],
    ids=lambda command: command[0],
)
def test_commands_for_classifiers_say_what_takes_a_detector(folder, command, capsys):
    rest = ["me/repository", "--dry-run"] if command == ["push"] else []
    for source in ("sparse",) if command == ["push"] else ("dense", "sparse"):
        assert main([*command, source, *rest]) == 1
        said = capsys.readouterr().err
        assert f"{source} is an object detector, and this is for image classifiers." in said, said
        assert "`hf-dynamicvit evaluate`, `visualize`, `benchmark` and `tune` take it" in said


def test_a_tuned_detector_is_a_detector(folder):
    model, untrained = read_checkpoint("dense").load_reduced("tome")
    assert type(model).__name__ == "DynamicYolosForObjectDetection" and not untrained
    native_model(KEY, "model").save_pretrained("encoder")
    assert type(read_checkpoint("encoder").load_reduced("tome")[0]).__name__ == "DynamicYolosModel"
