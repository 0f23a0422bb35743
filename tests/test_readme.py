# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The README's code runs as printed, in a folder that holds a small model under each name it uses."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toys import toy_dense
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_dynamicvit import DynamicViTTrainer
from hf_dynamicvit.cli import main


README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def write_pictures(folder: Path, count: int) -> None:
    generator = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 255, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{index}.jpg")


def test_python_blocks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pushed = []
    push = "push_to_hub"
    monkeypatch.setattr(DynamicViTTrainer, push, lambda self, **kwargs: pushed.append(self.args.hub_model_id))
    labels = {"num_labels": 2, "id2label": {0: "cat", 1: "dog"}, "label2id": {"cat": 0, "dog": 1}}
    for name in ("facebook/deit-small-patch16-224", "my-dense-vit"):
        toy_dense(**labels).save_pretrained(name)
        ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(name)
    write_pictures(tmp_path / "my_pictures", 4)
    Image.new("RGB", (50, 40)).save("cat.jpg")
    namespace: dict = {}
    code = blocks("python")
    assert len(code) == 4
    for block in code:
        exec(compile(block, str(README), "exec"), namespace)
    assert pushed == ["me/deit-small-dynamicvit"]
    assert namespace["result"][0]["label"] in ("cat", "dog")
    assert namespace["trainer"].state.log_history[-1]["eval_accuracy"] >= 0


def test_commands_are_those_of_the_project():
    import tomllib

    project = tomllib.loads((README.parent / "pyproject.toml").read_text())["project"]
    shell = "\n".join(blocks("bash"))
    for extra in re.findall(r"\.\[(\w+)\]", shell):
        assert extra in project["optional-dependencies"]
    assert "hf-dynamicvit quickstart" in shell and "pytest" in shell
    assert "hf-dynamicvit" in project["scripts"]
    ci = (README.parent / ".ci" / "run").read_text()
    assert ci.count("\n    pytest\n") == 2  # the newest dependencies and the oldest


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8")))))
def test_links_point_to_files(target):
    assert (README.parent / target).exists()


def test_the_training_command(tmp_path, monkeypatch):
    """As printed, only shorter."""
    monkeypatch.chdir(tmp_path)
    toy_dense().save_pretrained("facebook/deit-small-patch16-224")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained("facebook/deit-small-patch16-224")
    write_pictures(tmp_path / "my_pictures", 4)
    command = next(block for block in blocks("bash") if block.startswith("hf-dynamicvit train"))
    assert main([*shlex.split(command.replace("\\\n", ""))[1:], "--use_cpu", "--num_train_epochs", "1"]) == 0
    assert (tmp_path / "my-dynamicvit" / "model.safetensors").is_file()
