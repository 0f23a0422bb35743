# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What docs/deploy.md shows runs as printed."""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from toys import toy_images, toy_model
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_dynamicvit.cli import main


PAGE = (Path(__file__).parents[1] / "docs" / "deploy.md").read_text(encoding="utf-8")


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy_model().save_pretrained("my-dynamicvit")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained("my-dynamicvit")
    return tmp_path


def test_python_blocks(checkpoint, capsys):
    torch.compiler.reset()
    namespace = {"model": toy_model(), "pixel_values": toy_images()}
    blocks = re.findall(r"(<!-- needs torchao -->\n)?```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) == 6 and sum(bool(needs) for needs, _ in blocks) == 1
    for needs_torchao, code in blocks:
        if not needs_torchao or find_spec("torchao"):
            fast = code.replace("fullgraph=True)", 'fullgraph=True, backend="eager")').replace(
                'mode="reduce-overhead", ', ""
            )
            exec(compile(fast, "docs/deploy.md", "exec"), namespace)
    assert namespace["logits"].shape == (3, 5) and namespace["half"].dtype == torch.bfloat16
    assert "('dense', 1, 1.0)" in capsys.readouterr().out


def test_commands(checkpoint):
    shell = "\n".join(re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL))
    commands = [line for line in shell.splitlines() if line.startswith("hf-dynamicvit")]
    assert len(commands) == 3
    for command in commands:
        quick = ["--repeats", "1"] if "benchmark" in command else []
        assert main([*shlex.split(command)[1:], *quick]) == 0
    assert {"bench", "my-dynamicvit.onnx", "my-dynamicvit.pt2"} <= {path.name for path in checkpoint.iterdir()}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", PAGE))))
def test_links_point_to_files(target):
    assert (Path(__file__).parents[1] / "docs" / target).exists()
