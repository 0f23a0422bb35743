# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""DynamicDeiT on Hugging Face DeiT: two prefix tokens and two classifiers over the same loop and reducers.

Parameters are named as in `DeiTForImageClassificationWithTeacher` plus `reducer.*`.
"""

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)
from transformers.models.deit.configuration_deit import DeiTConfig
from transformers.models.deit.modeling_deit import DeiTEmbeddings, DeiTForImageClassificationWithTeacher
from transformers.processing_utils import Unpack
from transformers.utils.generic import TransformersKwargs, can_return_tuple

from .configuration_dynamicdeit import DynamicDeiTConfig
from .modeling_dynamicvit import (
    DynamicViTForImageClassification,
    DynamicViTModel,
    DynamicViTPreTrainedModel,
)
from .outputs import DynamicViTImageClassifierOutput
from .spatial import interpolate_positions


# As for DynamicViT: without this line old Hub files would load with random weights.
register_checkpoint_conversion_mapping(
    "DynamicDeiTModel", get_checkpoint_conversion_mapping("DeiTModel") or [], overwrite=True
)


class DynamicDeiTEmbeddings(DeiTEmbeddings):
    """`DeiTEmbeddings` whose position embeddings interpolate between any two grids, square or not, any patch shape."""

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        """Position embeddings `[1, 2 + num_patches, D]` for an image of `height` x `width` pixels."""
        return interpolate_positions(self, 2, height, width)


class DynamicDeiTPreTrainedModel(DynamicViTPreTrainedModel):
    config: DynamicDeiTConfig
    config_class = DynamicDeiTConfig
    embeddings_class = DynamicDeiTEmbeddings
    base_model_prefix = "deit"
    _no_split_modules = ["DynamicDeiTEmbeddings", "DynamicViTLayer"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, DeiTEmbeddings):  # as in DeiT, whose base class this is not
            for parameter in (module.cls_token, module.distillation_token, module.position_embeddings):
                init.zeros_(parameter)
            if module.mask_token is not None:
                init.zeros_(module.mask_token)

    @classmethod
    def auto_classes(cls) -> dict[type, str]:
        return {
            DynamicDeiTConfig: "AutoConfig",
            DynamicDeiTModel: "AutoModel",
            DynamicDeiTForImageClassification: "AutoModelForImageClassification",
        }


class DynamicDeiTModel(DynamicDeiTPreTrainedModel, DynamicViTModel):
    """DeiT whose tokens a reducer thins out between blocks; the first two tokens are never reduced."""


class DynamicDeiTForImageClassification(DynamicDeiTPreTrainedModel, DynamicViTForImageClassification):
    """DynamicDeiT with a linear classifier on each prefix token; the logits are their mean, as in DeiT at inference.

    ```python
    model = DynamicDeiTForImageClassification.from_pretrained("facebook/deit-tiny-distilled-patch16-224")
    ```
    """

    deit: DynamicDeiTModel

    def __init__(self, config: DynamicDeiTConfig):
        DynamicDeiTPreTrainedModel.__init__(self, config)
        self.num_labels = config.num_labels
        self.deit = DynamicDeiTModel(config, add_pooling_layer=False)
        num_labels = config.num_labels or 0
        self.cls_classifier = nn.Linear(config.hidden_size, num_labels) if num_labels > 0 else nn.Identity()
        self.distillation_classifier = nn.Linear(config.hidden_size, num_labels) if num_labels > 0 else nn.Identity()
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        attention_mask: Tensor | None = None,
        output_scores: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> DynamicViTImageClassifierOutput:
        """As in `DynamicViTForImageClassification`; `attention_mask` is `[B, 2 + num_patches]`."""
        return self._classify(
            pixel_values, labels, interpolate_pos_encoding, attention_mask, output_scores=output_scores, **kwargs
        )

    def classify_features(self, features: Tensor, last_hidden_state: Tensor) -> Tensor:
        second = last_hidden_state[:, 1] if self.deit.reducer.reads_class_token else features
        return (self.cls_classifier(features) + self.distillation_classifier(second)) / 2

    def _dense_model(self, settings: dict) -> DeiTForImageClassificationWithTeacher:
        return DeiTForImageClassificationWithTeacher(DeiTConfig(**settings))


__all__ = ["DynamicDeiTForImageClassification", "DynamicDeiTModel", "DynamicDeiTPreTrainedModel"]
