# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Settings of the whole suite: no network, and a fixture that walks the table of methods."""

import os


os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

from hf_dynamicvit import REDUCERS


@pytest.fixture(params=sorted(REDUCERS))
def reducer(request) -> str:
    return request.param
