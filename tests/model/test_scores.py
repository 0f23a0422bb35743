# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`output_scores=True`: what each patch scored is what decided."""

import pytest
import torch
from methods import SAMPLE
from toys import toy_images, toy_model

from hf_dynamicvit import REDUCERS, DynamicDeiTConfig, DynamicDeiTForImageClassification


def test_scores_are_those_that_decided(reducer):
    model = toy_model(reducer=reducer)
    with torch.inference_mode():
        plain, outputs = model(toy_images()), model(toy_images(), output_scores=True)
    assert plain.scores is None
    assert torch.equal(plain.logits, outputs.logits)
    assert outputs.scores.shape == outputs.kept.shape and outputs.scores.dtype == torch.float32
    if not REDUCERS[reducer].scores_patches:  # pairs are scored there, not patches
        assert outputs.scores.isnan().all()
        return
    returning = REDUCERS[reducer].rest == "idle"
    before = torch.ones_like(outputs.kept[:, 0])
    for scores, kept in zip(outputs.scores.unbind(1), outputs.kept.unbind(1), strict=True):
        candidates = torch.ones_like(kept) if returning else before
        assert scores[candidates].isfinite().all()
        lowest = scores.masked_fill(~kept, torch.inf).amin(dim=1)
        highest = scores.masked_fill(kept | ~candidates, -torch.inf).amax(dim=1)
        assert (lowest >= highest).all() or reducer in SAMPLE
        before = kept


def test_gone_patches_have_none():
    outputs = toy_model(reducer="topk")(toy_images(), output_scores=True)
    assert torch.equal(outputs.scores[:, 1].isnan(), ~outputs.kept[:, 0])


def test_the_fused_token_answers_for_its_patches():
    outputs = toy_model(reducer="evit")(toy_images(), output_scores=True)
    fused = outputs.scores[0, 1][~outputs.kept[0, 0]]
    assert (fused == fused[0]).all() and fused.isfinite().all()


def test_masked_patches_have_none(reducer):
    if not REDUCERS[reducer].scores_patches:
        pytest.skip("scores pairs")
    mask = torch.ones(3, 65, dtype=torch.long)
    mask[:, 1:9] = 0
    scores = toy_model(reducer=reducer)(toy_images(), attention_mask=mask, output_scores=True).scores
    assert scores[:, 0, :8].isnan().all() and scores[:, 0, 8:].isfinite().all()


def test_nothing_to_choose_scores_nothing():
    assert toy_model(keep_ratio=1.0)(toy_images(), output_scores=True).scores.isnan().all()


def test_training_and_deit():
    model = toy_model()
    assert model.train()(toy_images(), output_scores=True).scores is None
    sizes = {name: value for name, value in model.config.to_dict().items() if name in ("hidden_size", "image_size")}
    config = DynamicDeiTConfig(**sizes, patch_size=4, num_hidden_layers=4, num_attention_heads=4, intermediate_size=64)
    deit = DynamicDeiTForImageClassification(config).eval()
    assert deit(toy_images(), output_scores=True).scores.shape == (3, 3, 64)
