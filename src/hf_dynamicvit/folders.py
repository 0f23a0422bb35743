# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Folders and files that a command writes: refused ahead of all work, then written whole or not at all.

What is there already is left alone unless `overwrite` says otherwise. Then files of the same names are replaced, and
all others in the folder stay.
"""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


# What else to type where something is there already.
OVERWRITE = "or type --overwrite"


def resolve(path: str | Path) -> Path:
    """Follow all links of `path`.

    Raises:
        RuntimeError: they go in a circle, which Python 3.13 returns as it is, and earlier ones refuse by themselves.
    """
    resolved = Path(path).resolve()
    if resolved.is_symlink():
        raise RuntimeError(f"Symlink loop from {resolved}")
    return resolved


def check_folder(folder: str | Path, overwrite: bool = False, otherwise: str = OVERWRITE) -> Path:
    """Refuse a folder that cannot be written, or is not new or empty; return it, resolved.

    Args:
        folder: as the user typed it.
        overwrite: it may hold something already.
        otherwise: the end of the refusal of one that does, with another way out.

    Raises:
        ValueError: `folder` is a file or the working folder, holds something, or cannot be written.
    """
    try:
        resolved = resolve(folder)
        if resolved == Path.cwd():
            raise ValueError(f"{folder} is the working folder; name a new or an empty one.")
        if resolved.exists() and not resolved.is_dir():
            raise ValueError(f"{folder} exists already and is no folder; name a new or an empty one.")
        if resolved.is_dir() and any(resolved.iterdir()) and not overwrite:
            raise ValueError(f"{folder} exists already; name a new or an empty folder, {otherwise}.")
        check_writable(resolved, folder)
    except (OSError, RuntimeError) as error:  # a name too long, a folder that cannot be read, links in a circle
        raise ValueError(f"{folder} cannot be a folder: {describe_os_error(error)}.") from error
    return resolved


def check_file(file: str | Path, overwrite: bool = False, otherwise: str = OVERWRITE) -> Path:
    """Refuse a file that cannot be written or is there already; return it, resolved.

    Raises:
        ValueError: `file` is a folder, exists, is in a folder that does not, or cannot be written.
    """
    try:
        resolved = resolve(file)
        if resolved.is_dir():
            raise ValueError(f"{file} exists already and is a folder; name a file.")
        if resolved.exists() and not overwrite:
            raise ValueError(f"{file} exists already; give another name, {otherwise}.")
        if not resolved.parent.is_dir():
            raise ValueError(f"{Path(file).parent} is no folder; make it, or name another.")
        check_writable(resolved.parent, file)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{file} cannot be a file: {describe_os_error(error)}.") from error
    return resolved


def check_writable(folder: Path, named: str | Path) -> None:
    """Refuse a folder, there or not, in which nothing can be written; nothing is left behind by the attempt.

    Raises:
        ValueError: that is so; it tells of `named`, which the user typed.
    """
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if not nearest.is_dir():
        raise ValueError(f"{named} cannot be written: {nearest} is a file.")
    try:
        with tempfile.TemporaryDirectory(dir=nearest, prefix=".hf-dynamicvit-") as attempt:
            (Path(attempt) / folder.relative_to(nearest)).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{named} cannot be written: {describe_os_error(error)} in {nearest}.") from error


def describe_os_error(error: Exception) -> str:
    """Return what the system says of a path that it refused, without the path."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


@contextmanager
def whole_folder(folder: str | Path, overwrite: bool = False) -> Generator[Path]:
    """Provide an empty folder, which replaces `folder` when the block ends, and vanishes where the block raises.

    Raises:
        ValueError: as `check_folder`.
    """
    place = check_folder(folder, overwrite)
    new = not place.exists()  # one that is there may be a mount point, or in a folder that cannot be written
    if new:
        place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent if new else place, prefix=".hf-dynamicvit-") as holder:
        finished = Path(holder) / "finished"
        finished.mkdir()
        yield finished
        if new:
            finished.replace(place)
        else:
            for path in sorted(finished.iterdir()):
                path.replace(place / path.name)


@contextmanager
def whole_file(file: str | Path, overwrite: bool = False) -> Generator[Path]:
    """Provide a path to write, which replaces `file` when the block ends, and vanishes where the block raises.

    Raises:
        ValueError: as `check_file`.
    """
    place = check_file(file, overwrite)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".hf-dynamicvit-") as holder:
        finished = Path(holder) / place.name
        yield finished
        finished.replace(place)
