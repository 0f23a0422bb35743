# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""AS-ViT: images of one batch keep different numbers of patches, down to none, and never see each other."""

import pytest
import torch
from torch.testing import assert_close
from toys import toy_config, toy_images, toy_model


def with_thresholds(*thresholds, **overrides):
    model = toy_model(reducer="asvit", **overrides)
    for parameter, value in zip(model.vit.reducer.thresholds, thresholds, strict=True):
        parameter.data.fill_(value)
    return model


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("thresholds", [(0.01, 0.015, 0.02), (0.015, 0.9, 0.9), (0.9, 0.9, 0.9), (1e-9, 1e-9, 1e-9)])
def test_a_batch_equals_its_images(attention, thresholds):
    model = with_thresholds(*thresholds)
    model.set_attn_implementation(attention)
    images = toy_images(6)
    together = model(images, output_hidden_states=True)
    for index in range(6):
        alone = model(images[index : index + 1], output_hidden_states=True)
        assert torch.equal(alone.kept[0], together.kept[index])
        assert_close(alone.logits[0], together.logits[index], atol=1e-5, rtol=1e-5)
        assert_close(
            model.scatter_to_grid(alone, None)[0], model.scatter_to_grid(together)[index], atol=1e-5, rtol=1e-5
        )
    counts = together.kept.sum(-1)
    if thresholds[0] == 0.01:
        assert len(counts[:, 0].unique()) > 2 and len(counts[:, 2].unique()) > 1


def test_none_and_one_left():
    """Most images keep nothing; the class token goes on alone, in training as at inference."""
    model = with_thresholds(0.01, 0.015, 0.02)
    images = toy_images(6)
    tokens = model.vit.embed(images)
    for index, layer in enumerate(model.vit.layers[:1]):
        _, tokens = layer(tokens.hidden, tokens, model.vit.reducer, index)
    highest = tokens.importance.detach().max(1).values.sort(descending=True).values
    model.vit.reducer.thresholds[0].data.fill_(float((highest[0] + highest[1]) / 2))
    inference = model(images)
    assert sorted(inference.kept[:, 0].sum(-1).tolist())[:5] == [0] * 5 and inference.kept[:, 0].any()
    training = model.train()(images)
    assert torch.equal(training.kept, inference.kept)
    assert_close(training.logits, inference.logits, atol=1e-5, rtol=1e-5)
    training.logits.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_images_of_a_batch_never_see_each_other():
    """Another image changes; the first one's result does not move by a bit."""
    model = with_thresholds(0.012, 0.018, 0.025)
    images = toy_images(4)
    expected = model(images)
    changed = images.clone()
    changed[1:] = torch.randn(3, 3, 32, 32) * 5
    assert_close(model(changed).logits[0], expected.logits[0], atol=1e-6, rtol=1e-6)


def test_the_released_batch_mode_depends_on_the_batch():
    model = with_thresholds(0.012, 0.018, 0.025, reducer_args={"batch_mode": "mean_topk"})
    outputs = model(toy_images(6))
    counts = outputs.kept.sum(-1)
    assert (counts == counts[:1]).all()
    exact = with_thresholds(0.012, 0.018, 0.025)(toy_images(6)).kept.sum(-1)
    assert counts[0, 0] == exact[:, 0].sum() // 6


def test_padding_is_left_out_of_the_linear_layers():
    """What is not a token costs nothing but attention."""
    model = with_thresholds(0.012, 0.018, 0.025)
    images, seen = toy_images(6), []
    hook = model.vit.layers[2].mlp.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    with torch.no_grad():
        kept = model(images).kept
    hook.remove()
    assert seen == [(1, 6 + int(kept[:, 1].sum()), 32)]


def test_thresholds_stay_positive_and_can_come_back():
    model = with_thresholds(-0.5, 0.01, 0.02).train()
    outputs = model(toy_images())
    assert outputs.kept[:, 0].all()
    assert model.vit.reducer.threshold(0, 64) > 0
    model.vit.reducer.threshold(0, 64).backward()
    assert model.vit.reducer.thresholds[0].grad == 1.0


def test_a_negative_threshold_revives_nobody():
    model = with_thresholds(0.015, -0.5, -0.5)
    for training in (False, True):
        kept = model.train(training)(toy_images()).kept
        assert not kept[:, 0].all() and torch.equal(kept[:, 0], kept[:, 2])


@pytest.mark.parametrize("size, patches", [(32, 64), (64, 256)])
def test_thresholds_start_for_the_number_of_patches(size, patches):
    from hf_dynamicvit import DynamicViTForImageClassification

    thresholds = DynamicViTForImageClassification(toy_config(reducer="asvit", image_size=size)).vit.reducer.thresholds
    expected = [0.001 * stage * 196 / patches for stage in (1, 2, 3)]
    assert [threshold.item() for threshold in thresholds] == pytest.approx(expected)


def test_a_users_mask_in_a_batch():
    model = with_thresholds(0.012, 0.018, 0.025)
    mask = torch.ones(4, 65, dtype=torch.bool)
    mask[0, 30:], mask[2, 50:] = False, False
    together = model(toy_images(4), attention_mask=mask)
    assert not together.kept[0, :, 29:].any()
    for index in range(4):
        alone = model(toy_images(4)[index : index + 1], attention_mask=mask[index : index + 1])
        assert_close(alone.logits[0], together.logits[index], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "values, named",
    [
        ({"reducer_args": {"budget": 0}}, "budget is 0"),
        ({"reducer_args": {"budget": 1.5}}, r"budget is 1\.5"),
        ({"reducer_args": {"tau": 0}}, "tau is 0"),
        ({"reducer_args": {"batch_mode": "pad"}}, "batch_mode is 'pad'"),
        ({"reducer_layers": [0, 2]}, r"reducer_layers is \[0, 2\]"),
    ],
)
def test_bad_options_are_named(values, named):
    with pytest.raises(ValueError, match=named):
        toy_config(reducer="asvit", **values)
