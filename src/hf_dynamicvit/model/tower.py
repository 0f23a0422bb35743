# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What the image towers of CLIP and its kin share, and models of two towers."""

from typing import Any

import torch
from torch import Tensor, nn

from .block import DynamicAttention, DynamicLayer, alias
from .classification import WithBaseModel
from .cost import grid_size
from .reduction import ReducedModel
from .scoring import masked_mean
from .tokens import Tokens


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


class MaskedTowerModel(TowerModel):
    """The image tower of Idefics3 and SmolVLM: images of any shape, padded to that of the largest of a batch."""

    layernorm = alias("post_layernorm")
    pooler = None

    def forward(
        self, pixel_values: Tensor | None = None, patch_attention_mask: Tensor | None = None, **kwargs: Any
    ) -> Any:
        """Embed, run the blocks, normalise; arguments as in `DynamicViTModel`.

        Args:
            pixel_values: `[B, channels, height, width]`.
            patch_attention_mask: `[B, down, across]` bool, false for patches of padding, which are dropped first.
            **kwargs: as there.
        """
        mask = patch_attention_mask
        whole = mask is None or (not torch.compiler.is_compiling() and bool(mask.all()))
        given = {} if mask is None or whole else {"attention_mask": mask.flatten(1)}
        return super().forward(pixel_values, **given, **kwargs)

    def embed(
        self,
        pixel_values: Tensor | None,
        bool_masked_pos: Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        attention_mask: Tensor | None = None,
    ) -> Tokens:
        refuse_masked(self, bool_masked_pos)
        return super().embed(pixel_values, attention_mask, interpolate_pos_encoding, attention_mask)

    def embed_patches(self, pixel_values: Tensor, bool_masked_pos: Tensor | None, interpolate: bool) -> Tensor:
        """Embed the images; positions depend on which patches are there, which stands for `bool_masked_pos` here."""
        grid = grid_size(self.config, (pixel_values.shape[-2], pixel_values.shape[-1]))
        there = bool_masked_pos
        if there is None:
            there = torch.ones(len(pixel_values), *grid, dtype=torch.bool, device=pixel_values.device)
        return self.embeddings(pixel_values, there.view(-1, *grid).bool())


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
