# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Find the columns that hold images and labels, and the names of the classes."""

from typing import Any

from datasets import (
    ClassLabel,
    Dataset,
    Features,
    Value,
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
from datasets import Image as ImageFeature


IMAGE_NAMES = ("image", "images", "img", "picture", "photo", "pixel_values", "pixels", "jpg", "jpeg", "png", "webp")
LABEL_NAMES = (
    "label",
    "labels",
    "class",
    "classes",
    "category",
    "target",
    "cls",
    "fine_label",
    "coarse_label",
    "class_id",
    "label_id",
    "class_name",
    "label_name",
)
# what a data set writes where a row has no label
MISSING = (None, -1, "")
# by which splits are named
SPLIT_OPTIONS = "--train-split and --validation-split of train, or --split of evaluate"


def image_columns(features: Features) -> list[str]:
    """List the columns that hold images: by their type, else by a usual name and bytes."""
    typed = [name for name, feature in features.items() if isinstance(feature, ImageFeature)]
    return typed or [name for name in features if name.lower() in IMAGE_NAMES and holds_bytes(features[name])]


def holds_images(feature) -> bool:
    """Return whether `datasets.Image` reads the column: images, their bytes, or paths of files."""
    is_text = isinstance(feature, Value) and feature.dtype in ("string", "large_string")
    return isinstance(feature, ImageFeature) or holds_bytes(feature) or is_text


def holds_bytes(feature) -> bool:
    feature = feature.get("bytes") if isinstance(feature, dict) else feature
    return isinstance(feature, Value) and feature.dtype in ("binary", "large_binary")


def label_columns(features: Features) -> list[str]:
    """List the columns that hold one class an image: by their type, else by a usual name and whole numbers or text."""
    typed = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    return typed or [name for name in features if name.lower() in LABEL_NAMES and holds_classes(features[name])]


def holds_classes(feature) -> bool:
    kinds = ("int", "uint", "bool", "string", "large_string")
    return isinstance(feature, ClassLabel) or (isinstance(feature, Value) and feature.dtype.startswith(kinds))


def choose_column(features: Features, given: str | None, found: list[str], what: str) -> str:
    """Return the column that is `given`, else the only one that was `found`; `what` is `"image"` or `"label"`.

    Raises:
        ValueError: it is not there, or none or several were found.
    """
    option, columns = f"{what}_column", ", ".join(f"{name} ({describe(kind)})" for name, kind in features.items())
    if given is not None and given not in features:
        raise ValueError(f"{option} is {given!r}; the columns are {columns}.")
    if given is not None:
        return given
    if not found:
        raise ValueError(f"No {what} column was recognised; name one with {option}. The columns are {columns}.")
    if len(found) > 1:
        raise ValueError(
            f"Any of {', '.join(found)} could be the {what} column; name it with {option}. The columns are {columns}."
        )
    return found[0]


def describe(feature) -> str:
    return feature.dtype if isinstance(feature, Value) else type(feature).__name__


def class_names(data: Dataset, column: str, split: str) -> tuple[list[str], list[str]]:
    """Return the names of the classes in their order, and the name of each row's class.

    `ClassLabel` has names in its order; whole numbers and texts that occur are sorted.

    Raises:
        ValueError: the column holds something else, or rows have no label.
    """
    feature = data.features[column]
    if not holds_classes(feature):
        raise ValueError(
            f"label_column {column!r} holds {describe(feature)}; labels are ClassLabel, whole numbers or text."
        )
    values = data.select_columns([column]).with_format("arrow")[:][column].to_pylist()
    missing = sum(value in MISSING for value in values)
    if missing:
        raise ValueError(
            f"{missing} of {len(values)} images of split {split!r} have no label in column {column!r} (-1, None or "
            f"empty). Remove them, or name other splits with {SPLIT_OPTIONS}."
        )
    if isinstance(feature, ClassLabel):
        return feature.names, [feature.names[value] for value in values]
    return [str(value) for value in sorted(set(values))], [str(value) for value in values]


def with_labels(data: Dataset, column: str, names: list[str], labels: list[str]) -> Dataset:
    """Put the class of each row of `data`, by name, into a `ClassLabel` column; nothing else is copied."""
    index = {name: position for position, name in enumerate(names)}
    feature = ClassLabel(names=names)
    return with_column(data.remove_columns(column), column, [index[name] for name in labels], feature)


def with_column(data: Dataset, column: str, values: list[Any], feature: Any = None) -> Dataset:
    """Add a column to `data` without the bar that `datasets` shows as it puts rows in order."""
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        return data.add_column(column, values, feature=feature)
    finally:
        if shown:
            enable_progress_bars()


def check_same_classes(train: list[str], validation: list[str], declared: bool) -> None:
    """Refuse validation classes that training does not have and, where they are `declared`, the reverse.

    A class that is in no row of the validation split is no mistake where classes are only what occurs.
    """
    only_train, only_validation = sorted(set(train) - set(validation)), sorted(set(validation) - set(train))
    if only_validation or (declared and only_train):
        raise ValueError(
            "The classes of training and validation differ. Only in training: "
            f"{', '.join(only_train) or 'none'}; only in validation: {', '.join(only_validation) or 'none'}."
        )
