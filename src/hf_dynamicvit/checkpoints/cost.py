# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What an image costs in a model that was loaded, sparse or dense."""

import math
from typing import Any

from torch import nn

from ..model.budget import BudgetMixin
from ..model.cost import grid_size, vit_multiply_adds


def multiply_adds(model: Any, image_size: tuple[int, int] | None = None) -> int:
    """Count the multiply-adds of a sparse or dense `model` for one image of `image_size`, by default its own."""
    if isinstance(model, BudgetMixin):
        return model.multiply_adds(image_size)
    num_patches, own = math.prod(grid_size(model.config, image_size)), math.prod(grid_size(model.config))
    num_prefix = model.base_model.embeddings.position_embeddings.shape[1] - own
    num_outputs = sum(layer.out_features for layer in model.children() if isinstance(layer, nn.Linear))
    counts = [(num_patches, num_patches)] * model.config.num_hidden_layers
    return vit_multiply_adds(model.config, num_patches, counts, num_prefix, num_outputs)
