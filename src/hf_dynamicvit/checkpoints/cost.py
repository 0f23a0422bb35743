# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What an image costs in a model that was loaded, sparse or dense."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ..adoption import is_reduced, outermost
from ..model.budget import BudgetMixin
from ..registration import CLASSIFIERS


def multiply_adds(model: Any, image_size: tuple[int, int] | None = None) -> int:
    """Count the multiply-adds of a sparse or dense `model` for one image of `image_size`, by default its own."""
    if isinstance(model, BudgetMixin):
        return model.multiply_adds(image_size)
    return CLASSIFIERS[model.config.model_type].like(model).dense_multiply_adds(image_size)


def count_head(whole: Any, dense: Any, pixels: Tensor) -> int:
    """Count the multiply-adds of the head, for one image like `pixels`.

    Args:
        whole: a model around a reduced backbone.
        dense: the dense one, whose operations are counted, with the head and without.
        pixels: `[B, channels, height, width]`.
    """
    inputs, counts = pixels[:1].to(dense.device, dense.dtype), []
    backbone = dense.get_submodule(next(outermost(whole, is_reduced)).name)
    for module in (dense, backbone):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            module(inputs)
        counts.append(counter.get_total_flops() // 2)
    return counts[0] - counts[1]
