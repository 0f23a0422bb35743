# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""ATS against the published implementation, image by image, and its sampling against the definition."""

import itertools

import pytest
import torch
from torch.testing import assert_close
from toys import toy_config, toy_images, toy_model

from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config
from hf_dynamicvit.model.reducer_ats import cumulate, hit


def model_of(case, **reducer_args):
    config = infer_config(
        case.weights,
        num_attention_heads=case.about["config"]["num_heads"],
        reducer="ats",
        reducer_layers=case.about["variants"]["dropped"]["ats_blocks"],
        reducer_args=reducer_args,
    )
    return convert_state_dict(case.weights, config)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_inference_per_image(golden, attention, together):
    """The golden images ran alone with dropped tokens; in a batch every image must give the same."""
    case = golden("ats_eval")
    model = model_of(case)
    model.set_attn_implementation(attention)
    with torch.no_grad():
        for image in range(3):
            images = case.pixel_values if together else case.pixel_values[image : image + 1]
            index = image if together else 0
            outputs, encoder = model(images), model.vit(images, output_hidden_states=True)
            expected = {name: case.io[f"dropped_alone_{image}.{name}"] for name in ("logits", "kept_after_block")}
            assert torch.equal(outputs.kept[index], expected["kept_after_block"][2:, 0, 1:].bool())
            classes = torch.stack([states[index : index + 1, 0] for states in encoder.hidden_states[1:]])
            published = case.io[f"dropped_alone_{image}.cls_after_block"]
            assert_close(classes, published, **case.tolerance("tokens/cls_after_block"))
            assert_close(outputs.logits[index : index + 1], expected["logits"], **case.tolerance("logits/losses"))


def hit_by_definition(scores, samples):
    """Positions of one image's tokens that are nearest to one of the samples, as the paper writes them out."""
    ordered, order = scores.double().sort()
    total = ordered.cumsum(0)
    total = (total - total[0]) / (total[-1] - total[0])
    first = total[total > 0].min()
    points = first + torch.arange(samples) * (1 - first) / (samples - 1)
    return set(order[(points[:, None] - total).abs().argmin(dim=1)].tolist())


@pytest.mark.parametrize("samples", [2, 3, 9, 40, 500])
def test_samples_are_those_of_the_definition(samples):
    scores = torch.rand(4, 30, generator=torch.Generator().manual_seed(samples)) ** 3
    alive = torch.ones(4, 30, dtype=torch.bool)
    alive[0, ::3], alive[1, 5:] = False, False
    cumulated, order = cumulate(scores, alive)
    keep = torch.zeros_like(alive).scatter(1, order, hit(cumulated, samples))
    for image in range(4):
        places = alive[image].nonzero()[:, 0]
        expected = {int(places[index]) for index in hit_by_definition(scores[image][alive[image]], samples)}
        assert set(keep[image].nonzero()[:, 0].tolist()) == expected
    assert not keep.gather(1, scores.masked_fill(~alive, torch.inf).argmin(dim=1, keepdim=True)).any()


def test_scores_of_zero_are_never_hit_and_all_zero_hits_none():
    scores = torch.tensor([[0.0, 0.0, 0.5, 0.1, 0.4], [0.0] * 5])
    cumulated, order = cumulate(scores, torch.ones(2, 5, dtype=torch.bool))
    keep = torch.zeros(2, 5, dtype=torch.bool).scatter(1, order, hit(cumulated, 100))
    assert keep.tolist() == [[False, False, True, True, True], [False] * 5]


def test_more_samples_keep_more_and_every_image_its_own_number():
    images, kept = toy_images(6), []
    for samples in (2, 8, 32, 128):
        counts = toy_model(reducer="ats", keep_ratio=1.0, reducer_args={"samples": samples})
        counts.vit.reducer.calibrated = {"samples": [samples] * 3}
        kept.append(counts(images).kept[:, 0].sum(-1))
    assert all((more >= fewer).all() for fewer, more in itertools.pairwise(kept))
    assert (kept[0] == 2).all() and len(kept[2].unique()) > 1


def test_calibration_meets_the_ratio_and_travels_in_the_configuration(tmp_path):
    model = toy_model(reducer="ats")
    images = toy_images(16)
    model.set_keep_ratio([0.8, 0.5, 0.3], images)
    kept = model(images).kept.float()
    assert kept.mean((0, 2)).tolist() == pytest.approx([0.8, 0.5, 0.3], abs=0.03)
    assert model.config.reducer_args["samples"] == model.vit.reducer.samples
    model.save_pretrained(tmp_path)
    assert torch.equal(type(model).from_pretrained(tmp_path).eval()(images).kept, model(images).kept)


def test_samples_follow_the_size_of_the_images():
    model = toy_model(reducer="ats", keep_ratio=1.0)
    model.vit.reducer.calibrated = {"samples": [64, 64, 64]}
    seen = []
    model.vit.reducer.choose = lambda scores, alive, samples: seen.append(samples) or alive
    model(toy_images(1, 64, 64), interpolate_pos_encoding=True)
    model(toy_images(1, 16, 32), interpolate_pos_encoding=True)
    assert seen == [256] * 3 + [32] * 3


@pytest.mark.parametrize("samples", [1, -2, 0.5, [8, 8], [8, 8, 1], "8", 1 << 21])
def test_bad_numbers_of_samples_are_named(samples):
    with pytest.raises(ValueError, match="reducer_args: samples is "):
        toy_config(reducer="ats", reducer_args={"samples": samples})
