# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Metrics of image classification, through `evaluate`, without the network."""

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


def compute_accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """`compute_metrics` for the Trainer: top-1 accuracy of logits `[N, K]`.

    The references are classes `[N]`, or distributions `[N, K]`, of which the likeliest class counts.
    """
    references = np.asarray(prediction.label_ids)
    result = Accuracy().compute(
        predictions=np.asarray(prediction.predictions).argmax(axis=-1),
        references=references.argmax(axis=-1) if references.ndim == 2 else references,
    )
    if result is None:
        raise ValueError("The metric was computed on a process that does not hold the results.")
    return result
