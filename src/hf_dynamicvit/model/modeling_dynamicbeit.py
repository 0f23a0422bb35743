# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""BEiT that reduces tokens: relative positions follow the tokens."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers.models.beit.modeling_beit import (
    BeitAttention,
    BeitBackbone,
    BeitEmbeddings,
    BeitForImageClassification,
    BeitLayer,
    BeitMLP,
    BeitModel,
    BeitPreTrainedModel,
    BeitRelativePositionBias,
)

from .backbone import ReducedBackbone
from .block import MLP, DynamicAttention, DynamicLayer
from .classification import ReducedForImageClassification, WithBaseModel
from .configuration_dynamicbeit import DynamicBeitConfig
from .cost import grid_size
from .outputs import DynamicViTModelOutput
from .packed import DynamicMLP
from .pretrained import ReducedPreTrainedModel
from .reduction import ReducedModel
from .scoring import masked_mean
from .spatial import interpolate_positions
from .tokens import Tokens


class DynamicBeitEmbeddings(BeitEmbeddings):
    """`BeitEmbeddings` whose absolute positions, if any, interpolate between any two grids, square or not."""

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        """Position embeddings `[1, 1 + num_patches, D]` for an image of `height` x `width` pixels."""
        return interpolate_positions(self, 1, height, width)


class DynamicBeitAttention(DynamicAttention, BeitAttention):
    pass


class DynamicBeitMLP(DynamicMLP, BeitMLP):
    pass


class DynamicBeitRelativePositionBias(BeitRelativePositionBias):
    """`BeitRelativePositionBias` that can be trained after any model of its kind has run in inference mode.

    All of them share the indices that were made, and one made in inference mode cannot be trained with.
    """

    @staticmethod
    def generate_relative_position_index(window_size: tuple[int, int]) -> Tensor:
        index = BeitRelativePositionBias.generate_relative_position_index(window_size)
        if torch.compiler.is_compiling() or torch.is_inference_mode_enabled():
            return index
        return index.clone() if index.is_inference() else index


class DynamicBeitLayer(DynamicLayer, BeitLayer):
    def branch(self, output: Tensor, part: int) -> Tensor:
        return self.drop_path((self.lambda_2 if part == MLP else self.lambda_1) * self.dropout(output))

    def relative(self, tokens: Tokens) -> Tensor | None:
        """Add the biases of this block and of all blocks for the tokens that are there; 0 for one that is nowhere."""
        bias, own = tokens.table, self.relative_position_bias
        if own is not None:
            bias = own(tokens.grid) if bias is None else own(tokens.grid) + bias  # [1, H, T, T]
        places = tokens.places
        if bias is None or places is None:
            return bias
        padded = torch.nn.functional.pad(bias[0], (0, 1, 0, 1))
        return padded[:, places[:, :, None], places[:, None]].transpose(0, 1)


def resize_bias(table: Tensor, old: list[int], new: list[int]) -> Tensor:
    """Interpolate a `table` of relative positions `[old[0] * old[1] + 3, H]` to `new` distances."""
    distances = table[:-3].view(1, *old, -1).permute(0, 3, 1, 2)
    distances = torch.nn.functional.interpolate(distances, size=new, mode="bilinear")
    return torch.cat((distances.flatten(2)[0].T, table[-3:]))


class DynamicBeitPreTrainedModel(ReducedPreTrainedModel, BeitPreTrainedModel):
    config: DynamicBeitConfig
    config_class = DynamicBeitConfig
    embeddings_class, layer_class = DynamicBeitEmbeddings, DynamicBeitLayer
    attention_class, mlp_class = DynamicBeitAttention, DynamicBeitMLP


class DynamicBeitModel(DynamicBeitPreTrainedModel, ReducedModel, BeitModel):
    """BEiT whose tokens a reducer thins out between blocks. See `DynamicViTConfig`."""

    @classmethod
    def exchanged_modules(cls, base: Any) -> Iterator[tuple[str, Any, type]]:
        yield from super().exchanged_modules(base)
        for name, module in base.named_modules():
            if isinstance(module, BeitRelativePositionBias):
                yield name, module, DynamicBeitRelativePositionBias

    def adopt(self) -> None:
        super().adopt()
        for module in self.modules():
            if isinstance(module, BeitRelativePositionBias):
                module.__class__ = DynamicBeitRelativePositionBias

    def embed_patches(self, pixel_values: Tensor, bool_masked_pos: Tensor | None, interpolate: bool) -> Tensor:
        pixel_values = pixel_values.to(self.embeddings.patch_embeddings.projection.weight.dtype)
        return self.embeddings(pixel_values, bool_masked_pos)  # images of any size

    def weights_at(self, height: int, width: int) -> dict[str, Tensor]:
        tables = {name: each for name, each in self.named_parameters() if name.endswith("position_bias_table")}
        old, new = ([2 * side - 1 for side in grid_size(self.config, size)] for size in (None, (height, width)))
        resized = {name: resize_bias(table, old, new) for name, table in tables.items()}
        return super().weights_at(height, width) | resized

    def locate(self, tokens: Tokens, pixel_values: Tensor) -> Tokens:
        height, width = pixel_values.shape[-2:]
        grid = grid_size(self.config, (height, width))
        return tokens.on_grid(grid, None if self.shared_position_bias is None else self.shared_position_bias(grid))

    def read(self, states: Tensor, weights: Tensor | None, num_prefix: int) -> Tensor:
        norm = self.pooler.layernorm
        return states[:, 0] if norm is None else norm(masked_mean(states[:, num_prefix:], weights)[:, 0])

    def features(self, tokens: Tokens, states: Tensor) -> Tensor | None:
        return None if self.pooler is None else super().features(tokens, states)

    def pool(self, states: Tensor, weights: Tensor | None) -> Tensor | None:
        return None if self.pooler is None else self.read(states, weights, self.config.num_prefix)


class DynamicBeitForImageClassification(
    DynamicBeitPreTrainedModel, ReducedForImageClassification, BeitForImageClassification
):
    """A linear classifier on the mean of the patches that are left, weighted by their size, or on the class token."""

    beit: DynamicBeitModel
    model_class, dense_class = DynamicBeitModel, BeitForImageClassification


class DynamicBeitBackbone(DynamicBeitPreTrainedModel, ReducedBackbone, WithBaseModel, BeitBackbone):
    """Feature maps of every patch, at the stages `out_features`, for heads of depth and segmentation."""

    beit: DynamicBeitModel
    model_class, dense_class = DynamicBeitModel, BeitBackbone

    def encode(self, *args: Any, **kwargs: Any) -> DynamicViTModelOutput:
        return self.beit(*args, **kwargs)

    def finish(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return self.fpn(maps)


__all__ = [
    "DynamicBeitBackbone",
    "DynamicBeitForImageClassification",
    "DynamicBeitModel",
    "DynamicBeitPreTrainedModel",
]
