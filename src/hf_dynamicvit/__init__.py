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
    from .adoption import reduce_tokens, restore
    from .model.configuration_dynamicaimv2 import DynamicAimv2Config, DynamicAimv2VisionConfig
    from .model.configuration_dynamicbeit import DynamicBeitConfig
    from .model.configuration_dynamicclip import DynamicCLIPConfig, DynamicCLIPVisionConfig
    from .model.configuration_dynamicconvnext import DynamicConvNextConfig
    from .model.configuration_dynamicdeit import DynamicDeiTConfig
    from .model.configuration_dynamicdinov2 import DynamicDinov2Config
    from .model.configuration_dynamicdinov2_with_registers import DynamicDinov2WithRegistersConfig
    from .model.configuration_dynamicdinov3_vit import DynamicDINOv3ViTConfig
    from .model.configuration_dynamicidefics3_vision import DynamicIdefics3VisionConfig
    from .model.configuration_dynamicijepa import DynamicIJepaConfig
    from .model.configuration_dynamiclevit import DynamicLevitConfig
    from .model.configuration_dynamiclvvit import DynamicLVViTConfig
    from .model.configuration_dynamicmetaclip_2 import DynamicMetaClip2Config, DynamicMetaClip2VisionConfig
    from .model.configuration_dynamicsiglip import DynamicSiglipConfig, DynamicSiglipVisionConfig
    from .model.configuration_dynamicsmolvlm_vision import DynamicSmolVLMVisionConfig
    from .model.configuration_dynamicswin import DynamicSwinConfig
    from .model.configuration_dynamicvit import DynamicViTConfig
    from .model.configuration_dynamicvit_msn import DynamicViTMSNConfig
    from .model.configuration_dynamicyolos import DynamicYolosConfig
    from .model.configuration_lvvit import LVViTConfig
    from .model.modeling_dynamicaimv2 import DynamicAimv2Model, DynamicAimv2VisionModel
    from .model.modeling_dynamicbeit import DynamicBeitBackbone, DynamicBeitForImageClassification, DynamicBeitModel
    from .model.modeling_dynamicclip import DynamicCLIPForImageClassification, DynamicCLIPModel, DynamicCLIPVisionModel
    from .model.modeling_dynamicconvnext import DynamicConvNextForImageClassification, DynamicConvNextModel
    from .model.modeling_dynamicdeit import DynamicDeiTForImageClassification, DynamicDeiTModel
    from .model.modeling_dynamicdinov2 import (
        DynamicDinov2Backbone,
        DynamicDinov2ForImageClassification,
        DynamicDinov2Model,
    )
    from .model.modeling_dynamicdinov2_with_registers import (
        DynamicDinov2WithRegistersBackbone,
        DynamicDinov2WithRegistersForImageClassification,
        DynamicDinov2WithRegistersModel,
    )
    from .model.modeling_dynamicdinov3_vit import (
        DynamicDINOv3ViTBackbone,
        DynamicDINOv3ViTForImageClassification,
        DynamicDINOv3ViTModel,
    )
    from .model.modeling_dynamicidefics3_vision import DynamicIdefics3VisionModel
    from .model.modeling_dynamicijepa import DynamicIJepaForImageClassification, DynamicIJepaModel
    from .model.modeling_dynamiclevit import DynamicLevitForImageClassification, DynamicLevitModel
    from .model.modeling_dynamiclvvit import DynamicLVViTForImageClassification, DynamicLVViTModel
    from .model.modeling_dynamicmetaclip_2 import (
        DynamicMetaClip2ForImageClassification,
        DynamicMetaClip2Model,
        DynamicMetaClip2VisionModel,
    )
    from .model.modeling_dynamicsiglip import (
        DynamicSiglipForImageClassification,
        DynamicSiglipModel,
        DynamicSiglipVisionModel,
    )
    from .model.modeling_dynamicsmolvlm_vision import DynamicSmolVLMVisionModel
    from .model.modeling_dynamicswin import DynamicSwinForImageClassification, DynamicSwinModel
    from .model.modeling_dynamicvit import DynamicViTForImageClassification, DynamicViTModel
    from .model.modeling_dynamicvit_msn import DynamicViTMSNForImageClassification, DynamicViTMSNModel
    from .model.modeling_dynamicyolos import DynamicYolosForObjectDetection, DynamicYolosModel
    from .model.modeling_lvvit import LVViTForImageClassification, LVViTModel
    from .model.reducers import REDUCERS, register_reducer
    from .registration import register_family
    from .training.arguments import DynamicViTTrainingArguments
    from .training.backbone_trainer import BackboneTrainer
    from .training.trainer import DynamicViTTrainer
    from .tuning.tune import tune
    from .vision_language import fit_processor

__all__ = [
    "REDUCERS",
    "BackboneTrainer",
    "DynamicAimv2Config",
    "DynamicAimv2Model",
    "DynamicAimv2VisionConfig",
    "DynamicAimv2VisionModel",
    "DynamicBeitBackbone",
    "DynamicBeitConfig",
    "DynamicBeitForImageClassification",
    "DynamicBeitModel",
    "DynamicCLIPConfig",
    "DynamicCLIPForImageClassification",
    "DynamicCLIPModel",
    "DynamicCLIPVisionConfig",
    "DynamicCLIPVisionModel",
    "DynamicConvNextConfig",
    "DynamicConvNextForImageClassification",
    "DynamicConvNextModel",
    "DynamicDINOv3ViTBackbone",
    "DynamicDINOv3ViTConfig",
    "DynamicDINOv3ViTForImageClassification",
    "DynamicDINOv3ViTModel",
    "DynamicDeiTConfig",
    "DynamicDeiTForImageClassification",
    "DynamicDeiTModel",
    "DynamicDinov2Backbone",
    "DynamicDinov2Config",
    "DynamicDinov2ForImageClassification",
    "DynamicDinov2Model",
    "DynamicDinov2WithRegistersBackbone",
    "DynamicDinov2WithRegistersConfig",
    "DynamicDinov2WithRegistersForImageClassification",
    "DynamicDinov2WithRegistersModel",
    "DynamicIJepaConfig",
    "DynamicIJepaForImageClassification",
    "DynamicIJepaModel",
    "DynamicIdefics3VisionConfig",
    "DynamicIdefics3VisionModel",
    "DynamicLVViTConfig",
    "DynamicLVViTForImageClassification",
    "DynamicLVViTModel",
    "DynamicLevitConfig",
    "DynamicLevitForImageClassification",
    "DynamicLevitModel",
    "DynamicMetaClip2Config",
    "DynamicMetaClip2ForImageClassification",
    "DynamicMetaClip2Model",
    "DynamicMetaClip2VisionConfig",
    "DynamicMetaClip2VisionModel",
    "DynamicSiglipConfig",
    "DynamicSiglipForImageClassification",
    "DynamicSiglipModel",
    "DynamicSiglipVisionConfig",
    "DynamicSiglipVisionModel",
    "DynamicSmolVLMVisionConfig",
    "DynamicSmolVLMVisionModel",
    "DynamicSwinConfig",
    "DynamicSwinForImageClassification",
    "DynamicSwinModel",
    "DynamicViTConfig",
    "DynamicViTForImageClassification",
    "DynamicViTMSNConfig",
    "DynamicViTMSNForImageClassification",
    "DynamicViTMSNModel",
    "DynamicViTModel",
    "DynamicViTTrainer",
    "DynamicViTTrainingArguments",
    "DynamicYolosConfig",
    "DynamicYolosForObjectDetection",
    "DynamicYolosModel",
    "LVViTConfig",
    "LVViTForImageClassification",
    "LVViTModel",
    "__version__",
    "fit_processor",
    "reduce_tokens",
    "register_family",
    "register_reducer",
    "restore",
    "tune",
]

# name -> the module whose import brings it
_HOMES = {
    **HOMES,
    "fit_processor": ".vision_language",
    "reduce_tokens": ".adoption",
    "restore": ".adoption",
    "REDUCERS": ".model.reducers",
    "register_family": ".registration",
    "register_reducer": ".model.reducers",
    "tune": ".tuning.tune",
    "BackboneTrainer": ".training.backbone_trainer",
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
