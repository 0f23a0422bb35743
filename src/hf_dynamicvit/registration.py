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

from .families import ALL_FAMILIES, HOMES, Family
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
    modules = [import_module(f".model.{module}_{key}", __package__) for module in ("configuration", "modeling")]
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


register_installed_reducers()

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
for _key, _family in ALL_FAMILIES.items():
    if (_classifier := register(_key, _family)) is not None:
        CLASSIFIERS |= dict.fromkeys((_family.dense, _key), _classifier)
    if _family.backbone:
        BACKBONES |= dict.fromkeys(
            (_family.dense, _key), getattr(import_module(HOMES[_family.backbone], __package__), _family.backbone)
        )
    if _family.detector:
        DETECTORS |= dict.fromkeys(
            (_family.dense, _key), getattr(import_module(HOMES[_family.detector], __package__), _family.detector)
        )
    _types = [_family.dense, *_family.configs]
    if _family.two_towers:
        _types.append(f"{_family.dense}_vision_model")
    if _family.zero_shot:
        TWO_TOWERS |= dict.fromkeys(
            (_family.dense, _key), getattr(import_module(HOMES[_family.zero_shot], __package__), _family.zero_shot)
        )
    ENCODERS |= dict.fromkeys(_types, getattr(import_module(HOMES[_family.model], __package__), _family.model))
