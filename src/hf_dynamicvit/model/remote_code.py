# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints that carry their code, so that `trust_remote_code=True` loads them without this package."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from transformers import PreTrainedModel


@contextmanager
def code_travels(model: PreTrainedModel, auto_classes: dict[type, str]) -> Generator[None]:
    """Within it, saving `model` also writes this folder's files, and where the Auto classes find theirs in them.

    Transformers copies the code of classes that are registered for an Auto class, and then does so on every save. Here
    they are registered for a moment only, so that plain saves and Trainer checkpoints stay free of code.

    Args:
        model: to be saved.
        auto_classes: class -> Auto class, of the configuration and of every model class that should be found.
    """
    config: Any = model.config
    had_map, auto_map = hasattr(config, "auto_map"), getattr(config, "auto_map", None)
    registered = {cls: cls.__dict__["_auto_class"] for cls in auto_classes if "_auto_class" in cls.__dict__}
    for cls, auto_class in auto_classes.items():
        cls._auto_class = auto_class  # ty: ignore[missing-attribute]
    config.auto_map = {name: f"{cls.__module__.split('.')[-1]}.{cls.__name__}" for cls, name in auto_classes.items()}
    try:
        yield
    finally:
        for cls in auto_classes:
            if cls in registered:
                cls._auto_class = registered[cls]  # ty: ignore[missing-attribute]
            else:
                del cls._auto_class  # ty: ignore[missing-attribute]
        if had_map:
            config.auto_map = auto_map
        else:
            del config.auto_map
