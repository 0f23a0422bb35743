# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The table of model families: names only, without torch. A family is its two files in `model/` and its row here.

It stands beside `model/`, since importing anything in there imports torch; `registration.py` registers its classes.
"""

from typing import NamedTuple


class Family(NamedTuple):
    """Names of a family, whose files are `model/configuration_<key>.py` and `model/modeling_<key>.py`.

    Attributes:
        dense: model type of the native checkpoints that it reads.
        prefix: of the names of its classes.
    """

    dense: str
    prefix: str

    @property
    def config(self) -> str:
        """Name of the configuration class."""
        return f"{self.prefix}Config"

    @property
    def model(self) -> str:
        """Name of the base model's class."""
        return f"{self.prefix}Model"

    @property
    def classifier(self) -> str:
        """Name of the image classification model's class."""
        return f"{self.prefix}ForImageClassification"


# model type -> names
FAMILIES = {
    "dynamicvit": Family("vit", "DynamicViT"),
    "dynamicdeit": Family("deit", "DynamicDeiT"),
}

# Model types of all checkpoints that can be read, dense and sparse.
MODEL_TYPES = tuple(name for key, family in FAMILIES.items() for name in (family.dense, key))

# public class -> the module that has it
HOMES = {
    name: f".model.{module}_{key}"
    for key, family in FAMILIES.items()
    for name, module in (
        (family.config, "configuration"),
        (family.model, "modeling"),
        (family.classifier, "modeling"),
    )
}
