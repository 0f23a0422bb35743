# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What the image towers of CLIP and its kin share, and models of two towers."""

from typing import Any

from torch import Tensor, nn

from .block import DynamicAttention, DynamicLayer, alias
from .classification import WithBaseModel
from .reduction import ReducedModel
from .scoring import masked_mean


class TowerAttention(DynamicAttention):
    """Attention with the names of CLIP."""

    o_proj, num_attention_heads = alias("out_proj"), alias("num_heads")
    scaling, attention_dropout = alias("scale"), alias("dropout")


class TowerLayer(DynamicLayer):
    """A block with the names of CLIP."""

    attention, layernorm_before, layernorm_after = alias("self_attn"), alias("layer_norm1"), alias("layer_norm2")

    def branch(self, output: Tensor, part: int) -> Tensor:
        return self.drop_path(output)


def refuse_masked(model: Any, bool_masked_pos: Tensor | None) -> None:
    """Refuse masked positions for a `model` without a mask token.

    Raises:
        ValueError: there are some.
    """
    if bool_masked_pos is not None:
        raise ValueError(f"bool_masked_pos is given; a {type(model).__name__} has no mask token.")


class TowerModel(ReducedModel):
    """The image tower."""

    layers = alias("encoder.layers")

    def embed_patches(self, pixel_values: Tensor, bool_masked_pos: Tensor | None, interpolate: bool) -> Tensor:
        refuse_masked(self, bool_masked_pos)
        return self.embeddings(pixel_values, interpolate_pos_encoding=interpolate)


class ClassTowerModel(TowerModel):
    """The image tower of CLIP: a norm ahead of the blocks, none behind them but for the class token that is pooled."""

    layernorm = nn.Identity()
    pre_layrnorm: Any
    post_layernorm: Any

    def embed_patches(self, pixel_values: Tensor, bool_masked_pos: Tensor | None, interpolate: bool) -> Tensor:
        return self.pre_layrnorm(super().embed_patches(pixel_values, bool_masked_pos, interpolate))

    def read(self, states: Tensor, weights: Tensor | None, num_prefix: int) -> Tensor:
        return masked_mean(states[:, num_prefix:], weights)[:, 0]

    def pool(self, states: Tensor, weights: Tensor | None) -> Tensor:
        return self.post_layernorm(states[:, 0])


class TwoTowerModel(WithBaseModel):
    """Both towers, for zero-shot classification: it stands ahead of the native model, whose `forward` runs.

    The costs that it counts are those of the image tower.
    """

    auto_names = ("AutoModel", "AutoModelForZeroShotImageClassification")

    @property
    def num_outputs(self) -> int:
        """There is no classifier."""
        return 0
