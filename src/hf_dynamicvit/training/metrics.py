# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Metrics of image classification, through `evaluate`, without the network."""

from typing import Any

import datasets
import evaluate
import numpy as np
from transformers import EvalPrediction


class Accuracy(evaluate.Metric):
    """Top-1 accuracy in [0, 1], as an `evaluate` metric that needs no download."""

    def _info(self) -> evaluate.MetricInfo:
        features = {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
        return evaluate.MetricInfo(
            description="Fraction of predictions that equal their reference.",
            citation="",
            inputs_description="predictions and references: class indices",
            features=datasets.Features(features),
        )

    def _compute(self, predictions, references) -> dict[str, float]:
        return {"accuracy": float((np.asarray(predictions) == np.asarray(references)).mean())}


def concatenated(values: Any) -> np.ndarray:
    """Make one array of what the Trainer hands on: an array, a tuple that begins with it, or a list of batches."""
    if isinstance(values, tuple):
        return concatenated(values[0])
    if isinstance(values, list) and isinstance(values[0], tuple | np.ndarray):  # eval_do_concat_batches=False
        return np.concatenate([concatenated(batch) for batch in values])
    return np.asarray(values)


def to_classes(values: np.ndarray, name: str) -> np.ndarray:
    """Return classes `[N]` of logits or distributions `[N, K]`, or classes as they are."""
    if values.ndim == 2 and values.shape[1] > 1:
        return values.argmax(axis=-1)
    if values.ndim == 1 and np.issubdtype(values.dtype, np.integer):
        return values
    raise ValueError(
        f"{name} have shape {values.shape} and type {values.dtype}; accuracy takes logits [N, K] of several classes, "
        "or classes [N]."
    )


def compute_accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """Compute top-1 accuracy, as `compute_metrics` of the Trainer.

    Args:
        prediction: its predictions are logits `[N, K]`, the first entry where there are several, or classes `[N]`, as
            `preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1)` leaves them. Its references are
            classes `[N]`, or distributions `[N, K]`, of which the likeliest class counts.

    Raises:
        ValueError: the predictions or references have another shape, or the references are multi-hot.
    """
    labels = concatenated(prediction.label_ids)
    if labels.ndim == 2 and not np.allclose(labels.sum(axis=-1, dtype=float), 1, atol=1e-2):
        raise ValueError("label_ids are multi-hot; compute_accuracy is top-1, for one class an image.")
    result = Accuracy().compute(
        predictions=to_classes(concatenated(prediction.predictions), "predictions"),
        references=to_classes(labels, "label_ids"),
    )
    if result is None:
        raise ValueError("The metric was computed on a process that does not hold the results.")
    return result
