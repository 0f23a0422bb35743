# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The objects that a detector finds in an image."""

from dataclasses import dataclass

from torch import Tensor


# the least probability of a box that is shown
LEAST = 0.5


@dataclass(frozen=True)
class Box:
    """An object that was found.

    Attributes:
        label: index of its class.
        probability: of the class.
        corners: left, top, right, bottom, from 0 to 1.
    """

    label: int
    probability: float
    corners: tuple[float, float, float, float]


def class_probabilities(logits: Tensor) -> Tensor:
    """Return `[..., K]` float32 on the CPU from `logits` `[..., K + 1]`, whose last class is no object."""
    return logits.float().cpu().softmax(dim=-1)[..., :-1]


def find_boxes(probabilities: Tensor, boxes: Tensor, least: float = LEAST) -> tuple[Box, ...]:
    """Return what the Q detection tokens of one image found with probability `least` or more, likeliest first.

    Args:
        probabilities: `[Q, K]`.
        boxes: `[Q, 4]`, centre x, centre y, width and height.
        least: from 0 to 1.
    """
    best = probabilities.max(dim=-1)
    order = best.values.argsort(descending=True, stable=True)
    centre, half = boxes.float().cpu()[..., :2], boxes.float().cpu()[..., 2:] / 2
    corners = [*(centre - half).clamp(0, 1).unbind(-1), *(centre + half).clamp(0, 1).unbind(-1)]
    found = [
        Box(int(best.indices[at]), float(best.values[at]), tuple(float(side[at]) for side in corners))  # ty: ignore
        for at in order.tolist()
    ]
    return tuple(box for box in found if box.probability >= least)
