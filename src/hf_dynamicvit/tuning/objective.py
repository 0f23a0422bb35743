# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""How far a reduced model's answers are from those of the same model with every token kept."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..model.backbone import ReducedBackbone
from ..model.classification import ReducedForImageClassification
from ..model.cost import as_pair
from ..model.reduction import ReducedModel


def divergence(logits: Tensor, dense: Tensor) -> Tensor:
    """Measure the Kullback-Leibler divergence of the predicted classes from the dense ones, `[B]`, in nats."""
    log_probs, expected = logits.float().log_softmax(-1), dense.float().log_softmax(-1)
    return (expected.exp() * (expected - log_probs)).sum(-1)


def label_divergence(logits: Tensor, dense: Tensor) -> Tensor:
    """Measure the divergence where each label is a question of its own, the sum over the labels, `[B]`, in nats."""
    both = [torch.stack((scores, torch.zeros_like(scores)), dim=-1) for scores in (logits, dense)]
    return divergence(*both).sum(-1)


def distance(features: Tensor, dense: Tensor) -> Tensor:
    """Measure 1 - cosine of the features, `[B]`."""
    return (1 - torch.cosine_similarity(features.float(), dense.float(), dim=-1)).clamp(min=0)  # rounding


def map_distance(maps: Sequence[Tensor], dense: Sequence[Tensor]) -> Tensor:
    """Measure 1 - cosine of the features at each place, the mean over places and over the maps of a backbone, `[B]`.

    Maps are `[B, D, down, across]`, or `[B, T, D]` where they are not reshaped.
    """
    every = []
    for each, expected in zip(maps, dense, strict=True):
        alike = torch.cosine_similarity(each.float(), expected.float(), dim=1 if each.ndim == 4 else 2)
        every.append((1 - alike.flatten(1).mean(1)).clamp(min=0))
    return torch.stack(every).mean(0)


def choose_measure(model: Any) -> tuple[str, Callable[..., Any], Callable[[Any, Any], Tensor]]:
    """Choose what is compared: its name, what reads it from images, and how far two of it are apart.

    Logits of a classifier; feature maps of a backbone; else the features that a classifier would read, of two towers
    those that text is compared with.
    """
    if isinstance(model, ReducedForImageClassification) and model.config.num_labels:
        if model.config.problem_type == "multi_label_classification":
            return "kl", lambda images, **options: model(images, **options).logits, label_divergence
        if model.config.problem_type != "regression" and model.config.num_labels > 1:
            return "kl", lambda images, **options: model(images, **options).logits, divergence
    if isinstance(model, ReducedBackbone):
        return "cosine", lambda images, **options: model(images, **options).feature_maps, map_distance
    if isinstance(model, ReducedModel) or not hasattr(model, "get_image_features"):
        return "cosine", lambda images, **options: model.backbone(images, **options).features, distance
    return "cosine", lambda images, **options: pooled(model.get_image_features(images, **options)), distance


def pooled(output: Any) -> Tensor:
    """Return the features that `get_image_features` gives, which some releases wrap."""
    return output if isinstance(output, Tensor) else output.pooler_output


class Objective:
    """How far a model is, on some images, from itself with everything kept.

    Made while everything is kept.

    Args:
        model: reduced, in eval mode.
        images: `[N, channels, height, width]`, as the image processor makes them.
        batch_size: images that run at once.
    """

    def __init__(self, model: Any, images: Tensor, batch_size: int):
        self.name, self.read, self.measure = choose_measure(model)
        self.model = model
        self.batches: Sequence[Tensor] = images.split(batch_size)
        self.dense = [self.answer(batch) for batch in self.batches]

    @torch.inference_mode()
    def answer(self, batch: Tensor) -> Any:
        """Run the model on a batch as its users do."""
        same = as_pair(self.model.config.image_size) == tuple(batch.shape[-2:])
        options = {} if same else {"interpolate_pos_encoding": True}
        return self.read(batch.to(self.model.device, self.model.dtype), **options)

    def losses(self) -> tuple[float, ...]:
        """Measure the model as it is set now, image by image."""
        pairs = zip(self.batches, self.dense, strict=True)
        return tuple(torch.cat([self.measure(self.answer(batch), dense) for batch, dense in pairs]).tolist())
