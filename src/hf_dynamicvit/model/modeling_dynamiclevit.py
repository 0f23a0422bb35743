# Copyright 2026 The hf_dynamicvit authors. Evo-ViT (AAAI 2022): https://arxiv.org/abs/2108.01390
"""LeViT by Evo-ViT: a class token and positions are added, the biases of attention are gone; some patches wait.

Attention, MLPs and batch norms are those of Transformers' LeViT, under its names. So a dense LeViT has not all of the
weights, and those that it has were trained with others: one of these is trained from random weights.
"""

import itertools
from dataclasses import replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers import initialization as init
from transformers.models.levit.modeling_levit import (
    LevitForImageClassificationWithTeacher,
    LevitModel,
    LevitPreTrainedModel,
)

from .budget import Counts, Images
from .classification import ReducedForImageClassification
from .compat import can_return_tuple, take_eager_attention
from .configuration_dynamiclevit import DynamicLevitConfig
from .cost import grid_size
from .levit_cost import attention_multiply_adds, coarser_multiply_adds, stem_multiply_adds
from .levit_reducer import EvoLevitReducer, stage_sides, take_every_other
from .outputs import Answer, DynamicViTModelOutput, stacked_scores
from .pretrained import ReducedPreTrainedModel
from .refused import NEEDS_TRAINING
from .remote_code import PLACE
from .tokens import Decision, Tokens


def resize_positions(table: Tensor, side: int) -> Tensor:
    """Interpolate positions `[1, 1 + N, D]` to a grid of `side` x `side` patches; that of the class token stays."""
    old = round((table.shape[1] - 1) ** 0.5)
    if old == side:
        return table
    patches = table[:, 1:].transpose(1, 2).unflatten(2, (old, old)).float()
    patches = nn.functional.interpolate(patches, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat((table[:, :1], patches.flatten(2).transpose(1, 2).to(table.dtype)), dim=1)


def attend(attention: Any, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Return the output `[B, Q, D]` of an attention, and the class token's to each patch, `[B, N]`, mean of heads."""
    weights = (query @ key.transpose(2, 3) * attention.scale).softmax(dim=-1)  # [B, H, Q, T]
    context = (weights @ value).transpose(1, 2).flatten(2)
    return attention.projection(attention.activation(context)), weights[:, :, 0, 1:].mean(dim=1)


class LevitTokenAttention(nn.Module):
    """What LeViT's attention becomes: without biases of places, which a token that stands for several has not."""

    queries_keys_values: Any
    num_attention_heads: int
    key_dim: int
    attention_ratio: int

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Attend from each of `hidden` `[B, T, D]` to all; return as `attend`."""
        states = self.queries_keys_values(hidden).unflatten(2, (self.num_attention_heads, -1)).transpose(1, 2)
        query, key, value = states.split([self.key_dim, self.key_dim, self.attention_ratio * self.key_dim], dim=3)
        return attend(self, query, key, value)


class LevitSubsampling(nn.Module):
    """What the attention that makes the grid coarser becomes: with positions in place of biases."""

    keys_values: Any
    queries: Any
    position_embeddings: nn.Parameter
    num_attention_heads: int
    key_dim: int
    attention_ratio: int

    def forward(self, hidden: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Attend from every other patch, and the class token, to all of `hidden` `[B, 1 + side * side, D]`."""
        hidden = hidden + resize_positions(self.position_embeddings, side)
        asking = torch.cat((hidden[:, :1], take_every_other(hidden[:, 1:], side)), dim=1)
        states = self.keys_values(hidden).unflatten(2, (self.num_attention_heads, -1)).transpose(1, 2)
        key, value = states.split([self.key_dim, self.attention_ratio * self.key_dim], dim=3)
        query = self.queries(asking).unflatten(2, (self.num_attention_heads, -1)).transpose(1, 2)
        return attend(self, query, key, value)


def without_biases(attention: Any, cls: type) -> None:
    """Let a native attention become one of `cls`, without the biases of places."""
    attention.__class__ = cls
    del attention.attention_biases, attention.attention_bias_idxs


def skip_some(output: Tensor, rate: float, training: bool) -> Tensor:
    """Leave out a residual branch of some images in training, as the native model does."""
    if not training or not rate:
        return output
    return output * torch.rand(output.shape[0], 1, 1, device=output.device).ge_(rate).div(1 - rate)


def check_attention(name: Any) -> None:
    """Refuse the name of an attention that a LeViT has not; "sdpa" is what others have by default."""
    if name not in ("eager", "sdpa"):
        raise ValueError(f"attn_implementation is {name!r}; a LeViT has 'eager' alone.")


class DynamicLevitPreTrainedModel(ReducedPreTrainedModel, LevitPreTrainedModel):
    config: DynamicLevitConfig
    config_class = DynamicLevitConfig
    layer_class = attention_class = LevitTokenAttention

    def __init__(self, config: DynamicLevitConfig, *args, **kwargs):
        take_eager_attention(config)  # Auto classes write there what they were asked for
        super().__init__(config, *args, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, attn_implementation: str = "eager", **kwargs):
        """As in `PreTrainedModel`.

        Raises:
            ValueError: it is a dense LeViT, which lacks weights, or as `set_attn_implementation`.
        """
        check_attention(attn_implementation)
        place = {name: kwargs[name] for name in (*PLACE, "token", "local_files_only") if kwargs.get(name)}
        content, _ = PreTrainedConfig.get_config_dict(pretrained_model_name_or_path, **place)
        if content.get("model_type") == cls.config_class.dense_model_type:
            raise ValueError(f"{pretrained_model_name_or_path} is a dense LeViT: {NEEDS_TRAINING['levit']}")
        loading: Any = super().from_pretrained
        return loading(pretrained_model_name_or_path, *args, **kwargs)

    def set_attn_implementation(self, attn_implementation: Any, *args: Any, **kwargs: Any) -> None:
        """Change nothing: LeViT has one attention, which says how the class token attends.

        Raises:
            ValueError: `attn_implementation` is neither "eager" nor "sdpa", which mean it here.
        """
        check_attention(attn_implementation)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        for name in ("class_token", "position_embeddings"):
            if isinstance(module, DynamicLevitModel | LevitSubsampling) and hasattr(module, name):
                init.trunc_normal_(getattr(module, name), std=self.config.initializer_range)

    def multiply_adds_at(self, reducer: Any, counts: Counts, num_patches: int, images: Images = None) -> int:
        grids = reducer.grid_patches(num_patches)
        total = stem_multiply_adds(self.config, num_patches) + reducer.multiply_adds(counts, num_patches, 1)
        for layer, (count, _) in enumerate(counts):
            total += attention_multiply_adds(self.config, reducer.stage_of_layer(layer), count + 1)
        for stage, (before, after) in enumerate(itertools.pairwise(grids)):
            total += coarser_multiply_adds(self.config, stage, before + 1, after + 1)
        return total + 2 * self.config.hidden_sizes[-1] * self.num_outputs

    def dense_multiply_adds(self, images: Images = None) -> int:
        """Multiply-adds of one image with every patch in every block; there is no dense model of these weights."""
        reducer, num_patches = self.backbone.reducer, self._num_patches(images)
        return self.multiply_adds_at(reducer, reducer.all_counts(num_patches), num_patches)

    def scatter_to_grid(self, outputs: Any, image_size: int | tuple[int, int] | None = None) -> Tensor:
        """There are no features of every patch.

        Raises:
            ValueError: always.
        """
        raise ValueError("a LeViT ends on a coarser grid than that of the patches; take its last_hidden_state.")

    def tokens_to_grid(
        self, tokens: Tensor, outputs: Any, layer: int, image_size: int | tuple[int, int] | None = None
    ) -> Tensor:
        """There are no features of every patch.

        Raises:
            ValueError: always.
        """
        return self.scatter_to_grid(outputs, image_size)


class DynamicLevitModel(DynamicLevitPreTrainedModel, LevitModel):
    """LeViT with Evo-ViT's slow and fast tokens. See `DynamicLevitConfig`."""

    auto_names = ("AutoModel",)
    encoder: Any
    reducer: EvoLevitReducer

    @property
    def backbone(self) -> Any:
        """Itself."""
        return self

    @property
    def layers(self) -> nn.ModuleList:
        """The stages."""
        return self.encoder.stages

    def adopt(self) -> None:
        config = self.config
        del cast(Any, config).down_ops[len(config.depths) - 1 :]  # each native model adds one
        for stage, (depth, side) in enumerate(zip(config.depths, config.stage_sides, strict=True)):
            modules = self.encoder.stages[stage].layers
            for index in range(depth):
                without_biases(modules[2 * index].module, LevitTokenAttention)
            if stage + 1 < len(config.depths):
                without_biases(modules[2 * depth], LevitSubsampling)
                positions = torch.zeros(1, 1 + side**2, config.hidden_sizes[stage])
                modules[2 * depth].position_embeddings = nn.Parameter(positions)
        width = config.hidden_sizes[0]
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + config.num_patches, width))
        method: Any = config.methods[config.reducer]
        self.reducer = method(config, **config.reducer_args)

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        output_scores: bool = False,
        only_prefix: bool = False,
        **kwargs: Any,
    ) -> DynamicViTModelOutput:
        """Embed, run the stages, average the patches.

        Args:
            pixel_values: `[B, channels, side, side]`.
            interpolate_pos_encoding: accept image sizes other than the configuration's.
            attention_mask: must be `None`.
            output_hidden_states: the output has all tokens that enter each stage, and those that leave the last.
            output_scores: the output has `scores`, at inference.
            only_prefix: changes nothing, as a classifier reads the patches.

        Raises:
            ValueError: `pixel_values` has the wrong shape, or there is an `attention_mask`.
        """
        if attention_mask is not None:
            raise ValueError("attention_mask is given; a LeViT takes whole images only.")
        keeps_scores = output_scores and not self.training
        tokens = self.embed(pixel_values, bool(interpolate_pos_encoding)).change(keeps_scores=keeps_scores)
        side, layer, states, decisions = cast(Any, tokens.grid)[0], 0, [tokens.hidden], []
        for stage, depth in enumerate(self.config.depths):
            for index in range(depth):
                tokens = self.run_block(tokens, stage, index, layer)
                layer += 1
            decisions += [spread(decision, tokens.num_patches, side) for decision in tokens.decisions]
            if stage + 1 < len(self.config.depths):
                tokens = self.subsample(tokens, stage)
            states.append(tokens.hidden)
        patches = tokens.patches.mean(dim=1)
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        return DynamicViTModelOutput(
            last_hidden_state=tokens.hidden,
            pooler_output=patches,
            hidden_states=cast(Any, tuple(states)) if wanted else None,
            kept=torch.stack([decision.kept for decision in decisions], dim=1),
            owner=torch.stack([decision.owner for decision in decisions], dim=1),
            scores=stacked_scores(tuple(decisions)) if keeps_scores else None,
            decisions=tuple(decisions) if self.training else None,
            features=patches,
        )

    def embed(self, pixel_values: Tensor | None, interpolate: bool = False) -> Tokens:
        """Embed the images as the tokens that enter the first block; arguments and errors as in `forward`."""
        shape = None if pixel_values is None else tuple(pixel_values.shape)
        if pixel_values is None or pixel_values.ndim != 4 or pixel_values.shape[2] != pixel_values.shape[3]:
            raise ValueError(f"pixel_values has shape {shape}; it must be [batch, channels, side, side].")
        if not interpolate and pixel_values.shape[2] != self.config.image_size:
            raise ValueError(
                f"an image has {pixel_values.shape[2]} x {pixel_values.shape[3]} pixels, the model takes "
                f"{self.config.image_size} x {self.config.image_size}; interpolate_pos_encoding=True takes others."
            )
        side, _ = grid_size(self.config, (pixel_values.shape[2], pixel_values.shape[3]))
        weight = self.patch_embeddings.embedding_layer_1.convolution.weight
        whole = pixel_values[:, :, : 16 * side, : 16 * side].to(weight.dtype)
        patches = self.patch_embeddings(whole)
        hidden = torch.cat((self.class_token.expand(patches.shape[0], -1, -1), patches), dim=1)
        hidden = hidden + resize_positions(self.position_embeddings, side)
        return Tokens.start(hidden, 1).change(grid=(side, side))

    def weights_at(self, height: int, width: int) -> dict[str, Tensor]:
        """Interpolate the weights that are others for images of `height` x `width` pixels; return them by name.

        Raises:
            ValueError: they are no squares.
        """
        if height != width:
            raise ValueError(f"an image has {height} x {width} pixels; a LeViT takes squares.")
        sides = stage_sides(height // 16, len(self.config.depths))
        tables = {"position_embeddings": (self.position_embeddings, sides[0])}
        for stage, side in enumerate(sides[:-1]):
            place = 2 * self.config.depths[stage]
            name = f"encoder.stages.{stage}.layers.{place}.position_embeddings"
            tables[name] = (self.encoder.stages[stage].layers[place].position_embeddings, side)
        return {name: resize_positions(table, side) for name, (table, side) in tables.items()}

    def run_block(self, tokens: Tokens, stage: int, index: int, layer: int) -> Tokens:
        """Run the attention and the MLP of a block, with the method's hooks around them."""
        attention, mlp = self.encoder.stages[stage].layers[2 * index : 2 * index + 2]
        tokens = self.reducer.before(tokens, attention, layer)
        output, seen = attention.module(tokens.hidden)
        tokens = tokens.change(hidden=tokens.hidden + skip_some(output, attention.drop_rate, self.training))
        tokens = self.reducer.average(tokens, seen, layer)
        return self.reducer.after(tokens.change(hidden=mlp(tokens.hidden)), layer)

    def subsample(self, tokens: Tokens, stage: int) -> Tokens:
        """Make the grid coarser: new tokens, and the global class attention with them."""
        side, _ = cast(Any, tokens.grid)
        attention, mlp = self.encoder.stages[stage].layers[-2:]
        hidden, seen = attention(tokens.hidden, side)
        importance = self.reducer.coarsen(cast(Tensor, tokens.importance), seen, stage, side)
        coarser = stage_sides(side, 2)[1]
        started = Tokens.start(mlp(hidden), 1)
        return started.change(grid=(coarser, coarser), importance=importance, keeps_scores=tokens.keeps_scores)


def spread(decision: Decision, num_patches: int, side: int) -> Decision:
    """Let a decision about the `num_patches` of a coarser grid be one about `side` x `side` patches of the image."""
    own = round(num_patches**0.5)
    halvings = next(power for power in range(3) if stage_sides(side, power + 1)[-1] == own)
    rows = torch.arange(side, device=decision.kept.device) >> halvings
    cells = (rows[:, None] * own + rows).flatten()  # [side * side]
    scores = None if decision.scores is None else decision.scores[:, cells]
    return replace(decision, kept=decision.kept[:, cells], owner=decision.owner[:, cells], scores=scores)


class DynamicLevitForImageClassification(
    DynamicLevitPreTrainedModel, ReducedForImageClassification, LevitForImageClassificationWithTeacher
):
    """Two classifiers of the mean of the patches, whose mean is the prediction; training has two of the class token.

    One of each pair learns the labels, the other what a teacher answers, where there is one.
    """

    levit: DynamicLevitModel
    model_class: ClassVar[Any]
    model_class, dense_class = DynamicLevitModel, LevitForImageClassificationWithTeacher
    heads = ("classifier.linear", "classifier_distill.linear")

    def answer(self, outputs: DynamicViTModelOutput) -> Answer:
        features, states = cast(Tensor, outputs.features), cast(Tensor, outputs.last_hidden_state)
        own = torch.stack([self.classifier(features), self.classifier_distill(features)], dim=1)  # [B, 2, K]
        seen = self.reducer.class_logits(states[:, 0])
        if seen is None:
            return Answer(own.mean(dim=1))
        return Answer(own.mean(dim=1), auxiliary_logits=seen.mean(dim=1), head_logits=torch.cat((own, seen), dim=1))


__all__ = ["DynamicLevitForImageClassification", "DynamicLevitModel", "DynamicLevitPreTrainedModel"]
