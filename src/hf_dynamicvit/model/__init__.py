# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The model, in a flat folder that travels with a checkpoint as remote code.

All but this file, which registers the classes with the Auto classes of Transformers.
"""

from importlib import import_module

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from transformers.utils import is_torchvision_available

from ..families import FAMILIES
from .reduction import ReducedForImageClassification


_image_processors: dict[str, type] = {"pil": ViTImageProcessorPil}
if is_torchvision_available():
    from transformers import ViTImageProcessor

    _image_processors["torchvision"] = ViTImageProcessor

# model type, dense and sparse -> our image classification model
CLASSIFIERS: dict[str, type[ReducedForImageClassification]] = {}
for _name, _family in FAMILIES.items():
    _config = getattr(import_module(f".configuration_{_name}", __name__), _family.config)
    _modeling = import_module(f".modeling_{_name}", __name__)
    AutoConfig.register(_name, _config, exist_ok=True)
    AutoModel.register(_config, getattr(_modeling, _family.model), exist_ok=True)
    AutoModelForImageClassification.register(_config, getattr(_modeling, _family.classifier), exist_ok=True)
    AutoImageProcessor.register(_config, image_processor_classes=_image_processors, exist_ok=True)
    CLASSIFIERS |= dict.fromkeys((_family.dense, _name), getattr(_modeling, _family.classifier))
