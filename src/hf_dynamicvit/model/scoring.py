# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""SCORE: how much each patch token matters. Functions of tensors; a module only where parameters are learned."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from .masking import MAX_WEIGHT
from .packed import is_plain, linear_gelu
from .tokens import Tokens


# The highest probability that a predictor starts with: a stage that keeps everything must be able to learn otherwise.
MOST_KEPT = 0.99


def masked_mean(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of `hidden` `[B, N, D]` over the tokens with `mask` `[B, N]` 1 (`None`: all), as `[B, 1, D]`.

    An image without any token left gives 0 rather than NaN: decisions are 0 or 1, so their sum is 0 or about 1 and
    more, and 0.5 tells the two apart whatever the rounding.
    """
    if mask is None:
        return hidden.mean(dim=1, keepdim=True)
    weight = mask[..., None].to(hidden.dtype)
    return (hidden * weight).sum(dim=1, keepdim=True) / weight.sum(dim=1, keepdim=True).clamp(min=0.5)


def asking(states: Tensor, num_prefix: int, alive: Tensor | None = None) -> Tensor:
    """Return the class token of `states` `[..., T, d]`, or their mean where there is none: `[..., 1, d]`.

    Args:
        states: of the P + N tokens.
        num_prefix: P; token 0 is the class token where it is 1 or more, and a patch where it is 0.
        alive: `[B, T]` 0 or 1, the tokens in the mean, or `None` for all.
    """
    if num_prefix:
        return states[..., :1, :]
    if alive is None:
        return states.mean(dim=-2, keepdim=True)
    weight = alive.view(alive.shape[0], *[1] * (states.ndim - 3), -1, 1).to(states.dtype)
    return (states * weight).sum(dim=-2, keepdim=True) / weight.sum(dim=-2, keepdim=True).clamp(min=0.5)


def class_attention(
    query: Tensor,
    key: Tensor,
    num_prefix: int,
    attended: Tensor | None = None,
    mask: Tensor | None = None,
    relative: Tensor | None = None,
    key_bias: Tensor | None = None,
) -> Tensor:
    """Attention of the class token (`asking`) to each patch token, by heads: `[B, H, N]` float32.

    The softmax runs over all tokens; the prefix columns are left out afterwards, without renormalising. It is one row
    of each head's attention matrix: no method needs the others, nor eager attention.

    Args:
        query, key: `[B, H, T, d]`.
        num_prefix: P, with T = P + N.
        attended: `[B, T]` bool, the attention mask, or `None`.
        mask: `[B, N]` keep decisions; a dropped token gets 0, and its decision the gradient of a multiplicative mask,
            as in `masking.py`.
        relative: `[B, H, T, T]`, added to the logits, or `None`; only with a class token.
        key_bias: `[B, N]`, added to the logits of each patch token, or `None`.
    """
    asks = asking(query, num_prefix, attended if mask is None else mask)
    logits = (asks @ key.transpose(2, 3)).float()[:, :, 0] * query.shape[-1] ** -0.5  # [B, H, T]
    if relative is not None:
        logits = logits + relative[:, :, 0]
    if key_bias is not None:
        logits = logits + torch.nn.functional.pad(key_bias, (num_prefix, 0))[:, None]
    if attended is not None:
        logits = logits.masked_fill(~attended[:, None], torch.finfo(logits.dtype).min)
    if mask is None:
        return logits.softmax(dim=-1)[..., num_prefix:]
    keep = torch.cat((mask.new_ones(mask.shape[0], num_prefix), mask), dim=1)[:, None]  # [B, 1, T]
    return weighted_softmax(logits, keep)[..., num_prefix:]


def attention_logits(query: Tensor, key: Tensor, relative: Tensor | None = None) -> Tensor:
    """Compute the scaled products of `query` and `key` `[B, H, T, d]`, plus `relative`: `[B, H, T, T]` float32."""
    logits = (query @ key.transpose(2, 3)).float() * query.shape[-1] ** -0.5
    return logits if relative is None else logits + relative


def attention_weights(
    query: Tensor,
    key: Tensor,
    num_prefix: int,
    attended: Tensor | None = None,
    relative: Tensor | None = None,
    key_bias: Tensor | None = None,
) -> Tensor:
    """Compute the whole attention matrix, `[B, H, T, T]` float32, where a method asks for it.

    Arguments as in `class_attention`, with `relative` of all rows.
    """
    logits = attention_logits(query, key, relative)
    if key_bias is not None:
        logits = logits + torch.nn.functional.pad(key_bias, (num_prefix, 0))[:, None, None]
    if attended is not None:
        logits = logits.masked_fill(~attended[:, None, None], torch.finfo(logits.dtype).min)
    return logits.softmax(dim=-1)


def attention_received(weights: Tensor, num_prefix: int, attended: Tensor | None = None) -> Tensor:
    """Average what each patch token gets of the attention of all tokens, over queries and heads: `[B, N]` float32.

    It needs no class token.

    Args:
        weights: `[B, H, T, T]`, as from `attention_weights`.
        num_prefix: P, with T = P + N.
        attended: `[B, T]` bool, whose queries count, or `None` for all.
    """
    weights = weights.mean(dim=1)  # [B, T, T]
    if attended is None:
        return weights.mean(dim=1)[:, num_prefix:]
    return masked_mean(weights, attended)[:, 0, num_prefix:]


def weighted_softmax(logits: Tensor, weights: Tensor) -> Tensor:
    """w_j exp(a_j) / sum_k w_k exp(a_k) over the last dimension of float32 `logits`, whose gradient is finite at w 0.

    Where all `weights`, 0 or more, are 0, so is the result.
    """
    lowest = torch.finfo(logits.dtype).min
    highest = logits.detach().masked_fill(weights == 0, lowest).amax(dim=-1, keepdim=True)
    shares = (logits - highest).clamp(max=math.log(MAX_WEIGHT)).exp() * weights
    return shares / shares.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(logits.dtype).tiny)


def weighted_attention(query: Tensor, key: Tensor, value: Tensor, weights: Tensor) -> Tensor:
    """Attention in which each of N tokens counts `weights` `[B, N]` times: `[B, H, Q, d]` of the queries' shape.

    `query` `[B, H, Q, d]`, `key` and `value` `[B, H, N, d]`.
    """
    logits = (query @ key.transpose(2, 3)).float() * query.shape[-1] ** -0.5
    return weighted_softmax(logits, weights[:, None, None]).to(value.dtype) @ value


def head_weighted_class_attention(trace, tokens: Tokens) -> Tensor:
    """Class attention weighted by how much each head contributes to the token (AS-ViT): `[B, N]` float32.

    s_i = sum_h a_hi r_hi, with a the class attention and r_hi = |context_hi| / sum_h |context_hi| the token's share of
    each head in its own attention output, before the output projection.
    """
    attention = class_attention(
        trace.query, trace.key, tokens.num_prefix, tokens.attention_mask, tokens.mask, trace.relative
    )
    norms = trace.context[:, tokens.num_prefix :].float().norm(dim=-1)  # [B, N, H]
    shares = norms / (norms.sum(dim=-1, keepdim=True) + 1e-8)
    return (attention * shares.transpose(1, 2)).sum(dim=1)


def class_query_logits(
    attention: Any,
    hidden: Tensor,
    num_prefix: int,
    attended: Tensor | None = None,
    tokens: Tokens | None = None,
    relative: Tensor | None = None,
) -> Tensor:
    """Class query (`asking`) times key of each patch token, mean over heads, unscaled: `[B, N]` float32.

    The mean over heads is one product over the whole width divided by the number of heads. q . (W x + b) is
    (q W) . x + q . b, so that with a plain linear layer no token's key is computed.

    Args:
        attention: of the block.
        hidden: `[B, P + N, D]`, normalised as the attention will see it.
        num_prefix: P.
        attended: `[B, P + N]` bool, the attention mask, or `None`.
        tokens: whose keys know where they stand, if `attention.turns`.
        relative: `[B, H, T, T]`, added to the scaled logits, or `None`; only with a class token.
    """
    query, patches, project = (
        attention.q_proj(asking(hidden, num_prefix, attended)),
        hidden[:, num_prefix:],
        attention.k_proj,
    )
    if tokens is not None and attention.turns:
        key = attention.turn(project(hidden).unflatten(-1, (-1, attention.head_dim)), tokens).flatten(2)
        logits = key[:, num_prefix:] @ query.transpose(1, 2)
    elif is_plain(project):
        logits = patches @ (query @ project.weight).transpose(1, 2)  # [B, N, 1]
        if project.bias is not None:
            logits = logits + (query * project.bias).sum(dim=-1, keepdim=True)
    else:  # a quantised or adapted layer computes what its weight alone does not say
        logits = project(patches) @ query.transpose(1, 2)
    logits = logits[..., 0].float() / attention.num_attention_heads
    if relative is not None:
        logits = logits + relative[:, :, 0, num_prefix:].float().mean(dim=1) / attention.scaling
    return logits


def hashed_scores(index: Tensor, seed: int) -> Tensor:
    """Pseudo-random scores in [0, 1) of int64 `index`, float32 of its shape; equal on every device and in a graph."""
    value = index + (0x9E3779B9 * (seed + 1) & 0xFFFFFFFF) & 0xFFFFFFFF
    for _ in range(2):
        value = ((value >> 16) ^ value) * 0x45D9F3B & 0xFFFFFFFF
    return ((value >> 16) ^ value).float() / 2**32


def predictors_for(width: int, keep_ratios: list[float], start_at_target: bool) -> nn.ModuleList:
    """Make a `TokenScorePredictor` for each stage.

    Untrained ones keep one half of what is left (published), or as much of it as the stage asks for.
    """
    entering = [1.0, *keep_ratios[:-1]]
    targets = [min(ratio / before, MOST_KEPT) for ratio, before in zip(keep_ratios, entering, strict=True)]
    return nn.ModuleList([TokenScorePredictor(width, target if start_at_target else 0.5) for target in targets])


class KeepLogits(nn.Linear):
    """The last layer of a predictor: logits of keeping and of dropping, with the odds of `keep` as its first bias."""

    def __init__(self, width: int, keep: float):
        super().__init__(width, 2)
        self.start = [math.log(keep / (1 - keep)), 0.0]


class TokenScorePredictor(nn.Module):
    """Learned keep/drop scores from each token and the mean of the tokens still alive (DynamicViT, section 3.2).

    `[B, N, D]` patch tokens and the previous decisions `[B, N]` (or `None`) -> log-probabilities `[B, N, 2]`;
    **keep is column 0**, as in the published weights. Half of the channels describe the token, half the image.

    Args:
        width: D.
        start: the probability of keeping a token that an untrained predictor gives, about.
        eps: of the norm.
    """

    def __init__(self, width: int, start: float = 0.5, eps: float = 1e-5):
        super().__init__()
        self.halves = width // 2, width - width // 2
        self.norm = nn.LayerNorm(width, eps=eps)
        self.project = nn.Linear(width, width)
        self.score = nn.Sequential(
            nn.Linear(width, width // 2),
            nn.GELU(),
            nn.Linear(width // 2, width // 4),
            nn.GELU(),
            KeepLogits(width // 4, start),
        )

    def forward(self, patches: Tensor, mask: Tensor | None = None) -> Tensor:
        hidden = linear_gelu(self.project, self.norm(patches))
        local, image = hidden.split(self.halves, dim=-1)
        hidden = torch.cat((local, masked_mean(image, mask).expand(-1, hidden.shape[1], -1)), dim=-1)
        hidden = linear_gelu(self.score[0], hidden)
        hidden = linear_gelu(self.score[2], hidden)
        # float32: the log-probabilities of confident predictors exceed what half precision tells apart
        return self.score[4](hidden).float().log_softmax(dim=-1)

    @staticmethod
    def multiply_adds(width: int) -> int:
        """Multiply-adds for one token."""
        return width * width + width * (width // 2) + (width // 2) * (width // 4) + (width // 4) * 2
