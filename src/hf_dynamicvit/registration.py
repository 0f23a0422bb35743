# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Register the classes of all families with the Auto classes of Transformers, by their public API.

Importing this imports all models, and torch. `auto.py` does so when the Auto classes are first asked for one of them,
and `model/__init__.py` when a module of the models is imported by its own name.
"""

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import transformers
from transformers import AutoConfig, AutoImageProcessor
from transformers.utils import is_torchvision_available

from .families import ADOPTABLE, ALL_FAMILIES, HOMES, OWN, Family, add_family, add_installed_families, drop_family
from .model.classification import ReducedForImageClassification
from .model.detection import ReducedForObjectDetection
from .model.logger import logger
from .model.native import native_class
from .model.pretrained import ReducedPreTrainedModel
from .model.reducers import register_reducer
from .model.reduction import ReducedModel
from .names import REDUCER_GROUP


def register_installed_reducers() -> None:
    """Add the methods of other packages, as their entry points name them; a warning tells which cannot be loaded."""
    for found in entry_points(group=REDUCER_GROUP):
        try:
            register_reducer(found.name, found.load())
        except Exception as error:  # the package of somebody else; ours works without it
            package = "?" if found.dist is None else found.dist.name
            logger.warning(f"The method {found.name} of the package {package} cannot be used: {error}")


def image_processors(family: Family) -> dict[str, type]:
    """Find the native image processors of `family`, by backend, of those whose requirements are installed."""
    names = {"pil": f"{family.processor}ImageProcessorPil"}
    if is_torchvision_available():
        names["torchvision"] = f"{family.processor}ImageProcessor"
    return {backend: getattr(transformers, name) for backend, name in names.items() if hasattr(transformers, name)}


def register(key: str, family: Family) -> Any:
    """Register a family's configurations, models and image processors; return its image classification model."""
    files = (f"{family.package}.{kind}_{key}" for kind in ("configuration", "modeling"))
    modules = [import_module(file, __package__) for file in files]
    classes = vars(modules[0]) | vars(modules[1])
    configs = {model_type: classes[config] for model_type, config in family.configs.items()}
    for name in family.models:
        register_model(classes[name], classes[name].auto_names)
        if family.own_dense:
            dense = native_class(classes[name])
            register_model(dense, classes[name].auto_names)
            configs[family.dense] = dense.config_class
    for model_type, config in configs.items():
        AutoConfig.register(model_type, config, exist_ok=True)
        if processors := image_processors(family):
            AutoImageProcessor.register(config, image_processor_classes=processors, exist_ok=True)
    return classes.get(family.classifier)


def register_model(model: Any, auto_names: Sequence[str]) -> None:
    """Register a class with the Auto classes of these names."""
    for auto in auto_names:
        getattr(transformers, auto).register(model.config_class, model, exist_ok=True)


def import_class(name: str) -> Any:
    """Import one of the classes of the table."""
    return getattr(import_module(HOMES[name], __package__), name)


def take_in(family: Family) -> None:
    """Register a family, and let all that look for a class by a model type find its classes."""
    types = (family.dense, family.key)
    if (classifier := register(family.key, family)) is not None:
        CLASSIFIERS.update(dict.fromkeys(types, classifier))
    if family.backbone:
        BACKBONES.update(dict.fromkeys(types, import_class(family.backbone)))
    if family.detector:
        DETECTORS.update(dict.fromkeys(types, import_class(family.detector)))
    towers = [family.dense, *family.configs]
    if family.two_towers:
        towers.append(f"{family.dense}_vision_model")
    if family.zero_shot:
        TWO_TOWERS.update(dict.fromkeys(types, import_class(family.zero_shot)))
    ENCODERS.update(dict.fromkeys(towers, import_class(family.model)))
    if family.key in ADOPTABLE:
        ours = [import_class(name) for name in family.models]
        ADOPTING.update({native_class(each): each for each in ours})


def register_family(family: Family) -> None:
    """Add a family of another package to the table, so that the Auto classes, `reduce_tokens`, training and commands
    take its models.

    A package whose entry points have the group `hf_dynamicvit.families` need not call this: its families are found.

    Args:
        family: its names, and the package that has its files.

    Raises:
        ValueError: a name is taken or cannot be one, or the package is not named.
        ImportError: there is no such file.
    """
    if ALL_FAMILIES.get(family.key) == family:
        return
    add_family(family)
    try:
        take_in(family)
    except BaseException:
        drop_family(family)
        raise


def take_in_installed(family: Family) -> None:
    """Register a family of another package; a warning tells that it cannot be used."""
    try:
        take_in(family)
    except Exception as error:  # ours work without it
        drop_family(family)
        logger.warning(f"The family {family.key} of {family.package} cannot be used: {error}")


register_installed_reducers()
add_installed_families()

# model type, dense and sparse -> our object detector
DETECTORS: dict[str, type[ReducedForObjectDetection]] = {}
# the same, of families with a model that hands out feature maps -> it
BACKBONES: dict[str, type[ReducedPreTrainedModel]] = {}
# the same -> our image classification model
CLASSIFIERS: dict[str, type[ReducedForImageClassification]] = {}
# the same, of image towers alone too -> our base model
ENCODERS: dict[str, type[ReducedModel]] = {}
# the same -> our model of both towers
TWO_TOWERS: dict[str, type[ReducedPreTrainedModel]] = {}
# native class that can be reduced as it is -> ours
ADOPTING: dict[type, type[ReducedPreTrainedModel]] = {}
for _family in [*ALL_FAMILIES.values()]:
    if _family.package == OWN:
        take_in(_family)
    else:
        take_in_installed(_family)
