# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Each loss term against its formula."""

import torch
from torch.testing import assert_close

from hf_dynamicvit.model.tokens import Decision
from hf_dynamicvit.training.losses import (
    class_distillation_loss,
    classification_loss,
    keep_ratio_loss,
    token_distillation_loss,
)


def test_classification_takes_classes_or_distributions():
    logits, labels = torch.randn(4, 5), torch.tensor([0, 4, 2, 2])
    distribution = torch.nn.functional.one_hot(labels, 5).float()
    expected = -(logits.log_softmax(-1) * distribution).sum(-1).mean()
    assert_close(classification_loss(logits, labels), expected)
    assert_close(classification_loss(logits, distribution), expected)
    smooth = 0.9 * distribution + 0.02
    assert_close(classification_loss(logits, labels, 0.1), -(logits.log_softmax(-1) * smooth).sum(-1).mean())


def test_ratio_is_per_image_then_mean_over_stages():
    masks = [torch.tensor([[1.0, 1, 1, 0], [0, 0, 0, 0]]), torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0]])]
    owner = torch.arange(4).expand(2, 4)
    decisions = tuple(
        Decision(layer, ratio, mask > 0.5, owner, mask)
        for layer, ratio, mask in zip((1, 2), (0.5, 0.25), masks, strict=True)
    )
    expected = ((0.25**2 + 0.5**2) / 2 + (0 + 0.25**2) / 2) / 2
    assert_close(keep_ratio_loss(decisions), torch.tensor(expected))


def test_class_distillation_is_kl_of_the_teacher():
    student, teacher = torch.randn(4, 5), torch.randn(4, 5)
    probabilities = teacher.softmax(-1)
    expected = (probabilities * (probabilities.log() - student.log_softmax(-1))).sum(-1).mean()
    assert_close(class_distillation_loss(student, teacher), expected)
    assert_close(class_distillation_loss(teacher, teacher), torch.tensor(0.0), atol=1e-7, rtol=0)


def test_token_distillation_reads_kept_tokens_only():
    features = torch.zeros(2, 3, 4, requires_grad=True)
    teacher = torch.ones(2, 3, 4)
    teacher[0, 1] = 3.0
    kept = torch.tensor([[True, True, False], [False, False, True]])
    loss = token_distillation_loss(features, teacher, kept)
    assert_close(loss.detach(), torch.tensor((1 + 9 + 1) / 3))
    loss.backward()
    assert not features.grad[~kept].any() and features.grad[kept].all()


def test_token_distillation_with_nothing_kept_is_zero():
    features = torch.randn(2, 3, 4, requires_grad=True)
    loss = token_distillation_loss(features, torch.ones(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert loss == 0 and not features.grad.any()


def test_half_precision_is_computed_in_float32():
    logits = torch.tensor([[60000.0, 0.0]], dtype=torch.float16)
    assert classification_loss(logits, torch.tensor([1])) == 60000.0
    assert class_distillation_loss(logits, -logits).isfinite()
