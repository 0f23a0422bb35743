# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Masked attention for training: a hard mask forward, the gradient of a multiplicative mask backward.

DynamicViT multiplies the exponentials of the attention logits a by M, where M_ij is 1 on the diagonal and the keep
decision m_j elsewhere (section 3.3): out_i = sum_j w_ij M_ij v_j, w_ij = exp(a_ij) / sum_k exp(a_ik) M_ik.

Forward, a dropped token (m_j = 0) has no weight at all. That is an additive bias, log M, and any attention function
that takes one computes it. Dropped tokens cannot leak, however large their logits; the released formula (epsilon
1e-6, maximum over all keys) turns uniform once they exceed the kept ones by about 14.
Backward, d out_i / d m_j = w_ij (v_j - out_i) is not zero at m_j = 0: this is how a dropped token is kept again. No
bias can carry it (its weight is exactly 0), so `DecisionGradient` adds it to the graph of whatever attention ran.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


# A dropped token far above the kept ones would take over the attention if it were kept again: w_ij is unbounded there.
# 1e6 is the bound that the released epsilon implies.
MAX_WEIGHT = 1e6


def decision_bias(decisions: Tensor, attention_mask: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Additive attention bias `[B, 1, T, T]` of keep `decisions` `[B, T]` and the user's `attention_mask` `[B, T]`.

    A token always attends to itself, except where the user's mask forbids it; that mask is finite, so that a row
    without any allowed token stays finite too. Carries no gradient.
    """
    bias = decisions.detach().log().to(dtype)[:, None, None, :]  # a dropped token: -inf
    itself = torch.eye(decisions.shape[1], dtype=torch.bool, device=decisions.device)
    bias = bias.masked_fill(itself, 0.0)
    if attention_mask is not None:
        bias = bias.masked_fill(~attention_mask[:, None, None, :], torch.finfo(dtype).min)
    return bias


class DecisionGradient(torch.autograd.Function):
    """Identity on the attention output; sends the gradient of the multiplicative mask to the decisions.

    `apply(context, decisions, query, key, value, bias, scaling)`: `context` `[B, T, H, d]`, `decisions` `[B, T]`,
    `query`, `key`, `value` `[B, H, T, d]`, `bias` as from `decision_bias`. Attention dropout is left out of it.
    """

    @staticmethod
    def forward(ctx, context, decisions, query, key, value, bias, scaling):
        ctx.save_for_backward(context, query, key, value, bias)
        ctx.scaling = scaling
        return context.view_as(context)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        context, query, key, value, bias = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            logits = query.float() @ key.float().transpose(2, 3) * ctx.scaling  # [B, H, T, T]
            total = (logits + bias.float()).logsumexp(dim=-1, keepdim=True)
            weight = (logits - total).exp().clamp(max=MAX_WEIGHT)
            grad_out = grad.float().transpose(1, 2)  # [B, H, T, d]
            gain = grad_out @ value.float().transpose(2, 3)
            gain = gain - (grad_out * context.float().transpose(1, 2)).sum(dim=-1, keepdim=True)
            weight.diagonal(dim1=2, dim2=3).zero_()  # the diagonal does not depend on the decisions
            grad_decisions = (weight * gain).sum(dim=(1, 2))
        return grad, grad_decisions, None, None, None, None, None
