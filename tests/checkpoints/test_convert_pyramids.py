# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Published Swin and ConvNeXt files become saved models, or are refused by name."""

import json
from pathlib import Path

import pytest
import torch
from paths import FIXTURES
from safetensors.torch import load_file, save_file
from toys import assert_same_weights
from transformers import AutoImageProcessor, AutoModelForImageClassification

from hf_dynamicvit.commands.cli import main


KINDS = ("dyswin", "dyconvnext")


def read(kind: str) -> dict[str, torch.Tensor]:
    """The golden case's tensors under their published names, with all buffers."""
    return load_file(FIXTURES[0] / f"{kind}_eval" / "weights.safetensors")


def without_method(tensors):
    """The same of a dense file."""
    return {name: each for name, each in tensors.items() if "score_predictor" not in name and "fast" not in name}


def convert(tensors, folder: Path, *options: object) -> int:
    file = folder / "published.pth"
    torch.save({"model": tensors}, file)
    return main(["convert", str(file), "--output", str(folder / "new"), *map(str, options)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dense", [False, True], ids=["sparse", "dense"])
def test_published_files(kind, dense, tmp_path, capsys):
    tensors = without_method(read(kind)) if dense else read(kind)
    assert not convert(tensors, tmp_path, "--image-size", 128, 128)
    said = capsys.readouterr().out
    assert "reducer dynamicvit at blocks [1, 2, 3] of stage 3, where [44, 31, 19] of 64 positions take" in said
    assert ("they need training" in said) == dense
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "new")
    weights = json.loads((tmp_path / "new" / "config.json").read_text())
    assert weights["architectures"] == [type(model).__name__] and weights["image_size"] == 128
    assert torch.equal(model.classifier.weight, tensors["head.weight"])
    assert AutoImageProcessor.from_pretrained(tmp_path / "new", backend="pil").crop_size["height"] == 128
    if not dense:
        first = model.reducer.fast_paths["1"].project.weight
        name = {"dyswin": "layers.2.blocks.1.fastmlp.fc1.1.weight", "dyconvnext": "stages.2.1.fast_path.1.weight"}
        assert torch.equal(first, tensors[name[kind]])


def test_windows_tell_the_size_of_the_images(tmp_path, capsys):
    assert not convert(read("dyswin"), tmp_path, "--json")
    assert json.loads(capsys.readouterr().out)["blocks"] == [2, 1, 5, 1]
    assert AutoModelForImageClassification.from_pretrained(tmp_path / "new").config.image_size == 128


def test_both_ways_of_writing_are_read(tmp_path):
    tensors = read("dyconvnext")
    save_file(tensors, tmp_path / "published.safetensors")
    for name in ("published.safetensors", "published.pth"):
        if name.endswith("pth"):
            torch.save(tensors, tmp_path / name)
        assert not main(
            ["convert", str(tmp_path / name), "--output", str(tmp_path / name[-3:]), "--image-size", "128", "128"]
        )
    models = [AutoModelForImageClassification.from_pretrained(tmp_path / end) for end in ("ors", "pth")]
    assert_same_weights(*models)


@pytest.mark.parametrize(
    "kind, added, removed, said",
    [
        ("dyswin", "layers.0.blocks.0.attn.logit_scale", None, "a Swin V2 checkpoint, which convert does not"),
        ("dyconvnext", "stages.0.0.grn.gamma", None, "a ConvNeXt V2 checkpoint, which convert does not"),
        (
            "dyswin",
            None,
            "layers.0.downsample.norm.weight",
            "a Swin checkpoint, but not in the layout of",
        ),
        ("dyconvnext", None, "downsample_layers.0.0.weight", "a ConvNeXt checkpoint, but not in the layout of"),
        (
            "dyswin",
            None,
            "layers.1.blocks.0.norm1.bias",
            "missing: swin.encoder.layers.1.blocks.0.layernorm",
        ),
        ("dyswin", "layers.0.extra", None, "left over: layers.0.extra"),
    ],
)
def test_what_is_refused(kind, added, removed, said, tmp_path, capsys):
    tensors = read(kind) | ({added: torch.ones(1)} if added else {})
    tensors.pop(removed, None)
    assert convert(tensors, tmp_path, "--image-size", 128, 128)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_options_that_do_not_fit(tmp_path, capsys):
    assert convert(read("dyswin"), tmp_path, "--num-attention-heads", 3)
    assert "the file says how many heads" in capsys.readouterr().err
    assert convert(read("dyswin"), tmp_path, "--reducer", "tps")
    assert "made for reducer 'dynamicvit', not 'tps'" in capsys.readouterr().err
