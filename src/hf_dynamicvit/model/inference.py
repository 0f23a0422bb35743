# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Pick the fastest linear layers on this machine; outputs stay equal, up to rounding."""

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from .block import DynamicAttention
from .cost import as_pair
from .packed import DynamicMLP, PackedLinear, Place, can_pack, exchange, layers_in
from .reduction_config import ReductionConfig
from .scoring import TokenScorePredictor


# Modules whose linear layers may be exchanged.
HOLDERS = (DynamicAttention, DynamicMLP, TokenScorePredictor)

# Packed layers stay where they save at least this fraction of the time.
WORTH = 0.01


def waited_for(device: torch.device) -> float:
    """Wait until all that runs on `device` is done, and return the time in seconds."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return time.perf_counter()


class InferenceMixin:
    """The part of the models that exchanges layers for inference."""

    config: ReductionConfig
    training: bool
    device: torch.device
    dtype: torch.dtype

    @torch.inference_mode()
    def optimize_for_inference(self, pixel_values: Tensor | None = None, repeats: int = 5) -> dict[str, float]:
        """Exchange linear layers for ones that measure faster here; the result stays, to rounding.

        On the CPU, those of the attentions, MLPs and predictors are tried as `PackedLinear`: the weight in oneDNN's
        blocked layout, the GELU inside the product (`packed`). The names of the parameters stay, and so do the
        parameters: `state_dict`, saving and loading see no difference. Training mode and `undo_optimize_for_inference`
        put the native layers back; a weight that is written to or moved computes as it then is, in the native layout.
        Compiled and exported graphs, gradients and autocast use the parameters too.

        Args:
            pixel_values: `[B, channels, height, width]`, a batch like those to come; by default one random image.
            repeats: how often both are measured, taking turns.

        Returns:
            `packed`: images/s over those of the model as it is, which it stays unless that is above 1.01. Empty where
            no layer can be packed, as on a GPU.

        Raises:
            ValueError: the model is in training mode.
        """
        if self.training:
            raise ValueError("the model is in training mode; call model.eval() first.")
        self.undo_optimize_for_inference()
        native = {place: layer for place, layer in layers_in(cast(Any, self), HOLDERS) if can_pack(layer)}
        if not native:
            return {}
        packed: dict[Place, nn.Module] = {place: PackedLinear(cast(nn.Linear, each)) for place, each in native.items()}
        gain = self._gain([native, packed], self._sample(pixel_values), repeats)
        exchange(packed if gain > 1 + WORTH else native)
        return {"packed": gain}

    def undo_optimize_for_inference(self) -> None:
        """Put the native layers back, and free the packed weights."""
        layers = layers_in(cast(Any, self), HOLDERS)
        exchange({place: layer.original() for place, layer in layers if isinstance(layer, PackedLinear)})

    def train(self, mode: bool = True):
        """As in `nn.Module`; training mode puts back the layers that `optimize_for_inference` exchanged."""
        if mode:
            self.undo_optimize_for_inference()
        return super().train(mode)  # ty: ignore[missing-attribute]

    def _sample(self, pixel_values: Tensor | None) -> Tensor:
        if pixel_values is None:
            height, width = as_pair(self.config.image_size)
            pixel_values = torch.rand(1, self.config.num_channels, height, width)
        return pixel_values.to(self.device, self.dtype)

    def _gain(self, ways: Sequence[Mapping[Place, nn.Module]], pixel_values: Tensor, repeats: int) -> float:
        """Median seconds with the first of two sets of layers over those with the second, which take turns."""
        seconds: tuple[list[float], list[float]] = ([], [])
        for turn in range(repeats + 2):
            for layers, times in zip(ways, seconds, strict=True):
                exchange(layers)
                start = waited_for(self.device)
                cast(Any, self)(pixel_values, interpolate_pos_encoding=True)
                if turn > 1:
                    times.append(waited_for(self.device) - start)
        native, packed = map(statistics.median, seconds)
        return native / packed
