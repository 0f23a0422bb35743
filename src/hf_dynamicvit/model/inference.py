# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What a model can do to run faster on the machine where it is, without another result."""

import statistics
import time
from typing import Any, cast

import torch
from torch import Tensor

from .block import DynamicAttention
from .cost import as_pair
from .reduction_config import ReductionConfig
from .relaid import DynamicMLP, Relaid
from .scoring import TokenScorePredictor


# A copy of the weights is kept where it saves at least this fraction of the time.
WORTH = 0.01


def waited_for(device: torch.device) -> float:
    """The time in seconds when all that runs on `device` is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


class InferenceMixin:
    """The part of the models that lays weights out for inference."""

    config: ReductionConfig
    training: bool
    device: torch.device
    dtype: torch.dtype

    @torch.inference_mode()
    def optimize_for_inference(self, pixel_values: Tensor | None = None, repeats: int = 5) -> dict[str, float]:
        """Make copies of the weights in the layout that measures fastest here; the result stays, to rounding.

        Tried are the three input projections of the attention as one (`joined`) and, on the CPU, the weights of all
        blocks and predictors in oneDNN's blocked layout with the GELU inside the product (`packed`). The parameters
        stay as they are: `state_dict`, saving and loading see no difference. Training mode,
        `undo_optimize_for_inference`, moving the model or writing to a weight ends the use of a copy. Compiled and
        exported graphs do not use them.

        Args:
            pixel_values: `[B, channels, height, width]`, a batch like those to come; by default one random image.
            repeats: how often each layout is measured, taking turns.

        Returns:
            images/s of each layout over those of the model as it is; none above 1.01 leaves it so.

        Raises:
            ValueError: the model is in training mode.
        """
        if self.training:
            raise ValueError("the model is in training mode; call model.eval() first.")
        model = cast(Any, self)
        if pixel_values is None:
            height, width = as_pair(self.config.image_size)
            pixel_values = torch.rand(1, self.config.num_channels, height, width)
        pixel_values = pixel_values.to(self.device, self.dtype)
        layouts = ["as it is", "joined", *(["packed"] if self.device.type == "cpu" else [])]
        copies = {layout: self._copies(layout) for layout in layouts}
        seconds: dict[str, list[float]] = {layout: [] for layout in layouts}
        for turn in range(repeats + 2):
            for layout in layouts:
                self._use(copies[layout])
                start = waited_for(self.device)
                model(pixel_values, interpolate_pos_encoding=True)
                if turn > 1:
                    seconds[layout].append(waited_for(self.device) - start)
        medians = {layout: statistics.median(times) for layout, times in seconds.items()}
        gains = {layout: medians["as it is"] / medians[layout] for layout in layouts[1:]}
        best = max(gains, key=lambda layout: gains[layout])
        self._use(copies[best if gains[best] > 1 + WORTH else "as it is"])
        return gains

    def undo_optimize_for_inference(self) -> None:
        """Use the parameters themselves again, and free the copies."""
        self._use({})

    def train(self, mode: bool = True):
        """As in `nn.Module`; training mode frees the copies that `optimize_for_inference` made."""
        if mode:
            self.undo_optimize_for_inference()
        return cast(Any, super()).train(mode)

    def _relaid(self) -> list[Relaid]:
        return [module for module in cast(Any, self).modules() if isinstance(module, Relaid)]

    def _copies(self, layout: str) -> dict[Relaid, dict]:
        self._use({})
        for module in self._relaid():
            if isinstance(module, DynamicAttention) and layout != "as it is":
                module.relay(packed=layout == "packed")
            elif isinstance(module, DynamicMLP | TokenScorePredictor) and layout == "packed":
                module.relay()
        return {module: module.relaid for module in self._relaid()}

    def _use(self, copies: dict[Relaid, dict]) -> None:
        for module in self._relaid():
            module.relaid = copies.get(module, {})
