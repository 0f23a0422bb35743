# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`torch.jit.trace`, on which TensorBoard's graph and counters of operations build, as for the dense model."""

import pytest
import torch
from methods import UNLIKE, usual
from torch.testing import assert_close
from toys import toy_deit, toy_dense, toy_images, toy_model


pytestmark = pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"
)


def assert_traced(model, tmp_path, gradients):
    """A trace, saved and loaded, gives other images in another batch size what the model gives them."""
    with torch.set_grad_enabled(gradients):
        traced = torch.jit.trace(model, toy_images(2), strict=False)  # checks itself, without gradients
        traced.save(tmp_path / "traced.pt")
        images, outputs = toy_images(5, seed=3), torch.jit.load(tmp_path / "traced.pt")(toy_images(5, seed=3))
        expected = model(images)
    assert_close(outputs["logits"], expected.logits, atol=1e-5, rtol=1e-5)
    if "kept" in outputs:
        assert torch.equal(outputs["kept"], expected.kept)


@usual(reducer=["dynamicvit", *UNLIKE], gradients=[False])
@usual(reducer=["tome"])
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.slow
def test_a_trace_is_the_model(reducer, tmp_path, gradients):
    assert_traced(toy_model(reducer=reducer, keep_ratio=0.6), tmp_path, gradients)


def test_a_trace_of_other_families(tmp_path):
    assert_traced(toy_dense(), tmp_path, gradients=True)
    assert_traced(toy_deit(), tmp_path, gradients=True)


def test_a_trace_of_what_each_image_keeps(tmp_path):
    """The images that are traced with keep other numbers of patches than those that come."""
    model = toy_model(reducer="asvit")
    counts = [model(images).kept.sum(-1) for images in (toy_images(2), toy_images(5, seed=3))]
    assert counts[0].amax(0).tolist() != counts[1].amax(0).tolist()
    assert_traced(model, tmp_path, gradients=False)


def test_what_depends_on_the_batch_is_refused():
    model = toy_model(reducer="asvit", reducer_args={"batch_mode": "mean_topk"})
    with pytest.raises(ValueError, match="batch_mode is 'mean_topk'"):
        torch.jit.trace(model, toy_images(2), strict=False)


@usual(reducer=["dynamicvit", "tome"])
@pytest.mark.slow
def test_a_trace_is_of_one_image_size(reducer):
    model = toy_model(reducer=reducer)
    for size in ((32, 32), (24, 40)):
        inputs = {"pixel_values": toy_images(2, *size), "interpolate_pos_encoding": torch.tensor(True)}
        traced = torch.jit.trace(model, example_kwarg_inputs=inputs, strict=False, check_trace=False)
        with pytest.raises(RuntimeError, match="size"):
            traced(**(inputs | {"pixel_values": toy_images(2, 48, 48)}))


@usual(reducer=["asvit", "dynamicvit", "tome"])
@pytest.mark.slow
def test_with_a_mask(reducer):
    model = toy_model(reducer=reducer, keep_ratio=0.6)
    mask = torch.ones(2, 65, dtype=torch.bool)
    mask[0, 40:] = False
    inputs = {"pixel_values": toy_images(2), "attention_mask": mask}
    with torch.no_grad():
        traced = torch.jit.trace(model, example_kwarg_inputs=inputs, strict=False)
        other = {"pixel_values": toy_images(2, seed=4), "attention_mask": mask.flip(0)}
        assert_close(traced(**other)["logits"], model(**other).logits, atol=1e-5, rtol=1e-5)
