# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The images of one split of a data set with what is true of their objects or pixels: boxes, masks or depth."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from torch import Tensor

from .columns import choose_column, image_columns, with_column
from .loading import choose_rows
from .sources import load_splits
from .transforms import SOURCE_COLUMN, describe_source, read_image


# By kind, usual names of the column that holds what is true.
TRUTH_NAMES = {
    "boxes": ("objects", "annotations", "annotation"),
    "masks": ("mask", "masks", "segmentation_mask", "annotation", "label", "labels"),
    "depth": ("depth", "depth_map", "depths"),
}
# Within `objects`, usual names of the boxes and of their classes.
BOX_NAMES = ("bbox", "bboxes", "boxes")
CLASS_NAMES = ("category", "categories", "category_id", "label", "labels", "class_labels")
# What a pixel of a mask is called that does not count.
IGNORED = 255


@dataclass(frozen=True)
class Truth:
    """What is true of one image.

    Attributes:
        boxes: `[n, 4]` left, top, right and bottom in pixels; `None` where pixels are told of.
        classes: `[n]` of the boxes, the names or numbers of the data set.
        pixels: `[height, width]`, the class of each pixel (int64), or its depth (float32); `None` of boxes.
    """

    boxes: Tensor | None = None
    classes: Sequence[Any] = ()
    pixels: Tensor | None = None


@dataclass(frozen=True)
class AnnotatedImages:
    """Images that are not decoded yet, with what is true of them.

    Attributes:
        data: the rows.
        image_column, truth_column: their names.
        kind: `"boxes"`, `"masks"` or `"depth"`.
        names: of the classes of the boxes, in the order of the data set; `None` where it has none.
        corners: boxes are left, top, right and bottom; otherwise left, top, width and height.
        depth_scale: by what depth is multiplied.
        name: of the data set.
        split: of the data set, and `only_split` whether there is no other.
        total: images of the split, of which `data` may be a random choice.
        seed: of that choice, and of `sample`.
    """

    data: Dataset
    image_column: str
    truth_column: str
    kind: str
    names: list[str] | None
    corners: bool
    depth_scale: float
    name: str
    split: str
    only_split: bool
    total: int
    seed: int

    def read_image(self, row: dict[str, Any], mode: str) -> Image.Image:
        """Decode the image of `row`.

        Raises:
            ValueError: it cannot be read.
        """
        return read_image(row[self.image_column], row[SOURCE_COLUMN], mode)

    def read_truth(self, row: dict[str, Any], size: tuple[int, int]) -> Truth:
        """Read what is true of the image of `row`, whose width and height are `size`.

        Raises:
            ValueError: it cannot be read, or does not fit the image.
        """
        source, value = self.name_row(row), row[self.truth_column]
        if self.kind == "boxes":
            return read_boxes(value, size, self.corners, self.names, source)
        pixels = read_pixels(value, source)
        check_shape(pixels, size, source)
        return Truth(pixels=pixels.long() if self.kind == "masks" else pixels.float() * self.depth_scale)

    def name_row(self, row: dict[str, Any]) -> str:
        """Name the image of `row` by its file, or by its place in the data set."""
        return describe_source(row[self.image_column], row[SOURCE_COLUMN])

    def sample(self, count: int, mode: str) -> Generator[Image.Image]:
        """Decode up to `count` images at random; those that cannot be read are left out."""
        for row in self.data.shuffle(seed=self.seed).select(range(min(count, len(self.data)))):
            try:
                image = read_image(row[self.image_column], row[SOURCE_COLUMN], mode)
            except ValueError:
                continue
            yield image

    def decode(self, rows: Sequence[int], mode: str) -> Generator[Image.Image]:
        """Decode the images of `rows`, which can be read."""
        for row in self.data.select(rows):
            yield read_image(row[self.image_column], row[SOURCE_COLUMN], mode)


def load_annotated(
    dataset: str,
    kind: str,
    choose_split: Any,
    split: str | None = None,
    config_name: str | None = None,
    image_column: str | None = None,
    truth_column: str | None = None,
    corners: bool = False,
    depth_scale: float = 1.0,
    max_samples: int | None = None,
    seed: int = 0,
    **hub: Any,
) -> AnnotatedImages:
    """Load the images of one split of `dataset` with what is true of them.

    Args:
        dataset: a folder, a parquet file or the name of a data set on the Hub, as for training.
        kind: `"boxes"`, `"masks"` or `"depth"`.
        choose_split: which of the names of the splits is taken, where `split` is given or not.
        split: its name.
        config_name: of a data set with several configurations.
        image_column, truth_column: names of columns; usual ones are found.
        corners, depth_scale: as in `AnnotatedImages`.
        max_samples: use only so many images, taken at random by `seed`.
        **hub: `cache_dir`, `token` and `revision` of `datasets.load_dataset`.

    Raises:
        ValueError: there is no such data set, split or column, or no images.
    """
    splits = load_splits(dataset, config_name, truth_column or TRUTH_NAMES[kind][0], (split,), **hub)
    split = choose_split(list(splits), split)
    features = splits[split].features
    truth_column = choose_column(features, truth_column, find_truth(features, kind), "label")
    found = [name for name in image_columns(features) if name != truth_column]
    image_column = choose_column(features, image_column, found, "image")
    data = strip(splits[split], split, image_column, truth_column)
    if not len(data):
        raise ValueError(f"Split {split!r} of {dataset} has no images.")
    chosen = choose_rows(data, max_samples, seed, "max_samples")
    names = read_names(features[truth_column]) if kind == "boxes" else None
    about = (dataset, split, len(splits) == 1, len(data), seed)
    return AnnotatedImages(chosen, image_column, truth_column, kind, names, corners, depth_scale, *about)


def find_truth(features: Features, kind: str) -> list[str]:
    """Find the column of what is true by its usual names: the first of them that can hold it."""
    images = kind == "masks"
    fitting = [name for name in TRUTH_NAMES[kind] if name in features]
    return [name for name in fitting if not images or isinstance(features[name], ImageFeature)][:1]


def strip(data: Dataset, split: str, image_column: str, truth_column: str) -> Dataset:
    """Keep of `data` only images, not decoded, and what is true of them, and add where each image is from."""
    data = data.select_columns([image_column, truth_column])
    for name in (image_column, truth_column):
        if isinstance(data.features[name], ImageFeature):
            data = data.cast_column(name, ImageFeature(decode=False))
    return with_column(data, SOURCE_COLUMN, [f"row {row} of split {split!r}" for row in range(len(data))])


def find_field(fields: Any, names: Sequence[str], what: str) -> str:
    """Find the one of `names` that `fields` has.

    Raises:
        ValueError: it has none.
    """
    found = [name for name in names if name in fields]
    if not found:
        raise ValueError(f"The objects have the fields {', '.join(fields)}; {what} are called {' or '.join(names)}.")
    return found[0]


def object_fields(feature: Any) -> dict[str, Any]:
    """Return the features of the fields of objects: a dictionary of lists, or a list of dictionaries."""
    inner = getattr(feature, "feature", feature)
    inner = inner[0] if isinstance(inner, list) else inner
    if not isinstance(inner, dict):
        raise ValueError(
            f"The column of the objects holds {type(feature).__name__}; a dictionary with {BOX_NAMES[0]} and "
            f"{CLASS_NAMES[0]} is wanted."
        )
    return inner


def read_names(feature: Any) -> list[str] | None:
    """Read the names of the classes of objects, in their order; `None` where the data set has numbers or texts."""
    fields = object_fields(feature)
    held = fields[find_field(fields, CLASS_NAMES, "classes")]
    held = getattr(held, "feature", held)
    held = held[0] if isinstance(held, list) else held
    return list(held.names) if isinstance(held, ClassLabel) else None


def read_boxes(value: Any, size: tuple[int, int], corners: bool, names: list[str] | None, source: str) -> Truth:
    """Read the boxes of an image of `size`, width and height, and their classes.

    Raises:
        ValueError: a box ends outside of the image, which tells that it is written in another way.
    """
    if isinstance(value, list):
        value = {name: [each[name] for each in value] for name in value[0]} if value else {"bbox": [], "category": []}
    found = value[find_field(value, BOX_NAMES, "boxes")]
    boxes = torch.tensor(np.array(found, dtype=np.float32).reshape(-1, 4))
    if not corners:
        boxes = torch.cat((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), dim=1)
    most = torch.tensor([*size, *size]) * 1.02 + 2
    if (boxes > most).any() or (boxes[:, 2:] < boxes[:, :2]).any() or (boxes < -2 - most * 0.02).any():
        asked = "corners" if corners else "sizes"
        other = "sizes" if corners else "corners"
        raise ValueError(
            f"A box of {source}, of {size[0]} x {size[1]} pixels, does not lie in it when its numbers are read as "
            f"--boxes {asked}; is it --boxes {other}, in pixels?"
        )
    classes = value[find_field(value, CLASS_NAMES, "classes")]
    return Truth(boxes, classes if names is None else [names[index] for index in classes])


def read_pixels(value: Any, source: str) -> Tensor:
    """Read a number for every pixel, `[height, width]`, of an image of numbers or an array.

    Raises:
        ValueError: it cannot be read, or has colours.
    """
    if isinstance(value, dict):
        try:
            value = ImageFeature().decode_example(value)
        except Exception as error:  # as of `read_image`
            raise ValueError(f"What is true of {source} cannot be read: {error}") from error
    numbers = np.array(value)
    if numbers.ndim != 2:
        raise ValueError(
            f"What is true of {source} has the shape {numbers.shape}; one number a pixel is wanted, no colours."
        )
    if numbers.dtype == np.uint16:
        numbers = numbers.astype(np.int32)
    return torch.from_numpy(numbers.astype(np.uint8) if numbers.dtype == bool else numbers)


def check_shape(pixels: Tensor, size: tuple[int, int], source: str) -> None:
    """Refuse what is of another aspect ratio than its image, of `size`, width and height: it is of another image."""
    height, width = pixels.shape
    if abs(width / height / (size[0] / size[1]) - 1) > 0.02:
        raise ValueError(
            f"What is true of {source} has {width} x {height} pixels, and the image {size[0]} x {size[1]}."
        )
