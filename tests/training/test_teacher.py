# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What the trainer is handed: a teacher that answers for batches, a log of terms, what is not finite."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import GradientState
from toys import toy_dense, toy_images
from trainers import ToyData, arguments, trainer_for

from hf_dynamicvit.training.finite import explain_gradient_norm, explain_not_finite
from hf_dynamicvit.training.publishing import create_repository
from hf_dynamicvit.training.teacher import Teacher
from hf_dynamicvit.training.teacher_cache import cache_outputs
from hf_dynamicvit.training.term_log import TermLog


@pytest.fixture
def teacher(tmp_path):
    GradientState._reset_state()  # a data loader that an earlier test left in its midst would count here
    return Teacher(toy_dense(seed=3).train(), arguments(tmp_path), Accelerator(cpu=True))


def test_a_teacher_is_frozen_and_answers_without_a_graph(teacher):
    assert not teacher.model.training and not any(p.requires_grad for p in teacher.model.parameters())
    logits, features, _ = teacher.outputs({"pixel_values": toy_images()})
    assert torch.equal(logits, toy_dense(seed=3)(toy_images()).logits)
    assert features.shape == (3, 65, 32) and not logits.requires_grad and not logits.is_inference()


def test_the_accuracy_of_a_teacher_is_over_all_batches(teacher):
    images = toy_images(10)
    labels = teacher.outputs({"pixel_values": images})[0].argmax(dim=-1)
    labels[:3] = (labels[:3] + 1) % 5
    batches = [{"pixel_values": images[part], "labels": labels[part]} for part in (slice(0, 8), slice(8, 10))]
    assert teacher.accuracy(batches) == pytest.approx(0.7)


def test_the_cache_holds_what_the_teacher_says(teacher):
    def stack(items):
        return {"pixel_values": torch.stack([item["pixel_values"] for item in items])}

    for with_features in (True, False):
        cached = cache_outputs(teacher, ToyData(6), 4, stack, lambda batch: batch, with_features)
        logits, features, _ = teacher.outputs(
            {"pixel_values": torch.stack([cached[i]["pixel_values"] for i in range(6)])}
        )
        torch.testing.assert_close(cached.taught.logits, logits)
        assert (cached.taught.features is not None) == with_features
        if with_features:
            torch.testing.assert_close(cached[5]["teacher_features"], features[5].half())


def test_the_trainer_asks_the_teacher_it_names(tmp_path):
    trainer = trainer_for(tmp_path, teacher=toy_dense(seed=3))
    logits = trainer.teacher_outputs({"pixel_values": toy_images()}).logits
    assert torch.equal(logits, trainer.teacher(toy_images()).logits)


def test_a_term_that_comes_and_goes_is_averaged_over_its_batches():
    log = TermLog()
    assert log.average(Accelerator(cpu=True)) == {}
    log.add({"a": torch.tensor(1.0), "b": torch.tensor(4.0)})
    log.add({"a": torch.tensor(3.0)})
    assert log.average(Accelerator(cpu=True)) == {"a": 2.0, "b": 4.0}


def test_what_is_not_finite_is_named():
    accelerator = Accelerator(cpu=True)
    terms = {"ratio": torch.tensor(1.0), "budget": torch.tensor(float("nan"))}
    assert explain_not_finite(terms, accelerator) == "loss term 'budget' is nan"
    assert explain_not_finite({"ratio": torch.tensor(1.0)}, accelerator) is None
    assert explain_gradient_norm(float("inf")).endswith("is inf") and explain_gradient_norm(2.0) is None


def test_a_private_push_leaves_the_arguments_alone(tmp_path, monkeypatch):
    asked = []

    class Hub:
        def __init__(self, token):
            asked.append(token)

        def create_repo(self, name, private, exist_ok):
            asked.append((name, private, exist_ok))
            return type("Repository", (), {"repo_id": f"me/{name}"})

    monkeypatch.setattr("hf_dynamicvit.training.publishing.HfApi", Hub)
    args = arguments(tmp_path / "small", hub_private_repo=False)
    assert create_repository(args, "secret", True) == "me/small" and args.hub_private_repo is False
    assert create_repository(args, None, None) == "me/small"
    assert asked == ["secret", ("small", True, True), None, ("small", False, True)]
