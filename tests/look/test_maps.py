# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Segmenters and depth models around a backbone, at the commands: maps beside dense, costs, and refusals."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from annotated import encoder, make_segmenter, stirred
from PIL import Image
from toys import toy_dense
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    DPTImageProcessorPil,
)
from viewers import make_images, processor_of

from hf_dynamicvit import reduce_tokens
from hf_dynamicvit.checkpoints.checkpoint import find_reduced, read_checkpoint
from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.look.drawing import card, draw_maps, overview
from hf_dynamicvit.look.map_viewer import MapViewer
from hf_dynamicvit.look.maps import PixelMap, read_maps
from hf_dynamicvit.model.pretrained import ReducedPreTrainedModel


SIZE = {"size": {"height": 32, "width": 32}}


def make_depth_model() -> Any:
    torch.manual_seed(0)
    head = {"neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8, "reassemble_hidden_size": 32, "head_hidden_size": 8}
    config = DepthAnythingConfig(backbone_config=encoder(reshape_hidden_states=False), patch_size=4, **head)
    return stirred(DepthAnythingForDepthEstimation(config))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, make, processor in (
        ("segmenter", make_segmenter, DPTImageProcessorPil(**SIZE)),
        ("depth", make_depth_model, DPTImageProcessorPil(**SIZE)),
    ):
        model = make()
        model.save_pretrained(name)
        reduce_tokens(model, "tome", keep_ratio=0.6).save_pretrained(f"{name}-sparse")
        for each in (name, f"{name}-sparse"):
            processor.save_pretrained(each)
    Path("images").mkdir()
    for index, image in enumerate(make_images((50, 40), (40, 50), (60, 60))):
        image.save(f"images/{index}.png")
    return tmp_path


NAMES = ["segmenter", "depth", "segmenter-sparse", "depth-sparse"]


def test_how_far_maps_are_apart():
    classes, others = (PixelMap(torch.tensor([[0, 1], [2, second]]), True) for second in (2, 0))
    assert classes.difference(others) == pytest.approx(0.25) and classes.shares(4).tolist() == [0.25, 0.25, 0.5, 0]
    depth, deeper = (PixelMap(torch.full((2, 2), metres), False) for metres in (2.0, 2.5))
    assert deeper.difference(depth) == pytest.approx(0.25) and not len(depth.shares(3))


def test_what_has_no_map_is_refused():
    with pytest.raises(ValueError, match=r"no predicted_depth, and its int no post_process_semantic_"):
        read_maps({"logits": torch.zeros(1, 3)}, 0, (4, 4))


@pytest.mark.parametrize("name", NAMES)
def test_a_view_has_the_maps_of_both_models(folder, name):
    checkpoint = read_checkpoint(name, may_map=True)
    assert checkpoint.is_sparse == name.endswith("sparse") and not checkpoint.has_classifier
    viewer = MapViewer.load_maps(checkpoint)
    assert isinstance(viewer.model, ReducedPreTrainedModel) and viewer.model.config.reducer == "tome"
    assert not any(isinstance(each, ReducedPreTrainedModel) for each in viewer.both[1].modules())
    images = make_images((50, 40), (40, 50))
    viewer.set_keep_ratio(0.5)
    for view, image in zip(viewer.look(images), images, strict=True):
        pixels = viewer.pixel_values([image])
        with torch.no_grad():
            for found, model in zip((view.map, view.dense_map), viewer.both, strict=True):
                said = model(pixels)
                expected = said.predicted_depth[0] if "depth" in name else said.logits[0].argmax(0)
                assert torch.allclose(found.values, expected, atol=1e-5)
        assert view.map_difference > 0 and view.counts[-1] < 64 and view.multiply_adds < view.dense_multiply_adds
        assert len(draw_maps(view)) == 2 and all(each.size == view.picture.size for each in draw_maps(view))
        plain = view.map.segments and view.probabilities.sum() == pytest.approx(1)
        assert plain or not len(view.probabilities)
        assert card(view, viewer.labels).height > overview([view], viewer.labels, ["a"]).height
    viewer.set_keep_ratio(1.0)
    (view,) = viewer.look(images[:1])
    assert view.map_difference == pytest.approx(0, abs=1e-5) and not view.differs


def test_an_image_by_itself_has_the_map_that_it_has_in_a_batch(folder):
    for name in NAMES[2:]:
        viewer = MapViewer.load_maps(read_checkpoint(name, may_map=True))
        images = make_images((40, 40), (40, 40), (40, 40))
        together = viewer.look(images, batch_size=3)
        for view, image in zip(together, images, strict=True):
            (alone,) = viewer.look([image])
            assert torch.equal(alone.kept, view.kept)
            assert torch.allclose(alone.map.values.float(), view.map.values.float(), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_visualize(folder, name, capsys):
    options = [] if name.endswith("sparse") else ["--reducer", "algm", "--budget", "0.8"]
    assert main(["visualize", "--model", name, "--images", "images", "--output", "seen", *options]) == 0
    said = capsys.readouterr().out
    assert "Maps differ from those of the dense model by" in said and "index.html" not in said
    seen = json.loads(Path("seen/views.json").read_text())
    assert seen["reducer"] == ("algm" if options else "tome") and len(seen["pictures"]) == 3
    assert all(each["map_difference"] > 0 for each in seen["pictures"])
    assert ([label for label, _ in seen["pictures"][0]["sparse"]] != []) == ("segmenter" in name)
    assert Image.open("seen/0.webp").size > (300, 200) and Path("seen/overview_001.webp").is_file()
    assert not Path("seen/index.html").exists()


def test_options_of_other_models_are_refused(folder, capsys):
    arguments = ["visualize", "--model", "depth", "--images", "images", "--output", "seen"]
    for options, words in (
        (
            ["--dense", "depth"],
            "--dense and --same-classes are for classifiers and detectors; depth is a model around",
        ),
        (["--least-probability", "0.5"], "--least-probability is for boxes of detectors; depth is a model around a"),
    ):
        assert main([*arguments, *options]) == 1
        assert words in capsys.readouterr().err


def test_predictors_that_nobody_trained_are_told(folder, capsys):
    arguments = ["visualize", "--model", "depth", "--images", "images", "--output", "seen", "--reducer", "dynamicvit"]
    assert main(arguments) == 0
    assert "depth was not trained with dynamicvit: its predictors are random" in capsys.readouterr().err


def test_benchmark_measures_the_backbone_and_the_whole_model(folder, capsys):
    how = ["--batch-sizes", "1", "--repeats", "1", "--warmup", "0", "--json"]
    assert main(["benchmark", "--model", "segmenter", "--reducer", "tome", "evit", "--keep-ratio", "0.6", *how]) == 0
    said = capsys.readouterr()
    rows = json.loads(said.out)["measurements"]
    names = {"dense", "segmenter tome 0.6", "segmenter evit 0.6"}
    assert {row["model"] for row in rows} == {*names, *(f"whole {name}" for name in names)}
    assert {row["kind"] for row in rows} == {"dense", "ideal", "sparse"}
    assert "segmenter: its backbone is measured, and the whole model" in said.err
    costs = {row["model"]: row["multiply_adds"] for row in rows if row["kind"] != "ideal"}
    (head,) = {costs[f"whole {name}"] - costs[name] for name in names}
    whole = find_reduced(read_checkpoint("segmenter", may_map=True).reduce_around_backbone("tome")[0])
    assert head > 0 and costs["dense"] == whole.dense_multiply_adds()
    assert {row["dense_multiply_adds"] for row in rows} == {costs["dense"], costs["whole dense"]}
    assert all(row["over_ideal"] is None for row in rows if row["model"].startswith("whole"))
    assert len([row for row in rows if row["model"] == "whole dense"]) == 1
    assert main(["benchmark", "--model", "depth-sparse", "--images", "images", *how]) == 0
    said = capsys.readouterr().out
    assert "depth-sparse tome 0.6" in said and "whole depth-sparse tome 0.6" in said


def test_tune_writes_the_model_around_the_backbone(folder):
    goal = ["--fraction", "0.8", "--refinements", "2", "--output", "tuned"]
    assert main(["tune", "--model", "depth", "--images", "images", *goal]) == 0
    again: Any = DepthAnythingForDepthEstimation.from_pretrained("tuned")
    found = find_reduced(again)
    assert found.multiply_adds() <= 0.8 * found.dense_multiply_adds()
    assert json.loads(Path("tuned/tune.json").read_text()) and Path("tuned/preprocessor_config.json").is_file()


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--dataset", "images", "--output", "out", "--model"],
        ["predict", "--images", "images", "--model"],
        ["export", "--format", "onnx", "--output", "out.onnx", "--model"],
    ],
    ids=lambda command: command[0],
)
def test_commands_for_classifiers_say_what_takes_a_segmenter(folder, command, capsys):
    for name in ("segmenter", "depth-sparse"):
        assert main([*command, name]) == 1
        said = capsys.readouterr().err
        assert f"{name} is a model around a backbone, for segmentation or depth" in said, said
        assert "`hf-dynamicvit evaluate`, `visualize`, `benchmark` and `tune` take it" in said


def test_a_configuration_and_an_unknown_class_are_refused(folder):
    with pytest.raises(ValueError, match="is a configuration; type the folder"):
        read_checkpoint("depth/config.json", may_map=True).load_around_backbone()
    content = json.loads(Path("depth/config.json").read_text()) | {"architectures": ["Other"]}
    Path("depth/config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"'Other' in config\.json, which Transformers lacks"):
        read_checkpoint("depth", may_map=True).load_around_backbone()


def test_a_classifier_is_no_model_around_a_backbone(tmp_path):
    toy_dense().save_pretrained(tmp_path)
    processor_of().save_pretrained(tmp_path)
    assert not read_checkpoint(tmp_path).maps and read_checkpoint(tmp_path).backbone_config is None
