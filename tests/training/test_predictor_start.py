# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Predictors that start from the class attention of the dense model."""

import pytest
import torch
from toys import assert_same_weights, toy_images, toy_model

from hf_dynamicvit import DynamicViTForImageClassification
from hf_dynamicvit.training.predictor_start import imitate_class_attention, watched


@pytest.fixture
def images():
    return toy_images(40)


def agreement(model: DynamicViTForImageClassification, images: torch.Tensor) -> float:
    """Return the fraction of the patches with most class attention in the first stage that are kept there."""
    with torch.inference_mode(), watched(model) as watcher:
        model(images)
    with torch.inference_mode():
        kept = model.eval()(images).kept[:, 0]
    count = int(kept[0].sum())
    wanted = torch.zeros_like(kept).scatter_(1, watcher.attention[0].topk(count, dim=1).indices, True)
    return ((kept & wanted).sum() / wanted.sum()).item()


@pytest.mark.parametrize("reducer", ["dynamicvit", "tps"])
def test_predictors_tell_the_patches_with_most_class_attention(reducer, images):
    """As well for images that they have not seen; nothing else of the model has changed, nor what is drawn next."""
    model = toy_model(reducer=reducer, keep_ratio=0.5).train()
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    at_random = agreement(model, toy_images(16, seed=1))
    model.train()
    imitate_class_attention(model, images)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    others = {name: value for name, value in model.state_dict().items() if ".predictors." not in name}
    assert_same_weights(others, {name: before[name] for name in others})
    learned = model.state_dict().keys() - others.keys()
    assert learned and not any(torch.equal(model.state_dict()[name], before[name]) for name in learned)
    assert agreement(model, toy_images(16, seed=1)) > max(0.55, at_random + 0.15)  # of noise, by random weights


def test_later_stages_choose_among_what_is_left(images):
    model = toy_model(keep_ratio=0.5)
    imitate_class_attention(model, images)
    with torch.inference_mode():
        kept = model(images).kept
    assert [int(count) for count in kept.sum(dim=2)[0]] == model.token_counts()
    assert not (kept[:, 1] & ~kept[:, 0]).any()


def test_the_same_images_give_the_same_predictors(images):
    models = [toy_model(), toy_model()]
    for model in models:
        imitate_class_attention(model, images)
    assert_same_weights(models[0].state_dict(), models[1].state_dict())


def test_a_method_without_predictors_is_refused(images):
    with pytest.raises(ValueError, match="reducer 'evit' has no predictors"):
        imitate_class_attention(toy_model(reducer="evit"), images)
