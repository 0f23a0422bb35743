# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Swin in one stage of which positions take a fast path."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.swin.modeling_swin import (
    SwinAttention,
    SwinEmbeddings,
    SwinForImageClassification,
    SwinLayer,
    SwinModel,
    SwinPreTrainedModel,
    SwinStage,
)

from .compat import attention_implementation, eager_attention_forward, native_recordings
from .configuration_dynamicswin import DynamicSwinConfig
from .positions import Positions
from .pyramid import (
    Grid,
    PyramidBlock,
    PyramidForImageClassification,
    PyramidModel,
    PyramidPreTrainedModel,
    StageOutput,
)
from .tokens import Decision


class DynamicSwinEmbeddings(SwinEmbeddings):
    """`SwinEmbeddings` whose absolute positions interpolate between any two grids, square or not, padded too."""

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        """Absolute positions `[1, num_patches, C]` for an image of `height` x `width` pixels."""
        patch_height, patch_width = self.patch_embeddings.patch_size
        grid = (-(-height // patch_height), -(-width // patch_width))
        positions: Any = self.position_embeddings
        if grid == tuple(self.patch_grid):
            return positions
        table = positions.reshape(1, *self.patch_grid, -1).permute(0, 3, 1, 2).float()
        table = nn.functional.interpolate(table, size=grid, mode="bicubic", align_corners=False)
        return table.flatten(2).transpose(1, 2).to(positions.dtype)


def split_windows(image: Tensor, size: int) -> Tensor:
    """Split maps `[B, H, W, C]` into windows `[B * windows, size * size, C]`; `size` divides H and W."""
    windows = image.unflatten(2, (-1, size)).unflatten(1, (-1, size)).transpose(2, 3)
    return windows.reshape(-1, size * size, image.shape[-1])


def join_windows(windows: Tensor, size: int, grid: Grid) -> Tensor:
    """Join windows to maps `[B, H, W, C]` of `grid`, as `split_windows` has split them."""
    down, across = grid[0] // size, grid[1] // size
    parts = windows.reshape(-1, down, across, size, size, windows.shape[-1])
    return parts.transpose(2, 3).reshape(-1, *grid, windows.shape[-1])


def shift_mask(grid: Grid, size: int, shift: int, like: Tensor) -> Tensor:
    """Build what keeps apart the parts of a window that only the shift brought together: `[windows, 1, T, T]`."""
    regions = [
        (torch.arange(length, device=like.device) >= length - size).int()
        + (torch.arange(length, device=like.device) >= length - shift).int()
        for length in grid
    ]
    region = split_windows((3 * regions[0][:, None] + regions[1])[None, :, :, None], size)[..., 0]
    apart = region[:, None, :] != region[:, :, None]
    return torch.zeros_like(apart, dtype=like.dtype).masked_fill(apart, -100.0)[:, None]


class DynamicSwinAttention(SwinAttention):
    """`SwinAttention` for windows of any size up to the configuration's."""

    def window_bias(self, size: int) -> Tensor:
        """Relative position biases `[1, H, T, T]` of a window of `size` x `size`."""
        bias = self.relative_position_bias
        largest = bias.window_size[0]
        if size == largest:
            return bias()
        place = torch.arange(size, device=bias.relative_position_bias_table.device)
        apart = place[:, None] - place + largest - 1  # [size, size]
        index = apart[:, None, :, None] * (2 * largest - 1) + apart[None, :, None, :]  # of rows and columns
        return bias.relative_position_bias_table[index.flatten(0, 1).flatten(1)].permute(2, 0, 1)[None].contiguous()

    def forward(
        self, windows: Tensor, size: int, mask: Tensor | None = None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Attend within each of `windows` `[B * W, T, C]`; `mask` `[W, 1, T, T]` is added to the logits."""
        states = (project(windows) for project in (self.q_proj, self.k_proj, self.v_proj))
        query, key, value = (each.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for each in states)
        bias = self.window_bias(size)
        if mask is not None:
            bias = (bias + mask).repeat(windows.shape[0] // mask.shape[0], 1, 1, 1)
        implementation = attention_implementation(self.config)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        dropout = self.attention_dropout if self.training else 0.0
        context, weights = attend(self, query, key, value, bias, dropout=dropout, scaling=self.scaling, **kwargs)
        return self.o_proj(context.flatten(2)), weights


class DynamicSwinLayer(PyramidBlock, SwinLayer):
    """`SwinLayer` whose window and shift follow from the grid of each call, with stochastic depth on both branches.

    The native one keeps the smaller window of a small image for all images after it.
    """

    window_size: int
    shift_size: int

    def forward(
        self,
        hidden_states: Tensor,
        input_dimensions: Grid,
        always_partition: bool = False,
        positions: Positions | None = None,
        reducer: Any = None,
        index: int = 0,
        **kwargs: Any,
    ) -> tuple:
        """As natively; of the reduced stage the `positions` too, whose `hidden` stands first where it is recorded."""
        if positions is not None:
            positions, weights = self.reduce(positions.change(hidden=hidden_states), reducer, index, **kwargs)
            return positions.hidden, weights, positions
        mixed, weights = self.mix(hidden_states, input_dimensions, **kwargs)
        return mixed + self.feed_forward(mixed), weights

    def window_and_shift(self, grid: Grid) -> tuple[int, int]:
        """Return the size of the windows on `grid`, and how far they are shifted."""
        if min(grid) <= self.window_size:
            return min(grid), 0
        return self.window_size, self.shift_size

    def mix(self, hidden: Tensor, grid: Grid, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        size, shift = self.window_and_shift(grid)
        image = self.layernorm_before(hidden).unflatten(1, grid)
        below, beside = -grid[0] % size, -grid[1] % size
        if below or beside:
            image = nn.functional.pad(image, (0, 0, 0, beside, 0, below))
        padded = (grid[0] + below, grid[1] + beside)
        mask = None
        if shift:
            image, mask = image.roll((-shift, -shift), (1, 2)), shift_mask(padded, size, shift, image)
        windows, weights = self.attention(split_windows(image, size), size, mask, **kwargs)
        image = join_windows(self.dropout(windows), size, padded)
        if shift:
            image = image.roll((shift, shift), (1, 2))
        return hidden + self.drop_path(image[:, : grid[0], : grid[1]].flatten(1, 2)), weights

    def feed_forward(self, mixed: Tensor) -> Tensor:
        return self.drop_path(self.dropout(self.mlp(self.layernorm_after(mixed))))

    def residual(self, entered: Tensor, mixed: Tensor, rows: Tensor | None = None) -> Tensor:
        return mixed


class DynamicSwinStage(SwinStage):
    """`SwinStage` whose positions a method sends on slow and fast paths."""

    def forward(
        self,
        hidden_states: Tensor,
        input_dimensions: Grid,
        reducer: Any = None,
        keeps_scores: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, Tensor | None, tuple[Decision, ...]]:
        """As natively, and what was decided."""
        positions, weights = Positions(hidden_states, input_dimensions, keeps_scores=keeps_scores), None
        for index, layer in enumerate(self.blocks):
            _, weights, positions = layer(
                positions.hidden, input_dimensions, positions=positions, reducer=reducer, index=index, **kwargs
            )
        hidden = positions.hidden if self.downsample is None else self.downsample(positions.hidden, input_dimensions)
        shaped = self.get_reshaped_hidden_states(hidden, positions.hidden, *input_dimensions, False)
        return hidden, shaped, weights, positions.decisions


class DynamicSwinPreTrainedModel(PyramidPreTrainedModel, SwinPreTrainedModel):
    config: DynamicSwinConfig
    config_class = DynamicSwinConfig
    embeddings_class, layer_class = DynamicSwinEmbeddings, DynamicSwinLayer
    attention_class, stage_class = DynamicSwinAttention, DynamicSwinStage

    @classmethod
    def recorded_outputs(cls) -> dict[str, Any]:
        return native_recordings(SwinPreTrainedModel)


class DynamicSwinModel(DynamicSwinPreTrainedModel, PyramidModel, SwinModel):
    """Swin in whose stage before the last positions take slow and fast paths. See `DynamicSwinConfig`."""

    pooler: Any

    @classmethod
    def native_stages(cls, base: Any) -> nn.ModuleList:
        return base.encoder.layers

    @classmethod
    def stage_blocks(cls, stage: Any) -> nn.ModuleList:
        return stage.blocks

    @classmethod
    def exchanged_modules(cls, base: Any):
        for where, block, ours in super().exchanged_modules(base):
            yield where, block, ours
            yield where, block.attention, cls.attention_class

    @property
    def embedding_weight(self) -> Tensor:
        return self.embeddings.patch_embeddings.projection.weight

    def embed(self, pixel_values: Tensor, interpolate: bool) -> StageOutput:
        hidden, grid = self.embeddings(pixel_values, interpolate_pos_encoding=interpolate)
        return StageOutput(hidden, grid, hidden.transpose(1, 2).unflatten(2, grid).contiguous())

    def weights_at(self, height: int, width: int) -> dict[str, Tensor]:
        positions = self.embeddings.position_embeddings
        if positions is None:
            return {}
        return {"embeddings.position_embeddings": self.embeddings.interpolate_pos_encoding(positions, height, width)}

    def run_stage(self, stage: Any, entering: StageOutput, **kwargs: Any) -> StageOutput:
        hidden, shaped, _, *decisions = stage(entering.hidden, entering.grid, **kwargs)
        down, across = entering.grid
        grid = (down, across) if stage.downsample is None else ((down + 1) // 2, (across + 1) // 2)
        return StageOutput(hidden, grid, shaped, *decisions)

    def read_out(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        normed = self.layernorm(hidden)
        return normed, normed.mean(dim=1)

    def pool_features(self, features: Tensor) -> Tensor | None:
        return None if self.pooler is None else features

    def reshaped(self, shaped: list[Tensor | None], kwargs: Any) -> tuple[Tensor, ...] | None:
        asked = kwargs.get("output_hidden_states", self.config.output_hidden_states)
        return tuple(each for each in shaped if each is not None) if asked else None

    def normed_positions(self, last_hidden_state: Tensor) -> Tensor:
        return last_hidden_state


class DynamicSwinForImageClassification(
    DynamicSwinPreTrainedModel, PyramidForImageClassification, SwinForImageClassification
):
    """DynamicSwin with a linear classifier on the mean of the positions.

    ```python
    name = "microsoft/swin-tiny-patch4-window7-224"
    model = DynamicSwinForImageClassification.from_pretrained(name)
    ```
    """

    swin: DynamicSwinModel
    model_class, dense_class = DynamicSwinModel, SwinForImageClassification


__all__ = ["DynamicSwinForImageClassification", "DynamicSwinModel", "DynamicSwinPreTrainedModel"]
