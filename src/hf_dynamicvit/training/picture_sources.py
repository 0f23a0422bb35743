# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Where pictures can lie, the Hub, class folders, parquet files, data sets saved to disk -> splits by name."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

from datasets import (
    ClassLabel,
    Dataset,
    DatasetDict,
    Features,
    load_dataset,
    load_dataset_builder,
    load_from_disk,
)
from datasets import Image as ImageFeature
from huggingface_hub.errors import HFValidationError
from PIL import Image
from transformers.utils import logging

from .picture_columns import label_columns


logger = logging.get_logger("transformers.hf_dynamicvit")

TRAIN_NAMES = ("train", "training")
VALIDATION_NAMES = ("validation", "valid", "val", "dev", "test")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
# what else `load_dataset` reads
DATA_SUFFIXES = (".arrow", ".csv", ".json", ".jsonl", ".parquet", ".tar", ".tsv", ".zip")
LAYOUTS = (
    "class folders (folder/<class>/*.jpg, or folder/train/<class>/*.jpg with folder/validation/<class>/*.jpg), "
    "parquet files, a data set saved with save_to_disk, or pictures with a metadata file that has a label column"
)


def load_splits(
    dataset: str,
    config_name: str | None = None,
    label_column: str | None = None,
    folders: tuple[str | None, ...] = (),
    **hub,
) -> dict[str, Dataset]:
    """The splits of `dataset` by name, as they are there.

    Args:
        dataset: a folder, a parquet file, or the name of a data set on the Hub.
        config_name: of a data set with several configurations.
        label_column: a metadata file without it does not count.
        folders: names of split folders besides the usual ones.
        **hub: `cache_dir`, `token` and `revision` of `datasets.load_dataset`.

    Raises:
        ValueError: there is no such data set, or no picture in it.
    """
    path = Path(dataset).expanduser().absolute()
    cache_dir = hub.get("cache_dir")
    if path.is_file():
        if path.suffix != ".parquet":
            raise ValueError(f"{path} is a file with the suffix {path.suffix!r}; a file of pictures is .parquet.")
        return {"train": load_parquet([str(path)], cache_dir)}
    if path.is_dir():
        try:
            return load_folder(path, config_name, label_column, folders, cache_dir)
        except FileNotFoundError as error:
            raise ValueError(f"There are no pictures in {path}; it can hold {LAYOUTS}.") from error
    try:
        return by_name(load_dataset(dataset, config_name, **hub))
    except (FileNotFoundError, ConnectionError, HFValidationError) as error:
        raise ValueError(
            f"There is no folder or file {str(path)!r}, and no data set {dataset!r} on the Hub that can be reached: "
            f"{error}"
        ) from error


def load_folder(
    path: Path, config_name: str | None, label_column: str | None, folders: tuple[str | None, ...], cache_dir: Any
) -> dict[str, Dataset]:
    """The splits in a local folder; `FileNotFoundError` where there is nothing to load."""
    if any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        saved = load_from_disk(str(path))
        return by_name(saved) if isinstance(saved, DatasetDict) else {"train": saved}
    files = [file for file in (*path.glob("*"), *path.glob("*/*")) if not is_hidden(file.relative_to(path).parts[0])]
    parquet = any(file.suffix == ".parquet" and file.name not in METADATA for file in files)
    described = (path / "README.md").is_file()
    if parquet and not described:
        # Each split by itself: together they would all be read with the class names of the first.
        data_files: Any = load_dataset_builder("parquet", data_dir=str(path), cache_dir=cache_dir).config.data_files
        return {str(split): load_parquet(files, cache_dir) for split, files in data_files.items()}
    if not parquet and any(file.name in METADATA for file in files):
        splits = load_dataset("imagefolder", data_dir=str(path), cache_dir=cache_dir)
        features = next(iter(splits.values())).features
        if label_column in features or label_columns(features):
            return by_name(splits)
    if not parquet and (splits := load_class_folders(path, folders)):
        return splits
    if described or any(file.suffix in DATA_SUFFIXES for file in files):
        return by_name(load_dataset(str(path), config_name, cache_dir=cache_dir))
    raise FileNotFoundError(path)


def by_name(splits: DatasetDict) -> dict[str, Dataset]:
    return {str(name): data for name, data in splits.items()}


def load_parquet(files: list[str], cache_dir: Any) -> Dataset:
    return load_dataset("parquet", data_files=list(files), cache_dir=cache_dir)["train"]


def load_class_folders(path: Path, folders: tuple[str | None, ...] = ()) -> dict[str, Dataset]:
    """The splits of `path/<class>/*.jpg` or `path/<split>/<class>/*.jpg`; none where there are no class folders.

    `load_dataset("imagefolder")` would take a class "train" or "test-tube" for a split, and give no labels at all
    where pictures lie at different depths.
    """
    usual = (*TRAIN_NAMES, *VALIDATION_NAMES)
    candidates = [folder for folder in folders_in(path) if folder.name.lower() in usual or folder.name in folders]
    splits = {folder.name: classes for folder in candidates if (classes := class_folders(folder))}
    if any(name.lower() in TRAIN_NAMES or name in folders for name in splits):
        for folder in candidates:
            if folder.name not in splits:
                logger.warning(f"{folder} is left out: it has no class folders with pictures.")
        return {name: class_folder_dataset(classes) for name, classes in splits.items()}
    classes = class_folders(path)
    if classes and not all(name.lower() in usual for name in classes):
        return {"train": class_folder_dataset(classes)}
    if classes or pictures_in(path):
        raise ValueError(f"The pictures in {path} are in no class folders; it can hold {LAYOUTS}.")
    return {}


def class_folders(path: Path) -> dict[str, list[str]]:
    """The picture files of every folder in `path`, by its name; folders without any are left out."""
    classes, others = {}, Counter()
    for folder in folders_in(path):
        classes[folder.name], more = picture_files(folder)
        others += more
    found = {name: files for name, files in classes.items() if files}
    if others:
        counts = ", ".join(f"{suffix} ({count})" for suffix, count in others.most_common())
        logger.warning(f"Files in the folders of {path} that are no pictures by their suffix are left out: {counts}.")
    if found and len(found) < len(classes):
        empty = ", ".join(name for name in classes if name not in found)
        logger.warning(f"Folders of {path} without pictures are left out: {empty}.")
    if found and (stray := pictures_in(path)):
        logger.warning(f"Pictures of {path} that are in no folder of it are left out: {len(stray)}.")
    return found


def folders_in(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not is_hidden(folder.name))


def pictures_in(path: Path) -> list[Path]:
    suffixes = picture_suffixes()
    return [file for file in path.iterdir() if file.suffix.lower() in suffixes and not is_hidden(file.name)]


def picture_files(folder: Path) -> tuple[list[str], Counter]:
    """The files in `folder`, at any depth, that PIL opens by their suffix, and how many others there are of each
    suffix; neither hidden ones nor `__MACOSX`."""
    suffixes = picture_suffixes()
    found, others = [], Counter()
    seen = {os.path.realpath(folder)}  # a link may lead back to a folder above it
    for root, folders, files in os.walk(folder, followlinks=True):
        new = {name: os.path.realpath(os.path.join(root, name)) for name in sorted(folders) if not is_hidden(name)}
        folders[:] = [name for name, place in new.items() if place not in seen]
        seen.update(new.values())
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in suffixes and not is_hidden(name):
                found.append(os.path.join(root, name))
            elif not is_hidden(name):
                others[suffix or "no suffix"] += 1
    return sorted(found), others


def is_hidden(name: str) -> bool:
    return name.startswith((".", "__"))


def picture_suffixes() -> set[str]:
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}


def class_folder_dataset(classes: dict[str, list[str]]) -> Dataset:
    features = Features({"image": ImageFeature(decode=False), "label": ClassLabel(names=list(classes))})
    pictures = [file for files in classes.values() for file in files]
    labels = [index for index, files in enumerate(classes.values()) for _ in files]
    return Dataset.from_dict({"image": pictures, "label": labels}, features=features)
