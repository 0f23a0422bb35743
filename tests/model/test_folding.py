# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What is added to the logits of a key, in channels of query and key in place of a mask."""

import pytest
import torch
from native_toys import MODELS, native_model, reduced_model, result, toy_inputs
from toys import toy_images, toy_model

from hf_dynamicvit.model import block
from hf_dynamicvit.model.folding import can_fold, fold


def attended(query, key, value, bias=None, scaling=0.3):
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, bias, scale=scaling)


@pytest.mark.parametrize("width", [4, 6, 8, 14, 64])
@pytest.mark.parametrize("queries", [11, 1])
def test_folded_attention_is_that_with_the_bias_added(width, queries):
    generator = torch.Generator().manual_seed(0)
    key, value = (torch.randn(2, 3, 11, width, generator=generator, requires_grad=True) for _ in range(2))
    query = torch.randn(2, 3, queries, width, generator=generator, requires_grad=True)
    bias = torch.rand(2, 9, generator=generator).mul(5).requires_grad_()
    added = torch.nn.functional.pad(bias, (2, 0))[:, None, None]
    expected = attended(query, key, value, added)
    wider = fold(query, key, value, bias, 2, 0.3)
    assert all(each.shape[-1] % 8 == 0 and each.shape[-1] >= width + 2 for each in wider)
    found = attended(*wider)
    assert not found[..., width:].any()
    torch.testing.assert_close(found[..., :width], expected, atol=1e-6, rtol=1e-6)
    inputs = (query, key, value, bias)
    gradients = [torch.autograd.grad(each.square().sum(), inputs) for each in (found[..., :width], expected)]
    for folded, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(folded, plain, atol=5e-5, rtol=1e-4)


def test_half_precision_rounds_the_bias_off_no_more_than_the_logits():
    """log(100) / 0.125 is 36.8, of which bfloat16 keeps a quarter; in two channels the sum is right to 1e-3."""
    bias = torch.linspace(0, 5.3, 50)[None]
    key, query = torch.zeros(1, 1, 50, 64, dtype=torch.bfloat16), torch.zeros(1, 1, 1, 64, dtype=torch.bfloat16)
    query, key, _ = fold(query, key, key, bias, 0, 0.125)
    logits = (query.float() @ key.float().transpose(2, 3))[0, 0, 0] * 0.125
    torch.testing.assert_close(logits, bias[0], atol=1e-3, rtol=0)
    assert (key[0, 0, :, 64].float() * 0.125 - bias[0]).abs().max() > 1e-3


@pytest.fixture
def folds_everywhere(monkeypatch):
    monkeypatch.setattr(block, "can_fold", lambda states, implementation: True)


@pytest.mark.parametrize("key, kind", MODELS)
def test_a_model_that_merges_is_the_same_folded(key, kind, monkeypatch):
    model = reduced_model(native_model(key, kind), key, kind, "tome", keep_ratio=0.6).eval()
    inputs = toy_inputs(kind)
    with torch.no_grad():
        expected = result(model(**inputs))
        calls, real = [], block.fold
        monkeypatch.setattr(block, "can_fold", lambda states, implementation: True)
        monkeypatch.setattr(block, "fold", lambda *inputs: calls.append(1) or real(*inputs))
        found = result(model(**inputs))
    assert bool(calls) == (not getattr(model.config, "use_relative_position_bias", False))  # BEiT adds places too
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-5)


def test_masks_are_not_folded_away(folds_everywhere, monkeypatch):
    model, images = toy_model(reducer="tome", keep_ratio=0.6), toy_images()
    mask = torch.ones(3, 65, dtype=torch.long)
    mask[:, 50:] = 0
    monkeypatch.setattr(block, "fold", lambda *inputs: pytest.fail("folded beside a mask"))
    model(images, attention_mask=mask)


def test_only_half_precision_on_a_gpu_gains():
    assert not can_fold(torch.zeros(1), "sdpa") and not can_fold(torch.zeros(1, dtype=torch.bfloat16), "sdpa")
    with torch.device("meta"):
        assert not can_fold(torch.zeros(1, dtype=torch.bfloat16), "sdpa")
