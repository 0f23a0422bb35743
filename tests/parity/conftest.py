# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Golden inputs and outputs computed by the published implementations, from random weights."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from paths import FIXTURES
from safetensors.torch import load_file
from torch import Tensor

from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config


@dataclass(frozen=True)
class Case:
    """One golden case: tensors, the published weights where there are any, and what case.json says."""

    io: dict[str, Tensor]
    weights: dict[str, Tensor]
    about: dict
    folder: Path

    @property
    def pixel_values(self) -> Tensor:
        return (self.io["pixel_values_u8"].float() - 128) / 64

    def tolerance(self, name: str) -> dict[str, float]:
        return self.about["tolerances"][name]


@pytest.fixture
def golden():
    def read(name: str) -> Case:
        for folder in FIXTURES:
            if (folder / name / "case.json").is_file():
                weights = folder / name / "weights.safetensors"
                return Case(
                    load_file(folder / name / "io.safetensors"),
                    load_file(weights) if weights.is_file() else {},
                    json.loads((folder / name / "case.json").read_text()),
                    folder / name,
                )
        pytest.skip(f"golden case {name} is in neither {FIXTURES[0]} nor {FIXTURES[1]}")

    return read


@pytest.fixture
def golden_teacher(golden):
    """The dense teacher of a training case."""

    def read(name: str):
        case = golden(name)
        weights = load_file(case.folder / "weights.teacher.safetensors")
        config = infer_config(weights, num_attention_heads=case.about["config"]["num_heads"], reducer="topk")
        return convert_state_dict(weights, config).to_dense().eval()

    return read
