# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What an image costs in a model that was loaded, sparse or dense."""

from typing import Any

from ..model.budget import BudgetMixin
from ..registration import CLASSIFIERS


def multiply_adds(model: Any, image_size: tuple[int, int] | None = None) -> int:
    """Count the multiply-adds of a sparse or dense `model` for one image of `image_size`, by default its own."""
    if isinstance(model, BudgetMixin):
        return model.multiply_adds(image_size)
    return CLASSIFIERS[model.config.model_type].like(model).dense_multiply_adds(image_size)
