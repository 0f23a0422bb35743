# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Throughput of models beside each other, interleaved in one run: what counts is the ratio."""

import statistics
import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def images_per_second(
    models: Mapping[str, nn.Module], pixel_values: Tensor, repeats: int = 15, warmup: int = 3
) -> dict[str, float]:
    """Median images per second of each model on the batch `pixel_values` `[B, C, H, W]`, at inference.

    The models take turns, so that a busy moment of the machine hits all of them alike. They must be on the device of
    `pixel_values`, in eval mode.

    Raises:
        ValueError: a model is in training mode, where tokens are masked rather than dropped.
    """
    for name, model in models.items():
        if model.training:
            raise ValueError(f"Model {name!r} is in training mode; call model.eval() first.")
    seconds: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for turn in range(warmup + repeats):
            for name, model in models.items():
                _synchronize(pixel_values.device)
                start = time.perf_counter()
                model(pixel_values)
                _synchronize(pixel_values.device)
                if turn >= warmup:
                    seconds[name].append(time.perf_counter() - start)
    return {name: len(pixel_values) / statistics.median(times) for name, times in seconds.items()}


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
