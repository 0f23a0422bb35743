# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Pictures of a `datasets.Dataset` -> model inputs."""

import math
import random
from typing import Any

from datasets import Image as ImageFeature
from PIL import Image, ImageOps

from .augmentation import build_augmentation, build_erasing, resolve_augmentation


MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# PIL cuts these off at 255 where it converts them: a picture would turn white, or black
DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
# the column with which `load_pictures` says where a picture is that has no file of its own
SOURCE_COLUMN = "picture_source"


class ImageTransform:
    """A transform for `Dataset.set_transform`: pictures to `pixel_values` `[C, H, W]` and their labels to `labels`.

    Pictures are decoded here where the data set has not done it (`Image(decode=False)`), turned upright as their EXIF
    data says, and converted to `num_channels`. Labels stay as they are: classes, or distributions. The Trainer needs
    `remove_unused_columns=False` with it.

    Training pictures are cropped straight to the size that the processor would give them. `crop` and `flip` say by
    hand what happens to them; `augmentation` names a level:

    - `"none"`: `crop` and `flip` only, which is nothing by default, as for evaluation;
    - `"plain"`: random resized crop and flip, with PIL;
    - `"full"`: as published for DeiT and DynamicViT, with torchvision; see `augmentation.py` for what differs;
    - `"auto"`: `"full"` where torchvision is installed and takes the pictures, else `"plain"` and a warning.

    Random numbers of `crop`, `flip` and `"plain"` come from Python's `random`, those of `"full"` from torch; the
    Trainer seeds, saves and restores both, and seeds every worker with numbers of its own.

    Args:
        processor: an image processor of Transformers.
        crop: random resized crop: the least fraction of the area that it keeps; `None` for no crop.
        flip: random horizontal flip.
        image_column, label_column: names in the data set.
        num_channels: of the model: 1 for grey, 3 for RGB, 4 for RGBA pictures.
        augmentation: `"none"`, `"plain"`, `"full"` or `"auto"`.
        scale: the `crop` of `"plain"` and `"full"`.
        randaugment_magnitude: 0 (no RandAugment) to 10, for `"full"`.
        random_erasing: probability to erase a part of the picture, for `"full"`.
        color_jitter: strength of random brightness, contrast and saturation, for `"full"`; timm has 0.4 without
            RandAugment, and none with it.

    Raises:
        ValueError: an option out of range, `"full"` without torchvision, a number of channels that there is not or
            that the processor cannot normalise; when called, a picture that cannot be read, by name.
    """

    def __init__(
        self,
        processor: Any,
        crop: float | None = None,
        flip: bool = False,
        image_column: str = "image",
        label_column: str = "label",
        *,
        num_channels: int = 3,
        augmentation: str = "none",
        scale: float = 0.08,
        randaugment_magnitude: int = 9,
        random_erasing: float = 0.25,
        color_jitter: float = 0.0,
    ):
        check_channels(processor, num_channels)
        if not 0 < scale <= 1:
            raise ValueError(f"scale is {scale}; it is a fraction of the area, above 0 and at most 1.")
        if augmentation != "none" and (crop is not None or flip):
            raise ValueError(f"augmentation {augmentation!r} crops and flips by itself: leave out crop and flip.")
        level = resolve_augmentation(augmentation, num_channels)
        self.processor = processor
        self.mode = MODES[num_channels]
        self.image_column = image_column
        self.label_column = label_column
        self.crop, self.flip = (scale, True) if level == "plain" else (crop, flip)
        self.augment, self.erase = None, None
        if level == "full":
            fill = [round(255 * mean) for mean in processor.image_mean] if processor.do_normalize else 128
            size = target_size(processor)
            self.augment = build_augmentation(size, scale, randaugment_magnitude, color_jitter, fill)
            self.erase = build_erasing(random_erasing)

    def __call__(self, batch: dict[str, list]) -> dict[str, list]:
        pictures = batch[self.image_column]
        sources = batch.get(SOURCE_COLUMN) or [None] * len(pictures)
        images = [read_picture(picture, source, self.mode) for picture, source in zip(pictures, sources, strict=True)]
        options = {"do_convert_rgb": False, "return_tensors": "pt"}
        if self.crop is not None:
            images = [random_resized_crop(image, self.crop, target_size(self.processor)) for image in images]
        if self.flip:
            images = [random_flip(image) for image in images]
        if self.augment is not None:
            images = [self.augment(image) for image in images]
        if self.crop is not None or self.augment is not None:  # they have their size already
            options |= {"do_resize": False, "do_center_crop": False}
        pixel_values = self.processor(images, **options)["pixel_values"]  # [B, C, H, W]
        if self.erase is not None:
            pixel_values = [self.erase(image) for image in pixel_values]
        return {"pixel_values": list(pixel_values), "labels": batch[self.label_column]}


def read_picture(picture: Any, source: str | None = None, mode: str = "RGB") -> Image.Image:
    """A picture of a data set, decoded or not, upright and of `mode`.

    Args:
        picture: a PIL picture, or what `datasets.Image(decode=False)` gives: `bytes` or the `path` of a file.
        source: where it is in the data set, for one that is no file.

    Raises:
        ValueError: it cannot be read, or has more than 8 bits a channel.
    """
    name = name_of(picture, source)
    if picture is None:
        raise ValueError(f"Cannot read {name}: there is none.")
    try:
        if isinstance(picture, Image.Image):  # decoded already, and not upright unless somebody turned it
            image = ImageOps.exif_transpose(picture)
        else:
            image = ImageFeature().decode_example(picture)
    except Exception as error:  # decoders of broken files raise OSError, SyntaxError, struct.error and others
        raise ValueError(f"Cannot read {name}: {error}") from error
    if image.mode in DEEP_MODES:
        raise ValueError(f"Cannot read {name}: it has mode {image.mode!r}; convert it to 8 bits a channel.")
    return image.convert(mode)


def name_of(picture: Any, source: str | None) -> str:
    """What to call a picture: its file, else where it is in the data set."""
    path = picture.get("path") if isinstance(picture, dict) else None
    if path is not None and picture["bytes"] is None:
        return f"the picture {path}"
    file = "" if path is None else f" ({path})"
    return f"the picture in {source or 'a row of the data set'}{file}"


def check_channels(processor: Any, num_channels: int) -> None:
    """Refuse channels that no PIL mode has, or that the processor would normalise with another number of means."""
    if num_channels not in MODES:
        raise ValueError(f"num_channels is {num_channels}; pictures have {', '.join(map(str, MODES))}.")
    if processor.do_normalize and len(processor.image_mean) != num_channels:
        raise ValueError(
            f"The processor has image_mean {list(processor.image_mean)} and num_channels is {num_channels}; load it "
            f"with image_mean= and image_std= of {num_channels} values each, or pass num_channels="
            f"{len(processor.image_mean)}."
        )


def target_size(processor: Any) -> tuple[int, int] | None:
    """`(height, width)` of the pictures that `processor` returns; `None` where it leaves them as they are.

    Where only the shortest edge is given, the size of a picture of equal edges.
    """
    if processor.do_center_crop:
        size = processor.crop_size
    elif processor.do_resize:
        size = processor.size
    else:
        return None
    return (size["height"], size["width"]) if size["height"] else (size["shortest_edge"], size["shortest_edge"])


def random_resized_crop(image: Image.Image, least: float, size: tuple[int, int] | None = None) -> Image.Image:
    """A random part of `image`, `least` to all of its area, of `size` `(height, width)` or that of `image`.

    The aspect ratio of the part is within 3/4 to 4/3 of that of `size`.
    """
    width, height = image.size
    new_height, new_width = size or (height, width)
    area = random.uniform(least, 1.0)
    aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
    square = (new_width / new_height) / (width / height)  # what is not stretched later, as a part of a unit square
    crop_width = min(width, max(1, round(width * math.sqrt(area * aspect * square))))
    crop_height = min(height, max(1, round(height * math.sqrt(area / aspect / square))))
    # where one edge did not fit, the other is not to be longer than the ratio and rounding allow
    crop_width = min(crop_width, math.ceil(crop_height * 4 / 3 * new_width / new_height) + 1)
    crop_height = min(crop_height, math.ceil(crop_width * 4 / 3 * new_height / new_width) + 1)
    left, top = random.randint(0, width - crop_width), random.randint(0, height - crop_height)
    box = (left, top, left + crop_width, top + crop_height)
    return image.resize((new_width, new_height), Image.Resampling.BICUBIC, box=box)


def random_flip(image: Image.Image) -> Image.Image:
    """Left and right exchanged, every other time."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else image
