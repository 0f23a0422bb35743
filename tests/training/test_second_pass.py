# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The second pass of a training step, which removes fewer tokens."""

import pytest
import torch
from torch.testing import assert_close
from toys import toy_images, toy_model
from trainers import trainer_for, weights_of

from hf_dynamicvit import REDUCERS
from hf_dynamicvit.training.losses import classification_loss, consistency_loss
from hf_dynamicvit.training.second_pass import reducing_by


WEIGHTS = {"classification": 1.0, "second_classification": 0.5, "consistency": 3.0}
WITH_ONE = [name for name, cls in sorted(REDUCERS.items()) if cls.reduces_in_training]


def test_consistency_counts_the_images_that_are_recognised():
    features, other = torch.tensor([[1.0, 2], [3, 4], [5, 6]], requires_grad=True), torch.zeros(3, 2)
    logits = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5]]).log()
    other.requires_grad_()
    loss = consistency_loss(features, other, logits, torch.tensor([0, 0, 1]), 0.4)
    assert_close(loss.detach(), torch.tensor(((1 + 4) / 2 + (25 + 36) / 2) / 2))
    loss.backward()
    assert other.grad is None and not features.grad[1].any() and features.grad[[0, 2]].all()
    mixed = torch.tensor([[0.5, 0.5], [0.0, 1.0], [1.0, 0.0]])  # probabilities 0.5, 0.7, 0.5
    expected = torch.tensor((9 + 16) / 2)
    assert_close(consistency_loss(features, other, logits, mixed, 0.6).detach(), expected)
    assert consistency_loss(features, other, logits, mixed, 1.0) == 0  # nobody


@pytest.mark.parametrize("method", WITH_ONE)
def test_a_milder_reducer_removes_a_share(method):
    model = toy_model(reducer=method, keep_ratio=0.6)
    counts = model.backbone.reducer.stage_counts(64)
    for share, kept in ((0.0, [64] * len(counts)), (1.0, counts), (0.5, [64 - (64 - n) // 2 for n in counts])):
        other = model.backbone.reducer.milder(share)
        assert other.stage_counts(64) == kept
        with reducing_by(model, other):
            assert model.token_counts() == [n + other.num_representatives * (n < 64) for n in kept]
            assert model(toy_images()).owner.shape[1] == len(kept)
    assert model.backbone.reducer.stage_counts(64) == counts


@pytest.mark.parametrize("r, share, milder", [(8, 0.99, 7), (8, 0.1, 0), (0.25, 0.5, 0.125)])
def test_a_milder_mctf_fuses_fewer_in_each_block(r, share, milder):
    reducer = toy_model(reducer="mctf", reducer_args={"r": r}).backbone.reducer
    expected = toy_model(reducer="mctf", reducer_args={"r": milder}).token_counts()
    assert reducer.milder(share).stage_counts(64) == expected and reducer.r == r


@pytest.mark.parametrize("method", ["mctf", "evit", "diffrate"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_loss_has_both_passes(tmp_path, method, checkpointing):
    model = toy_model(reducer=method, keep_ratio=0.5)
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    trainer = trainer_for(tmp_path, model, loss_weights=WEIGHTS, second_pass_share=0.5, consistency_threshold=0.1)
    images, labels = toy_images(4), torch.arange(4)
    torch.manual_seed(3)
    loss = trainer.compute_loss(trainer.model.train(), {"pixel_values": images, "labels": labels})
    torch.manual_seed(3)
    milder = model.backbone.reducer.milder(0.5 * float(torch.rand(())))
    first = model(images)
    with reducing_by(model, milder):
        second = model(images)
    assert second.kept.sum() > first.kept.sum()
    distance = consistency_loss(first.features, second.features, first.logits, labels, 0.1)
    assert distance > 0
    entropies = [classification_loss(each.logits, labels) for each in (first, second)]
    assert_close(loss, entropies[0] + 0.5 * entropies[1] + 3 * distance)
    loss.backward()
    gradients = [each.grad for each in model.parameters() if each.grad is not None]
    assert gradients and all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


def test_both_terms_are_logged_and_train(tmp_path):
    trainer = trainer_for(tmp_path, toy_model(reducer="mctf"), loss_weights=WEIGHTS, consistency_threshold=0.0)
    before = weights_of(trainer.model)
    trainer.train()
    log = trainer.state.log_history[0]
    total = log["loss_classification"] + 0.5 * log["loss_second_classification"] + 3 * log["loss_consistency"]
    assert log["loss"] == pytest.approx(total, rel=1e-5) and log["loss_consistency"] > 0
    assert any(not torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())


def test_without_their_weights_there_is_one_pass(tmp_path, warnings_text):
    trainer = trainer_for(tmp_path, toy_model(reducer="mctf"), second_pass_share=0.5)
    assert "second_pass_share is 0.5, but has no effect: loss_weights has no second_classification" in warnings_text()
    trainer.train()
    assert not {"loss_consistency", "loss_second_classification"} & trainer.state.log_history[0].keys()


@pytest.mark.parametrize("method", ["dynamicvit", "asvit", "dtem", "idlevit", "svit"])
def test_methods_without_one_are_refused(tmp_path, method):
    with pytest.raises(ValueError, match=f"loss_weights has consistency.* reducer '{method}' has none"):
        trainer_for(tmp_path, toy_model(reducer=method), loss_weights={"consistency": 1.0})


def test_consistency_needs_one_class(tmp_path):
    model = toy_model(reducer="mctf", problem_type="multi_label_classification")
    with pytest.raises(ValueError, match="problem_type is 'multi_label_classification'"):
        trainer_for(tmp_path, model, loss_weights={"consistency": 1.0})


@pytest.mark.parametrize("name", ["second_pass_share", "consistency_threshold"])
def test_shares_and_thresholds_are_fractions(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name} is 1.5; it must be 0 to 1"):
        trainer_for(tmp_path, **{name: 1.5})
