# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""How much is kept, changed at run time: ratios and budgets, for every method."""

import re
from itertools import pairwise

import pytest
import torch
from methods import FEW, UNLIKE, usual
from toys import assert_same_model, calibrated, toy_images, toy_model

from hf_dynamicvit import DynamicViTForImageClassification, DynamicViTModel


def images_for(model):
    return toy_images(8) if model.config.is_adaptive else None


# of the dense cost, for toys of methods that leave half of the blocks alone
LEAST = {"tosa": 0.75}


@usual(reducer=["dynamicvit", *LEAST], fraction=[0.9])
@usual(fraction=[0.7])
@pytest.mark.parametrize("fraction", [0.9, 0.7, 0.6])
def test_budget_is_met_and_used(reducer, fraction):
    if fraction < LEAST.get(reducer, 0):
        pytest.skip("half of its blocks are dense")
    model = toy_model(reducer=reducer)
    images = images_for(model)
    cost = model.set_budget(fraction=fraction, pixel_values=images)
    assert cost == model.multiply_adds(images)
    assert (fraction - 0.08) * model.dense_multiply_adds() < cost <= fraction * model.dense_multiply_adds()
    again = toy_model(reducer=reducer)
    assert again.set_budget(gmacs=fraction * model.dense_multiply_adds() / 1e9, pixel_values=images) == cost
    assert_same_model(again, model)


@usual(reducer=["asvit", *UNLIKE])
def test_a_budget_is_met_at_the_size_of_the_images(reducer):
    """Where attention has four times the patches, one keep ratio saves another part of the cost."""
    model, images = toy_model(reducer=reducer), toy_images(8, 64, 64)
    fraction = LEAST.get(reducer, 0.7)
    cost = model.set_budget(fraction=fraction, pixel_values=images)
    dense = model.dense_multiply_adds((64, 64))
    assert cost == model.multiply_adds(images) and (fraction - 0.04) * dense < cost <= fraction * dense


@usual(reducer=UNLIKE)
@pytest.mark.slow
def test_a_larger_budget_keeps_more(reducer):
    model = toy_model(reducer=reducer)
    kept = []
    for fraction in (fraction for fraction in (0.6, 0.7, 0.8, 0.9) if fraction >= LEAST.get(reducer, 0)):
        model.set_budget(fraction=fraction, pixel_values=images_for(model))
        kept.append(model(toy_images()).kept.float().mean())
    assert kept == sorted(kept) and kept[0] < kept[-1]


@usual(reducer=["asvit", "tome"])
def test_a_budget_out_of_reach_is_named_and_changes_nothing(reducer):
    model = toy_model(reducer=reducer)
    before, config = model(toy_images()).logits, model.config.to_dict()
    with pytest.raises(
        ValueError, match=rf"budget is 0\.01 of the dense model's .*; {reducer} here takes from"
    ) as told:
        model.set_budget(fraction=0.01, pixel_values=images_for(model))
    least, most = (float(number) for number in re.findall(r"from (\S+) to (\S+)\.", str(told.value))[0])
    assert 0.01 < least < most <= 1 and "GMACs" not in str(told.value)
    for budget in ({"gmacs": 70.0}, {"gmacs": 1e-6}, {"gmacs": float("nan")}):
        with pytest.raises(ValueError, match=rf"budget is .* GMACs; {reducer} here takes from"):
            model.set_budget(**budget, pixel_values=images_for(model))
    for fraction in (0.0, -0.5, 1.5, 70, float("nan")):
        with pytest.raises(ValueError, match=f"fraction is {fraction:g}; a budget is a fraction of the dense model"):
            model.set_budget(fraction=fraction, pixel_values=images_for(model))
    for budget in ({}, {"gmacs": 1.0, "fraction": 0.5}):
        with pytest.raises(ValueError, match="give one of them"):
            model.set_budget(**budget)
    assert torch.equal(model(toy_images()).logits, before) and model.config.to_dict() == config
    assert model.set_budget(fraction=least, pixel_values=images_for(model)) <= least * model.dense_multiply_adds()


@usual(reducer=FEW)
def test_a_budget_travels_with_the_checkpoint(reducer, tmp_path):
    model = toy_model(reducer=reducer)
    model.set_budget(fraction=LEAST.get(reducer, 0.7), pixel_values=images_for(model))
    model.save_pretrained(tmp_path)
    again = DynamicViTForImageClassification.from_pretrained(tmp_path).eval()
    assert again.config.to_dict()["keep_ratio"] == model.config.to_dict()["keep_ratio"]
    assert_same_model(again, model)


def test_full_budget_of_a_method_that_costs_something():
    """DynamicViT with almost everything kept costs more than the dense model, by its predictors; with all, nothing."""
    model = toy_model(num_hidden_layers=12)
    dense = model.dense_multiply_adds()
    assert toy_model(num_hidden_layers=12, keep_ratio=[1.0, 1.0, 63 / 64]).multiply_adds() > dense
    assert toy_model(num_hidden_layers=12, keep_ratio=1.0).multiply_adds() == dense
    assert model.set_budget(fraction=1.0) == dense and model.config.keep_ratio == 1.0
    assert 0.9 * dense < model.set_budget(fraction=0.99) <= 0.99 * dense


def test_tome_budgets_below_equal_merges():
    """Deep halving in the last blocks where one number would ask for more than half at once."""
    model = toy_model(reducer="tome", num_hidden_layers=12)
    model.set_budget(fraction=0.5)
    counts = [64, *model.token_counts()]
    assert all(after >= before // 2 for before, after in pairwise(counts))
    assert isinstance(model.config.keep_ratio, list)


def test_a_count_gives_way_to_a_ratio(tmp_path):
    model = toy_model(reducer="tome", reducer_args={"r": 4, "proportional_attention": False})
    assert model.token_counts() == [60, 56, 52, 48] and model.config.keep_ratio is None
    model.save_pretrained(tmp_path)
    assert DynamicViTForImageClassification.from_pretrained(tmp_path, keep_ratio=0.5).token_counts() == [
        56,
        48,
        40,
        32,
    ]
    model.set_keep_ratio(0.5)
    assert model.token_counts() == [56, 48, 40, 32]
    assert model.config.reducer_args == {"proportional_attention": False}
    model.save_pretrained(tmp_path)
    assert DynamicViTForImageClassification.from_pretrained(tmp_path).token_counts() == [56, 48, 40, 32]
    again = DynamicViTForImageClassification.from_pretrained(tmp_path, reducer_args={"r": 2})
    assert again.token_counts() == [62, 60, 58, 56]
    with pytest.raises(ValueError, match=r"keep_ratio is 0\.5 and reducer_args sets r; give one"):
        toy_model(reducer="tome", keep_ratio=0.5, reducer_args={"r": 4})


def test_the_cost_of_a_batch_and_of_another_size(reducer):
    model = toy_model(reducer=reducer)
    images = toy_images(4, 48, 16)
    cost = model.multiply_adds(images)
    if not model.config.is_adaptive:
        assert cost == model.multiply_adds((48, 16))
        return
    alone = [model.multiply_adds(image[None]) for image in images]
    assert cost == round(sum(alone) / 4) and len(set(alone)) > 1
    for call in (model.multiply_adds, model.token_counts, lambda: model.set_keep_ratio(0.5)):
        with pytest.raises(ValueError, match="images"):
            call()


def test_counting_leaves_every_mode_alone():
    model = toy_model(reducer="asvit").train()
    model.vit.embeddings.eval()
    model.multiply_adds(toy_images())
    model.set_keep_ratio(0.6, toy_images())
    before = [threshold.item() for threshold in model.vit.reducer.thresholds]
    for call in (model.set_keep_ratio, lambda *args: model.set_budget(fraction=args[0], pixel_values=args[1])):
        with pytest.raises(ValueError, match="channel"):
            call(0.5, toy_images(channels=1))
    assert model.training and model.vit.reducer.training and not model.vit.embeddings.training
    assert [threshold.item() for threshold in model.vit.reducer.thresholds] == before


def test_an_error_on_the_way_restores_the_thresholds(monkeypatch):
    model = toy_model(reducer="asvit")
    before = [threshold.item() for threshold in model.vit.reducer.thresholds]
    monkeypatch.setattr(type(model), "multiply_adds", lambda *args: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MemoryError):
        model.set_budget(fraction=0.6, pixel_values=toy_images())
    assert [threshold.item() for threshold in model.vit.reducer.thresholds] == before


def test_thresholds_fit_other_image_sizes():
    """Four times the patches have a quarter of the attention each, and about the same fraction is kept."""
    model = toy_model(reducer="asvit", initializer_range=0.05)
    small = torch.nn.functional.avg_pool2d(toy_images(8, 64, 64), 9, stride=1, padding=4)
    model.set_keep_ratio([0.7, 0.5, 0.4], torch.nn.functional.interpolate(small, size=(32, 32)))
    kept = model(small, interpolate_pos_encoding=True).kept.float().mean((0, 2))
    assert kept[0] == pytest.approx(0.7, abs=0.15)


def test_asvit_takes_no_keep_ratio():
    from toys import toy_config

    with pytest.raises(ValueError, match=r"keep_ratio is 0\.5; with reducer 'asvit' each image decides"):
        toy_config(reducer="asvit", keep_ratio=0.5)


def test_calibration_meets_the_ratio_on_average():
    model = toy_model(reducer="asvit")
    images = toy_images(16)
    model.set_keep_ratio([0.8, 0.5, 0.3], images)
    kept = model(images).kept.float()
    assert kept.mean((0, 2)).tolist() == pytest.approx([0.8, 0.5, 0.3], abs=0.01)
    assert len(kept[:, 2].sum(-1).unique()) > 3  # and not the same number for every image


def test_another_method_takes_none_of_the_old_ones_settings(tmp_path):
    toy_model(reducer="tome", reducer_args={"r": 4}).save_pretrained(tmp_path)
    model = DynamicViTForImageClassification.from_pretrained(tmp_path, reducer="evit")
    assert model.config.reducer_args == {} and model.config.keep_ratio == 0.7
    assert calibrated(model, 0.5).config.keep_ratio == 0.5


def test_the_base_model_counts_too():
    torch.manual_seed(0)
    model = DynamicViTModel(toy_model(reducer="topk").config).eval()
    assert model.multiply_adds() == toy_model(reducer="topk").multiply_adds() - 32 * 5 + 32**2
    model.set_budget(fraction=0.8)
    assert model.token_counts()[-1] < 64
