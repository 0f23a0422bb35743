# Copyright 2026 The hf_dynamicvit authors. LV-ViT (NeurIPS 2021): https://arxiv.org/abs/2104.10858
"""A dense LV-ViT: a convolutional stem, scaled residual branches, and a classifier of every patch token.

Transformers has none. Attention and MLP are those of its ViT; the weights of the published files fit.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutputWithPooling, ImageClassifierOutput
from transformers.models.vit.modeling_vit import (
    ViTAttention,
    ViTEmbeddings,
    ViTLayer,
    ViTPatchEmbeddings,
    ViTPreTrainedModel,
)
from transformers.processing_utils import Unpack
from transformers.utils.generic import TransformersKwargs

from .compat import can_return_tuple, capture_outputs, merge_with_config_defaults
from .configuration_lvvit import LVViTConfig
from .cost import as_pair
from .spatial import interpolate_positions


class LVViTPatchEmbeddings(ViTPatchEmbeddings):
    """Three convolutions with batch norm, the first of stride 2, then the projection of patches of half the size."""

    def __init__(self, config: Any):
        super().__init__(config)
        width, (height, across) = config.stem_width, as_pair(config.patch_size)
        half = height // 2, across // 2
        self.conv1 = nn.Conv2d(config.num_channels, width, 7, stride=2, padding=3, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(width)
        self.projection = nn.Conv2d(width, config.hidden_size, half, stride=half)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Embed `pixel_values` `[B, channels, height, width]` as `[B, num_patches, D]`, of whole patches alone."""
        if pixel_values.shape[1] != self.num_channels:
            raise ValueError(
                f"pixel_values has {pixel_values.shape[1]} channels; the model takes {self.num_channels}."
            )
        down, across = (
            size - size % patch for size, patch in zip(pixel_values.shape[2:], self.patch_size, strict=True)
        )
        features = pixel_values[..., :down, :across]
        features = self.norm1(self.conv1(features)).relu()
        features = self.norm2(self.conv2(features)).relu()
        features = self.norm3(self.conv3(features)).relu()
        return self.projection(features).flatten(2).transpose(1, 2)


class LVViTEmbeddings(ViTEmbeddings):
    """`ViTEmbeddings` behind the stem, whose positions interpolate between any two grids, square or not."""

    def __init__(self, config: Any):
        super().__init__(config)
        self.patch_embeddings = LVViTPatchEmbeddings(config)

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        """Position embeddings `[1, 1 + num_patches, D]` for an image of `height` x `width` pixels."""
        return interpolate_positions(self, 1, height, width)


class LVViTLayer(ViTLayer):
    """A block of ViT; what attention and MLP add is divided by `config.branch_divisor`."""

    def __init__(self, config: Any):
        super().__init__(config)
        self.branch_divisor = config.branch_divisor

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, **kwargs) -> Tensor:
        output, _ = self.attention(self.layernorm_before(hidden_states), attention_mask, **kwargs)
        hidden_states = hidden_states + self.dropout(output) / self.branch_divisor
        output = self.mlp(self.layernorm_after(hidden_states))
        return hidden_states + self.dropout(output) / self.branch_divisor


class LVViTPreTrainedModel(ViTPreTrainedModel):
    config: Any  # an LVViTConfig
    config_class = LVViTConfig
    base_model_prefix = "lvvit"
    _no_split_modules = ["LVViTEmbeddings", "LVViTLayer"]
    _can_record_outputs = {"hidden_states": LVViTLayer, "attentions": ViTAttention}


class LVViTModel(LVViTPreTrainedModel):
    """LV-ViT without its classifiers."""

    pooler = None

    def __init__(self, config: Any):
        super().__init__(config)
        self.embeddings = LVViTEmbeddings(config)
        self.layers = nn.ModuleList([LVViTLayer(config) for _ in range(config.num_hidden_layers)])
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        pixel_values: Tensor,
        bool_masked_pos: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """Run all blocks on `pixel_values` `[B, channels, height, width]`; arguments as in `ViTModel`."""
        pixel_values = pixel_values.to(self.embeddings.patch_embeddings.projection.weight.dtype)
        hidden = self.embeddings(pixel_values, bool_masked_pos, bool(interpolate_pos_encoding))
        mask: Any = create_bidirectional_mask(config=self.config, inputs_embeds=hidden, attention_mask=attention_mask)
        for layer in self.layers:
            hidden = layer(hidden, mask, **kwargs)
        return BaseModelOutputWithPooling(last_hidden_state=self.layernorm(hidden))


def combine_answers(token_logits: Tensor, weights: Tensor | None = None) -> Tensor:
    """Predict from the logits of every token: those of the class token, and half of the highest of a patch, by class.

    Args:
        token_logits: `[B, 1 + N, K]`, the class token first.
        weights: `[B, N]`, 0 for patch tokens that are out, or `None` for none.
    """
    patches = token_logits[:, 1:]
    if weights is not None:
        patches = patches.masked_fill(weights[..., None] == 0, torch.finfo(patches.dtype).min)
    return token_logits[:, 0] + 0.5 * patches.amax(dim=1)


class LVViTForImageClassification(LVViTPreTrainedModel):
    """LV-ViT with a classifier of the class token and one of the patch tokens.

    The prediction is that of the class token plus half of the highest of a patch, class by class. The loss is of the
    prediction, so that both classifiers learn; the label maps of the published training are not part of this.
    """

    def __init__(self, config: Any):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.lvvit = LVViTModel(config)
        self.classifier, self.token_classifier = (
            nn.Linear(config.hidden_size, config.num_labels) if config.num_labels else nn.Identity() for _ in range(2)
        )
        self.post_init()

    def answer_tokens(self, features: Tensor, patches: Tensor) -> Tensor:
        """Logits `[B, 1 + N, K]` of the class token `features` `[B, D]` and the patch tokens `[B, N, D]`."""
        return torch.cat((self.classifier(features)[:, None], self.token_classifier(patches)), dim=1)

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> ImageClassifierOutput:
        """Classify `pixel_values` `[B, channels, height, width]`; arguments as in `ViTForImageClassification`."""
        outputs = self.lvvit(
            pixel_values, interpolate_pos_encoding=interpolate_pos_encoding, return_dict=True, **kwargs
        )
        states = outputs.last_hidden_state
        logits = combine_answers(self.answer_tokens(states[:, 0], states[:, 1:]))
        loss = None if labels is None else self.loss_function(labels, logits, self.config, **kwargs)
        return ImageClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


__all__ = ["LVViTForImageClassification", "LVViTModel", "LVViTPreTrainedModel"]
