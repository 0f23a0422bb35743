# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Settings of the whole suite: no network, and a fixture that walks the table of methods."""

import os


os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # two processes of tests run beside each other; read as torch is imported

import pytest
from transformers.utils import logging

from hf_dynamicvit import REDUCERS


@pytest.fixture(params=sorted(REDUCERS))
def reducer(request) -> str:
    return request.param


@pytest.fixture
def warnings_text(caplog, monkeypatch):
    """What Transformers and this package have logged so far, by a call; their loggers need not propagate."""
    monkeypatch.setattr(logging.get_logger("transformers"), "propagate", True)
    return lambda: caplog.text
