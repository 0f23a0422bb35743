# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The encoder block: the native ViT layer's parameters, with the reducer's hooks between its steps."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.dinov2.modeling_dinov2 import Dinov2DropPath
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTAttention, ViTLayer, ViTMLP, eager_attention_forward

from .masking import DecisionGradient, decision_bias
from .reducer import TokenReducer
from .tokens import Tokens


@dataclass(frozen=True)
class Trace:
    """What one attention computed, for scores: never the T x T matrix.

    Attributes:
        query, key: `[B, H, T, d]`.
        context: `[B, T, H, d]`, the per-head output before the output projection.
    """

    query: Tensor
    key: Tensor
    context: Tensor


class DynamicViTAttention(ViTAttention):
    """`ViTAttention` over `Tokens`: adds the masking of keep decisions and returns its `Trace`."""

    def forward(
        self, hidden: Tensor, tokens: Tokens, key_bias: Tensor | None = None, **kwargs
    ) -> tuple[Tensor, Tensor | None, Trace]:
        """Attention over `tokens`, of which `hidden` are the normalised, packed states.

        Args:
            hidden: `[B, T, D]`; `[1, sum of lengths, D]` when images have different numbers of tokens.
            tokens: whose masks apply.
            key_bias: `[B, N]` float32, added to the logits of each patch token as a key, or `None`.

        Returns:
            the output, shaped as `hidden`; weights `[B, H, T, T]` under eager; the trace.
        """
        batch, length = tokens.hidden.shape[:2]
        shape = (batch, length, -1, self.head_dim)
        query = tokens.unpack(self.q_proj(hidden)).view(shape).transpose(1, 2)
        key = tokens.unpack(self.k_proj(hidden)).view(shape).transpose(1, 2)
        value = tokens.unpack(self.v_proj(hidden)).view(shape).transpose(1, 2)

        implementation, bias, decisions = self.config._attn_implementation, None, None
        if tokens.mask is not None:
            prefix = tokens.mask.new_ones(batch, tokens.num_prefix)
            decisions = torch.cat((prefix, tokens.mask), dim=1)  # [B, T]
            bias = decision_bias(decisions, tokens.attention_mask, query.dtype)
        elif key_bias is not None:
            prefix = key_bias.new_zeros(batch, tokens.num_prefix)
            bias = torch.cat((prefix, key_bias), dim=1).to(query.dtype)[:, None, None]  # [B, 1, 1, T]
            if tokens.attention_mask is not None:
                bias = bias.masked_fill(~tokens.attention_mask[:, None, None], torch.finfo(bias.dtype).min)
        elif tokens.attention_mask is not None and implementation in ("sdpa", "eager"):
            bias = query.new_zeros(batch, 1, 1, length)  # and no look at the values, which would wait for the device
            bias = bias.masked_fill(~tokens.attention_mask[:, None, None], torch.finfo(bias.dtype).min)
        elif tokens.attention_mask is not None:
            bias = create_bidirectional_mask(
                config=self.config, inputs_embeds=tokens.hidden, attention_mask=tokens.attention_mask
            )
        if tokens.mask is not None or key_bias is not None:  # flash and flex attention take no additive bias
            implementation = implementation if implementation == "eager" else "sdpa"
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        dropout = self.attention_dropout if self.training else 0.0
        context, weights = attend(self, query, key, value, bias, dropout=dropout, scaling=self.scaling, **kwargs)
        if decisions is not None:
            context = DecisionGradient.apply(
                context, decisions, query, key, value, tokens.attention_mask, self.scaling
            )
        output = self.o_proj(tokens.pack(context.flatten(2)))
        return output, weights, Trace(query, key, context)


class DynamicViTLayer(ViTLayer):
    """One block: `[ before | attention | between | MLP | after ]`, parameters named as in `ViTLayer`.

    Args:
        config: of the model.
        drop_path_rate: chance that training skips one of the two branches for an image (stochastic depth).
    """

    def __init__(self, config: ViTConfig, drop_path_rate: float = 0.0):
        GradientCheckpointingLayer.__init__(self)  # not ViTLayer's: every submodule is built once
        self.attention = DynamicViTAttention(config)
        self.layernorm_before = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = ViTMLP(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.drop_path = Dinov2DropPath(drop_path_rate)

    def forward(
        self, hidden: Tensor, tokens: Tokens, reducer: TokenReducer, layer: int, **kwargs
    ) -> tuple[Tensor, Tokens]:
        """`hidden` is `tokens.hidden`; it stands first, and first in the result, where Transformers records it."""
        tokens = reducer.before(replace(tokens, hidden=hidden), self, layer)
        normed = self.layernorm_before(tokens.pack(tokens.hidden))
        output, _, trace = self.attention(normed, tokens, reducer.key_bias(tokens), **kwargs)
        tokens = tokens.add(self.drop_path(self.dropout(output)))
        tokens = reducer.between(tokens, trace, layer)
        output = self.mlp(self.layernorm_after(tokens.pack(tokens.hidden)))
        tokens = tokens.add(self.drop_path(self.dropout(output)))
        tokens = reducer.after(tokens, layer)
        return tokens.hidden, tokens
