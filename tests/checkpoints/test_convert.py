# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Published checkpoints: what is read, what is refused, and that nothing is written by halves."""

import argparse
import json
import os

import pytest
import torch
from methods import FEW, usual
from paths import FIXTURES
from PIL import Image
from safetensors.torch import load_file, save_file
from toys import TOY, assert_same_model, toy_images, toy_model
from transformers import AutoImageProcessor, AutoModelForImageClassification, DeiTConfig
from transformers.models.deit.modeling_deit import DeiTForImageClassificationWithTeacher

from hf_dynamicvit import DynamicDeiTForImageClassification
from hf_dynamicvit.checkpoints.convert import convert_state_dict, read_label_names
from hf_dynamicvit.checkpoints.convert_config import infer_config
from hf_dynamicvit.checkpoints.convert_processor import published_processor
from hf_dynamicvit.checkpoints.published import read_state_dict
from hf_dynamicvit.commands.cli import main


WIDTH, DEPTH, LABELS, PATCHES = 32, 4, 5, 64


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


@usual(reducer=FEW)
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
        (broken(lambda t: t.update({"aux_head.weight": torch.zeros(1)})), "left over: token_classifier.weight"),
        (broken(lambda t: t.update({"layers.0.attn.relative_position_bias_table": torch.zeros(1)})), "Swin"),
        (broken(lambda t: t.update({"stages.2.0.dwconv.weight": torch.zeros(1)})), "ConvNeXt"),
        (broken(lambda t: t.update(dist_token=torch.zeros(1, 1, WIDTH))), "63 positions are not a square grid"),
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


# As on the Hub: `input_size` is of the model of `published`.
ABOUT = {
    "architecture": "vit_tiny_patch4_32",
    "num_classes": LABELS,
    "global_pool": "token",
    "pretrained_cfg": {
        "input_size": [3, 32, 32],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    },
}


def timm_folder(folder, name="model.safetensors", tensors=None, **changes):
    """A folder as timm writes it; `changes` are of `pretrained_cfg`, or of the rest of `config.json`."""
    folder.mkdir()
    write(folder, published(predictors=0) if tensors is None else tensors, name)
    said = ABOUT["pretrained_cfg"]
    said = said | {key: value for key, value in changes.items() if key in said}
    others = {key: value for key, value in changes.items() if key not in said}
    (folder / "config.json").write_text(json.dumps(ABOUT | {"pretrained_cfg": said} | others))
    return folder


def pixel_of(folder, colour=(255, 51, 0)) -> list[float]:
    """What the saved image processor makes of a plain colour."""
    processor = AutoImageProcessor.from_pretrained(folder)
    pixels = processor(Image.new("RGB", (50, 40), colour), return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, 32, 32) and torch.equal(pixels.amin((0, 2, 3)), pixels.amax((0, 2, 3)))
    return pixels[0, :, 0, 0].tolist()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "any.pth"])
def test_images_are_prepared_as_the_config_of_timm_says(tmp_path, name, capsys):
    folder = timm_folder(tmp_path / "timm", name)
    assert convert(folder, tmp_path / "out") == 0
    assert f"mean 0.5, 0.5, 0.5 and std 0.5, 0.5, 0.5, as {folder}/config.json says" in capsys.readouterr().out
    processor = AutoImageProcessor.from_pretrained(tmp_path / "out")
    assert (dict(processor.size), processor.resample) == ({"shortest_edge": 35}, Image.Resampling.BICUBIC)
    assert pixel_of(tmp_path / "out") == pytest.approx([1, -0.6, -1])
    assert convert(folder / name, tmp_path / "of-the-file") == 0  # the same from the file in it
    assert AutoImageProcessor.from_pretrained(tmp_path / "of-the-file").to_dict() == processor.to_dict()


def test_an_older_config_of_timm_and_other_crops(tmp_path):
    folder = timm_folder(tmp_path / "timm", crop_mode="squash", crop_pct=1.0, interpolation="bilinear")
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(about.pop("pretrained_cfg") | about))
    assert convert(folder, tmp_path / "out") == 0
    processor = AutoImageProcessor.from_pretrained(tmp_path / "out")
    assert (dict(processor.size), processor.resample) == ({"height": 32, "width": 32}, Image.Resampling.BILINEAR)
    assert pixel_of(tmp_path / "out") == pytest.approx([1, -0.6, -1])


def test_what_is_assumed_of_images_is_said_and_can_be_typed(tmp_path, capsys):
    source = write(tmp_path, published(predictors=0))
    assert convert(source, tmp_path / "out") == 0
    assert "of ImageNet: assumed, as there is no config.json of timm" in capsys.readouterr().out
    assert pixel_of(tmp_path / "out", (124, 116, 104)) == pytest.approx([0, 0, 0], abs=0.01)
    half = ["--image-mean", "0.5", "--image-std", "0.5"]
    assert convert(source, tmp_path / "half", *half, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["image_mean"] == [0.5] * 3 and found["preparation"].endswith("as given.")
    assert pixel_of(tmp_path / "half") == pytest.approx([1, -0.6, -1])
    for options, message in (
        (half[:2], "go together"),
        ([*half[:3], "0"], "--image-std is 0.0; each is above 0"),
        (["--image-mean", "0.5", "0.5", *half[2:]], "images of 3 channels: give --image-mean"),
    ):
        assert convert(source, tmp_path / "other", *options) == 1
        assert message in capsys.readouterr().err and not (tmp_path / "other").exists()


def test_other_channels_have_no_usual_mean(tmp_path, capsys):
    tensors = published(predictors=0)
    tensors["patch_embed.proj.weight"] = tensors["patch_embed.proj.weight"][:, :1].clone()
    source = write(tmp_path, tensors)
    assert convert(source, tmp_path / "out") == 1
    assert "images of 1 channels: give --image-mean and --image-std" in capsys.readouterr().err
    assert convert(source, tmp_path / "out", "--image-mean", "0.2", "--image-std", "0.3") == 0
    assert AutoImageProcessor.from_pretrained(tmp_path / "out").image_mean == (0.2,)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"crop_mode": "border"}, "config.json has crop_mode 'border'; it can be center, squash"),
        ({"interpolation": "random"}, "config.json has interpolation 'random'; it can be nearest"),
        ({"crop_pct": 0}, "config.json has crop_pct 0"),
        ({"global_pool": "avg"}, "config.json has global_pool 'avg'"),
        ({"model_args": {"global_pool": "avg"}}, "config.json has global_pool 'avg'"),
        (
            {"model_args": {"act_layer": "quick_gelu", "rope": True}},
            "model_args act_layer 'quick_gelu', rope True, which",
        ),
        ({"model_args": {"num_heads": "4"}}, "config.json has num_heads '4'"),
        ({"model_args": {"num_heads": 5}}, "5 attention heads do not divide the width 32"),
        ({"model_args": {"img_size": [32]}}, "config.json has img_size [32]"),
        ({"model_args": {"img_size": 64}}, "img_size 64 x 64 in its model_args, of 256 patches, but the file has 64"),
        ({"model_args": ["num_heads"]}, "config.json has model_args ['num_heads']"),
    ],
)
def test_what_timm_does_and_is_not_done_here_is_refused(tmp_path, changes, message, capsys):
    assert convert(timm_folder(tmp_path / "timm", **changes), tmp_path / "out") == 1
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_what_timm_was_told_of_the_architecture_is_read(tmp_path, capsys):
    tensors = published(predictors=0)
    tensors["pos_embed"] = tensors["pos_embed"][:, : 1 + 4 * 8].clone()
    said = {"num_heads": 4, "img_size": [16, 32], "drop_path_rate": 0.1, "act_layer": "gelu", "norm_layer": None}
    folder = timm_folder(tmp_path / "timm", tensors=tensors, model_args=said)
    assert convert(folder, tmp_path / "out") == 0
    assert "4 attention heads (as config.json says" in capsys.readouterr().out
    config = AutoModelForImageClassification.from_pretrained(tmp_path / "out").config
    assert config.num_attention_heads == 4 and tuple(config.image_size) == (16, 32)
    assert convert(folder, tmp_path / "typed", "--num-attention-heads", "2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["attention_heads"] == 2 and not found["heads_assumed"]


def test_size_and_names_of_classes_are_in_the_config_of_timm(tmp_path):
    names = ["daisy", "dandelion", "rose", "sunflower", "tulip"]
    tensors = published(predictors=0)
    tensors["pos_embed"] = tensors["pos_embed"][:, : 1 + 4 * 8].clone()
    folder = timm_folder(tmp_path / "timm", tensors=tensors, input_size=[3, 16, 32], label_names=names)
    assert convert(folder, tmp_path / "out") == 0
    config = AutoModelForImageClassification.from_pretrained(tmp_path / "out").config
    assert tuple(config.image_size) == (16, 32) and list(config.id2label.values()) == names


@usual(prefix=["", "module._orig_mod."])
@usual(place=["model"])
@pytest.mark.parametrize("place", [None, "model", "state_dict", "model_ema", "state_dict_ema", "other"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "model.module."])
def test_wrapped_weights_are_read(tmp_path, place, prefix):
    tensors = published()
    wrapped = {prefix + name: tensor for name, tensor in tensors.items()}
    content = wrapped if place is None else {place: wrapped, "epoch": 3}
    found = read_state_dict(write(tmp_path, content), "other" if place == "other" else None)
    assert found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("prefix", ["model.", "model._orig_mod."])
def test_a_lightning_file_in_a_folder(tmp_path, capsys, prefix):
    """Its state dict has what else the module held, beside the model."""
    tensors = published()
    content = {prefix + name: tensor for name, tensor in tensors.items()}
    content |= {"criterion.weight": torch.ones(LABELS), "metric.total": torch.tensor(3)}
    (tmp_path / "run").mkdir()
    write(tmp_path / "run", {"state_dict": content, "epoch": 3, "hyper_parameters": {"lr": 1e-3}}, "x.ckpt")
    assert convert(tmp_path / "run", tmp_path / "out", "--num-attention-heads", "4") == 0
    assert "outside of the model: 'criterion.weight', 'metric.total'." in capsys.readouterr().out
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    assert_same_model(model, convert_state_dict(tensors, infer_config(tensors, num_attention_heads=4)))


def test_a_model_partly_outside_its_wrapper_is_refused(tmp_path):
    content = {"model." + name: tensor for name, tensor in published().items()} | {"head.weight": torch.ones(3, WIDTH)}
    with pytest.raises(ValueError, match=r"under 'model\.' in the file, but outside of it there is 'head\.weight'"):
        read_state_dict(write(tmp_path, content))


def test_weights_and_their_average_in_one_file(tmp_path, capsys):
    last, mean = published(), {name: tensor + 1 for name, tensor in published().items()}
    source = write(tmp_path, {"state_dict": last, "state_dict_ema": mean, "step": 7})
    for options, expected in (([], last), (["--weights", "state_dict_ema"], mean)):
        assert convert(source, tmp_path / f"out{len(options)}", *options) == 0
        model = AutoModelForImageClassification.from_pretrained(tmp_path / f"out{len(options)}")
        assert torch.equal(model.classifier.weight, expected["head.weight"])
        assert "The weights are those under 'state_dict" in (text := capsys.readouterr().out) and "--weights" in text
    assert convert(source, tmp_path / "other", "--weights", "step") == 1
    assert "under 'step'; it has tensors under 'state_dict': type --weights state_dict." in capsys.readouterr().err


def test_a_model_without_classifier(tmp_path, capsys):
    tensors = {name: tensor for name, tensor in published(predictors=0).items() if not name.startswith("head.")}
    assert convert(write(tmp_path, tensors), tmp_path / "out", "--num-attention-heads", "4") == 0
    assert "no classifier: fine-tune the model, first `hf-dynamicvit train --model FOLDER --reducer none`" in (
        capsys.readouterr().out
    )
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    assert model.config.num_labels == 0 and model(toy_images()).logits.shape == (3, WIDTH)


def test_a_distilled_deit_computes_what_the_dense_one_does(tmp_path):
    torch.manual_seed(0)
    dense = DeiTForImageClassificationWithTeacher(DeiTConfig(**TOY)).eval()
    torch.nn.init.normal_(dense.deit.embeddings.distillation_token)
    torch.nn.init.normal_(dense.deit.embeddings.position_embeddings)
    own, tensors = dense.state_dict(), {}
    first = {"cls_token": "cls_token", "dist_token": "distillation_token", "pos_embed": "position_embeddings"}
    tensors |= {name: own[f"deit.embeddings.{ours}"] for name, ours in first.items()}
    parts = {"patch_embed.proj": "deit.embeddings.patch_embeddings.projection", "norm": "deit.layernorm"}
    parts |= {"head": "cls_classifier", "head_dist": "distillation_classifier"}
    for index in range(TOY["num_hidden_layers"]):
        block, ours = f"blocks.{index}", f"deit.layers.{index}"
        parts |= {f"{block}.norm1": f"{ours}.layernorm_before", f"{block}.norm2": f"{ours}.layernorm_after"}
        parts |= {f"{block}.mlp.{layer}": f"{ours}.mlp.{layer}" for layer in ("fc1", "fc2")}
        parts[f"{block}.attn.proj"] = f"{ours}.attention.o_proj"
        for kind in ("weight", "bias"):
            each = [own[f"{ours}.attention.{letter}_proj.{kind}"] for letter in "qkv"]
            tensors[f"{block}.attn.qkv.{kind}"] = torch.cat(each)
    tensors |= {f"{name}.{kind}": own[f"{ours}.{kind}"] for name, ours in parts.items() for kind in ("weight", "bias")}
    options = ["--num-attention-heads", "4", "--reducer", "topk", "--keep-ratio", "1"]
    assert convert(write(tmp_path, tensors), tmp_path / "out", *options) == 0
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    assert type(model) is DynamicDeiTForImageClassification
    with torch.no_grad():
        torch.testing.assert_close(model(toy_images()).logits, dense(toy_images()).logits, atol=1e-5, rtol=1e-4)


def test_folders_without_weights_of_timm(tmp_path, capsys):
    toy_model().save_pretrained(tmp_path / "saved")
    (tmp_path / "two").mkdir()
    for name in ("a.pth", "b.pth"):
        write(tmp_path / "two", published(), name)
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("saved", "is a checkpoint of Transformers, which needs no conversion: type its folder"),
        ("two", "has several files of weights: a.pth, b.pth; name one"),
        ("empty", "has no file of weights, such as model.safetensors"),
        ("absent", "absent is not there. convert reads a file of timm-style weights"),
    ):
        assert convert(tmp_path / name, tmp_path / "out") == 1
        assert message in capsys.readouterr().err


def test_failed_write_leaves_nothing(tmp_path, monkeypatch, capsys):
    source = write(tmp_path, published())

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("transformers.DeiTImageProcessorPil.save_pretrained", fail)
    assert convert(source, tmp_path / "out", "--num-attention-heads", "4") == 1
    assert "disk full" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pth"]
