# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The encoder block: what native attentions, MLPs and layers become, with the reducer's hooks between their steps.

Mixins without state or parameters of their own. They call the parts of a block by ViT's names; a family that has
others says so with `alias`.
"""

from dataclasses import replace
from typing import Any, ClassVar, Final, Literal, cast

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.processing_utils import Unpack
from transformers.utils.generic import TransformersKwargs

from .alignment import follow_attention
from .compat import DropPath, attention_implementation, eager_attention_forward
from .masking import DecisionGradient, decision_bias
from .ragged import attends_raggedly, ragged_attention
from .reducer import TokenReducer
from .tokens import GroupedAttention, Tokens, Trace


# the parts of a block
ATTENTION: Final = 0
MLP: Final = 1

# Rows of a mask begin at multiples of so many numbers: else kernels of CUDA copy it as `[B, H, T, T]` first, which
# takes as long as the attention (H200, DeiT-B, 171 tokens, batch 256: 511 us in place of 282).
ALIGNED: Final = 8


def alias(name: str) -> Any:
    """Make a property that has the part which this family calls `name`; the name may have dots."""

    def read(module: Any) -> Any:  # not `attrgetter`, which cannot be compiled
        for part in name.split("."):
            module = getattr(module, part)
        return module

    return property(read)


class DynamicAttention(nn.Module):
    """Attention over `Tokens`: adds the masking of keep decisions and returns its `Trace`.

    Attributes:
        turns: `turn` does something: queries and keys know where their tokens stand.
    """

    config: Any
    q_proj: Any
    k_proj: Any
    v_proj: Any
    o_proj: Any
    turns: ClassVar[bool] = False
    head_dim: int
    num_attention_heads: int
    scaling: float
    attention_dropout: float

    def forward(
        self,
        hidden: Tensor,
        tokens: Tokens,
        key_bias: Tensor | None = None,
        queried: Tensor | None = None,
        relative: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[Tensor, Tensor | None, Trace | None]:
        """Attention over `tokens`, of which `hidden` are the normalised states.

        Args:
            hidden: `[B, T, D]`; `[1, L, D]` of tokens with a layout.
            tokens: whose masks and layout apply.
            key_bias: `[B, N]` float32, added to the logits of each patch token as a key, or `None`.
            queried: `[B, P, D]`, normalised prefix tokens, where nothing else need be computed, or `None`.
            relative: `[B, H, T, T]`, added to the logits, or `None`.

        Returns:
            the output, shaped as what attends; weights `[B, H, T, T]` under eager; the trace, or `None` where the
                tokens come with their attention.
        """
        if tokens.attention is not None:
            return *self.attend_as_told(hidden, tokens.attention, None if queried is None else queried.shape[1]), None
        query, key, value = self.project(hidden, queried)
        query, key = query if queried is not None else self.turn(query, tokens), self.turn(key, tokens)
        layout, implementation = tokens.layout, attention_implementation(self.config)
        if layout is not None and relative is None and attends_raggedly(query, implementation):
            count = None if queried is None else query.shape[1]
            context = ragged_attention(query.reshape(1, -1, *query.shape[2:]), key, value, layout, count)
            output = self.o_proj(context.view(*query.shape).flatten(2))
            query, key, value = (states.transpose(1, 2) for states in (query, key, value))
            return output, None, Trace(query, key, context, None, value, hidden)
        if layout is not None:  # padded for the kernel alone
            query = query if queried is not None else layout.unpack(query)
            key, value = layout.unpack(key), layout.unpack(value)
        query, key, value = (states.transpose(1, 2) for states in (query, key, value))
        bias, keep = self.bias(tokens, query.dtype, key_bias)
        if relative is not None:
            relative = relative[:, :, : query.shape[2]].to(query.dtype)
        added = self.counted(relative, key_bias, query, tokens) if keep is not None else relative
        if added is not None:
            bias = added if bias is None else added + bias
        # flash and flex attention take no additive bias
        if keep is not None or relative is not None or key_bias is not None:
            implementation = implementation if implementation == "eager" else "sdpa"
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        dropout = self.attention_dropout if self.training else 0.0
        context, weights = attend(self, query, key, value, bias, dropout=dropout, scaling=self.scaling, **kwargs)
        if keep is not None and keep.requires_grad:
            mask = tokens.attention_mask
            context = DecisionGradient.apply(context, keep, query, key, value, mask, self.scaling, added)
        if layout is not None:
            key, value = (layout.pack(states.transpose(1, 2)).transpose(1, 2) for states in (key, value))
            if queried is None:
                query, context = layout.pack(query.transpose(1, 2)).transpose(1, 2), layout.pack(context)
        return self.o_proj(context.flatten(2)), weights, Trace(query, key, context, relative, value, hidden)

    def attend_as_told(
        self, hidden: Tensor, attention: GroupedAttention, count: int | None
    ) -> tuple[Tensor, Tensor | None]:
        """Return output and weights as `forward`, by an `attention` handed in, of the first `count` tokens, or all."""
        attention = replace(attention, weights=self.drop(attention.weights))
        value = self.v_proj(hidden).unflatten(-1, (-1, self.head_dim))
        observed = attention_implementation(self.config) == "eager"
        weights = attention.between_groups(hidden.shape[1])[:, :, :count] if observed else None
        return self.o_proj(attention.attend(value, count).flatten(2)), weights

    def drop(self, weights: Tensor) -> Tensor:
        """Apply attention dropout to explicit `weights`."""
        return nn.functional.dropout(weights, self.attention_dropout, self.training)

    def queries_and_keys(self, hidden: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Query and key, `[B, H, T, d]`, of `tokens`, of which `hidden` are the normalised states."""
        states = (project(hidden).unflatten(-1, (-1, self.head_dim)) for project in (self.q_proj, self.k_proj))
        query, key = (self.turn(each, tokens).transpose(1, 2) for each in states)
        return query, key

    def project(self, hidden: Tensor, queried: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, `[B, T, H, d]` each, of `hidden` `[B, T, D]`; queries of `queried`, if given."""
        states = (
            self.q_proj(hidden if queried is None else queried),
            self.k_proj(hidden),
            self.v_proj(hidden),
        )
        query, key, value = (each.unflatten(-1, (-1, self.head_dim)) for each in states)
        return query, key, value

    def turn(self, states: Tensor, tokens: Tokens) -> Tensor:
        """Let queries or keys, `[B, T, H, d]`, know where their tokens stand."""
        return states

    @staticmethod
    def counted(relative: Tensor | None, key_bias: Tensor | None, query: Tensor, tokens: Tokens) -> Tensor | None:
        """Return `relative` with `key_bias` added, `[B, H, T, T]`, for masked training, or `None` where both are."""
        if key_bias is None:
            return relative
        by_key = nn.functional.pad(key_bias, (tokens.num_prefix, 0)).to(query.dtype)[:, None, None]  # [B, 1, 1, T]
        by_key = by_key.expand(-1, query.shape[1], query.shape[2], -1)
        return by_key if relative is None else relative + by_key

    def bias(self, tokens: Tokens, dtype: torch.dtype, key_bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Return (what is added to the logits, or `None`; the keep mask `[B, T]` in training, or `None`)."""
        if tokens.mask is not None:
            prefix = tokens.mask.new_ones(tokens.mask.shape[0], tokens.num_prefix)
            keep = torch.cat((prefix, tokens.mask), dim=1)  # [B, T]
            return decision_bias(keep, tokens.attention_mask, dtype), keep
        mask = tokens.attention_mask
        if key_bias is not None:
            length = tokens.num_prefix + key_bias.shape[1]
            more = -length % ALIGNED
            bias = nn.functional.pad(key_bias.to(dtype), (tokens.num_prefix, more))[:, None, None, :length]
        elif mask is None:
            return None, None
        elif attention_implementation(self.config) in ("sdpa", "eager"):  # no look at the values, which would wait
            bias = torch.zeros(mask.shape, dtype=dtype, device=mask.device)[:, None, None]
        else:
            made = create_bidirectional_mask(config=self.config, inputs_embeds=tokens.padded, attention_mask=mask)
            return cast(Tensor | None, made), None
        return bias if mask is None else bias.masked_fill(~mask[:, None, None], torch.finfo(dtype).min), None


class DynamicLayer(nn.Module):
    """One block: `[ before | attention | between | MLP | after ]`."""

    attention: Any
    layernorm_before: Any
    layernorm_after: Any
    mlp: Any
    dropout: Any
    drop_path: DropPath

    @classmethod
    def adopt(cls, layer: Any, attention_class: type, mlp_class: type | None, drop_path_rate: float) -> None:
        """Let the native `layer` become one of this class, with stochastic depth at `drop_path_rate`."""
        layer.__class__ = cls
        layer.attention.__class__ = attention_class
        if mlp_class is not None and issubclass(mlp_class, type(layer.mlp)):  # another kind stays as it is
            layer.mlp.__class__ = mlp_class
        if not hasattr(layer, "drop_path"):  # a native one has its own rate
            layer.drop_path = DropPath(drop_path_rate)

    def forward(
        self,
        hidden: Tensor,
        tokens: Tokens,
        reducer: TokenReducer,
        layer: int,
        only_prefix: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[Tensor, Tokens]:
        """Run one block; `hidden` is `tokens.hidden`, and stands first where Transformers records it.

        With `only_prefix`, in the last block at inference, compute and return the P prefix tokens only.
        """
        tokens = tokens if hidden is tokens.hidden else tokens.change(hidden=hidden)
        tokens = reducer.before(tokens, self, layer)
        if only_prefix:
            return self.finish(tokens, reducer, layer, **kwargs)
        tokens = self.attend(tokens, reducer, layer, **kwargs)
        output = self.mlp(self.layernorm_after(tokens.hidden))
        tokens = tokens.change(hidden=tokens.hidden + self.branch(output, MLP))
        tokens = reducer.after(tokens, layer)
        return tokens.hidden, tokens

    def attend(self, tokens: Tokens, reducer: TokenReducer, layer: int, **kwargs) -> Tokens:
        """Run the attention and `between`; a method, so that their temporaries are freed before the MLP."""
        normed = self.layernorm_before(tokens.hidden)
        bias, relative = self.biases(tokens, reducer)
        output, _, trace = self.attention(normed, tokens, bias, relative=relative, **kwargs)
        tokens = tokens if tokens.shares is None else follow_attention(tokens, trace, bias)
        tokens = tokens.change(hidden=tokens.hidden + self.branch(output, ATTENTION), attention=None)
        return tokens if trace is None else reducer.between(tokens, trace.only(reducer.needs), layer)

    def biases(self, tokens: Tokens, reducer: TokenReducer) -> tuple[Tensor | None, Tensor | None]:
        """Return what is added to the logits of this attention: by key, as `key_bias`, and by pair, as `relative`."""
        if tokens.attention is not None:
            return None, None
        return reducer.key_bias(tokens), self.relative(tokens)

    def relative(self, tokens: Tokens) -> Tensor | None:
        """Return what the places of two tokens add to the logits of the attention, `[B, H, T, T]`, or `None`."""
        return None

    def branch(self, output: Tensor, part: Literal[0, 1]) -> Tensor:
        """Return what the residual connection adds of the `output` of a `part`, `ATTENTION` or `MLP`."""
        return self.drop_path(self.dropout(output)) if self.training or self.dropout.training else output

    def finish(self, tokens: Tokens, reducer: TokenReducer, layer: int, **kwargs) -> tuple[Tensor, Tokens]:
        """Run the attention and the MLP of the last block, at inference, for the prefix tokens alone."""
        prefix = tokens.prefix
        queried, normed = self.layernorm_before(prefix), self.layernorm_before(tokens.hidden)
        bias, relative = self.biases(tokens, reducer)
        output, _, trace = self.attention(normed, tokens, bias, queried, relative=relative, **kwargs)
        if trace is not None and reducer.decides_between(layer):
            tokens = reducer.between(tokens, trace.only(reducer.needs), layer)
        prefix = prefix + self.branch(output, ATTENTION)
        prefix = prefix + self.branch(self.mlp(self.layernorm_after(prefix)), MLP)
        return prefix, tokens.change(hidden=prefix, layout=None, attention=None)
