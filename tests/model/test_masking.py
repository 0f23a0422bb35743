# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The mask that training puts on attention, and the gradient it sends to the decisions."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close

from hf_dynamicvit.model.masking import MAX_WEIGHT, DecisionGradient, decision_bias


BATCH, HEADS, TOKENS, WIDTH = 2, 3, 7, 4


def random_inputs(scale=1.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shape = (BATCH, HEADS, TOKENS, WIDTH)
    query, key, value = (scale * torch.randn(shape, generator=generator, dtype=dtype) for _ in range(3))
    decisions = (torch.rand(BATCH, TOKENS, generator=generator) < 0.5).to(dtype)
    decisions[:, 0] = 1
    return query, key, value, decisions


def multiplicative(query, key, value, decisions, attended=None):
    """The definition: exponentials times the mask, diagonal 1."""
    attended = torch.ones_like(decisions) if attended is None else attended.to(decisions.dtype)
    diagonal = torch.eye(TOKENS, dtype=query.dtype)
    allowed = attended[:, None, None, :] * (decisions[:, None, None, :] * (1 - diagonal) + diagonal)
    weight = (query @ key.transpose(2, 3) / WIDTH**0.5).exp() * allowed
    return (weight / weight.sum(-1, keepdim=True) @ value).transpose(1, 2)


def masked(query, key, value, decisions, attended=None):
    decisions = decisions if attended is None else decisions * attended  # as the first decision of a model
    bias = decision_bias(decisions, attended, query.dtype)
    context = scaled_dot_product_attention(query, key, value, bias).transpose(1, 2)
    return DecisionGradient.apply(context, decisions, query, key, value, attended, WIDTH**-0.5)


@pytest.mark.parametrize("excluded", [(), (2, 6)])
@pytest.mark.parametrize("reached", [slice(None), slice(1), slice(1, 5), slice(0)])
def test_value_and_every_gradient_are_those_of_the_definition(reached, excluded):
    """Whichever rows of the output reach the loss, and with a user's mask."""
    attended = torch.ones(BATCH, TOKENS, dtype=torch.bool).index_fill(1, torch.tensor(excluded, dtype=torch.int64), 0)
    results = []
    for attention in (multiplicative, masked):
        inputs = [tensor.requires_grad_() for tensor in random_inputs(dtype=torch.float64)]
        output = attention(*inputs, attended if excluded else None)
        output[:, reached].square().sum().backward()
        results.append([output.detach(), *(tensor.grad for tensor in inputs)])
    *same, decided = zip(*results, strict=True)
    for expected, actual in same:
        assert_close(actual, expected)
    expected, actual = decided
    # computed in float32; the prefix column, too, is compared: it is a decision like the others here
    assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    assert (expected[random_inputs()[3] == 0] != 0).any() or reached == slice(0)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_the_gradient_in_half_precision(dtype, tolerance):
    gradients = []
    for attention, kind in ((multiplicative, torch.float64), (masked, dtype)):
        query, key, value, decisions = random_inputs()
        decisions = decisions.to(torch.promote_types(kind, torch.float32)).requires_grad_()
        attention(query.to(kind), key.to(kind), value.to(kind), decisions).float().square().sum().backward()
        gradients.append(decisions.grad.double())
    expected, actual = gradients
    assert (actual - expected).norm() <= tolerance * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_large_logits_neither_leak_nor_overflow(dtype):
    query, key, value, decisions = random_inputs(scale=50.0, dtype=dtype)
    decisions = decisions.float().requires_grad_()
    bias = decision_bias(decisions, None, dtype)
    context = scaled_dot_product_attention(query, key, value, bias).transpose(1, 2)
    output = DecisionGradient.apply(context, decisions, query, key, value, None, WIDTH**-0.5)
    other = value.where(decisions[:, None, :, None] > 0, torch.full_like(value, 1000.0))
    moved = scaled_dot_product_attention(query, key, other, bias).transpose(1, 2)
    kept = decisions.detach() > 0
    assert torch.equal(moved[kept], context[kept])
    output.float().sum().backward()
    assert decisions.grad.isfinite().all()
    assert decisions.grad.abs().max() <= MAX_WEIGHT * 2 * value.abs().max() * HEADS * TOKENS * WIDTH


def test_a_token_alone_attends_to_itself():
    query, key, value, _ = random_inputs()
    decisions = torch.zeros(BATCH, TOKENS, requires_grad=True)
    output = masked(query, key, value, decisions)
    assert_close(output, value.transpose(1, 2))
    output.sum().backward()
    assert decisions.grad.isfinite().all()


def test_the_users_mask_is_added():
    decisions = torch.tensor([[1.0, 0.0, 1.0]])
    bias = decision_bias(decisions, torch.tensor([[True, True, False]]), torch.float32)[0, 0]
    lowest = torch.finfo(torch.float32).min
    assert bias.tolist() == [[0.0, -torch.inf, lowest], [0.0, 0.0, lowest], [0.0, -torch.inf, lowest]]
