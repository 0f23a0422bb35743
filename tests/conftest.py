# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Settings of the whole suite: no network, a fixture that walks the table of methods, and another rounding.

`pytest --other-rounding` runs every test with loaded weights at addresses where matrix products round otherwise, as
some kernels do for those in a mapped file. A test that compares outputs of two copies to the bit fails there.
"""

import gc
import os


os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # two processes of tests run beside each other; read as torch is imported

import pytest
import torch
from methods import is_usual
from toys import ALIGNMENT, unaligned
from transformers import PreTrainedModel
from transformers.utils import logging

from hf_dynamicvit import REDUCERS


pytest_plugins = ["cpu_report", "exports"]

gc.freeze()  # what is imported here is garbage for none: collecting thousands of tests need not visit it


def pytest_addoption(parser):
    parser.addoption("--other-rounding", action="store_true", help="loaded weights give outputs that round otherwise")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What is not usual is long, and what is long is slow too."""
    for item in items:
        if not is_usual(item):
            item.add_marker("long")
        if item.get_closest_marker("long"):
            item.add_marker("slow")


@pytest.fixture(autouse=True, scope="module")
def modules_are_out_of_the_collectors_way():
    """What lives as a module of tests begins is garbage for none of them: a collection takes 10 ms, not 300.

    Each training and each compilation calls for one, which otherwise visits all of torch and Transformers.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def rounds_as_asked(request):
    """`other_rounding` for all tests, if asked for."""
    if request.config.getoption("--other-rounding"):
        request.getfixturevalue("other_rounding")


@pytest.fixture
def other_rounding(monkeypatch):
    """Loaded weights are at other addresses than others, and products with those round otherwise."""
    linear, load = torch.nn.functional.linear, PreTrainedModel.from_pretrained.__func__

    def linear_by_address(hidden, weight, bias=None):
        if torch.compiler.is_compiling() or type(weight) is not torch.nn.Parameter or weight.is_meta:
            return linear(hidden, weight, bias)
        if {hidden.dtype, weight.dtype} != {torch.float32} or weight.data_ptr() % ALIGNMENT == 0:
            return linear(hidden, weight, bias)
        return linear(hidden.double(), weight.double(), None if bias is None else bias.double()).float()

    def load_elsewhere(cls, *args, **kwargs):
        loaded = load(cls, *args, **kwargs)
        unaligned(loaded[0] if isinstance(loaded, tuple) else loaded)
        return loaded

    monkeypatch.setattr(torch.nn.functional, "linear", linear_by_address)
    monkeypatch.setattr(PreTrainedModel, "from_pretrained", classmethod(load_elsewhere))


@pytest.fixture(params=sorted(REDUCERS))
def reducer(request) -> str:
    return request.param


@pytest.fixture
def warnings_text(caplog, monkeypatch):
    """What Transformers and this package have logged so far, by a call; their loggers need not propagate."""
    for name in ("transformers", "transformers.hf_dynamicvit"):
        monkeypatch.setattr(logging.get_logger(name), "propagate", True)
    return lambda: caplog.text
