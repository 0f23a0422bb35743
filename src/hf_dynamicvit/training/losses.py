# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The terms of the training loss, each a pure function of tensors.

Source: DynamicViT, section 3.4, https://arxiv.org/abs/2106.02034
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, mse_loss, normalize

from ..model.reducer_dynamicvit import keep_ratio_loss


def classification_loss(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Compare `logits` `[B, K]` with classes `[B]` or distributions `[B, K]`, by cross entropy: a scalar."""
    logits = logits.float()
    targets = labels if labels.ndim < 2 else labels.to(logits.dtype)  # a distribution of integers is one-hot
    return cross_entropy(logits, targets, label_smoothing=label_smoothing)


def class_distillation_loss(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """Compute KL(teacher || student) of class logits `[B, K]`, temperature 1, mean over images: a scalar."""
    student, teacher = logits.float().log_softmax(dim=-1), teacher_logits.float().log_softmax(dim=-1)
    return kl_div(student, teacher, reduction="batchmean", log_target=True)


def token_distillation_loss(
    features: Tensor, teacher_features: Tensor, kept: Tensor, count: Tensor | None = None
) -> Tensor:
    """Compare final-normed patch features `[B, N, D]` where `kept` `[B, N]`, by mean squared error: a scalar.

    The mean runs over all kept tokens of the batch, as released: an image that keeps more weighs more. With nothing
    kept the term is 0.

    Args:
        features, teacher_features, kept: of the batch.
        count: kept tokens to divide by, `kept.sum()` by default. With several processes it is their mean, so that the
            average of their losses is the mean over all their kept tokens.
    """
    error = (features.float() - teacher_features.float()).square().mean(dim=-1)  # [B, N]
    return mean_over_kept(error, kept, count)


def token_class_distillation_loss(
    logits: Tensor, teacher_logits: Tensor, kept: Tensor, count: Tensor | None = None
) -> Tensor:
    """Compute KL(teacher || student) of the class logits `[B, N, K]` of each patch where `kept` `[B, N]`: a scalar.

    For LV-ViT, whose patch tokens have a classifier, in place of `token_distillation_loss`, whose arguments and mean
    it shares.
    """
    student, teacher = (each.float().log_softmax(dim=-1) for each in (logits, teacher_logits))
    divergence = kl_div(student, teacher, reduction="none", log_target=True).sum(dim=-1)  # [B, N]
    return mean_over_kept(divergence, kept, count)


def mean_over_kept(error: Tensor, kept: Tensor, count: Tensor | None = None) -> Tensor:
    """Average `error` `[B, N]` over the tokens of the batch that are `kept`, or divide their sum by `count`."""
    count = kept.sum() if count is None else count
    return torch.where(kept, error, 0.0).sum() / count.clamp(min=1)


def feature_distillation_loss(features: Tensor, teacher_features: Tensor) -> Tensor:
    """Compare `[B, D]` features, each scaled to length 1, by mean squared error (IdleViT, section 3.4): a scalar.

    It is (2 - 2 cosine) / D, which is why the published weight is 1000.
    """
    return mse_loss(normalize(features.float(), dim=-1), normalize(teacher_features.float(), dim=-1))


def consistency_loss(
    features: Tensor, other: Tensor, logits: Tensor, labels: Tensor, threshold: float = 0.4
) -> Tensor:
    """Compare the features `[B, D]` of two passes by mean squared error, on images that are recognised: a scalar.

    The mean runs over the images whose probability of their class is above `threshold` (MCTF, released code); with
    none of them the term is 0.

    Args:
        features: of the pass that removes more, which learns.
        other: of the pass that removes less, which does not.
        logits: `[B, K]` of the first.
        labels: classes `[B]`, or distributions `[B, K]`, over which the probability is averaged.
        threshold: from 0 to 1.
    """
    error = (features.float() - other.detach().float()).square().mean(dim=-1)  # [B]
    probabilities = logits.detach().float().softmax(dim=-1)
    if labels.ndim < 2:
        probability = probabilities.gather(1, labels[:, None])[:, 0]
    else:
        probability = (probabilities * labels).sum(dim=-1)
    counted = probability > threshold
    return torch.where(counted, error, 0.0).sum() / counted.sum().clamp(min=1)


__all__ = [
    "class_distillation_loss",
    "classification_loss",
    "consistency_loss",
    "feature_distillation_loss",
    "keep_ratio_loss",
    "token_class_distillation_loss",
    "token_distillation_loss",
]
