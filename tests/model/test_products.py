# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Merging as a product of matrices, as on a GPU."""

import pytest
import torch
from methods import usual
from native_toys import MODELS, native_model, reduced_model, result, toy_inputs
from toys import toy_images, toy_model

from hf_dynamicvit.model import tokens
from hf_dynamicvit.model.products import merge_by_product, multiplies
from hf_dynamicvit.model.reducers import REDUCERS
from hf_dynamicvit.model.tokens import weighted_merge


def test_groups_become_weighted_means_and_the_prefix_stays():
    hidden = torch.tensor([[[9.0, 9.0], [1.0, 0.0], [3.0, 4.0], [5.0, 8.0], [7.0, 7.0]]])
    found = merge_by_product(hidden, 1, torch.tensor([[1, 0, 1, 2]]), torch.tensor([[3.0, 2.0, 1.0, 0.0]]), 3)
    expected = torch.tensor([[[9.0, 9.0], [3.0, 4.0], [2.0, 2.0], [0.0, 0.0]]])  # a group of weight 0 gives 0
    torch.testing.assert_close(found, expected)


def test_gradients_are_those_of_adding_up():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 9, 4, generator=generator, requires_grad=True)
    weights = torch.rand(2, 8, generator=generator).requires_grad_()
    index, rest = torch.tensor([[1, 2, 4, 5, 7]] * 2), torch.tensor([[0, 6, 3], [3, 0, 6]])
    host = torch.tensor([[0, 0, 4], [2, 1, 2]])
    into = torch.zeros(2, 8, dtype=torch.int64).scatter(1, index, torch.arange(5).expand(2, -1))
    into = into.scatter(1, rest, host)
    patches = hidden[:, 1:]
    rows = [patches.gather(1, where[..., None].expand(-1, -1, 4)) for where in (index, rest)]
    means = weighted_merge(*rows, host, weights.gather(1, index), weights.gather(1, rest))
    products = merge_by_product(hidden, 1, into, weights, 5)[:, 1:]
    torch.testing.assert_close(products, means)
    found, expected = (
        torch.autograd.grad(each.square().sum(), (hidden, weights), retain_graph=True) for each in (products, means)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.fixture
def products(monkeypatch):
    """Take products, as on a GPU; the list has an entry for each that was taken."""
    calls, real = [], tokens.merge_by_product
    monkeypatch.setattr(tokens, "multiplies", lambda states: True)
    monkeypatch.setattr(tokens, "merge_by_product", lambda *inputs: calls.append(1) or real(*inputs))
    return calls


MERGING = [name for name, reducer in REDUCERS.items() if reducer.rest == "merged"]


@pytest.mark.parametrize("name", MERGING)
@pytest.mark.parametrize("masked", [False, True])
def test_every_method_that_merges_is_the_same(name, masked, products, monkeypatch):
    model, images = toy_model(reducer=name).eval(), toy_images()
    mask = torch.ones(len(images), 65, dtype=torch.long)
    mask[:, 50:] = 0
    inputs = {"attention_mask": mask} if masked else {}
    with torch.no_grad():
        found = model(images, **inputs)
        with monkeypatch.context() as plain:
            plain.setattr(tokens, "multiplies", lambda states: False)
            expected = model(images, **inputs)
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=1e-5)
    assert found.kept.equal(expected.kept)


@usual(key=["dynamicvit", "dynamicclip", "dynamicbeit", "dynamicdinov3_vit", "dynamicyolos"])
@pytest.mark.parametrize("key, kind", MODELS)
def test_every_family_is_the_same(key, kind, products, monkeypatch):
    model = reduced_model(native_model(key, kind), key, kind, "tome", keep_ratio=0.6).eval()
    inputs = toy_inputs(kind)
    with torch.no_grad():
        found = result(model(**inputs))
        assert products
        monkeypatch.setattr(tokens, "multiplies", lambda states: False)
        expected = result(model(**inputs))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-5)


def test_only_cuda_gains():
    assert not multiplies(torch.zeros(1))
    with torch.device("meta"):
        assert not multiplies(torch.zeros(1))
