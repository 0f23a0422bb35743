# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""SCORE: how much each patch token matters. Functions of tensors; a module only where parameters are learned."""

import torch
from torch import Tensor, nn


def masked_mean(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of `hidden` `[B, N, D]` over the tokens with `mask` `[B, N]` 1 (`None`: all), as `[B, 1, D]`.

    An image without any token left gives 0 rather than NaN: decisions are 0 or 1, so their sum is 0 or about 1 and
    more, and 0.5 tells the two apart whatever the rounding.
    """
    if mask is None:
        return hidden.mean(dim=1, keepdim=True)
    weight = mask[..., None].to(hidden.dtype)
    return (hidden * weight).sum(dim=1, keepdim=True) / weight.sum(dim=1, keepdim=True).clamp(min=0.5)


def class_attention(query: Tensor, key: Tensor, num_prefix: int, attended: Tensor | None = None) -> Tensor:
    """Attention of the class token (token 0) to each patch token, mean over heads: `[B, N]` float32.

    The softmax runs over all tokens; the prefix columns are left out afterwards, without renormalising. It is one row
    of each head's attention matrix: no method needs the others, nor eager attention.

    Args:
        query, key: `[B, H, T, d]`.
        num_prefix: P, with T = P + N.
        attended: `[B, T]` bool, the user's attention mask, or `None`.
    """
    logits = (query[:, :, :1] @ key.transpose(2, 3)).float() * query.shape[-1] ** -0.5  # [B, H, 1, T]
    if attended is not None:
        logits = logits.masked_fill(~attended[:, None, None, :], torch.finfo(logits.dtype).min)
    return logits.softmax(dim=-1)[:, :, 0, num_prefix:].mean(dim=1)


def hashed_scores(index: Tensor, seed: int) -> Tensor:
    """Pseudo-random scores in [0, 1) of int64 `index`, float32 of its shape; equal on every device and in a graph."""
    value = index + 0x9E3779B9 * (seed + 1) & 0xFFFFFFFF
    for _ in range(2):
        value = ((value >> 16) ^ value) * 0x45D9F3B & 0xFFFFFFFF
    return ((value >> 16) ^ value).float() / 2**32


class TokenScorePredictor(nn.Module):
    """Learned keep/drop scores from each token and the mean of the tokens still alive (DynamicViT, section 3.2).

    `[B, N, D]` patch tokens and the previous decisions `[B, N]` (or `None`) -> log-probabilities `[B, N, 2]`;
    **keep is column 0**, as in the published weights. Half of the channels describe the token, half the image.
    """

    def __init__(self, width: int):
        super().__init__()
        self.num_local = width // 2
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.project = nn.Linear(width, width)
        self.score = nn.Sequential(
            nn.Linear(width, width // 2),
            nn.GELU(),
            nn.Linear(width // 2, width // 4),
            nn.GELU(),
            nn.Linear(width // 4, 2),
        )

    def forward(self, patches: Tensor, mask: Tensor | None = None) -> Tensor:
        hidden = nn.functional.gelu(self.project(self.norm(patches)))
        image = masked_mean(hidden[..., self.num_local :], mask).expand(-1, hidden.shape[1], -1)
        hidden = torch.cat((hidden[..., : self.num_local], image), dim=-1)
        # float32: the log-probabilities of confident predictors exceed what half precision tells apart
        return self.score(hidden).float().log_softmax(dim=-1)

    @staticmethod
    def multiply_adds(width: int) -> int:
        """Multiply-adds for one token."""
        return width * width + width * (width // 2) + (width // 2) * (width // 4) + (width // 4) * 2
