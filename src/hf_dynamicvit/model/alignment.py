# Copyright 2026 The hf_dynamicvit authors. TL-Align (ICCV 2023): https://arxiv.org/abs/2210.06455
"""Labels that follow the tokens of mixed images through attention and merging, in training.

Each token has a label, a mixture of those of the two images that were mixed: one number, the share of the image's own.
"""

from typing import cast

import torch
from torch import Tensor

from .masking import decision_bias
from .scoring import attention_weights, masked_mean
from .tokens import Tokens, Trace


def start_shares(patch_shares: Tensor, num_prefix: int) -> Tensor:
    """Return the shares `[B, P + N]` of all tokens from those of the patches `[B, N]`; the prefix has their mean."""
    patches = patch_shares.float()
    return torch.cat((patches.mean(dim=1, keepdim=True).expand(-1, num_prefix), patches), dim=1)


def follow_attention(tokens: Tokens, trace: Trace | None, key_bias: Tensor | None) -> Tokens:
    """Let each share become the mean of itself and of what its token attends to, the mean over heads; no gradient.

    Args:
        tokens: that entered an attention, with `shares`.
        trace: of it, or `None` where the tokens came with their attention.
        key_bias: `[B, N]`, that was added to the logits of each patch token, or `None`.
    """
    shares = cast(Tensor, tokens.shares)
    with torch.no_grad(), torch.autocast(shares.device.type, enabled=False):
        weights = told_weights(tokens) if trace is None else traced_weights(tokens, trace, key_bias)
        attended = (weights.float().mean(dim=1) @ shares[..., None])[..., 0]
        return tokens.change(shares=(shares + attended) / 2)


def told_weights(tokens: Tokens) -> Tensor:
    """Return the attention `[B, H, T, T]` with which `tokens` came."""
    attention = tokens.attention
    assert attention is not None
    return attention.between_groups(tokens.hidden.shape[1])


def traced_weights(tokens: Tokens, trace: Trace, key_bias: Tensor | None) -> Tensor:
    """Compute the attention `[B, H, T, T]` of a `trace` ahead of dropout, with masked tokens attended by none."""
    added = trace.relative
    if tokens.mask is not None:
        keep = torch.nn.functional.pad(tokens.mask, (tokens.num_prefix, 0), value=1.0)
        bias = decision_bias(keep, None, torch.float32)
        added = bias if added is None else bias + added
    query, key = trace.query.float(), trace.key.float()
    return attention_weights(query, key, tokens.num_prefix, tokens.attention_mask, added, key_bias)


def read_share(tokens: Tokens, reads_class_token: bool) -> Tensor:
    """Return the share `[B]` of what the classifier reads: the class token, or the mean of the patch tokens."""
    shares = cast(Tensor, tokens.shares)
    if reads_class_token:
        return shares[:, 0]
    return masked_mean(shares[:, tokens.num_prefix :, None], tokens.weights)[:, 0, 0]
