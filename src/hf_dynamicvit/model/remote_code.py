# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints that carry their code, so that `trust_remote_code=True` loads them without this package."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast


@contextmanager
def code_travels(config: Any, auto_classes: Mapping[type, str]) -> Generator[None]:
    """Within it, saving a model also writes this folder's files, and where Auto classes find them.

    Transformers copies the code of classes that are registered for an Auto class, and then does so on every save. Here
    they are registered for a moment only, so that plain saves and Trainer checkpoints stay free of code.

    Args:
        config: of the model to be saved.
        auto_classes: class -> name of its Auto class, of the configuration and of every model that should be found.
    """
    before = {cls: cls.__dict__.get("_auto_class") for cls in auto_classes}
    auto_map = getattr(config, "auto_map", None)
    config.auto_map = {name: f"{cls.__module__.split('.')[-1]}.{cls.__name__}" for cls, name in auto_classes.items()}
    for cls, name in auto_classes.items():
        cast(Any, cls)._auto_class = name
    try:
        yield
    finally:
        for cls, name in before.items():
            cast(Any, cls)._auto_class = name
        if auto_map is None:
            del config.auto_map
        else:
            config.auto_map = auto_map
