# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The measuring itself; never a timed assertion."""

import pytest
import torch
from toys import toy_dense, toy_images, toy_model

from hf_dynamicvit.benchmark import images_per_second


def test_models_take_turns():
    calls = []

    class Recorder(torch.nn.Module):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def forward(self, pixel_values):
            assert torch.is_inference_mode_enabled()
            calls.append(self.name)

    result = images_per_second({"a": Recorder("a").eval(), "b": Recorder("b").eval()}, toy_images(), 4, warmup=1)
    assert calls == ["a", "b"] * 5
    assert set(result) == {"a", "b"} and min(result.values()) > 0


def test_throughput_counts_images(monkeypatch):
    seconds = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(seconds)))
    assert images_per_second({"sparse": toy_model()}, toy_images(3), repeats=2, warmup=0) == {"sparse": 3.0}


def test_training_mode_is_refused():
    with pytest.raises(ValueError, match="'dense' is in training mode"):
        images_per_second({"dense": toy_dense().train()}, toy_images())
