# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The examples that train a segmenter and a depth model: their data, and a short run of each."""

import importlib.util
import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from paths import EXAMPLES
from PIL import Image
from shelf import fill_shelf
from transformers import DPTImageProcessorPil, UperNetForSemanticSegmentation

from hf_dynamicvit.checkpoints.checkpoint import find_reduced


def load_example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def depth():
    return load_example("train_depth_estimation")


@pytest.fixture(scope="module")
def segmentation():
    return load_example("train_semantic_segmentation")


# ----- depth


@pytest.mark.parametrize("part", range(3))
def test_nothing_of_a_part_that_is_held_out_is_trained_on(depth, part):
    columns = torch.arange(120.0).expand(3, 40, 120)
    (unseen, images), (truth, depths) = depth.split(columns, part), depth.split(columns[0], part)
    crops = depth.Crops(images, depths, side=20, count=50, seed=0)
    seen = {column for item in crops.items for column in item["labels"].flatten().tolist()}
    assert not seen & {*truth.flatten().tolist()} and len(seen) > 60
    assert all(torch.equal(item["pixel_values"][0], item["labels"]) for item in crops.items)
    squares = depth.held_out_squares(unseen, 20)
    assert squares.shape == (2, 3, 20, 20) and {*squares.flatten().tolist()} <= {*truth.flatten().tolist()}
    flipped = [item for item in crops.items if item["labels"][0, 0] > item["labels"][0, 1]]
    assert 10 < len(flipped) < 40


def test_depth_follows_from_disparity(depth, tmp_path):
    Image.new("RGB", (2, 1), (124, 116, 104)).save(tmp_path / "motorcycle_left.png")
    np.savez(tmp_path / "motorcycle_disp.npz", np.array([[50.0, np.inf]], dtype=np.float32))
    pixels, metres = depth.read_photograph(tmp_path)
    assert metres[0, 0].item() == pytest.approx(0.193001 * 994.978 / (50 + 31.086)) and metres[0, 1].isnan()
    assert pixels.abs().max() < 0.02  # the mean colour


def test_the_loss_reads_what_is_known(depth):
    outputs = SimpleNamespace(predicted_depth=torch.tensor([[[1.0, 2.0]]], requires_grad=True))
    loss = depth.log_difference(outputs, torch.tensor([[[2.0, torch.nan]]]), num_items_in_batch=3)
    assert loss.item() == pytest.approx(np.log(2))
    loss.backward()
    assert outputs.predicted_depth.grad.tolist() == [[[-1.0, 0.0]]]


def test_errors_of_depth(depth):
    pytest.importorskip("torchmetrics")
    truth = [torch.tensor([[1.0, 2.0]]), torch.tensor([[4.0, torch.nan]])]
    found = depth.measure([torch.tensor([[1.5, 2.0]]), torch.tensor([[3.0, 9.0]])], truth)
    assert found == {"abs_rel": 0.25, "mae": 0.5}


# ----- segmentation


def test_masks_that_are_there_are_taken(segmentation):
    classes = np.arange(64, dtype=np.uint8).reshape(8, 8) % 3
    rows = Dataset.from_dict({"image": [Image.new("RGB", (8, 8))] * 2, "mask": [Image.fromarray(classes)] * 2})
    processor = DPTImageProcessorPil(size={"height": 16, "width": 16})
    data = segmentation.Photographs(rows, 1, processor, 0)
    assert len(data) == 1 and data[0]["pixel_values"].shape == (3, 16, 16)
    assert data[0]["labels"][::2, ::2].tolist() == classes.tolist()


def test_a_flower_is_told_from_what_is_around_it(segmentation):
    pytest.importorskip("cv2")
    down, across = np.mgrid[:224, :224]
    disc = np.hypot(down - 112, across - 112) < 60
    pixels = np.random.default_rng(0).integers(0, 40, (224, 224, 3), dtype=np.uint8)
    pixels[disc, 0] += 200
    pixels[~disc, 1] += 120
    mask = segmentation.find_mask({"image": Image.fromarray(pixels), "label": 2})
    assert {*np.unique(np.array(mask))} == {0, 3}
    assert ((np.array(mask) == 3) == disc).mean() > 0.97
    assert segmentation.find_mask({"image": Image.new("RGB", (64, 64), "green"), "label": 0}) is None


def test_a_perfect_segmentation_has_an_iou_of_one(segmentation, monkeypatch):
    pytest.importorskip("torchmetrics")
    labels = torch.tensor([[[0, 1], [2, 255]], [[1, 1], [0, 0]]])
    data = SimpleNamespace(items=[{"labels": each} for each in labels])
    model = SimpleNamespace(config=SimpleNamespace(num_labels=3, loss_ignore_index=255))
    found = labels.clone()
    monkeypatch.setattr(segmentation, "segment", lambda *_: found)
    found[0, 1, 1] = 0  # which is not counted
    assert segmentation.measure(model, data, 2) == {"miou": 1.0, "pixel_accuracy": 1.0}
    found[1, 0] = 0  # IoU of the classes: 3 of 5, 1 of 3, 1 of 1
    assert segmentation.measure(model, data, 2) == {
        "miou": pytest.approx((3 / 5 + 1 / 3 + 1) / 3, abs=1e-4),
        "pixel_accuracy": pytest.approx(5 / 7, abs=1e-4),
    }


# ----- from end to end


@pytest.fixture(scope="module")
def shelf(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    fill_shelf(folder)
    return folder


def run_example(name: str, folder: Path, *arguments: str) -> list[dict[str, Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        common = ["--model", "facebook/dinov2-small", "--output", name, "--batch-size", "2", "--image-size", "56"]
        common += ["--fractions", "0.8", "--reducers", "tome", "--figure", f"{name}.jpg"]
        patch.setattr(sys, "argv", [f"{name}.py", *common, *arguments])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert (folder / f"{name}.jpg").stat().st_size > 1000
    return json.loads((folder / name / "results.json").read_text())["rows"]


def check_rows(rows: list[dict[str, Any]], first: list[str]) -> None:
    assert [row["model"] for row in rows] == [*first, "tome at 0.8, not trained", "tome at 0.8, head trained"]
    assert 0.6 < rows[-1]["gmacs"] / rows[len(first) - 1]["gmacs"] <= 0.8 and rows[-1]["gmacs"] == rows[-2]["gmacs"]


@pytest.mark.slow
def test_a_segmenter_is_trained(shelf):
    data = ["--train", "scenes/train.parquet", "--test", "scenes/test.parquet", "--classes", "tree", "road"]
    steps = ["--images", "4", "--test-images", "4", "--epochs", "1", "--fine-epochs", "1"]
    rows = run_example("train_semantic_segmentation", shelf, *data, *steps)
    check_rows(rows, ["dense"])
    folder = shelf / "train_semantic_segmentation"
    dense, reduced = (
        UperNetForSemanticSegmentation.from_pretrained(folder / name).state_dict() for name in ("dense", "tome-0.8")
    )
    changed = {name for name, weights in dense.items() if not torch.equal(weights, reduced[name])}
    assert changed and not any(name.startswith("backbone.") for name in changed)  # which is frozen
    again: Any = UperNetForSemanticSegmentation.from_pretrained(folder / "tome-0.8")
    assert find_reduced(again).config.reducer == "tome" and again.config.id2label[2] == "road"


@pytest.mark.slow
def test_a_depth_model_is_trained(shelf):
    steps = ["--steps", "1", "--fine-steps", "1", "--data", "skimage/data"]
    check_rows(run_example("train_depth_estimation", shelf, *steps), ["median", "dense"])
    folder = shelf / "train_depth_estimation"
    assert all((folder / f"dense-{part}" / "model.safetensors").is_file() for part in range(3))
    assert DPTImageProcessorPil.from_pretrained(folder / "dense-0").size == {"height": 56, "width": 56}
