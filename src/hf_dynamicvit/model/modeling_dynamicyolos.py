# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""YOLOS that reduces tokens: detection tokens are never reduced, positions of the middle blocks follow the patches."""

from typing import Any

import torch
from torch import Tensor
from transformers.models.yolos.modeling_yolos import (
    YolosAttention,
    YolosForObjectDetection,
    YolosLayer,
    YolosModel,
    YolosPreTrainedModel,
)

from .block import DynamicAttention, DynamicLayer, alias
from .configuration_dynamicyolos import DynamicYolosConfig
from .detection import ReducedForObjectDetection
from .pretrained import ReducedPreTrainedModel
from .reducer import TokenReducer
from .reduction import ReducedModel
from .tokens import Tokens
from .tower import refuse_masked


class DynamicYolosAttention(DynamicAttention, YolosAttention):
    q_proj, k_proj, v_proj = alias("attention.query"), alias("attention.key"), alias("attention.value")
    o_proj, config, is_causal = alias("output.dense"), alias("attention.config"), alias("attention.is_causal")
    num_attention_heads, head_dim = alias("attention.num_attention_heads"), alias("attention.attention_head_size")
    scaling, attention_dropout = alias("attention.scaling"), alias("attention.dropout_prob")


class DynamicYolosLayer(DynamicLayer, YolosLayer):
    dropout = alias("output.dropout")

    def forward(
        self, hidden: Tensor, tokens: Tokens, reducer: TokenReducer, layer: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tokens]:
        """Run one block; between blocks each token is told its position again."""
        if layer and tokens.table is not None:
            tokens = add_positions(tokens.change(hidden=hidden), tokens.table[layer - 1])
            hidden = tokens.hidden
        return super().forward(hidden, tokens, reducer, layer, *args, **kwargs)

    def mlp(self, hidden: Tensor) -> Tensor:
        """Run both linear layers; natively the second adds the residual too."""
        return self.output.dense(self.intermediate(hidden))


def add_positions(tokens: Tokens, positions: Tensor) -> Tokens:
    """Add to each token its row of `positions` `[P + num_patches + 1, D]`, of which the last is for nowhere."""
    rows = positions[None, :-1] if tokens.places is None else positions[tokens.places]
    if tokens.layout is not None:
        rows = tokens.layout.pack(rows.expand(*tokens.layout.padded, -1))
    return tokens.change(hidden=tokens.hidden + rows)


class DynamicYolosPreTrainedModel(ReducedPreTrainedModel, YolosPreTrainedModel):
    config: Any
    config_class = DynamicYolosConfig
    layer_class, attention_class = DynamicYolosLayer, DynamicYolosAttention


class DynamicYolosModel(DynamicYolosPreTrainedModel, ReducedModel, YolosModel):
    """YOLOS whose patch tokens a reducer thins out between blocks. See `DynamicViTConfig`.

    `last_hidden_state` is ordered as natively: class token, patches, detection tokens. All else has the detection
    tokens behind the class token, ahead of the patches.
    """

    layers = alias("encoder.layer")

    def embed_patches(self, pixel_values: Tensor, bool_masked_pos: Tensor | None, interpolate: bool) -> Tensor:
        refuse_masked(self, bool_masked_pos)
        dtype = self.embeddings.patch_embeddings.projection.weight.dtype
        return self.prefix_first(self.embeddings(pixel_values.to(dtype)))  # images of any size

    def prefix_first(self, states: Tensor) -> Tensor:
        count = self.config.num_detection_tokens
        return torch.cat((states[..., :1, :], states[..., -count:, :], states[..., 1:-count, :]), dim=-2)

    def native_order(self, states: Tensor) -> Tensor:
        prefix = self.config.num_prefix
        return torch.cat((states[:, :1], states[:, prefix:], states[:, 1:prefix]), dim=1)

    def locate(self, tokens: Tokens, pixel_values: Tensor) -> Tokens:
        """Interpolate the positions of the middle blocks, `[depth - 1, P + num_patches + 1, D]`."""
        table = None
        if self.encoder.interpolation is not None:
            height, width = pixel_values.shape[-2:]
            table = self.prefix_first(self.encoder.interpolation((height, width))[:, 0])
            table = torch.nn.functional.pad(table, (0, 0, 0, 1)).to(tokens.hidden.dtype)
        assert tokens.grid is not None
        return tokens.on_grid(tokens.grid, table)

    def weights_at(self, height: int, width: int) -> dict[str, Tensor]:
        first = self.embeddings.interpolation(self.embeddings.position_embeddings, (height, width))
        weights = {"embeddings.position_embeddings": first}
        if self.encoder.interpolation is not None:
            name = "encoder.interpolation.mid_position_embeddings"
            weights[name] = self.encoder.interpolation((height, width))
        return weights

    def read(self, states: Tensor, weights: Tensor | None, num_prefix: int) -> Tensor:
        """Return the detection tokens one behind the other, `[B, Q * D]`."""
        return states[:, 1:num_prefix].flatten(1)


class DynamicYolosForObjectDetection(DynamicYolosPreTrainedModel, ReducedForObjectDetection, YolosForObjectDetection):
    """Classes and boxes of the detection tokens. Loads any dense YOLOS:

    ```python
    name = "hustvl/yolos-tiny"
    model = DynamicYolosForObjectDetection.from_pretrained(name, reducer="tome")
    ```
    """

    vit: DynamicYolosModel
    model_class, dense_class = DynamicYolosModel, YolosForObjectDetection


__all__ = ["DynamicYolosForObjectDetection", "DynamicYolosModel", "DynamicYolosPreTrainedModel"]
