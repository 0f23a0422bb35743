# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What a dense class is: one of Transformers, or of ours where Transformers lacks the model."""

from typing import Any


def is_native(cls: type) -> bool:
    """Return whether `cls` is of a dense model, which its file's name says.

    Dense models are in `modeling_<type>.py` and `configuration_<type>.py`, of Transformers and here; those that reduce
    tokens in `..._dynamic<type>.py`.
    """
    kind, _, model_type = cls.__module__.rpartition(".")[2].partition("_")
    return kind in ("modeling", "configuration") and not model_type.startswith("dynamic")


def native_class(cls: Any) -> Any:
    """Return the class that `cls`, of a family, stands ahead of."""
    if hasattr(cls, "dense_class"):
        return cls.dense_class
    return next(base for base in cls.__mro__ if is_native(base))
