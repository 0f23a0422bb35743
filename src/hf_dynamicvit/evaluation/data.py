# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The images of one split of a data set, each with the index of its class among the model's."""

import json
from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset, Value
from PIL import Image

from ..checkpoints.labels import is_known, list_first
from ..checkpoints.results import RESULTS
from ..data.class_folders import find_split
from ..data.columns import choose_column, class_names, image_columns, label_columns, with_column, with_labels
from ..data.loading import HeldOut, check_split, choose_rows, fingerprint, hold_out_rows, strip_columns
from ..data.sources import load_splits
from ..data.transforms import SOURCE_COLUMN, read_image


# The column that holds the index of the class among the model's.
TRUE_CLASS = "true_class"


@dataclass(frozen=True)
class LabelledImages:
    """Images that are not decoded yet, with their classes.

    Attributes:
        data: the rows.
        image_column: its name.
        name: of the data set.
        split: of the data set, and `only_split` whether there is no other.
        total: images of the split, of which `data` may be a random choice.
        seed: of that choice, and of `sample`.
        held_out: these are the images that the training of the model held out of the split.
    """

    data: Dataset
    image_column: str
    name: str
    split: str
    only_split: bool
    total: int
    seed: int
    held_out: bool = False

    def batches(self, batch_size: int) -> Generator[list[tuple[Any, int, str]]]:
        """Yield `batch_size` images at a time: as `read_image` takes them, with class index and source."""
        for batch in self.data.iter(batch_size):
            columns = (batch[name] for name in (self.image_column, TRUE_CLASS, SOURCE_COLUMN))
            yield list(zip(*columns, strict=True))

    def decode(self, rows: Sequence[int], mode: str) -> Generator[Image.Image]:
        """Decode the images of `rows`, which can be read."""
        for row in self.data.select(rows):
            yield read_image(row[self.image_column], row[SOURCE_COLUMN], mode)

    def name_image(self, image: dict[str, Any], source: str) -> str:
        """Name an image by its file, within the folder of the data set, or by its place in the data set."""
        file = image["path"]
        if file is None:
            return make_printable(source)
        folder = Path(self.name).expanduser().absolute()
        return make_printable(str(Path(file).relative_to(folder)) if Path(file).is_relative_to(folder) else file)

    def sample(self, count: int, mode: str) -> Generator[Image.Image]:
        """Decode up to `count` images at random; those that cannot be read are left out."""
        for row in self.data.shuffle(seed=self.seed).select(range(min(count, len(self.data)))):
            try:
                image = read_image(row[self.image_column], row[SOURCE_COLUMN], mode)
            except ValueError:
                continue
            yield image


def load_labelled(
    dataset: str,
    labels: Sequence[str],
    split: str | None = None,
    config_name: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    same_classes: bool = False,
    max_samples: int | None = None,
    seed: int = 0,
    held_out: HeldOut | None = None,
    **hub: Any,
) -> LabelledImages:
    """Load the images of one split of `dataset`, with their classes.

    Args:
        dataset: a folder, a parquet file or the name of a data set on the Hub, as for training.
        labels: what the model calls its classes, in its order.
        split: its name; the default is the one for validation or testing if there is one, else the only one.
        config_name: of a data set with several configurations.
        image_column, label_column: names of columns; the only ones that can be are found.
        same_classes: classes are the model's in the same order, whatever they are called.
        max_samples: use only so many images, taken at random by `seed`.
        held_out: where training took images for validation like this from the only split there is, they alone.
            Images of another data set are all taken.
        **hub: `cache_dir`, `token` and `revision` of `datasets.load_dataset`.

    Raises:
        ValueError: there is no such data set, split or column, rows without label, or classes the model lacks.
    """
    splits = load_splits(dataset, config_name, label_column, (split,), **hub)
    named, split = split, choose_split(list(splits), split)
    features = splits[split].features
    image_column = choose_column(features, image_column, image_columns(features), "image")
    label_column = choose_column(features, label_column, label_columns(features), "label")
    data = strip_columns(splits[split], split, image_column, label_column)
    if not len(data):
        raise ValueError(f"Split {split!r} of {dataset} has no images.")
    apart = None
    if held_out is not None and named is None and len(splits) == 1:
        apart = select_held_out(data, split, image_column, label_column, held_out)
    data = data if apart is None else apart
    truth = find_true_classes(data, label_column, split, labels, same_classes)
    data = with_column(data.remove_columns(label_column), TRUE_CLASS, truth, Value("int64"))
    chosen = choose_rows(data, max_samples, seed, "max_samples")
    return LabelledImages(chosen, image_column, dataset, split, len(splits) == 1, len(data), seed, apart is not None)


def select_held_out(
    data: Dataset, split: str, image_column: str, label_column: str, held_out: HeldOut
) -> Dataset | None:
    """Select the images of `data` that training held out; `None` where it used another data set."""
    if len(data) != held_out.total:
        return None
    data = with_labels(data, label_column, *class_names(data, label_column, split))
    if fingerprint(data, image_column, label_column) != held_out.fingerprint:
        return None
    return hold_out_rows(data, label_column, held_out.fraction, held_out.seed)[1]


def read_held_out(model: str) -> HeldOut | None:
    """Read from the results in the folder `model` how its training held images out; `None` where it did not."""
    try:
        found = HeldOut(**json.loads((Path(model) / RESULTS).read_text(encoding="utf-8"))["held_out"])
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return None  # no folder, no such file, or that of another program
    ours = [type(value) for value in vars(found).values()] == [float, int, int, str] and 0 < found.fraction < 1
    return found if ours else None


def make_printable(text: str) -> str:
    """Escape what cannot be written as UTF-8: file names in other encodings have such characters."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def choose_split(splits: list[str], given: str | None) -> str:
    """Return the split that is `given`, else one with a usual name for validation or testing, else the only one."""
    check_split(splits, given, "split")
    chosen = given or find_split(splits, ["validation", "test"], "--split")
    if chosen is None and len(splits) > 1:
        raise ValueError(f"Name the split to evaluate on with --split; there are {', '.join(splits)}.")
    return chosen or splits[0]


def find_true_classes(data: Dataset, column: str, split: str, labels: Sequence[str], same_classes: bool) -> list[int]:
    """Find the index of each row's class among `labels`.

    Classes are found by name; with `same_classes`, where the names differ, by their order in the data set.

    Raises:
        ValueError: rows without label, or of classes that the model does not have, or has twice.
    """
    names, of_rows = class_names(data, column, split)
    feature = data.features[column]
    occurring = sorted(set(of_rows))
    if not (isinstance(feature, ClassLabel) and names == list(labels)):
        if not same_classes or is_known(occurring, labels):
            check_known(occurring, labels)
            names = list(labels)
        elif isinstance(feature, Value) and feature.dtype.startswith(("int", "uint")):
            return check_in_range([int(name) for name in of_rows], len(labels))
        elif len(names) != len(labels):
            raise ValueError(f"--same-classes: the model has {len(labels)} classes, the data set {len(names)}.")
    index = {name: position for position, name in enumerate(names)}
    return [index[name] for name in of_rows]


def check_in_range(classes: list[int], count: int) -> list[int]:
    """Refuse indices that are none of the model's `count` classes; return `classes`.

    Raises:
        ValueError: there is one.
    """
    outside = sorted({index for index in classes if not 0 <= index < count})
    if outside:
        listed = ", ".join(map(str, outside[:5]))
        raise ValueError(f"--same-classes: the model has the classes 0 to {count - 1}, the data set also {listed}.")
    return classes


def check_known(names: Sequence[str], labels: Sequence[str]) -> None:
    """Refuse names that are no class of the model, or of several: each row must have exactly one.

    Raises:
        ValueError: there are some; it names them, and what can be done.
    """
    counts = Counter(labels)
    unknown = [name for name in names if name not in counts]
    if unknown:
        raise ValueError(
            f"The model has other classes than the images: {len(unknown)} of {len(names)} are not the model's "
            f"({list_first(unknown)}); the model's are {list_first(labels)}. To teach it these: hf-dynamicvit train "
            "--model MODEL --dataset IMAGES --teacher-epochs 3 --output FOLDER, then evaluate FOLDER. If they are its "
            "own under other names, in the same order: --same-classes."
        )
    twice = [name for name in names if counts[name] > 1]
    if twice:
        raise ValueError(
            f"Several classes of the model are called {list_first(twice)}, so that names do not tell which is meant; "
            "--same-classes takes classes by their order."
        )
