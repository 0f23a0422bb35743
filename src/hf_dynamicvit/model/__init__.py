# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The model, in a flat folder that travels with a checkpoint as remote code.

All but this file, which registers the classes with the Auto classes of Transformers.
"""

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from transformers.utils import is_torchvision_available

from .configuration_dynamicdeit import DynamicDeiTConfig
from .configuration_dynamicvit import DynamicViTConfig
from .modeling_dynamicdeit import DynamicDeiTForImageClassification, DynamicDeiTModel
from .modeling_dynamicvit import DynamicViTForImageClassification, DynamicViTModel


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
