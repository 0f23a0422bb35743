# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Published checkpoints: what is read, what is refused, and that nothing is written by halves."""

import argparse
import json
import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from toys import assert_same_model, toy_images, toy_model
from transformers import AutoImageProcessor, AutoModelForImageClassification

from hf_dynamicvit.cli import main
from hf_dynamicvit.convert import (
    convert_state_dict,
    infer_config,
    published_processor,
    read_label_names,
    read_state_dict,
)


WIDTH, DEPTH, LABELS, PATCHES = 32, 4, 5, 64


FIXTURES = [Path(__file__).parents[2] / "shared" / "fixtures", Path(__file__).parent / "fixtures"]


def published(predictors=3, width=WIDTH) -> dict[str, torch.Tensor]:
    """Random tensors under the keys and shapes of the published files."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, PATCHES + 1, width),
        "patch_embed.proj.weight": (width, 3, 4, 4),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
        "head.weight": (LABELS, width),
        "head.bias": (LABELS,),
    }
    for block in range(DEPTH):
        for name, shape in {
            "norm1": (width,),
            "norm2": (width,),
            "attn.qkv": (3 * width, width),
            "attn.proj": (width, width),
            "mlp.fc1": (4 * width, width),
            "mlp.fc2": (width, 4 * width),
        }.items():
            shapes[f"blocks.{block}.{name}.weight"] = shape
            shapes[f"blocks.{block}.{name}.bias"] = shape[:1]
    for stage in range(predictors):
        for name, shape in {
            "in_conv.0": (width,),
            "in_conv.1": (width, width),
            "out_conv.0": (width // 2, width),
            "out_conv.2": (width // 4, width // 2),
            "out_conv.4": (2, width // 4),
        }.items():
            shapes[f"score_predictor.{stage}.{name}.weight"] = shape
            shapes[f"score_predictor.{stage}.{name}.bias"] = shape[:1]
    return {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def write(folder, content, name="checkpoint.pth"):
    path = folder / name
    if name.endswith(".safetensors"):
        save_file(content, path)
    else:
        torch.save(content, path)
    return path


def convert(source, output, *options) -> int:
    return main(["convert", str(source), "--output", str(output), *options])


@pytest.mark.parametrize("kind", ["plain.pth", "wrapped.pth", "plain.safetensors"])
def test_command_writes_a_pair_that_loads(tmp_path, kind, capsys):
    tensors = published()
    content = {"model": tensors, "args": argparse.Namespace(lr=1e-3), "epoch": 29} if "wrapped" in kind else tensors
    source = write(tmp_path, content, kind)
    names = tmp_path / "names.txt"
    names.write_text("daisy\ndandelion\nrose\nsunflower\ntulip\n")
    options = ["--num-attention-heads", "4", "--label-names", str(names), "--keep-ratio", "0.8", "0.6", "0.4"]
    assert convert(source, tmp_path / "out", *options) == 0
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    expected = convert_state_dict(tensors, infer_config(tensors, num_attention_heads=4, keep_ratio=[0.8, 0.6, 0.4]))
    assert_same_model(model, expected)
    assert model.config.id2label[3] == "sunflower" and model.config.layer_norm_eps == 1e-6
    assert model.config.image_size == 32 and model.config.patch_size == 4
    assert AutoImageProcessor.from_pretrained(tmp_path / "out").crop_size["height"] == 32
    assert "4 attention heads (given)" in capsys.readouterr().out


def test_for_a_machine_to_read(tmp_path, capsys):
    assert convert(write(tmp_path, published(predictors=0)), tmp_path / "out", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["output"] == str(tmp_path / "out") and found["classes"] == 5 and found["heads_assumed"]
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "out")
    assert found["patches"] == model.token_counts() and found["decision_layers"] == model.decision_layers
    assert ["freshly initialised" in note for note in found["notes"]] == [True]


def test_a_checkpoint_of_transformers_needs_no_conversion(tmp_path, capsys):
    toy_model().save_pretrained(tmp_path / "saved")
    assert convert(tmp_path / "saved" / "model.safetensors", tmp_path / "out") == 1
    assert "needs no conversion: type its folder" in capsys.readouterr().err


def test_heads_are_assumed_64_wide_and_said_aloud(tmp_path, capsys):
    assert convert(write(tmp_path, published(width=128)), tmp_path / "out") == 0
    assert "2 attention heads (assumed" in capsys.readouterr().out
    assert AutoModelForImageClassification.from_pretrained(tmp_path / "out").config.num_attention_heads == 2


def test_a_dense_file_gets_fresh_predictors_said_aloud(tmp_path, capsys, reducer):
    assert convert(write(tmp_path, published(predictors=0)), tmp_path / "out", "--reducer", reducer) == 0
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    learned = list(model.vit.reducer.parameters())
    assert ("freshly initialised" in capsys.readouterr().out) == bool(learned)
    assert model(toy_images()).logits.isfinite().all()


@pytest.mark.parametrize(
    "case, reducer",
    [("evo_stage", "evovit"), ("asvit_eval_b1", "asvit"), ("idlevit_eval", "idlevit"), ("dynamicvit_eval", "tps")],
)
def test_published_files_of_every_method(tmp_path, capsys, case, reducer):
    folder = next((path / case for path in FIXTURES if (path / case).is_dir()), None)
    if folder is None:
        pytest.skip(f"golden case {case} is not here")
    about = json.loads((folder / "case.json").read_text())
    heads = ("--num-attention-heads", str(about["config"]["num_heads"]))
    assert convert(folder / "weights.safetensors", tmp_path / "out", "--reducer", reducer, *heads) == 0
    assert "freshly initialised" not in capsys.readouterr().out
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    io = load_file(folder / "io.safetensors")
    with torch.no_grad():
        logits = model((io["pixel_values_u8"].float() - 128) / 64).logits
    assert reducer == "tps" or torch.allclose(logits, io["logits"], atol=2e-5)
    if reducer != "idlevit":  # whose files are dense
        assert convert(folder / "weights.safetensors", tmp_path / "other", "--reducer", "evit", *heads) == 1
        assert "was made for reducer" in capsys.readouterr().err and not (tmp_path / "other").exists()


def test_an_evovit_file_without_its_training_head(tmp_path, capsys):
    folder = next((path / "evo_stage" for path in FIXTURES if (path / "evo_stage").is_dir()), None)
    if folder is None:
        pytest.skip("golden case evo_stage is not here")
    tensors = {n: t for n, t in load_file(folder / "weights.safetensors").items() if "_cls" not in n}
    save_file(tensors, tmp_path / "file.safetensors")
    heads = ("--num-attention-heads", "3")
    assert convert(tmp_path / "file.safetensors", tmp_path / "out", "--reducer", "evovit", *heads) == 0
    assert "it serves in training only" in capsys.readouterr().out
    pooled = ("--reducer-args", '{"pooling": "class"}')
    for wrong in (("--reducer", "evit"), (), ("--reducer", "evovit", *pooled)):
        assert convert(tmp_path / "file.safetensors", tmp_path / "other", *wrong, *heads) == 1
        assert "mean of the patches" in (err := capsys.readouterr().err) or "made for reducer 'evovit'" in err


def test_a_dense_file_for_evovit_says_what_its_classifier_reads(tmp_path, capsys):
    assert convert(write(tmp_path, published(predictors=0)), tmp_path / "out", "--reducer", "evovit") == 0
    assert "reads the mean of the patches" in capsys.readouterr().out


def test_options_of_the_method(tmp_path, capsys):
    source = write(tmp_path, published(predictors=0))
    assert convert(source, tmp_path / "out", "--reducer", "tome", "--reducer-args", '{"r": 4}') == 0
    assert "reducer tome at blocks [0, 1, 2, 3] keeping [60, 56, 52, 48] patches" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        convert(source, tmp_path / "other", "--reducer", "tome", "--reducer-args", "r=4")
    assert "is not a JSON object" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_label_names_as_json(tmp_path):
    source = write(tmp_path, published())
    for index, content in enumerate([list("abcde"), {str(index): name for index, name in enumerate("abcde")}]):
        names = tmp_path / f"names{index}.json"
        names.write_text(json.dumps(content))
        assert convert(source, tmp_path / f"out{index}", "--label-names", str(names)) == 0
        config = AutoModelForImageClassification.from_pretrained(tmp_path / f"out{index}").config
        assert config.id2label == dict(enumerate("abcde")) and config.label2id["e"] == 4


def broken(change):
    tensors = published()
    change(tensors)
    return tensors


@pytest.mark.parametrize(
    "tensors, message",
    [
        (broken(lambda t: t.pop("blocks.2.mlp.fc1.bias")), "missing: vit.layers.2.mlp.fc1.bias"),
        (broken(lambda t: t.pop("score_predictor.1.in_conv.0.bias")), "missing: vit.reducer.predictors.1.norm.bias"),
        (broken(lambda t: t.update(extra=torch.zeros(1))), "left over: extra"),
        (broken(lambda t: t.update({"norm.weight": torch.zeros(7)})), r"mis-shaped: vit.layernorm.weight is [7]"),
        (broken(lambda t: t.pop("head.weight")), "head.weight missing"),
        (published(predictors=2), "missing: vit.reducer.predictors.2."),
        (published(predictors=4), "left over: vit.reducer.predictors.3."),
        (broken(lambda t: t.update({"aux_head.weight": torch.zeros(1)})), "LV-ViT"),
        (broken(lambda t: t.update({"layers.0.attn.relative_position_bias_table": torch.zeros(1)})), "Swin"),
        (broken(lambda t: t.update({"stages.2.0.dwconv.weight": torch.zeros(1)})), "ConvNeXt"),
        (broken(lambda t: t.update(dist_token=torch.zeros(1))), "distillation token"),
        (broken(lambda t: t.update(pos_embed=torch.zeros(1, 61, WIDTH))), "not a square grid"),
        (broken(lambda t: t.update({"layers.0.blocks.0.attn.qkv.weight": torch.zeros(3, 1)})), "Swin"),
        (
            broken(lambda t: t.update({"patch_embed.proj.weight": torch.zeros(3, 1)})),
            "patch_embed.proj.weight missing or",
        ),
        (broken(lambda t: t.update(pos_embed=torch.zeros(65, WIDTH))), "pos_embed missing or mis-shaped"),
        (broken(lambda t: t.update({"blocks.x.norm1.weight": torch.zeros(1)})), "a block without a number"),
        (broken(lambda t: t.update({"blocks.0.attn.qkv.weight": torch.zeros(5, WIDTH)})), "blocks.0.attn.qkv.weight"),
        (broken(lambda t: t["norm.bias"].fill_(float("nan"))), "not finite floating-point numbers: norm.bias"),
        (broken(lambda t: t.update({"norm.bias": torch.zeros(WIDTH, dtype=torch.int8)})), "numbers: norm.bias"),
        ({"model": "text"}, "no state dict"),
        ({}, "no state dict"),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_written(tmp_path, tensors, message, capsys):
    output = tmp_path / "out"
    assert convert(write(tmp_path, tensors), output, "--num-attention-heads", "4") == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pth"]


class Dangerous:
    def __reduce__(self):
        return os.system, ("touch unpickled",)


def test_nothing_else_is_unpickled(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = write(tmp_path, {"model": published(), "args": Dangerous()})
    assert convert(source, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "it holds" in error and ".system" in error and "weights_only" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pth"]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x02}q\x00"])
@pytest.mark.parametrize("name", ["file.pth", "file.safetensors"])
def test_damaged_files_are_refused(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=name):
        read_state_dict(path)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--num-attention-heads", "5"], "5 attention heads do not divide"),
        (["--keep-ratio", "1.5"], "keep_ratio is 1.5"),
        (["--keep-ratio", "0.9", "0.8"], "2 values"),
        (["--reducer-layers", "1", "9"], "[1, 9]"),
        (["--label-names", "absent.txt"], "absent.txt"),
        (["--image-size", "8", "16"], "mis-shaped"),
    ],
)
def test_bad_options_are_named(tmp_path, options, message, capsys):
    assert convert(write(tmp_path, published()), tmp_path / "out", *options) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_wrong_number_of_label_names(tmp_path, capsys):
    names = tmp_path / "names.txt"
    names.write_text("one\ntwo\n")
    assert convert(write(tmp_path, published()), tmp_path / "out", "--label-names", str(names)) == 1
    assert "2 label names for 5 classes" in capsys.readouterr().err


def test_existing_output_is_left_alone(tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    (output / "precious.txt").write_text("mine")
    assert convert(write(tmp_path, published()), output) == 1
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in output.iterdir()] == ["precious.txt"]
    assert convert(write(tmp_path, published()), output, "--overwrite") == 0
    assert (output / "precious.txt").read_text() == "mine" and (output / "model.safetensors").is_file()


@pytest.mark.parametrize("output, message", [(".", "working folder"), ("checkpoint.pth/child", "is a file")])
def test_impossible_outputs_are_refused_first(tmp_path, output, message, capsys, monkeypatch):
    source = write(tmp_path, published())
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert convert(source, "." if output == "." else tmp_path / output) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("text, names", [("7\n", ["7"]), ("[3, 4]", ["3", "4"]), ('{"1": "b", "0": "a"}', ["a", "b"])])
def test_forms_of_label_names(tmp_path, text, names):
    (tmp_path / "names").write_text(text)
    assert read_label_names(tmp_path / "names") == names


def test_label_names_with_a_gap_are_refused(tmp_path):
    (tmp_path / "names").write_text('{"0": "a", "2": "c"}')
    with pytest.raises(ValueError, match="keys 0, 2; they must be 0 to 1"):
        read_label_names(tmp_path / "names")


@pytest.mark.parametrize(
    "size, expected",
    [
        ((224, 224), {"shortest_edge": 256}),
        ((384, 384), {"height": 384, "width": 384}),
        ((112, 224), {"height": 128, "width": 256}),
    ],
)
def test_processor_is_the_published_evaluation(size, expected):
    processor = published_processor(*size)
    assert dict(processor.size) == expected and processor.do_center_crop == (384 not in size)
    pixels = processor(Image.new("RGB", (500, 400), (124, 116, 104)), return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, *size) and pixels.abs().max() < 0.02  # ImageNet's mean colour


def test_a_missing_source_points_to_from_pretrained(tmp_path, capsys):
    assert convert(tmp_path, tmp_path / "out") == 1
    assert "from_pretrained" in capsys.readouterr().err


def test_failed_write_leaves_nothing(tmp_path, monkeypatch, capsys):
    source = write(tmp_path, published())

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("transformers.DeiTImageProcessorPil.save_pretrained", fail)
    assert convert(source, tmp_path / "out", "--num-attention-heads", "4") == 1
    assert "disk full" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pth"]
