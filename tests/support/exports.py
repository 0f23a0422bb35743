# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Files of torch.export, run in the process of the tests.

The check of such a file runs it in a fresh process, where importing torch takes seconds; `tests/test_export.py` has a
test that does so.
"""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hf_dynamicvit.export import FORMATS


def run_here(file: Path, batches: list[Tensor]) -> list[Tensor]:
    """Run `file` on each of `batches` in this process."""
    with torch.no_grad():
        return list(map(torch.export.load(file).module(), batches))


@pytest.fixture
def exports_run_here(monkeypatch):
    """Let `export` check files of torch.export in this process."""
    monkeypatch.setitem(FORMATS, "torch-export", dataclasses.replace(FORMATS["torch-export"], run=run_here))
