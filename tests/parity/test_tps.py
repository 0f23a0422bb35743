# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""TPS against the published implementation: the squeezing, in its inference and its training form."""

import math

import pytest
import torch
from torch.testing import assert_close
from toys import toy_config, toy_images, toy_model

from hf_dynamicvit.model.reducer_tps import match, squeeze_masked
from hf_dynamicvit.model.tokens import weighted_merge


def assert_gradient(actual, expected, relative=2e-5):
    assert (actual - expected).abs().max() <= relative * expected.abs().max()


@pytest.mark.parametrize("temperature, name", [(1.0, "T1"), (0.5, "T0.5")])
def test_squeeze(golden, temperature, name):
    case = golden("tps_squeeze")
    kept, pruned = case.io["kept"].clone().requires_grad_(), case.io["pruned"].clone().requires_grad_()
    host, weights = match(kept, pruned, temperature)
    squeezed = weighted_merge(kept, pruned, host, torch.full(kept.shape[:2], math.e), weights)
    squeezed.backward(case.io["upstream_grad"])
    assert torch.equal(host, case.io["host"])
    assert_close(weights, case.io[f"{name}.weight"], **case.tolerance("weight"))
    assert_close(squeezed, case.io[f"{name}.squeezed"], **case.tolerance("squeezed"))
    assert_gradient(kept.grad, case.io[f"{name}.grad_kept"])
    assert_gradient(pruned.grad, case.io[f"{name}.grad_pruned"])


def test_training_form(golden):
    case = golden("tps_squeeze")
    x = case.io["train.x"].clone().requires_grad_()
    keep, previous = case.io["train.keep"][..., 0], case.io["train.prev_keep"][..., 0]
    keep = keep.clone().requires_grad_()
    squeezed = squeeze_masked(x, keep, previous, 1.0)
    squeezed.backward(case.io["train.upstream_grad"])
    assert_close(squeezed, case.io["train.squeezed"], **case.tolerance("squeezed"))
    assert_gradient(x.grad, case.io["train.grad_x"])
    # the gradient of the decision is that of current_pruned = (1 - keep) * previous, through it
    expected = -case.io["train.grad_current_pruned"][..., 0] * previous
    assert_gradient(keep.grad, expected)


def test_training_form_equals_inference():
    generator = torch.Generator().manual_seed(0)
    x, keep = torch.randn(2, 20, 8, generator=generator), torch.rand(2, 20, generator=generator) > 0.4
    squeezed = squeeze_masked(x, keep.float(), torch.ones(2, 20), 0.7)
    for image in range(2):
        kept, pruned = x[image][keep[image]][None], x[image][~keep[image]][None]
        host, weights = match(kept, pruned, 0.7)
        expected = weighted_merge(kept, pruned, host, torch.full(kept.shape[:2], math.e), weights)
        assert_close(squeezed[image][keep[image]], expected[0])
        assert torch.equal(squeezed[image][~keep[image]], pruned[0])


@pytest.mark.parametrize("kept", [0, 1])
def test_one_token_or_none_left_is_finite(kept):
    mask = torch.zeros(1, 6)
    mask[:, :kept] = 1
    x, mask = torch.randn(1, 6, 8).requires_grad_(), mask.requires_grad_()
    squeezed = squeeze_masked(x, mask, torch.ones(1, 6), 1.0)
    squeezed.sum().backward()
    assert squeezed.isfinite().all() and x.grad.isfinite().all() and mask.grad.isfinite().all()
    assert torch.equal(squeezed[:, kept:], x[:, kept:])


def test_every_patch_has_a_token_that_speaks_for_it():
    for score in ("dynamicvit", "evit"):
        outputs = toy_model(reducer="tps", reducer_args={"score": score})(toy_images())
        assert (outputs.owner >= 0).all()
        assert outputs.kept[:, -1].sum(-1).eq(outputs.owner[:, -1].max() + 1).all()


def test_eps_score_has_no_parameters():
    model = toy_model(reducer="tps", reducer_args={"score": "evit"})
    assert not list(model.vit.reducer.parameters()) and model.vit.reducer.losses(()) == {}


@pytest.mark.parametrize("values", [{"score": "tome"}, {"temperature": 0.005}, {"tau": -1.0}])
def test_bad_options_are_named(values):
    ((name, value),) = values.items()
    with pytest.raises(ValueError, match=f"{name} is {value!r}"):
        toy_config(reducer="tps", reducer_args=values)
