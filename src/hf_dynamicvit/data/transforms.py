# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Make the images of a `datasets.Dataset` model inputs."""

import io
import math
import os
import random
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

from datasets import Image as ImageFeature
from PIL import Image, ImageOps, UnidentifiedImageError

from .._moved import renamed
from ..model.flags import refuse_flags
from ..model.logger import logger
from ..names import LONGEST_TO_SHORTEST
from .augmentation import build_augmentation, build_erasing, resolve_augmentation


__getattr__ = renamed("data.transforms")  # names that it had before


MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# PIL cuts these off at 255 where it converts them: an image would turn white, or black
DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
# the column with which `load_images` says where an image is that has no file of its own
SOURCE_COLUMN = "picture_source"


class ImageTransform:
    """A transform for `Dataset.set_transform`: images to `pixel_values` `[C, H, W]` and their labels to `labels`.

    Images are decoded here where the data set has not done it (`Image(decode=False)`), turned upright as their EXIF
    data says, and converted to `num_channels`. Labels stay as they are: classes, or distributions; without a label
    column, as for prediction, there are none. The Trainer needs `remove_unused_columns=False` with it.

    Training images are cropped straight to the size that the processor would give them. `crop` and `flip` say by
    hand what happens to them; `augmentation` names a level:

    - `"none"`: `crop` and `flip` only, which is nothing by default, as for evaluation;
    - `"plain"`: random resized crop and flip, with PIL;
    - `"full"`: as published for DeiT and DynamicViT, with torchvision; see `augmentation.py` for what differs;
    - `"auto"`: `"full"` where torchvision is installed and takes the images, else `"plain"` and a warning.

    Random numbers of `crop`, `flip` and `"plain"` come from Python's `random`, those of `"full"` from torch; the
    Trainer seeds, saves and restores both, and seeds every worker with numbers of its own.

    Args:
        processor: an image processor of Transformers.
        crop: random resized crop: the least fraction of the area that it keeps; `None` for no crop.
        flip: random horizontal flip.
        image_column, label_column: names in the data set.
        num_channels: of the model: 1 for grey, 3 for RGB, 4 for RGBA images.
        augmentation: `"none"`, `"plain"`, `"full"` or `"auto"`.
        scale: the `crop` of `"plain"` and `"full"`.
        randaugment_magnitude: 0 (no RandAugment) to 10, for `"full"`.
        random_erasing: probability to erase a part of the image, for `"full"`.
        color_jitter: strength of random brightness, contrast and saturation, for `"full"`; timm has 0.4 without
            RandAugment, and none with it.

    Raises:
        ValueError: an option out of range, `"full"` without torchvision, a number of channels that there is not or
            that the processor cannot normalise; when called, no column of images, or an image that cannot be read,
            by name. (A data set that decodes by itself fails before, without a name: cast its column to
            `datasets.Image(decode=False)`.)
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
        refuse_flags(scale=scale, color_jitter=color_jitter, crop=crop)
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
            fill: list[int] | int = 128
            if processor.do_normalize:
                fill = [round(255 * mean) for mean in channel_values(processor.image_mean, num_channels)]
            size = target_size(processor)
            self.augment = build_augmentation(size, scale, randaugment_magnitude, color_jitter, fill)
            self.erase = build_erasing(random_erasing)

    def __call__(self, batch: dict[str, list]) -> dict[str, list]:
        if self.image_column not in batch:
            raise ValueError(
                f"There is no column {self.image_column!r}, only {', '.join(batch) or 'none'}; the Trainer takes the "
                "images away unless its arguments have remove_unused_columns=False, and image_column names another."
            )
        rows = batch[self.image_column]
        sources = batch.get(SOURCE_COLUMN) or [None] * len(rows)
        images = [read_image(row, source, self.mode) for row, source in zip(rows, sources, strict=True)]
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
        labels = {"labels": batch[self.label_column]} if self.label_column in batch else {}
        return {"pixel_values": list(pixel_values), **labels}


def read_image(picture: Any, source: str | None = None, mode: str | None = "RGB") -> Image.Image:
    """Read an image of a data set, decoded or not; return it upright and of `mode`.

    Args:
        picture: a PIL image, the path of a file, or what `datasets.Image(decode=False)` gives: `bytes` or a `path`.
        source: where it is in the data set, for one that is no file.
        mode: `None` for its own.

    Raises:
        ValueError: it is no image, cannot be read, has more than 8 bits a channel, or is a line rather than an image.
    """
    picture = as_row(picture)
    name = describe_source(picture, source)
    if picture is None:
        raise ValueError(f"Cannot read {name}: there is none.")
    try:
        if isinstance(picture, Image.Image):  # decoded already, and not upright unless somebody turned it
            image = ImageOps.exif_transpose(picture)
        else:
            image = ImageFeature().decode_example(picture)
        image = check_edges(eight_bits(image))
        return image if mode is None else image.convert(mode)
    except Exception as error:  # decoders of broken files raise OSError, SyntaxError, struct.error and others
        raise ValueError(f"Cannot read {name}: {explain_error(error)}") from error


def as_row(image: Any) -> Any:
    """Return the path of a file as `datasets.Image(decode=False)` gives it, and other images as they are.

    Raises:
        ValueError: it is none.
    """
    if isinstance(image, (str, os.PathLike)):
        image = {"path": os.fspath(image), "bytes": None}
    if isinstance(image, dict) and {"path", "bytes"} <= set(image):
        path = image["path"]  # whatever it is called, a file that is there is no address
        local = image["bytes"] is None and path is not None and os.path.isfile(path)
        return image | {"path": os.path.abspath(path)} if local else image
    if image is None or isinstance(image, Image.Image):
        return image
    raise ValueError(f"An image is a PIL image or the path of a file, and this is a {type(image).__name__}.")


def eight_bits(image: Image.Image) -> Image.Image:
    """Return `image`, unless PIL would cut its values off."""
    if image.mode in DEEP_MODES:
        raise ValueError(f"it has mode {image.mode!r}; convert it to 8 bits a channel.")
    return image


def check_edges(image: Image.Image) -> Image.Image:
    """Return `image`, unless it is a line: scaled by its shorter edge, 20,000 x 1 pixels would take gigabytes."""
    width, height = image.size
    if max(width, height) > LONGEST_TO_SHORTEST * min(width, height):
        raise ValueError(
            f"it has {width} x {height} pixels; one edge may be {LONGEST_TO_SHORTEST} times the other, at most"
        )
    return image


def explain_unreadable(row: Any, source: str | None = None) -> str | None:
    """Say why `read_image` would not read an image that is not decoded yet; `None` where it would.

    A JPEG is decoded at an eighth of its size, for a quarter of the time: that takes all of the file too.
    """
    row = as_row(row)
    if row is None or (row["bytes"] is None and not os.path.isfile(row["path"] or "")):
        try:  # there is none, or it is in an archive or elsewhere
            read_image(row, source)
        except ValueError as error:
            return str(error)
        return None
    try:
        with Image.open(row["path"] if row["bytes"] is None else io.BytesIO(row["bytes"])) as image:
            check_edges(image).draft("RGB", (1, 1))
            image.load()
            ImageOps.exif_transpose(eight_bits(image)).convert("RGB")
    except Exception as error:
        return f"Cannot read {describe_source(row, source)}: {explain_error(error)}"
    return None


def explain_error(error: Exception) -> str:
    """Say why an image cannot be read; of bytes, Pillow names their place in memory."""
    return "it is no image that Pillow knows" if isinstance(error, UnidentifiedImageError) else str(error)


def read_files(
    files: Iterable[str], mode: str, skip: Callable[[str, str], None]
) -> Generator[tuple[str, Image.Image]]:
    """Read every file, in the PIL mode `mode`; `skip` is told of those that cannot be read, and why."""
    for file in files:
        try:
            image = read_image(file, mode=mode)
        except ValueError as error:
            skip(file, str(error))
        else:
            yield file, image


def read_all(files: Sequence[str], mode: str) -> list[tuple[str, Image.Image]]:
    """Read the files that can be read; a warning names each of the others.

    Raises:
        ValueError: none can be.
    """
    errors: list[str] = []
    found = list(read_files(files, mode, lambda file, why: errors.append(why)))
    if not found:
        raise ValueError(f"None of {len(files)} images can be read. The first: {errors[0]}")
    for error in errors:
        logger.warning(f"{error.removesuffix('.')}. It is left out.")
    return found


def describe_source(image: Any, source: str | None) -> str:
    """Say which image it is: by its file, else by where it is in the data set."""
    if isinstance(image, Image.Image):  # it has the name of the file that it was opened from
        path, is_file = getattr(image, "filename", "") or None, True
    else:
        path, is_file = (None, False) if image is None else (image["path"], image["bytes"] is None)
    if path is not None and is_file:
        return f"the image {path}"
    file = "" if path is None else f" ({path})"
    return f"the image in {source or 'a row of the data set'}{file}"


def check_channels(processor: Any, num_channels: int) -> None:
    """Refuse channels that no PIL mode has, or that the processor would normalise with another number of means."""
    if num_channels not in MODES:
        raise ValueError(f"num_channels is {num_channels}; images have {', '.join(map(str, MODES))}.")
    means = channel_values(processor.image_mean, num_channels) if processor.do_normalize else []
    if processor.do_normalize and len(means) != num_channels:
        raise ValueError(
            f"The processor has image_mean {means} and num_channels is {num_channels}; load it "
            f"with image_mean= and image_std= of {num_channels} values each, or pass num_channels={len(means)}."
        )


def channel_values(values: Any, num_channels: int) -> list[float]:
    """Return an `image_mean` or `image_std` for each channel; as in Transformers, one number is that of all."""
    return [values] * num_channels if isinstance(values, (int, float)) else list(values)


def target_size(processor: Any) -> tuple[int, int] | None:
    """Return `(height, width)` of the images that `processor` makes; `None` where it leaves them as they are.

    Where only the shortest edge is given, the size of an image of equal edges.
    """
    if processor.do_center_crop:
        size = processor.crop_size
    elif processor.do_resize:
        size = processor.size
    else:
        return None
    return (size["height"], size["width"]) if size["height"] else (size["shortest_edge"], size["shortest_edge"])


def random_resized_crop(image: Image.Image, least: float, size: tuple[int, int] | None = None) -> Image.Image:
    """Crop `least` to all of the area of `image` at random; the result has `size` `(height, width)` or its own.

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
    """Flip `image` left to right, every other time."""
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else image
