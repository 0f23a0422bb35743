# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Compare what two image processors do to an image."""

from typing import Any

from ..checkpoints.source import find_processor
from ..model.logger import logger
from .transforms import channel_values, target_size


def check_same_input(source: str, processor: Any, other: str, cropped: bool = True) -> None:
    """Refuse a model that is used to images prepared otherwise: it would see what it was not trained on.

    Args:
        source: the model whose image processor, `processor`, prepares the images.
        other: a checkpoint that sees the same. One without image processor is taken at its word, which is said.
        cropped: what is cut off at the edges must agree too; else, as in training, the size that is left.

    Raises:
        ValueError: its image processor differs in what it does to an image.
    """
    another = find_processor(other)
    if another is None:
        logger.warning(f"{other} has no image processor: it is shown images as {source} takes them.")
        return
    ours, theirs = (read_preparation(each, cropped) for each in (processor, another))
    differing = [name for name in ours if ours[name] != theirs[name]]
    if differing:
        listed = "; ".join(f"{name} is {theirs[name]} and not {ours[name]}" for name in differing)
        raise ValueError(f"{other} takes images prepared otherwise than {source}: {listed}.")


def read_preparation(processor: Any, cropped: bool = True) -> dict[str, Any]:
    """Read off an image processor what it does to an image."""
    steps: dict[str, Any] = {"size": None, "crop_size": None, "image_mean": None, "image_std": None}
    if not cropped:
        steps["size"] = target_size(processor)
    elif processor.do_resize:
        steps["size"] = {name: value for name, value in dict(processor.size).items() if value}
    if cropped and processor.do_center_crop:
        steps["crop_size"] = {name: value for name, value in dict(processor.crop_size).items() if value}
    if processor.do_normalize:
        steps["image_mean"], steps["image_std"] = one_or_all(processor.image_mean), one_or_all(processor.image_std)
    return steps | {"rescale_factor": processor.rescale_factor if processor.do_rescale else None}


def one_or_all(values: Any) -> float | list[float]:
    """Return one number where all channels have the same: `image_mean` and `image_std` may be given either way."""
    values = channel_values(values, 1)
    return values[0] if len(set(values)) == 1 else values
