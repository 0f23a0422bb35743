# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Adoption: a native vision transformer whose blocks change class in place, with a reducer, under the one loop.

The native constructor builds the model. So parameters are named as in it plus `reducer.*`: a dense checkpoint loads
with only those new, a sparse one loads into the dense class with only those left over. A family is a short file that
names its classes, and says what differs from ViT.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import wraps
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from transformers.processing_utils import Unpack
from transformers.utils.generic import TransformersKwargs

from .alignment import read_share, start_shares
from .block import DynamicLayer
from .checkpointing import check_checkpointing
from .compat import (
    capture_outputs,
    merge_with_config_defaults,
)
from .cost import grid_size
from .legacy_keys import rename_legacy_keys
from .outputs import DynamicViTModelOutput, stacked_scores
from .pretrained import ReducedPreTrainedModel
from .reducer import TokenReducer
from .reducers import REDUCERS
from .scoring import masked_mean
from .spatial import put_patches_back
from .tokens import Tokens, gather_tokens


def read_as(cls: type, module: Any, name: str) -> Any:
    """Read the part of the native `module` that its class-to-be `cls` calls `name`."""
    found = getattr(cls, name, None)
    return found.fget(module) if isinstance(found, property) else getattr(module, name)


def with_full_grid(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Let `forward` of a base model hand out every patch where `config.full_grid` says so."""

    @wraps(forward)
    def run(self: Any, *args: Any, output_tokens: bool = False, return_dict: bool | None = None, **kwargs: Any) -> Any:
        if not self.config.full_grid or kwargs.get("only_prefix"):
            told = {} if return_dict is None else {"return_dict": return_dict}
            return forward(self, *args, output_tokens=output_tokens, **told, **kwargs)
        outputs = put_patches_back(self, forward(self, *args, output_tokens=True, return_dict=True, **kwargs))
        outputs = outputs if output_tokens else replace(outputs, tokens=None)
        as_tuple = not (self.config.return_dict if return_dict is None else return_dict)
        return outputs.to_tuple() if as_tuple else outputs

    return run


class ReducedModel(ReducedPreTrainedModel):
    """The encoder loop: it stands ahead of the native base model, which its blocks and parts are those of."""

    renamed_by_type: ClassVar[bool] = True  # the mapping of keys may stand under the native model type
    embeddings: Any
    layers: nn.ModuleList
    layernorm: Any
    pooler: Any
    reducer: TokenReducer
    auto_names = ("AutoModel",)

    @property
    def backbone(self) -> Any:
        """Itself."""
        return self

    def adopt(self) -> None:
        if self.embeddings_class is not None:
            self.embeddings.__class__ = self.embeddings_class
        depth, layer_class = len(self.layers), cast(type[DynamicLayer], self.layer_class)
        for index, layer in enumerate(cast(list[Any], self.layers)):
            rate = self.config.drop_path_rate * index / max(1, depth - 1)
            layer_class.adopt(layer, self.attention_class, self.mlp_class, rate)
        self.reducer = REDUCERS[self.config.reducer](self.config, **self.config.reducer_args)
        self.register_load_state_dict_pre_hook(rename_legacy_keys)

    @with_full_grid
    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        pixel_values: Tensor | None = None,
        bool_masked_pos: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        attention_mask: Tensor | None = None,
        only_prefix: bool = False,
        output_scores: bool = False,
        output_tokens: bool = False,
        patch_shares: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> DynamicViTModelOutput:
        """Embed, run the blocks, normalise.

        Args:
            pixel_values: `[B, channels, height, width]`.
            bool_masked_pos: `[B, num_patches]` bool, masked positions (only with `use_mask_token=True`).
            interpolate_pos_encoding: accept image sizes other than the configuration's.
            attention_mask: `[B, 1 + num_patches]`, 1 = attend, 0 = never. Its columns are gathered with the tokens,
                and patches with 0 are the first to be dropped.
            only_prefix: nothing but the prefix tokens is wanted. Where that saves work `last_hidden_state` is
                `[B, P, D]`: at inference without gradients and recorded hidden states or attentions, with a family and
                a method whose classifier reads the class token.
            output_scores: the output has `scores`, at inference.
            output_tokens: the output has `tokens`, of every block.
            patch_shares: `[B, num_patches]`, from 0 to 1, how much of each patch is of the image itself where two are
                mixed, in training; the output then has `label_shares`.

        Raises:
            ValueError: `pixel_values`, `attention_mask` or `patch_shares` has the wrong shape; `patch_shares` at
                inference, or with a method whose tokens labels cannot follow.
        """
        check_checkpointing(self)
        tokens = self.embed(pixel_values, bool_masked_pos, bool(interpolate_pos_encoding), attention_mask)
        # with gradients on, hooks for saliency maps see what they would in ViT; a trace is the same with and without
        looked_at = torch.is_grad_enabled() or torch.jit.is_tracing() or self._records(kwargs)
        unobserved = not (self.training or looked_at)
        tokens = tokens.change(unobserved=unobserved, keeps_scores=output_scores and not self.training)
        tokens = tokens if patch_shares is None else self._share(tokens, patch_shares)
        last = len(self.layers) - 1
        pools = self.config.classifies_class_token or not only_prefix  # other classifiers do not read the pooler
        only_prefix = only_prefix and tokens.unobserved and self.config.reads_prefix_alone
        only_prefix = only_prefix and self.reducer.prefix_suffices(last)
        handed_on = [tokens] if output_tokens else []
        for index, layer in enumerate(self.layers):
            _, tokens = layer(tokens.hidden, tokens, self.reducer, index, only_prefix and index == last, **kwargs)
            if output_tokens:
                handed_on.append(tokens)

        last_hidden_state = self.layernorm(tokens.padded)
        return DynamicViTModelOutput(
            last_hidden_state=self.native_order(last_hidden_state),
            pooler_output=self.pool(last_hidden_state, tokens.weights) if pools else None,
            kept=torch.stack([decision.kept for decision in tokens.decisions], dim=1),
            owner=torch.stack([decision.owner for decision in tokens.decisions], dim=1),
            scores=stacked_scores(tokens.decisions) if tokens.keeps_scores else None,
            decisions=tokens.decisions if self.training else None,
            features=self.features(tokens, last_hidden_state),
            auxiliary_logits=self.reducer.auxiliary_logits(tokens) if self.training else None,
            weights=tokens.weights,
            tokens=tuple(handed_on) or None,
            label_shares=None if patch_shares is None else read_share(tokens, self.config.classifies_class_token),
        )

    def _share(self, tokens: Tokens, patch_shares: Tensor) -> Tokens:
        """Let the labels of `tokens` follow them, from `patch_shares` `[B, num_patches]`."""
        if not self.training:
            raise ValueError("patch_shares are for training; images are not mixed at inference.")
        if not self.reducer.aligns_labels:
            raise ValueError(
                f"patch_shares are given, but labels cannot follow the tokens of reducer {self.config.reducer!r}, of "
                "which some wait, or merge in part."
            )
        if patch_shares.shape != (tokens.hidden.shape[0], tokens.num_patches):
            expected = tokens.hidden.shape[0], tokens.num_patches
            raise ValueError(f"patch_shares has shape {tuple(patch_shares.shape)}; it must be {expected}.")
        return tokens.change(shares=start_shares(patch_shares.to(tokens.hidden.device), tokens.num_prefix))

    def features(self, tokens: Tokens, states: Tensor) -> Tensor:
        """Return what the first classifier reads, `[B, D]`: `tokens` ahead of the last norm, `states` behind it."""
        if not self.reducer.reads_class_token:  # Evo-ViT's own mean is ahead of the norm
            return self.layernorm(masked_mean(tokens.patches, tokens.attended))[:, 0]
        return self.read(states, tokens.weights, self.config.num_prefix)

    def read(self, states: Tensor, weights: Tensor | None, num_prefix: int) -> Tensor:
        """Return what a dense classifier reads, `[B, D]`: the class token, or the mean where there is none.

        A native base model may stand for `self`.

        Args:
            states: `[B, P + N, D]`, the tokens that leave the last block, through the final norm.
            weights: `[B, N]` of each patch token in a mean, or `None` for all alike.
            num_prefix: P.
        """
        return states[:, 0] if num_prefix else masked_mean(states, weights)[:, 0]

    def pool(self, states: Tensor, weights: Tensor | None) -> Tensor | None:
        """`pooler_output` of the native base model, of `states` and `weights` as in `read`."""
        return None if self.pooler is None else self.pooler(states)

    def prefix_first(self, states: Tensor) -> Tensor:
        """Order the native `states` `[..., P + num_patches, D]` as the loop has them, the prefix ahead of the patches.

        A native base model may stand for `self`.
        """
        return states

    def native_order(self, states: Tensor) -> Tensor:
        """Order the `states` `[B, P + N, D]` of the loop as the native base model does."""
        return states

    def embed(
        self,
        pixel_values: Tensor | None,
        bool_masked_pos: Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        attention_mask: Tensor | None = None,
    ) -> Tokens:
        """Embed the images as the tokens that enter the first block; arguments and errors as in `forward`."""
        if pixel_values is None or pixel_values.ndim != 4:
            shape = None if pixel_values is None else tuple(pixel_values.shape)
            raise ValueError(f"pixel_values has shape {shape}; it must be [batch, channels, height, width].")
        hidden = self.embed_patches(pixel_values, bool_masked_pos, interpolate_pos_encoding)
        if attention_mask is not None:
            if attention_mask.shape != hidden.shape[:2]:
                raise ValueError(
                    f"attention_mask has shape {tuple(attention_mask.shape)}; with tokens being dropped it must be "
                    f"[batch, {self.config.num_prefix} + patches], here {tuple(hidden.shape[:2])}."
                )
            attention_mask = attention_mask.to(hidden.device).bool()
        grid = grid_size(self.config, (pixel_values.shape[-2], pixel_values.shape[-1]))
        tokens = Tokens.start(hidden, self.config.num_prefix, attention_mask).change(grid=grid)
        return self.locate(tokens, pixel_values)

    def compared_features(self, outputs: Any, teacher_features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what token distillation compares: features `[B, N, D]` of both, and where `[B, N]` bool.

        Args:
            outputs: the student's, of a training forward.
            teacher_features: `[B, P + N, D]`.
        """
        decision = outputs.decisions[-1]
        states = self.prefix_first(outputs.last_hidden_state)[:, self.config.num_prefix :]
        spread = gather_tokens(states, decision.owner.clamp(min=0))  # to the patches that live tokens speak for
        return spread, teacher_features[:, -decision.kept.shape[1] :], decision.kept

    @classmethod
    def exchanged_modules(cls, base: Any) -> Iterator[tuple[str, Any, type]]:
        """Walk what changes class in the native `base`: where it is, the module, and its class-to-be."""
        for index, layer in enumerate(read_as(cls, base, "layers")):
            yield f"block {index}", layer, cls.layer_class
            yield f"block {index}", read_as(cls.layer_class, layer, "attention"), cls.attention_class

    def weights_at(self, height: int, width: int) -> dict[str, Tensor]:
        """Interpolate the weights that are others for images of `height` x `width` pixels; return them by name."""
        names = ("position_embeddings", "position_embedding.weight")
        found = {name: each for name, each in self.embeddings.named_parameters() if name in names}
        down, across = grid_size(self.config, (height, width))
        weights = {}
        for name, positions in found.items():
            length = positions.shape[-2] - self.config.num_patches + down * across
            blank = positions.new_empty(1, length, positions.shape[-1])
            weights[f"embeddings.{name}"] = self.embeddings.interpolate_pos_encoding(blank, height, width)
        return {name: each[0] if name.endswith("weight") else each for name, each in weights.items()}

    def locate(self, tokens: Tokens, pixel_values: Tensor) -> Tokens:
        """Let tokens know their places, where the blocks of the family ask for them."""
        return tokens

    def embed_patches(self, pixel_values: Tensor, bool_masked_pos: Tensor | None, interpolate: bool) -> Tensor:
        """Embed the images as the native base model does: `[B, P + num_patches, D]`."""
        pixel_values = pixel_values.to(self.embeddings.patch_embeddings.projection.weight.dtype)
        return self.embeddings(pixel_values, bool_masked_pos, interpolate)

    def _records(self, kwargs: Mapping[str, Any]) -> bool:
        """Return whether Transformers records what the blocks hand on; asked as it asks."""
        names = ("output_hidden_states", "output_attentions")
        asked = [kwargs.get(name, getattr(self.config, name, False)) for name in names]
        return any(answer is not None and answer is not False for answer in asked)
