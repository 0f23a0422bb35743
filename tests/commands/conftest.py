# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Trainings of toys by the commands take no longer than they must."""

import pytest

from hf_dynamicvit.training import predictor_start


@pytest.fixture(autouse=True)
def predictors_start_in_two_steps(monkeypatch):
    """How well they start is tested with the function itself: 100 steps take longer than all else of a training."""
    monkeypatch.setattr(predictor_start, "STEPS", 2)
