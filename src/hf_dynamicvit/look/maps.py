# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What a model around a backbone says of every pixel: the class, or how far away it is."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class PixelMap:
    """What a model says of every pixel.

    Attributes:
        values: `[height, width]`, the index of a class, or depth as float32.
        segments: they are classes.
    """

    values: Tensor
    segments: bool

    def shares(self, classes: int) -> Tensor:
        """Count the share of the pixels of each of `classes`, `[K]`; none of depth."""
        if not self.segments:
            return torch.zeros(0)
        counts = torch.bincount(self.values.flatten().clamp(min=0), minlength=classes)[:classes]
        return counts / self.values.numel()

    def difference(self, other: "PixelMap") -> float:
        """Measure how far it is from `other`: pixels of another class, or the mean relative difference of depth."""
        if self.segments:
            return (self.values != other.values).float().mean().item()
        scale = other.values.abs().mean().clamp(min=torch.finfo(torch.float32).tiny)
        return ((self.values - other.values).abs().mean() / scale).item()


def read_maps(outputs: Any, processor: Any, size: tuple[int, int]) -> list[PixelMap]:
    """Read what a model says of every pixel of each image of `size`, in pixels.

    Raises:
        ValueError: it neither segments images nor estimates depth.
    """
    depth = getattr(outputs, "predicted_depth", None)
    if depth is not None:
        return [PixelMap(each.float().cpu(), False) for each in depth]
    if not hasattr(processor, "post_process_semantic_segmentation"):
        raise ValueError(
            f"the model has no predicted_depth, and its {type(processor).__name__} no post_process_semantic_"
            "segmentation, so that there is no map to draw."
        )
    count = len(next(values for values in outputs.values() if isinstance(values, Tensor) and values.ndim))
    found = processor.post_process_semantic_segmentation(outputs, target_sizes=[size] * count)
    return [PixelMap(each.cpu(), True) for each in found]
