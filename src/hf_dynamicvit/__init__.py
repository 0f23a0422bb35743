# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Token reduction for vision transformers on Hugging Face Transformers.

Importing the package makes its classes known to the Auto classes of Transformers. What is behind a name, and torch, is
imported when the name is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ._moved import keep_old_names
from ._version import __version__
from .auto import announce_models
from .families import HOMES


if TYPE_CHECKING:  # literal names, as `__all__`, for type checkers and documentation; a test holds both to the table
    from .model.configuration_dynamicdeit import DynamicDeiTConfig
    from .model.configuration_dynamicvit import DynamicViTConfig
    from .model.modeling_dynamicdeit import DynamicDeiTForImageClassification, DynamicDeiTModel
    from .model.modeling_dynamicvit import DynamicViTForImageClassification, DynamicViTModel
    from .model.reducers import REDUCERS
    from .training.arguments import DynamicViTTrainingArguments
    from .training.trainer import DynamicViTTrainer

__all__ = [
    "REDUCERS",
    "DynamicDeiTConfig",
    "DynamicDeiTForImageClassification",
    "DynamicDeiTModel",
    "DynamicViTConfig",
    "DynamicViTForImageClassification",
    "DynamicViTModel",
    "DynamicViTTrainer",
    "DynamicViTTrainingArguments",
    "__version__",
]

# name -> the module whose import brings it
_HOMES = {
    **HOMES,
    "REDUCERS": ".model.reducers",
    "DynamicViTTrainer": ".training.trainer",
    "DynamicViTTrainingArguments": ".training.arguments",
    "model": ".model",
    "training": ".training.trainer",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOMES[name], __name__)
    if name not in globals():  # `model` and `training` are there once imported
        globals()[name] = getattr(home, name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


announce_models()
keep_old_names()
