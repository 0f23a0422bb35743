# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Pictures of a `datasets.Dataset` -> model inputs, with PIL only."""

import math
import random
from typing import Any

from PIL import Image


class ImageTransform:
    """A transform for `Dataset.set_transform`: decoded pictures to `pixel_values` `[C, H, W]` and integer `labels`.

    The Trainer needs `remove_unused_columns=False` with it.

    Args:
        processor: an image processor of Transformers.
        crop: random resized crop, for training: the least fraction of the area that it keeps; `None` for no crop.
        flip: random horizontal flip, for training.
        image_column, label_column: names in the data set.
    """

    def __init__(
        self,
        processor: Any,
        crop: float | None = None,
        flip: bool = False,
        image_column: str = "image",
        label_column: str = "label",
    ):
        self.processor = processor
        self.crop = crop
        self.flip = flip
        self.image_column = image_column
        self.label_column = label_column

    def __call__(self, batch: dict[str, list]) -> dict[str, list]:
        images = [image.convert("RGB") for image in batch[self.image_column]]
        if self.crop is not None:
            images = [random_resized_crop(image, self.crop) for image in images]
        if self.flip:
            images = [random_flip(image) for image in images]
        pixel_values = self.processor(images, return_tensors="pt")["pixel_values"]
        return {"pixel_values": list(pixel_values), "labels": batch[self.label_column]}


def random_resized_crop(image: Image.Image, least: float) -> Image.Image:
    """A random part of `image`, `least` to all of its area, aspect ratio within 3/4 to 4/3 of it, at its size."""
    width, height = image.size
    area = random.uniform(least, 1.0)
    aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
    crop_width = min(width, max(1, round(width * math.sqrt(area * aspect))))
    crop_height = min(height, max(1, round(height * math.sqrt(area / aspect))))
    left, top = random.randint(0, width - crop_width), random.randint(0, height - crop_height)
    box = (left, top, left + crop_width, top + crop_height)
    return image.resize((width, height), Image.Resampling.BICUBIC, box=box)


def random_flip(image: Image.Image) -> Image.Image:
    """Left and right exchanged, every other time."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else image
