# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The image processor of a published checkpoint, and where its numbers are from."""

from collections.abc import Sequence
from typing import Any

from transformers import DeiTImageProcessorPil
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..model.configuration_dynamicvit import DynamicViTConfig
from ..model.cost import as_pair
from .published import Published
from .timm import timm_processor


def published_processor(
    height: int,
    width: int,
    mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
    std: Sequence[float] = IMAGENET_DEFAULT_STD,
) -> DeiTImageProcessorPil:
    """Prepare images as in the published evaluation: resize to 8/7 and crop, or from 384 pixels on resize alone."""
    straight = min(height, width) >= 384
    larger = {"height": round(height * 8 / 7), "width": round(width * 8 / 7)}
    size = {"shortest_edge": larger["height"]} if height == width else larger
    return DeiTImageProcessorPil(
        size={"height": height, "width": width} if straight else size,
        do_center_crop=not straight,
        crop_size={"height": height, "width": width},
        image_mean=list(mean),
        image_std=list(std),
    )


def choose_processor(
    config: DynamicViTConfig,
    published: Published,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> tuple[DeiTImageProcessorPil, str]:
    """Choose the image processor of the model, and say in one line where its numbers are from.

    Args:
        config: of the model.
        published: what was read; timm's `config.json` says how images are prepared.
        mean, std: one number or one a channel, in place of what that says, or of ImageNet's.

    Raises:
        ValueError: one of `mean` and `std` alone, numbers that do not fit the channels, or nothing is known of them.
    """
    height, width = as_pair(config.image_size)
    if (mean is None) != (std is None):
        raise ValueError("--image-mean and --image-std go together; give both.")
    if published.config is None:
        processor = published_processor(height, width)
    else:
        processor = timm_processor(published.config, height, width)
    if mean is not None and std is not None:
        each = config.num_channels if len(mean) == len(std) == 1 else 1
        processor.image_mean, processor.image_std = list(mean) * each, list(std) * each
        if not all(value > 0 for value in processor.image_std):
            raise ValueError(f"--image-std is {' '.join(map(str, std))}; each is above 0.")
    counts = {len(processor.image_mean), len(processor.image_std)}
    if counts != {config.num_channels}:
        raise ValueError(
            f"The model takes images of {config.num_channels} channels: give --image-mean and --image-std, each one "
            f"number or {config.num_channels}."
        )
    return processor, f"Images are normalised with {normalisation(processor)}{origin(published, mean is not None)}"


def normalisation(processor: Any) -> str:
    mean, std = (", ".join(f"{v:.4g}" for v in each) for each in (processor.image_mean, processor.image_std))
    return f"mean {mean} and std {std}"


def origin(published: Published, given: bool) -> str:
    """Return the end of a sentence: where mean and std are from."""
    if given:
        return ", as given."
    if published.config is not None:
        return f", as {published.file.with_name('config.json')} says."
    return (
        " of ImageNet: assumed, as there is no config.json of timm beside the file. Many ViTs of timm (AugReg) take "
        "--image-mean 0.5 --image-std 0.5."
    )
