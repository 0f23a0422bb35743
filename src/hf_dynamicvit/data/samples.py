# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Images on which two forms of one model are compared, or its speed is measured: one's own, or two photographs."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from ..checkpoints.source import find_processor
from ..extras import require
from ..model.cost import as_pair, image_tower
from .class_folders import find_files
from .transforms import MODES, ImageTransform, read_all


# Images on which cost is measured and thresholds are set, where those depend on the image.
COST_IMAGES = 64


def find_or_make_processor(name: str, config: Any) -> tuple[Any, str]:
    """Return the image processor of the checkpoint `name`, or one that only scales, and what to call it.

    For images on which two forms of one model are compared: for what it predicts, `read_processor` is needed.
    """
    processor = find_processor(name, config)
    if processor is not None:
        return processor, "its image processor"
    config = image_tower(config)
    height, width = as_pair(config.image_size)
    half = [0.5] * config.num_channels
    processor = ViTImageProcessorPil(size={"height": height, "width": width}, image_mean=half, image_std=half)
    return processor, f"scaling to {height} x {width}, as it has no image processor"


def sample_crops() -> list[Image.Image]:
    """Cut corners and middle out of each of the two photographs that ship with scikit-learn, 320 pixels square.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    why = "The sample photographs ship with scikit-learn"
    datasets = require("sklearn.datasets", "export", why, ", or give --images.")
    crops, side = [], 320
    for photograph in map(Image.fromarray, datasets.load_sample_images().images):
        right, bottom = photograph.width - side, photograph.height - side
        corners = [(0, 0), (right, 0), (0, bottom), (right, bottom), (right // 2, bottom // 2)]
        crops += [photograph.crop((left, top, left + side, top + side)) for left, top in corners]
    return crops


def read_samples(name: str, config: Any, paths: list[Path] | None) -> tuple[Tensor, str]:
    """Read images as the model `name` takes them, `[N, channels, height, width]`; return them and what they are.

    A warning names images that cannot be read.

    Raises:
        ValueError: none can be read; a file is not there, a folder has none; the samples are wanted without
            scikit-learn.
    """
    images, what = read_sample_images(config, paths)
    processor, how = find_or_make_processor(name, config)
    return prepare_samples(images, processor, config), f"{what}, through {how},"


def read_sample_images(config: Any, paths: list[Path] | None) -> tuple[list[Image.Image], str]:
    """Read images of the model's mode, or take the sample photographs; return them and what they are.

    Raises:
        ValueError: as `read_samples`.
    """
    if paths is None:
        images, what = sample_crops(), "crops of scikit-learn's two sample photographs"
    else:
        found = read_all(find_files(paths), MODES[image_tower(config).num_channels])
        images, what = [image for _, image in found], "images"
    return images, f"{len(images)} {what}"


def prepare_samples(images: list[Image.Image], processor: Any, config: Any) -> Tensor:
    """Prepare images of one size for the model, `[N, channels, height, width]`."""
    transform = ImageTransform(processor, num_channels=image_tower(config).num_channels)
    return torch.stack(transform({"image": list[Any](images)})["pixel_values"])
