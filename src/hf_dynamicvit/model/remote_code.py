# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What a checkpoint needs besides weights: its image processor, and its code where the package is not installed."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers.utils import IMAGE_PROCESSOR_NAME

from .compat import auto_class, file_in_cache, set_auto_class


# Arguments of `from_pretrained` that say where in a repository, or on the disk, the files of a checkpoint are.
PLACE = ("subfolder", "revision", "cache_dir")


def check_code_travels(*parts: Any) -> None:
    """Refuse to send along the code of a model whose method or family is of another package: it would not be there.

    Args:
        parts: the reducer and the configuration of the model.

    Raises:
        ValueError: that is so.
    """
    for part in parts:
        module = type(part).__module__
        if module.rpartition(".")[0] != __name__.rpartition(".")[0]:
            raise ValueError(
                f"{type(part).__name__} is of {module}, whose code does not travel along; say with_remote_code=False: "
                "who loads the model needs that package."
            )


@contextmanager
def code_travels(config: Any, auto_classes: Mapping[str, type]) -> Generator[None]:
    """Make `save_pretrained` also write this folder's `.py` files and `auto_map`, within it.

    Transformers copies the code of classes that are registered for an Auto class, and then does so on every save. Here
    they are registered for a moment only, so that plain saves and Trainer checkpoints stay free of code.

    Args:
        config: of the model to be saved.
        auto_classes: name of an Auto class -> what it finds: the configuration and every model.
    """
    before = {cls: auto_class(cls) for cls in auto_classes.values()}
    auto_map = getattr(config, "auto_map", None)
    config.auto_map = {name: f"{cls.__module__.split('.')[-1]}.{cls.__name__}" for name, cls in auto_classes.items()}
    for name, cls in auto_classes.items():
        set_auto_class(cls, name)
    try:
        yield
    finally:
        for cls, name in before.items():
            set_auto_class(cls, name)
        if auto_map is None:
            del config.auto_map
        else:
            config.auto_map = auto_map


@contextmanager
def code_stays(config: Any) -> Generator[None]:
    """Save `config.json` without a word of code, which a checkpoint that was loaded may have had beside it."""
    auto_map = config.__dict__.pop("auto_map", None)
    try:
        yield
    finally:
        if auto_map is not None:
            config.auto_map = auto_map


def copy_processor(source: str, folder: Path, place: Mapping[str, str]) -> None:
    """Copy the image processor's file of `source`, a folder or a repository in the cache, into `folder`.

    One that is there stays, and without `source` or its file nothing happens; the network is not asked.

    Args:
        source: what the model was loaded from.
        folder: where it is saved.
        place: the arguments `PLACE` that it was loaded with.
    """
    target = folder / IMAGE_PROCESSOR_NAME
    if not source or target.exists() or folder.is_file():
        return
    found = file_in_cache(source, IMAGE_PROCESSOR_NAME, **place)
    if found is not None:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_bytes(found.read_bytes())
