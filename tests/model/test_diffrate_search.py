# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""DiffRate's search: counts learned for a budget, with every weight frozen."""

import pytest
import torch
from torch.testing import assert_close
from toys import assert_same_model, toy_config, toy_images, toy_model
from trainers import trainer_for

from hf_dynamicvit import DynamicViTForImageClassification
from hf_dynamicvit.export import copy_for_export
from hf_dynamicvit.model.merging import most_similar


def searching(budget=0.6, **options):
    return toy_model(reducer="diffrate", reducer_args={"search": budget, "granularity": 4} | options)


def test_untrained_it_removes_little():
    model = searching()
    pairs = model.backbone.reducer.search.pairs()
    assert pairs[0] == (64, 64) and pairs[1][0] >= 58  # the first block is left alone
    flat = [count for pair in pairs for count in pair]
    assert flat == sorted(flat, reverse=True) and flat[-1] >= 50
    assert model.token_counts() == [merged for _, merged in pairs]
    assert model(toy_images()).kept.sum(-1).tolist() == [model.token_counts()] * 3


def test_candidates_and_counts():
    search = searching(granularity=5).backbone.reducer.search
    assert search.pruned.candidates == [list(range(64, 0, -5))] * 3
    with torch.no_grad():
        search.pruned[1].fill_(-99.0)[2] = 99.0
    assert search.pruned.count(1) == 54
    with torch.no_grad():
        search.pruned[1].fill_(0.0)
    assert search.pruned.count(1) == 34  # of 64, 59, ..., 4
    keep = search.pruned.keep(1, 34, 60, 64)
    assert keep.tolist() == [1.0] * 34 + [0.0] * 26 + [1.0] * 4  # the last four were out before
    keep.sum().backward()
    gradient = search.pruned[1].grad
    assert gradient[0] > 0 > gradient[-1]  # more of the high numbers keep more


def test_training_moves_the_counts_alone(tmp_path, warnings_text):
    model = searching(0.5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cost = model.multiply_adds()
    trainer = trainer_for(tmp_path / "run", model, learning_rate=0.3, max_steps=12, freeze_backbone_epochs=None)
    trainer.train()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) != (".reducer." in name), name
    assert 0.45 * model.dense_multiply_adds() < model.multiply_adds() < 0.99 * cost
    assert any("loss_budget" in entry for entry in trainer.state.log_history)
    assert "stuck" not in warnings_text()


def test_what_is_found_is_a_schedule(tmp_path):
    model = searching()
    with torch.no_grad():
        for each in (model.backbone.reducer.search.pruned, model.backbone.reducer.search.merged):
            for logits in each:
                logits.mul_(0.2)
    counts = [list(pair) for pair in model.backbone.reducer.search.pairs()]
    fixed = toy_model(reducer="diffrate", reducer_args={"counts": counts})
    weights = {name: value for name, value in model.state_dict().items() if "search" not in name}
    fixed.load_state_dict(weights)
    assert fixed.token_counts() == model.token_counts() and fixed.token_counts()[-1] < 60
    assert_close(fixed(toy_images()).logits, model(toy_images()).logits)
    assert fixed.multiply_adds() == model.multiply_adds()
    model.save_pretrained(tmp_path)
    assert_same_model(DynamicViTForImageClassification.from_pretrained(tmp_path).eval(), model, toy_images())
    options = {"reducer_args": {"counts": model.backbone.reducer.search.pairs()}}
    settled = DynamicViTForImageClassification.from_pretrained(tmp_path, **options).eval()
    assert not list(settled.backbone.reducer.parameters())
    assert_close(settled(toy_images()).logits, model(toy_images()).logits, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="Load the model with what its search has found"):
        copy_for_export(model)
    copy_for_export(settled)
    model.set_keep_ratio(0.5)
    reducer = model.backbone.reducer
    assert "search" not in model.config.reducer_args and not list(reducer.parameters())
    assert reducer.sought is None and reducer.frozen_fraction == 0 and reducer.loss_weights == {"classification": 1.0}


def test_a_dense_checkpoint_starts_the_search(tmp_path):
    plain = toy_model(reducer="topk")
    plain.save_pretrained(tmp_path)
    options = {"reducer": "diffrate", "reducer_args": {"search": 0.6}}
    model = DynamicViTForImageClassification.from_pretrained(tmp_path, **options)
    assert model.backbone.reducer.search.pairs() == searching().backbone.reducer.search.pairs()


def test_masked_training_is_dropping_but_for_sizes(monkeypatch):
    """As published, training counts a merged token as one patch at least, and inference as its cosine."""
    model = searching()
    with torch.no_grad():
        for logits in model.backbone.reducer.search.parameters():
            logits.mul_(0.2)
    expected = model(toy_images()).logits
    masked = model.train()(toy_images())
    counts = [decision.mask.sum(-1).tolist() for decision in masked.decisions[1:]]
    assert counts == [[count] * 3 for count in model.token_counts()[1:]]
    assert (masked.logits - expected).abs().max() > 1e-3
    for name in ("diffrate_search", "reducer_diffrate"):
        monkeypatch.setattr(f"hf_dynamicvit.model.{name}.most_similar", sure)
    assert_close(model(toy_images()).logits, model.eval()(toy_images()).logits, atol=1e-5, rtol=1e-5)


def sure(tokens, rest, index):
    """The most similar as it is, with a cosine of 1."""
    cosine, host = most_similar(tokens, rest, index)
    return torch.ones_like(cosine), host


def test_other_image_sizes_are_refused_in_training():
    model = searching().train()
    with pytest.raises(
        ValueError, match="the images have 16 patches; the search counts those of the configuration's, 64"
    ):
        model(toy_images(2, 16, 16), interpolate_pos_encoding=True)
    assert model.eval()(toy_images(2, 16, 16), interpolate_pos_encoding=True).kept.shape == (2, 4, 16)


@pytest.mark.parametrize(
    "options, told",
    [
        ({"search": 0}, "search is 0, it must be a number above 0, at most 1"),
        ({"search": True}, "search is True, it must be"),
        ({"search": 0.5, "granularity": 0}, "granularity is 0, it must be an integer of 1 or more"),
        ({"search": 0.5, "counts": [[50, 50]] * 4}, "give one of them"),
    ],
)
def test_bad_options_are_named(options, told):
    with pytest.raises(ValueError, match=told):
        toy_config(reducer="diffrate", reducer_args=options)
