# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Object detectors: what the table does not test, as images of any size, the native loss, and pipelines."""

import numpy as np
import pytest
import torch
from methods import FEW, usual
from native_toys import native_model, reduced_model
from PIL import Image
from torch.testing import assert_close
from toys import toy_images
from transformers import AutoModelForObjectDetection, YolosConfig, YolosImageProcessorPil, pipeline

from hf_dynamicvit import DynamicYolosConfig, DynamicYolosForObjectDetection, reduce_tokens, restore


KEY = "dynamicyolos"


@pytest.fixture(scope="module")
def native():
    return native_model(KEY, "detector")


def toy_labels(count: int, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    """Two objects in each of `count` images."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 2, 4, generator=generator) * 0.4 + 0.2
    classes = torch.randint(0, 5, (count, 2), generator=generator)
    return [{"class_labels": label, "boxes": box} for label, box in zip(classes, boxes, strict=True)]


@pytest.mark.parametrize("height, width", [(32, 32), (24, 44), (50, 33)])
def test_images_of_any_size_with_the_native_loss(native, height, width):
    images, labels = toy_images(2, height, width), toy_labels(2)
    model = reduced_model(native, KEY, "detector", "tome", keep_ratio=1.0)
    with torch.no_grad():
        expected = native(images, labels=labels)
        found = model(images, labels=labels, pixel_mask=torch.ones(2, height, width))
    for name in ("logits", "pred_boxes", "loss", "loss_dict"):
        assert_close(found[name], expected[name], atol=1e-5, rtol=1e-5)
    model.set_keep_ratio(0.6)
    with torch.no_grad():
        reduced = model(images, labels=labels)
    assert reduced.kept.shape[2] == (height // 4) * (width // 4) and reduced.loss.isfinite()
    assert reduced.last_hidden_state.shape[1] == 7  # the class token and six detection tokens
    assert not torch.allclose(reduced.logits, expected.logits, atol=1e-3)


def test_states_are_native_where_somebody_looks(native):
    model = reduced_model(native, KEY, "detector", "tome", keep_ratio=1.0)
    with torch.no_grad():
        found, expected = (each(toy_images(2), output_hidden_states=True) for each in (model, native))
    assert_close(found.last_hidden_state, expected.last_hidden_state, atol=1e-5, rtol=1e-5)
    states = [model.backbone.native_order(each) for each in found.hidden_states]
    assert_close(states, list(expected.hidden_states), atol=1e-4, rtol=1e-4)


@usual(reducer=FEW)
@usual(middle=[True])
@pytest.mark.parametrize("middle", [True, False])
def test_positions_of_the_middle_blocks_follow_the_tokens(middle, reducer):
    """Packed and padded, with and without gradients, the same."""
    model = reduced_model(
        native_model(KEY, "detector", use_mid_position_embeddings=middle), KEY, "detector", reducer, keep_ratio=0.5
    )
    assert ("vit.encoder.interpolation.mid_position_embeddings" in model.state_dict()) == middle
    watched = model(toy_images(3))
    with torch.no_grad():
        assert_close(model(toy_images(3)).logits, watched.logits, atol=1e-5, rtol=1e-5)
    assert watched.kept.float().mean() < 0.9


def test_masked_training_equals_dropping(native, monkeypatch):
    model = reduced_model(native, KEY, "detector", "dynamicvit", keep_ratio=0.6)
    with torch.no_grad():
        dropped = model(toy_images(2))
    decided = iter(dropped.kept.unbind(1))
    choose = lambda log_probs, tau: next(decided) + log_probs[..., 0] - log_probs[..., 0].detach()  # noqa: E731
    monkeypatch.setattr("hf_dynamicvit.model.reducer_dynamicvit.gumbel_keep", choose)
    trained = model.train()(toy_images(2), labels=toy_labels(2))
    assert_close(trained.logits, dropped.logits, atol=1e-5, rtol=1e-5)
    assert trained.features.shape == (2, 6, 32)
    trained.loss.backward()
    gradient = model.vit.encoder.interpolation.mid_position_embeddings.grad
    assert gradient.isfinite().all() and gradient.abs().amax(dim=(1, 2, 3)).min() > 0


def test_an_auxiliary_loss_is_refused():
    model = reduced_model(native_model(KEY, "detector", auxiliary_loss=True), KEY, "detector", "tome")
    with pytest.raises(ValueError, match="auxiliary_loss is True"):
        model(toy_images(1), labels=toy_labels(1))
    assert model(toy_images(1)).loss is None


def test_patches_that_native_code_cannot_read_are_refused():
    with pytest.raises(ValueError, match=r"patch_size is \[4, 4\]; a yolos takes one number"):
        DynamicYolosConfig(image_size=[32, 32], patch_size=[4, 4])


def test_costs_know_the_heads(native):
    model = reduced_model(native, KEY, "detector", "tome", keep_ratio=0.6)
    heads = model.dense_multiply_adds() - model.vit.dense_multiply_adds()
    assert heads == 6 * 32 * (4 * 32 + 6 + 4)  # of 6 tokens, as wide as 32, for 5 classes, no object, and a box
    model.set_budget(fraction=0.9)
    assert model.multiply_adds() <= 0.9 * model.dense_multiply_adds()


def toy_pictures(count: int = 2) -> list[Image.Image]:
    pixels = np.random.default_rng(0).integers(0, 255, (count, 40, 50, 3), dtype=np.uint8)
    return [Image.fromarray(each) for each in pixels]


def detections(model, processor=None) -> list[tuple]:
    detect = pipeline("object-detection", model=model, image_processor=processor)
    found = [each for row in detect(toy_pictures(), threshold=0.0) for each in row]
    return [(each["label"], round(each["score"], 4), *each["box"].values()) for each in found]


def test_the_pipeline(native, tmp_path):
    processor = YolosImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 48})
    dense = detections(native, processor)
    assert len(dense) == 12
    assert detections(reduced_model(native, KEY, "detector", "tome", keep_ratio=1.0), processor) == dense
    model = reduced_model(native, KEY, "detector", "tome", keep_ratio=0.5)
    sparse = detections(model, processor)
    assert sparse != dense
    detect = pipeline("object-detection", model=native_model(KEY, "detector"), image_processor=processor)
    reduce_tokens(detect.model, "tome", keep_ratio=0.5)
    assert detections(detect.model, processor) == sparse
    assert detections(restore(detect.model), processor) == dense
    for each in (model, processor):
        each.save_pretrained(tmp_path)
    assert type(AutoModelForObjectDetection.from_pretrained(tmp_path)) is DynamicYolosForObjectDetection
    assert detections(str(tmp_path), processor) == sparse


def test_the_dense_copy_is_the_native_model(native):
    dense = reduced_model(native, KEY, "detector", "tome").to_dense()
    assert type(dense) is type(native) and type(dense.config) is YolosConfig
    with torch.no_grad():
        assert torch.equal(dense(toy_images(2)).logits, native(toy_images(2)).logits)


def test_weights_at_another_size(native):
    """They are those of a model of that size: the positions of the embedding and of the middle blocks."""
    model = reduced_model(native, KEY, "detector", "tome", keep_ratio=1.0)
    at = model.backbone.weights_at(24, 40)
    other = native_model(KEY, "detector", image_size=[24, 40])
    other.load_state_dict(native.state_dict() | {f"vit.{name}": each for name, each in at.items()})
    with torch.no_grad():
        images = toy_images(2, 24, 40)
        assert_close(other(images).logits, model(images).logits, atol=1e-5, rtol=1e-5)
