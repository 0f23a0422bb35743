# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Load a folder, or a data set of the Hub, as training and validation images with labels for `ImageTransform`."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pyarrow.compute
from datasets import ClassLabel, Dataset
from datasets import Image as ImageFeature
from tqdm import tqdm

from .._moved import renamed
from ..model.logger import logger
from ..names import UNCHECKED, UNREADABLE
from .class_folders import find_split
from .columns import (
    check_same_classes,
    choose_column,
    class_names,
    holds_images,
    image_columns,
    label_columns,
    with_column,
    with_labels,
)
from .sources import load_splits
from .transforms import SOURCE_COLUMN, explain_unreadable


__getattr__ = renamed("data.loading")  # names that it had before


# Images that are handed to the threads at a time; errors that are told.
AT_A_TIME, TOLD = 256, 3


@dataclass(frozen=True)
class HeldOut:
    """How validation images were taken from the training split, so that they can be found again.

    Attributes:
        fraction: of each class.
        seed: of the choice.
        total: images of the split before.
        fingerprint: of these, as `fingerprint` gives it.
    """

    fraction: float
    seed: int
    total: int
    fingerprint: str

    @classmethod
    def of(cls, data: Dataset, image_column: str, label_column: str, fraction: float, seed: int) -> "HeldOut":
        """Record how `hold_out_rows` divides `data`, so that it can be repeated."""
        return cls(fraction, seed, len(data), fingerprint(data, image_column, label_column))


@dataclass(frozen=True)
class ImageSplits:
    """Two data sets with the same columns: images that are not decoded yet, `ClassLabel`s, where an image is from.

    For `ImageTransform(processor, image_column=..., label_column=...)`, which decodes them. `held_out` says how the
    second came about where it is a part of the first's split.
    """

    train: Dataset
    validation: Dataset
    names: list[str]
    image_column: str
    label_column: str
    held_out: HeldOut | None = None


def load_images(
    dataset: str,
    config_name: str | None = None,
    train_split: str | None = None,
    validation_split: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    validation_fraction: float = 0.15,
    seed: int = 0,
    unreadable: str = "stop",
    max_train_samples: int | None = None,
    max_eval_samples: int | None = None,
    num_proc: int | None = None,
    **hub: Any,
) -> ImageSplits:
    """Load images and their classes, for training and validation.

    Args:
        dataset: a folder, a parquet file or the name of a data set on the Hub. A folder can hold class folders, alone
            or in split folders, parquet files, a data set of `save_to_disk`, or images with a metadata file.
        config_name: of a data set with several configurations.
        train_split, validation_split: names of splits; usual ones are found. Without a validation split, or with the
            name of the training split for it, a part of the training split is validation.
        image_column, label_column: names of columns; the only ones that can be are found.
        validation_fraction: of the training split, the same of each class, where there is no validation split.
        seed: of that split, and of the choice of `max_train_samples` and `max_eval_samples`.
        unreadable: every image is read once, and those that cannot be are refused (`"stop"`) or left out
            (`"skip"`), by name; `"unchecked"`: none is read before the training, which the first of these stops.
        max_train_samples, max_eval_samples: use only so many images, taken at random.
        num_proc: images that are read at the same time; by default one on each CPU, up to 8.
        **hub: `cache_dir`, `token` and `revision` of `datasets.load_dataset`.

    Raises:
        ValueError: there is no such data set, split or column, or several could be meant; there are no images or
            fewer than two classes; rows without label; classes that differ between training and validation; images
            that cannot be read.
    """
    check_unreadable(unreadable)
    splits = load_splits(dataset, config_name, label_column, (train_split, validation_split), **hub)
    train_split = choose_train_split(list(splits), train_split)
    validation_split = choose_validation_split(list(splits), train_split, validation_split)
    features = splits[train_split].features
    image_column = choose_column(features, image_column, image_columns(features), "image")
    label_column = choose_column(features, label_column, label_columns(features), "label")
    train = strip_columns(splits[train_split], train_split, image_column, label_column)
    train, names = label_classes(train, label_column, train_split)
    held_out = None if validation_split else HeldOut.of(train, image_column, label_column, validation_fraction, seed)
    if validation_split is None:
        train, validation = hold_out_rows(train, label_column, validation_fraction, seed)
    else:
        validation = strip_columns(splits[validation_split], validation_split, image_column, label_column)
        validation = reorder_classes(names, validation, label_column, validation_split)
    train = choose_rows(train, max_train_samples, seed, "max_train_samples")
    validation = choose_rows(validation, max_eval_samples, seed, "max_eval_samples")
    images = ImageSplits(train, validation, names, image_column, label_column, held_out)
    return images if unreadable == UNCHECKED else readable(images, unreadable, num_proc)


def check_unreadable(unreadable: str) -> None:
    """Refuse words for what unreadable images do that there are not."""
    if unreadable not in (*UNREADABLE, UNCHECKED):
        known = ", ".join(map(repr, (*UNREADABLE, UNCHECKED)))
        raise ValueError(f"unreadable is {unreadable!r}; it can be {known}.")


def label_classes(train: Dataset, label_column: str, split: str) -> tuple[Dataset, list[str]]:
    """Put `ClassLabel`s into the training split; return it and the names of its classes, two or more."""
    names, labels = class_names(train, label_column, split)
    if len(set(labels)) < 2:
        raise ValueError(
            f"All {len(labels)} images of split {split!r} are of class {labels[0]!r}; two classes are needed."
        )
    return with_labels(train, label_column, names, labels), names


def readable(images: ImageSplits, unreadable: str, num_proc: int | None = None) -> ImageSplits:
    """Read every image once; refuse those that cannot be (`"stop"`), or leave them out (`"skip"`), by name.

    Raises:
        ValueError: some cannot be read, or none can.
    """
    parts = images.train, images.validation
    errors = [find_unreadable(data, images.image_column, num_proc) for data in parts]
    if unreadable == "stop":
        check_errors([error for found in errors for error in found.values()], sum(map(len, parts)))
    train, validation = map(drop_unreadable, parts, errors)
    return replace(images, train=train, validation=validation)


def choose_train_split(splits: list[str], given: str | None) -> str:
    """Choose the split that is `given`, else of a usual name, else the only one if it is called nothing else."""
    check_split(splits, given, "train_split")
    chosen = given or find_split(splits, ["train"], "train_split")
    if chosen is None and (len(splits) > 1 or find_split(splits, ["validation", "test"], "train_split")):
        raise ValueError(f"Name the split to train on with train_split; there are {', '.join(splits)}.")
    return chosen or splits[0]


def choose_validation_split(splits: list[str], train: str, given: str | None) -> str | None:
    """Choose the split that is `given`, else that of a usual name; `None`: a part of the training split."""
    check_split(splits, given, "validation_split")
    others = [name for name in splits if name != train]
    chosen = given or find_split(others, ["validation", "test"], "validation_split")
    return None if chosen == train else chosen


def check_split(splits: list[str], given: str | None, option: str) -> None:
    if given is not None and given not in splits:
        raise ValueError(f"{option} is {given!r}; the splits are {', '.join(splits)}.")


def strip_columns(data: Dataset, split: str, image_column: str, label_column: str) -> Dataset:
    """Keep of `data` only images, not decoded, and labels, and add where each image is from.

    Raises:
        ValueError: there are no such columns, or the column holds no images.
    """
    columns = ", ".join(data.column_names)
    if missing := [name for name in (image_column, label_column) if name not in data.column_names]:
        raise ValueError(f"Split {split!r} has no column {', '.join(missing)}; its columns are {columns}.")
    if not holds_images(data.features[image_column]):
        raise ValueError(f"image_column {image_column!r} holds no images; the columns are {columns}.")
    data = data.select_columns([image_column, label_column])
    data = data.cast_column(image_column, ImageFeature(decode=False))
    return with_column(data, SOURCE_COLUMN, [f"row {row} of split {split!r}" for row in range(len(data))])


def reorder_classes(names: list[str], validation: Dataset, label_column: str, split: str) -> Dataset:
    """Put the classes of the validation split into the order of `names`, those of training."""
    own_names, labels = class_names(validation, label_column, split)
    check_same_classes(names, own_names, declared=isinstance(validation.features[label_column], ClassLabel))
    return with_labels(validation, label_column, names, labels)


def hold_out_rows(train: Dataset, label_column: str, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Split `train` in two, the second with `fraction` of each class and not fewer images than there are classes."""
    if not 0 < fraction < 1:
        raise ValueError(f"validation_fraction is {fraction}; it is between 0 and 1.")
    counts = Counter(train[label_column])
    alone = [train.features[label_column].int2str(label) for label, count in counts.items() if count == 1]
    if alone:
        raise ValueError(
            f"There is no validation split, and one image only of class {', '.join(sorted(alone))}: too few to take "
            "some for validation. Add images, remove the class, or add a validation split."
        )
    size = min(max(round(fraction * len(train)), len(counts)), len(train) - len(counts))
    parts = train.train_test_split(test_size=size, stratify_by_column=label_column, seed=seed)
    return parts["train"], parts["test"]


def fingerprint(data: Dataset, image_column: str, label_column: str) -> str:
    """Hash a data set of `strip_columns` and `with_labels`, so that it is recognised where its folder was moved.

    Of the names of its classes and, in their order, of the class of each image, its file within the folder that all
    are in (of one that is no file, its place in the data set), and its size in bytes. Nothing is decoded.
    """
    columns = data.with_format("arrow")[:].flatten()
    files = columns[f"{image_column}.path"].to_pylist()
    lengths = pyarrow.compute.call_function("binary_length", [columns[f"{image_column}.bytes"]]).to_pylist()
    places = [file for file in files if file is not None and os.path.isabs(file)]
    folder = os.path.commonpath(places) if places else ""
    found = hashlib.sha256(repr(data.features[label_column].names).encode("utf-8", "backslashreplace"))
    rows = zip(columns[label_column].to_pylist(), files, columns[SOURCE_COLUMN].to_pylist(), lengths, strict=True)
    for label, file, source, length in rows:
        name = source if file is None else file.removeprefix(folder).replace(os.sep, "/")
        length = size_of_file(file) if length is None and file is not None else length
        found.update(repr((label, name, length)).encode("utf-8", "backslashreplace"))
    return found.hexdigest()


def size_of_file(file: str) -> int | None:
    """Return the bytes in `file`; `None` where it cannot be read."""
    try:
        return os.path.getsize(file)
    except OSError:
        return None


def choose_rows(data: Dataset, count: int | None, seed: int, option: str) -> Dataset:
    """Choose `count` rows of `data` at random, or all."""
    if count is not None and count < 1:
        raise ValueError(f"{option} is {count}; it is 1 or more.")
    if count is None or count >= len(data):
        return data
    return data.shuffle(seed=seed).select(range(count))


def find_unreadable(data: Dataset, image_column: str, num_proc: int | None = None) -> dict[int, str]:
    """Read every image; return the rows of those that cannot be read, in their order, and why."""
    # Threads, as decoders let others run. Not `map`: from its cache the errors of repaired files would come back.
    columns = data.select_columns([image_column, SOURCE_COLUMN])
    found: list[str | None] = []
    bar = tqdm(total=len(data), desc="Reading every image", unit=" images", delay=2, leave=False, disable=None)
    with ThreadPoolExecutor(num_proc or min(8, os.cpu_count() or 1)) as pool, bar:
        for batch in columns.iter(AT_A_TIME):
            found += pool.map(explain_unreadable, batch[image_column], batch[SOURCE_COLUMN])
            bar.update(len(batch[image_column]))
    return {row: error for row, error in enumerate(found) if error is not None}


def check_errors(errors: Sequence[str], total: int) -> None:
    """Refuse images that cannot be read.

    Raises:
        ValueError: names the first of them, and the way out.
    """
    if errors:
        more = f" ... and {len(errors) - TOLD} more." if len(errors) > TOLD else ""
        raise ValueError(
            f"{len(errors)} of {total} images cannot be read. {' '.join(map(sentence, errors[:TOLD]))}{more} Mend "
            "or remove them, or leave them out with --unreadable skip."
        )


def sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def drop_unreadable(data: Dataset, errors: dict[int, str]) -> Dataset:
    """Leave out the rows of `errors`; a warning names each."""
    for error in errors.values():
        logger.warning(f"{sentence(error)} It is left out.")
    if len(errors) == len(data):
        raise ValueError(f"None of {len(data)} images can be read. The first: {next(iter(errors.values()))}")
    return data.select([row for row in range(len(data)) if row not in errors]) if errors else data
