# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Load splits by name from the Hub, class folders, parquet files or data sets saved to disk."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from datasets import (
    Dataset,
    DatasetDict,
    load_dataset,
    load_from_disk,
)
from datasets import Image as ImageFeature
from datasets.exceptions import DatasetsError
from huggingface_hub.errors import HFValidationError

from ..model.logger import logger
from .class_folders import LAYOUTS, SPLIT_WORDS, find_split_kind, is_hidden, load_class_folders, scan
from .columns import label_columns


METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
ARCHIVES = (".gz", ".rar", ".tar", ".tgz", ".zip", ".7z")
# what else `load_dataset` reads
DATA_SUFFIXES = (".arrow", ".csv", ".json", ".jsonl", ".parquet", ".tar", ".tsv", ".zip")


def load_splits(
    dataset: str,
    config_name: str | None = None,
    label_column: str | None = None,
    folders: tuple[str | None, ...] = (),
    **hub,
) -> dict[str, Dataset]:
    """Load the splits of `dataset` by name, as they are there.

    Args:
        dataset: a folder, a parquet file, or the name of a data set on the Hub.
        config_name: of a data set with several configurations.
        label_column: a metadata file without it does not count.
        folders: names of split folders besides the usual ones.
        **hub: `cache_dir`, `token` and `revision` of `datasets.load_dataset`.

    Raises:
        ValueError: there is no such data set, or no image in it.
    """
    path = Path(dataset).expanduser().absolute()
    cache_dir = hub.get("cache_dir")
    if path.is_file():
        return {"train": load_parquet_file(path, cache_dir)}
    if path.is_dir():
        try:
            return load_folder(path, config_name, label_column, folders, cache_dir)
        except FileNotFoundError as error:
            if "::" in str(path):
                raise ValueError(f"datasets reads the :: in {path} as an address; rename the folder.") from error
            raise ValueError(f"There are no images in {path}; it can hold {LAYOUTS}.") from error
    try:
        return by_name(load_dataset(dataset, config_name, **hub))
    except (FileNotFoundError, ConnectionError, HFValidationError) as error:
        raise ValueError(
            f"There is no folder or file {str(path)!r}, and no data set {dataset!r} on the Hub that can be reached: "
            f"{error}"
        ) from error
    except DatasetsError as error:
        raise ValueError(f"The data set {dataset!r} cannot be read: {error.__cause__ or error}") from error


def load_parquet_file(path: Path, cache_dir: Any) -> Dataset:
    """Read one parquet file; refuse a file of another kind."""
    if path.suffix != ".parquet":
        raise ValueError(f"{path} is a file with the suffix {path.suffix!r}; a file of images is .parquet.")
    return load_parquet([str(path)], cache_dir)


def load_folder(
    path: Path, config_name: str | None, label_column: str | None, folders: tuple[str | None, ...], cache_dir: Any
) -> dict[str, Dataset]:
    """Load the splits in a local folder; `FileNotFoundError` where there is nothing to load."""
    if any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        saved = load_from_disk(str(path))
        return by_name(saved) if isinstance(saved, DatasetDict) else {"train": saved}
    files = [file for file in (*path.glob("*"), *path.glob("*/*")) if not is_hidden(file.relative_to(path).parts[0])]
    parquet = any(file.suffix == ".parquet" and file.name not in METADATA for file in files)
    described = (path / "README.md").is_file()
    if parquet and not described:
        return load_parquet_folder(path, cache_dir)
    if not parquet and any(file.name in METADATA for file in files):
        splits = load_described_images(path, cache_dir)
        features = next(iter(splits.values())).features
        if label_column in features or label_columns(features):
            return splits
    if not parquet and (splits := load_class_folders(path, folders)):
        return splits
    if described or any(file.suffix in DATA_SUFFIXES for file in files):
        return load_any_folder(path, config_name, files, cache_dir)
    raise FileNotFoundError(path)


def load_any_folder(path: Path, config_name: str | None, files: Sequence[Path], cache_dir: Any) -> dict[str, Dataset]:
    """Read a folder of another layout as `load_dataset` does.

    Raises:
        ValueError: its path would be read as a pattern, or it cannot be read.
    """
    if glob.has_magic(str(path)):
        raise ValueError(f"datasets reads the characters *, ? and [ in {path} as a pattern; rename the folder.")
    try:
        return by_name(load_dataset(str(path), config_name, cache_dir=cache_dir))
    except DatasetsError as error:
        archives = sorted(file.name for file in files if file.suffix.lower() in ARCHIVES)
        advice = f" Unpack {', '.join(archives)}, each into a folder of its name." if archives else ""
        raise ValueError(f"{path} cannot be read: {error.__cause__ or error}.{advice}") from error


def by_name(splits: DatasetDict) -> dict[str, Dataset]:
    return {str(name): data for name, data in splits.items()}


def load_parquet_folder(path: Path, cache_dir: Any) -> dict[str, Dataset]:
    """Read the parquet files of a folder, at any depth, each split by itself: together they would all be read with
    the class names of the first.

    The splits are named by folders, else by the files themselves; all files are of one where no name says which.
    """
    files = [file for file in visible_files(path) if file.suffix == ".parquet" and file.name not in METADATA]
    places = {file: file.relative_to(path).parts for file in files}
    found = {
        file: next(filter(None, map(find_split_kind, reversed(parts[:-1]))), None) for file, parts in places.items()
    }
    if not any(found.values()):
        found = {file: find_split_kind(parts[-1]) for file, parts in places.items()}
    if not any(found.values()):
        return {"train": load_parquet(map(str, files), cache_dir)}
    if others := [str(file) for file, split in found.items() if split is None]:
        logger.warning(f"Parquet files whose names say no split are left out: {', '.join(others)}.")
    return {
        split: load_parquet([str(file) for file, own in found.items() if own == split], cache_dir)
        for split in SPLIT_WORDS
        if split in found.values()
    }


def visible_files(path: Path) -> list[Path]:
    """List the files in `path`, at any depth, that are in no hidden folder."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return [file for file in files if not any(map(is_hidden, file.relative_to(path).parts))]


def load_parquet(files: Iterable[str], cache_dir: Any) -> Dataset:
    # paths are patterns to datasets
    return load_dataset("parquet", data_files=[glob.escape(file) for file in files], cache_dir=cache_dir)["train"]


def load_described_images(path: Path, cache_dir: Any) -> dict[str, Dataset]:
    """Read the images that metadata files name, by split; a warning counts those that none names."""
    own = [folder for folder in folders_in(path) if has_metadata(folder)]
    if own and not has_metadata(path) and all(find_split_kind(folder.name) for folder in own):
        found = {folder.name: load_image_folder([f"{glob.escape(str(folder))}/**"], cache_dir) for folder in own}
    else:
        found = by_name(load_dataset("imagefolder", data_dir=glob.escape(str(path)), cache_dir=cache_dir))
    missed = set(scan(path).files).difference(*(list_row_files(data) for data in found.values()))
    if missed:
        logger.warning(f"Images of {path} that no metadata file names are left out: {len(missed)}.")
    return found


def has_metadata(folder: Path) -> bool:
    return any((folder / name).is_file() for name in METADATA)


def load_image_folder(patterns: list[str], cache_dir: Any) -> Dataset:
    """Read one split: `load_dataset` knows the names of split folders in small letters only."""
    return load_dataset("imagefolder", data_files=patterns, cache_dir=cache_dir)["train"]


def list_row_files(data: Dataset) -> list[str]:
    """List the files of all columns of images."""
    columns = [name for name, feature in data.features.items() if isinstance(feature, ImageFeature)]
    table = data.with_format("arrow")[:].flatten()
    return [file for name in columns for file in table[f"{name}.path"].to_pylist()]


def folders_in(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not is_hidden(folder.name))
