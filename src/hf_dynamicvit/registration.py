# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Register the classes of all families with the Auto classes of Transformers, by their public API.

Importing this imports all models, and torch. `auto.py` does so when the Auto classes are first asked for one of them,
and `model/__init__.py` when a module of the models is imported by its own name.
"""

from importlib import import_module

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from transformers.utils import is_torchvision_available

from .families import FAMILIES, Family
from .model.reduction import ReducedForImageClassification


def image_processors() -> dict[str, type]:
    """The native image processors, by backend, of those whose requirements are installed."""
    if not is_torchvision_available():
        return {"pil": ViTImageProcessorPil}
    from transformers import ViTImageProcessor

    return {"pil": ViTImageProcessorPil, "torchvision": ViTImageProcessor}


def register(model_type: str, family: Family) -> type[ReducedForImageClassification]:
    """Register a family's configuration, models and image processors; return its image classification model."""
    configuration = import_module(f".model.configuration_{model_type}", __package__)
    modeling = import_module(f".model.modeling_{model_type}", __package__)
    config, classifier = getattr(configuration, family.config), getattr(modeling, family.classifier)
    AutoConfig.register(model_type, config, exist_ok=True)
    AutoModel.register(config, getattr(modeling, family.model), exist_ok=True)
    AutoModelForImageClassification.register(config, classifier, exist_ok=True)
    AutoImageProcessor.register(config, image_processor_classes=image_processors(), exist_ok=True)
    return classifier


# model type, dense and sparse -> our image classification model
CLASSIFIERS: dict[str, type[ReducedForImageClassification]] = {}
for _model_type, _family in FAMILIES.items():
    CLASSIFIERS |= dict.fromkeys((_family.dense, _model_type), register(_model_type, _family))
