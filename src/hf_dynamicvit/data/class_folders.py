# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Find out which folders are splits and which are classes, and list the images in them."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image

from ..model.logger import logger
from .columns import SPLIT_OPTIONS


# The words by which a split is known in the name of a folder or file, as `load_dataset("imagefolder")` knows it, in
# small or capital letters, and with "set" behind. Of several splits the one of an earlier word is taken.
SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}

LAYOUTS = (
    "class folders (folder/<class>/*.jpg, or folder/train/<class>/*.jpg with folder/validation/<class>/*.jpg), "
    "parquet files, a data set saved with save_to_disk, or images with a metadata file that has a label column"
)

NAMED_LIKE = (
    f"split folders have one of the words {', '.join(word for words in SPLIT_WORDS.values() for word in words)} in "
    "their names (train, seg_train, test_images, ...)"
)


def find_split_kind(name: str) -> str | None:
    """Return `"train"`, `"validation"` or `"test"` where a word of `name` says so: `seg_train`, `Test`, `val2017`."""
    kinds = [kind for kind, words in SPLIT_WORDS.items() if has_word(name, words)]
    return kinds[0] if len(kinds) == 1 else None


def has_word(name: str, words: Iterable[str]) -> bool:
    between = "[-._ 0-9]"
    return bool(re.search(rf"(^|{between})({'|'.join(words)})(set)?($|{between})", name, re.IGNORECASE))


def find_split(splits: Sequence[str], kinds: Sequence[str], option: str) -> str | None:
    """Find the split that is called like one of `kinds`, an earlier one first, and plain words before longer names.

    Raises:
        ValueError: several could be meant; `option` names one.
    """
    words = [word for kind in kinds for word in SPLIT_WORDS[kind]]
    for plain in words:
        if found := [name for name in splits if name.lower() == plain]:
            return found[0]
    for kind in kinds:
        found = [name for name in splits if find_split_kind(name) == kind]
        if len(found) > 1:
            raise ValueError(f"Any of {', '.join(found)} could be meant; name one with {option}.")
        if found:
            return found[0]
    return None


@dataclass(frozen=True)
class Folder:
    """A folder with images in it or below; what is hidden, and `__MACOSX`, is not there.

    Attributes:
        path: where it is.
        images: files directly in it that PIL opens by their suffix.
        folders: those directly in it that have images at any depth, by name.
        empty: what else is in those without, as `others`, by name.
        others: how many files there are directly in it that are no images, by suffix.
    """

    path: Path
    images: list[str]
    folders: dict[str, "Folder"]
    empty: dict[str, Counter]
    others: Counter

    @property
    def files(self) -> list[str]:
        """The images in it at any depth, sorted."""
        return sorted([*self.images, *(file for folder in self.folders.values() for file in folder.files)])

    @property
    def all_others(self) -> Counter:
        """`others`, at any depth."""
        return sum((*(folder.all_others for folder in self.folders.values()), *self.empty.values()), self.others)

    @property
    def is_above_classes(self) -> bool:
        """Its images are all in folders of it."""
        return bool(self.folders) and not self.images


def scan(path: Path, above: frozenset[str] = frozenset()) -> Folder:
    """Read what is in the folder `path`; `above` are the folders that it is in, to which a link may lead back."""
    suffixes = image_suffixes()
    above = above | {os.path.realpath(path)}
    images, below, others = [], {}, Counter()
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            suffix = os.path.splitext(entry.name)[1].lower()
            if is_hidden(entry.name):
                continue
            if entry.is_dir():
                if os.path.realpath(entry.path) not in above:
                    below[entry.name] = scan(Path(entry.path), above)
            elif suffix in suffixes:
                images.append(entry.path)
            else:
                others[suffix or "no suffix"] += 1
    found = {name: folder for name, folder in below.items() if folder.images or folder.folders}
    empty = {name: folder.all_others for name, folder in below.items() if name not in found}
    return Folder(path, images, found, empty, others)


def load_class_folders(path: Path, folders: tuple[str | None, ...] = ()) -> dict[str, Dataset]:
    """Read `path/<class>/*.jpg` or `path/<split>/<class>/*.jpg` by split; nothing where there are no images.

    Splits are known by the words that `load_dataset("imagefolder")` knows, or named in `folders`, if there are class
    folders in them. It would also take a class "train" or "test-tube" for a split, and give no labels at all where
    images lie at different depths.

    Raises:
        ValueError: the images are in no class folders, or it is not clear which folders are the classes.
    """
    found = scan(path)
    if splits := split_folders(found, folders):
        for folder in (folder for name, folder in found.folders.items() if name not in splits):
            reason = "is not named like a split" if inner(folder).folders else "has no class folders"
            logger.warning(f"{folder.path} is left out: it {reason} ({len(folder.files)} images).")
        warn_of_stray(found)
        return {name: class_folder_dataset(folder) for name, folder in splits.items()}
    like_splits = [name for name in found.folders if find_split_kind(name)]
    if (found.folders and len(like_splits) == len(found.folders)) or (found.images and not found.folders):
        raise ValueError(f"The images in {path} are in no class folders; it can hold {LAYOUTS}.")
    if not found.folders:
        return {}
    if len(found.folders) == 1:
        check_not_too_high(found)
    if like_splits:
        logger.warning(f"Folders of {path} that are named like splits are classes here: {', '.join(like_splits)}.")
    return {"train": class_folder_dataset(found)}


def split_folders(found: Folder, named: Sequence[str | None]) -> dict[str, Folder]:
    """Find the split folders, each as the folder that holds its class folders; none where `found` holds classes.

    Raises:
        ValueError: beside folders that are named like splits there are others of the same kind.
    """
    candidates = {
        name: inner(folder) for name, folder in found.folders.items() if find_split_kind(name) or name in named
    }
    splits = {name: folder for name, folder in candidates.items() if folder.folders}
    if any(name in named or name.lower() in SPLIT_WORDS["train"] for name in splits):
        return splits
    rest = [folder for name, folder in found.folders.items() if name not in candidates]
    unclear = [folder.path.name for folder in rest if inner(folder).is_above_classes]
    if splits and unclear:
        raise ValueError(
            f"In {found.path}, {', '.join(splits)} are named like splits, {', '.join(unclear)} not; {NAMED_LIKE}. "
            f"Rename them, or name those to use with {SPLIT_OPTIONS}."
        )
    if rest and not any(find_split_kind(name) == "train" for name in splits):
        return {}
    return splits


def inner(folder: Folder) -> Folder:
    """Go down to what holds the class folders where it is the only folder, as archives unpack: `train/train`."""
    while folder.is_above_classes and len(folder.folders) == 1:
        ((name, only),) = folder.folders.items()
        if not only.is_above_classes and name != folder.path.name:
            break
        folder = only
    return folder


def check_not_too_high(found: Folder) -> None:
    """Refuse a folder whose only folder holds class folders or splits.

    Raises:
        ValueError: names the one to use.
    """
    (only,) = found.folders.values()
    if only.is_above_classes:
        lowest = inner(only)
        raise ValueError(
            f"All images in {found.path} are in its folder {only.path.name}, which would be the only class; name "
            f"{lowest.path}, which holds {list_first(list(lowest.folders))}."
        )


def check_classes(found: Folder) -> None:
    """Refuse class folders that may be splits, or have splits in them; say where classes have folders of their own.

    Raises:
        ValueError: folders in them have the same names.
    """
    above = {name: folder for name, folder in found.folders.items() if folder.is_above_classes}
    counts = Counter(name for folder in above.values() for name in folder.folders)
    shared = [name for name, count in counts.items() if count > 1]
    if len(shared) > 1:
        raise ValueError(
            f"{list_first(list(above))} in {found.path} hold folders of the same names ({list_first(shared)}), so "
            f"that it is not clear which of them are the classes; {NAMED_LIKE}, or are named with {SPLIT_OPTIONS}. "
            "In class folders the images lie directly; a metadata.csv with a label column names any classes."
        )
    if several := [name for name, folder in above.items() if len(folder.folders) > 1]:
        logger.warning(
            f"The classes are the folders directly in {found.path}; all images in the folders of "
            f"{list_first(several)} are of that class."
        )


def warn_of_stray(found: Folder) -> None:
    """Name what is beside the folders that are used."""
    if found.empty:
        logger.warning(f"Folders of {found.path} without images are left out: {', '.join(found.empty)}.")
    if found.images:
        logger.warning(f"Images of {found.path} that are in no folder of it are left out: {len(found.images)}.")


def list_first(names: Sequence[str], count: int = 5) -> str:
    """List the first of `names`."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def image_files(folder: Path) -> list[str]:
    """List the files in `folder`, at any depth, that PIL opens by their suffix; neither hidden ones nor `__MACOSX`."""
    return scan(folder).files


def find_files(paths: Iterable[Path]) -> list[str]:
    """List the files among `paths` and the image files of the folders among them, at any depth.

    Raises:
        ValueError: one is not there, or a folder has none.
    """
    files = []
    for path in paths:
        if not path.exists():
            raise ValueError(f"There is no file or folder {path}.")
        found = image_files(path) if path.is_dir() else [str(path)]
        if not found:
            raise ValueError(f"The folder {path} has no images.")
        files += found
    return files


def evenly_spaced(files: list[str], limit: int | None) -> list[str]:
    """Choose at most `limit` of `files`, at even distances: of folders of classes, from all of them."""
    count = len(files) if limit is None else min(limit, len(files))
    return [files[len(files) * place // count] for place in range(count)]


def is_hidden(name: str) -> bool:
    return name.startswith((".", "__"))


def image_suffixes() -> set[str]:
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}


def class_folder_dataset(found: Folder) -> Dataset:
    """Take every folder in `found` for the class of its images; a warning names what is left out.

    Raises:
        ValueError: it is not clear which folders are the classes.
    """
    check_classes(found)
    others = found.all_others - found.others
    if others:
        counts = ", ".join(f"{suffix} ({count})" for suffix, count in others.most_common())
        logger.warning(
            f"Files in the folders of {found.path} that are no images by their suffix are left out: {counts}."
        )
    warn_of_stray(found)
    classes = {name: folder.files for name, folder in found.folders.items()}
    features = Features({"image": ImageFeature(decode=False), "label": ClassLabel(names=list(classes))})
    images = [file for files in classes.values() for file in files]
    labels = [index for index, files in enumerate(classes.values()) for _ in files]
    return Dataset.from_dict({"image": images, "label": labels}, features=features)
