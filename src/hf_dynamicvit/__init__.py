# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Token reduction for vision transformers on Hugging Face Transformers.

Importing the package registers its classes with the Auto classes of Transformers.
"""

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from transformers.utils import is_torchvision_available

from ._version import __version__
from .model.configuration_dynamicdeit import DynamicDeiTConfig
from .model.configuration_dynamicvit import DynamicViTConfig
from .model.modeling_dynamicdeit import DynamicDeiTForImageClassification, DynamicDeiTModel
from .model.modeling_dynamicvit import DynamicViTForImageClassification, DynamicViTModel
from .model.reducers import REDUCERS
from .training.arguments import DynamicViTTrainingArguments
from .training.trainer import DynamicViTTrainer


AutoConfig.register("dynamicvit", DynamicViTConfig, exist_ok=True)
AutoModel.register(DynamicViTConfig, DynamicViTModel, exist_ok=True)
AutoModelForImageClassification.register(DynamicViTConfig, DynamicViTForImageClassification, exist_ok=True)
AutoConfig.register("dynamicdeit", DynamicDeiTConfig, exist_ok=True)
AutoModel.register(DynamicDeiTConfig, DynamicDeiTModel, exist_ok=True)
AutoModelForImageClassification.register(DynamicDeiTConfig, DynamicDeiTForImageClassification, exist_ok=True)
_image_processors: dict[str, type] = {"pil": ViTImageProcessorPil}
if is_torchvision_available():
    from transformers import ViTImageProcessor

    _image_processors["torchvision"] = ViTImageProcessor
AutoImageProcessor.register(DynamicViTConfig, image_processor_classes=_image_processors, exist_ok=True)
AutoImageProcessor.register(DynamicDeiTConfig, image_processor_classes=_image_processors, exist_ok=True)

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
