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


def decision_bias(keep: Tensor, attention_mask: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Additive attention bias `[B, 1, T, T]` of the mask `keep` `[B, T]` and the user's `attention_mask` `[B, T]`.

    A token always attends to itself, except where the user's mask forbids it; that mask is finite, so that a row
    without any allowed token stays finite too. Carries no gradient.
    """
    others = keep.detach().log().to(dtype)  # [B, T], a dropped token: -inf
    itself = torch.zeros_like(others)
    if attention_mask is not None:
        lowest = torch.finfo(dtype).min
        others, itself = others.masked_fill(~attention_mask, lowest), itself.masked_fill(~attention_mask, lowest)
    bias = others[:, None, None].repeat(1, 1, keep.shape[1], 1)  # [B, 1, T, T]
    bias.diagonal(dim1=2, dim2=3).copy_(itself[:, None])
    return bias


def live_rows(grad: Tensor) -> Tensor:
    """Positions `[B, L]` of the tokens where `grad` `[B, T, H, d]` is not zero, with others where an image has fewer.

    Nobody attends to a dropped token, so that about half of the rows of a training step are zero. L is T on a device,
    for which the count would have to wait, and in a compiled graph.
    """
    if grad.device.type != "cpu" or torch.compiler.is_compiling():
        return torch.arange(grad.shape[1], device=grad.device).expand(grad.shape[0], -1)
    live = grad.flatten(2).abs().amax(dim=-1) != 0  # [B, T]
    return (~live).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(live.sum(dim=1).max())]


def decision_gradient(
    grad: Tensor,
    context: Tensor,
    keep: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    relative: Tensor | None = None,
) -> Tensor:
    """Compute the gradient of `keep`, `[B, T]` float32, that `grad` of the output implies.

    Shapes as in `DecisionGradient`.

    In each head, sum_i w_ij g_i . (v_j - out_i) over i other than j is v_j . (W^T g)_j - (W^T c)_j, c_i = g_i . out_i:
    one product with [g | c]. W here is the softmax over all keys; row i of [g | c] is divided by the part of it that
    lies on keys allowed to i. That part counts as 1e-30 at least: where dropped logits exceed all the allowed ones by
    69 or more, the weights of the allowed ones fade.
    """
    # bfloat16 has the range of weights and gradients, float16 has not; exponentials and sums are float32 inside
    dtype = torch.bfloat16 if query.dtype == torch.bfloat16 else torch.float32
    rows = live_rows(grad)  # [B, L]
    batch, heads, line = (
        torch.arange(size, device=rows.device) for size in (rows.shape[0], query.shape[1], rows.shape[1])
    )
    flat = (batch[:, None] * grad.shape[1] + rows).flatten()
    grad, context, query = (  # [B, H, L, d]
        states.flatten(0, 1).index_select(0, flat).unflatten(0, rows.shape).transpose(1, 2).to(dtype)
        for states in (grad, context, query.transpose(1, 2))
    )
    logits = query * scaling @ key.to(dtype).transpose(2, 3)  # [B, H, L, T]
    if relative is not None:
        index = rows[:, None, :, None].expand(-1, heads.numel(), -1, key.shape[2])
        logits = logits + relative.expand(len(rows), -1, -1, -1).gather(2, index).to(dtype)
    weight = logits.softmax(dim=-1)
    itself = batch[:, None, None], heads[:, None], line, rows[:, None]  # the diagonal, [B, H, L]
    attended = torch.ones_like(keep) if attention_mask is None else attention_mask.to(keep.dtype)
    kept = attended * keep  # [B, T]
    alone = (attended - kept).gather(1, rows)  # [B, L], 1 where a dropped token attends to itself
    total = weight @ kept[:, None, :, None].to(dtype)  # [B, H, L, 1]
    total += (weight[itself] * alone[:, None].to(dtype))[..., None]
    total.clamp_(min=1e-30)
    weight.clamp_(max=total * MAX_WEIGHT)
    weight[itself] = 0.0  # does not depend on the decisions
    columns = torch.cat((grad, (grad * context).sum(dim=-1, keepdim=True)), dim=-1) / total  # [B, H, L, d + 1]
    sums = weight.transpose(2, 3) @ columns  # [B, H, T, d + 1]
    gain = (sums[..., :-1] * value.to(dtype)).sum(dim=(1, 3), dtype=torch.float32)
    return gain - sums[..., -1].sum(dim=1, dtype=torch.float32)


class DecisionGradient(torch.autograd.Function):
    """Identity on the attention output; sends the gradient of the multiplicative mask to the decisions.

    `apply(context, keep, query, key, value, attention_mask, scaling, relative)`: `context` `[B, T, H, d]`, `keep` and
    `attention_mask` (or `None`) `[B, T]`, `query`, `key`, `value` `[B, H, T, d]`, `relative` `[B, H, T, T]`, added to
    the logits, or `None`. Attention dropout is left out of it.
    """

    @staticmethod
    def forward(ctx, context, keep, query, key, value, attention_mask, scaling, relative=None):
        ctx.save_for_backward(context, keep, query, key, value, attention_mask, relative)
        ctx.scaling = scaling
        return context.view_as(context)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        with torch.autocast(grad.device.type, enabled=False):
            *saved, relative = ctx.saved_tensors
            grad_keep = decision_gradient(grad, *saved, ctx.scaling, relative)
        return grad, grad_keep, None, None, None, None, None, None
