# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The commands as a user types them."""

import subprocess
import sys

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from hf_dynamicvit import DynamicViTConfig, DynamicViTForImageClassification, __version__, quickstart
from hf_dynamicvit.cli import main


def test_help_and_version(capsys):
    for arguments in (["--help"], ["convert", "--help"], ["quickstart", "--help"], ["--version"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert __version__ in printed and "--num-attention-heads" in printed and "--seed" in printed


@pytest.mark.parametrize("arguments", [[], ["magic"], ["convert"]])
def test_unknown_or_incomplete_commands(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: hf-dynamicvit" in capsys.readouterr().err


def test_installed_script():
    run = subprocess.run([sys.executable, "-m", "hf_dynamicvit.cli", "--version"], capture_output=True, text=True)
    assert run.stdout.split() == ["hf-dynamicvit", __version__]


def test_quickstart_whole_way(tmp_path, monkeypatch, capsys):
    """Every step of the main job, with fewer epochs."""
    monkeypatch.setattr(quickstart, "DENSE_EPOCHS", 1)
    monkeypatch.setattr(quickstart, "SPARSE_EPOCHS", 1)
    reloaded, trainers = [], []
    check, build = quickstart.check_reload, quickstart.DynamicViTTrainer
    monkeypatch.setattr(quickstart, "check_reload", lambda *args: reloaded.append(check(*args)))
    monkeypatch.setattr(
        quickstart, "DynamicViTTrainer", lambda *a, **k: trainers.append(build(*a, **k)) or trainers[-1]
    )
    output = tmp_path / "quickstart"
    assert main(["quickstart", "--output", str(output), "--seed", "3"]) == 0
    text = (output / "report.md").read_text()
    assert "| dense |" in text and "| sparse |" in text and "Seed 3" in text
    table = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    assert table in capsys.readouterr().out
    assert len(reloaded) == 1 and trainers[0].teacher is not None
    data = quickstart.load_digits_dataset(3)["test"]
    for name in ("dense", "sparse"):
        model = AutoModelForImageClassification.from_pretrained(output / name).eval()
        processor = AutoImageProcessor.from_pretrained(output / name, backend="pil")
        pixels = processor([picture.convert("RGB") for picture in data["image"]], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            right = model(pixels).logits.argmax(-1) == torch.tensor(data["label"])
        assert f"| {name} | {right.float().mean().item():.1%} |" in text
    sheet = Image.open(output / "kept.png")
    assert sheet.size == (4 * 100 + 4, 8 * 100 + 4)
    model = AutoModelForImageClassification.from_pretrained(output / "sparse")
    assert isinstance(model, DynamicViTForImageClassification)
    assert model.config.keep_ratio == 0.7 and model.config.id2label[7] == "7"
    assert AutoImageProcessor.from_pretrained(output / "sparse").size["height"] == 32
    assert f"{model.multiply_adds() / 1e9:.4f}" in text and str(model.token_counts()) in text
    assert AutoModelForImageClassification.from_pretrained(output / "dense").config.model_type == "vit"


def test_quickstart_leaves_existing_files_alone(tmp_path, capsys):
    (tmp_path / "precious.txt").write_text("mine")
    assert main(["quickstart", "--output", str(tmp_path)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_quickstart_without_scikit_learn(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert main(["quickstart", "--output", str(tmp_path / "new")]) == 1
    assert "pip install 'hf-dynamicvit[quickstart]'" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_quickstart_notices_a_checkpoint_that_differs(tmp_path):
    data = quickstart.load_digits_dataset(0)["test"]
    torch.manual_seed(0)
    config = {"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
    model = DynamicViTForImageClassification(DynamicViTConfig(**config, intermediate_size=32)).eval()
    model.save_pretrained(tmp_path)
    quickstart.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    quickstart.check_reload(tmp_path, model, data)
    torch.nn.init.ones_(model.classifier.bias)
    with pytest.raises(RuntimeError, match="does not give the logits"):
        quickstart.check_reload(tmp_path, model, data)
