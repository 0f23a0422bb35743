# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Name and weigh the terms of the training loss, and compute those that every method shares."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from torch import Tensor
from transformers import PreTrainedConfig

from ..model.classification import ReducedForImageClassification, WithBaseModel
from ..model.detection import ReducedForObjectDetection
from ..model.reducer import TokenReducer
from ..model.reduction import ReducedModel
from .arguments import DynamicViTTrainingArguments
from .losses import (
    class_distillation_loss,
    classification_loss,
    feature_distillation_loss,
    token_class_distillation_loss,
    token_distillation_loss,
)
from .teacher import DISTILLATION, Taught


# The terms that need a second pass, which removes fewer tokens.
SECOND_PASS = ("second_classification", "consistency")


def read_problem_type(config: PreTrainedConfig) -> str:
    """Return `config.problem_type`; where it is `None`, regression for one label, else one class of several."""
    if config.problem_type is not None:
        return config.problem_type
    return "regression" if config.num_labels == 1 else "single_label_classification"


def read_loss_weights(args: DynamicViTTrainingArguments) -> dict[str, float]:
    """Return the weights that `args` name, which `__post_init__` has made a dictionary."""
    return cast(dict[str, float], args.loss_weights or {})


def supervised_name(student: WithBaseModel) -> str:
    """Name the term that compares the student with the labels."""
    return "detection" if isinstance(student, ReducedForObjectDetection) else "classification"


def resolve_loss_weights(
    reducer: TokenReducer, args: DynamicViTTrainingArguments, supervised: str = "classification"
) -> dict[str, float]:
    """Return the weight of every term by name: the method's published ones, then those of `args`.

    `supervised` is what the term is called that compares the student with the labels.
    """
    shared = dict.fromkeys((*DISTILLATION, *SECOND_PASS), 0.0)
    weights = {"classification": 1.0, **shared, **reducer.loss_weights}
    weights = {supervised if name == "classification" else name: weight for name, weight in weights.items()}
    given = read_loss_weights(args)
    unknown = sorted(set(given) - set(weights))
    if unknown:
        raise ValueError(f"loss_weights has {', '.join(unknown)}; the terms here are {', '.join(sorted(weights))}.")
    return weights | given


def supervised_term(student: Any, outputs: Any, labels: Any, label_smoothing: float) -> Tensor:
    """Compare `outputs` with `labels` as `student` does: a scalar.

    Raises:
        ValueError: as `classification_term`.
    """
    if isinstance(student, ReducedForObjectDetection):
        return student.detection_loss(outputs.logits, outputs.pred_boxes, labels)[0]
    return classification_term(student, outputs.logits, labels, label_smoothing)


def classification_term(
    student: ReducedForImageClassification, logits: Tensor, labels: Tensor, label_smoothing: float
) -> Tensor:
    """Compare `logits` `[B, K]` with `labels` by the problem type of `student`: a scalar.

    Raises:
        ValueError: the labels do not fit the problem type, or leave open which it is.
    """
    config = student.config
    if read_problem_type(config) == "single_label_classification":
        if (labels.is_floating_point() or labels.ndim > 1) and config.problem_type is None:
            raise ValueError(
                f"labels are {labels.dtype} {tuple(labels.shape)} and config.problem_type is None; set it to "
                "'single_label_classification' (soft labels), 'multi_label_classification' or 'regression'."
            )
        return classification_loss(logits, labels, label_smoothing)
    if read_problem_type(config) == "multi_label_classification" and labels.shape != logits.shape:
        raise ValueError(
            f"labels have shape {tuple(labels.shape)}; multi-label classification takes 0 or 1 for each label, "
            f"here {tuple(logits.shape)}."
        )
    labels = labels if labels.is_floating_point() else labels.float()
    return student.loss_function(labels, logits, config)


def align_labels(mixed_labels: Tensor, shares: Tensor) -> Tensor:
    """Mix the labels `[B, 2, K]` of each image itself and of the other in it by the `shares` `[B]` of the first."""
    own, other = mixed_labels.float().unbind(dim=1)
    return shares[:, None] * own + (1 - shares[:, None]) * other


def distillation_terms(
    outputs: Any,
    base: ReducedModel,
    weights: dict[str, float],
    taught: Taught,
    mean_over_processes: Callable[[Tensor], Tensor],
) -> dict[str, Tensor]:
    """Compute the terms that compare the student with its teacher, scalars by name; those of weight 0 are left out.

    Args:
        outputs: the student's, of a training forward.
        base: its base model.
        weights: of all terms, by name.
        taught: what the teacher says of the batch.
        mean_over_processes: takes the mean of a scalar.
    """
    terms = {}
    if taught.logits is not None and weights["class_distill"]:
        logits = (each.flatten(0, -2) for each in (outputs.logits, taught.logits))  # a detector's by token
        terms["class_distill"] = class_distillation_loss(*logits)
    if taught.logits is not None and weights["hard_distill"]:
        terms |= hard_terms(outputs, taught.logits.argmax(dim=-1))
    if taught.features is not None and weights["feature_distill"]:
        read = base.read(taught.features.to(base.dtype), None, base.config.num_prefix)
        terms["feature_distill"] = feature_distillation_loss(outputs.features, read.view_as(outputs.features))
    if taught.features is not None and weights["token_distill"]:
        terms["token_distill"] = token_term(outputs, base, taught, mean_over_processes)
    return terms


def hard_terms(outputs: Any, answers: Tensor) -> dict[str, Tensor]:
    """Compare predictions with the classes `answers` `[B]` that the teacher says: by classifiers for that, if any."""
    heads = outputs.get("head_logits")
    terms = {"hard_distill": classification_loss(outputs.logits if heads is None else heads[:, 1], answers)}
    if outputs.get("auxiliary_logits") is not None:
        auxiliary = outputs.auxiliary_logits if heads is None else heads[:, 3]
        terms["auxiliary_hard_distill"] = classification_loss(auxiliary, answers)
    return terms


def take_label_heads(outputs: Any) -> Any:
    """Let the logits be those of the classifiers that learn labels alone, as others learn the teacher's answers."""
    heads = outputs.head_logits
    return replace(outputs, logits=heads[:, 0], auxiliary_logits=heads[:, 2])


def token_term(outputs: Any, base: Any, taught: Taught, mean_over_processes: Callable[[Tensor], Tensor]) -> Tensor:
    """Compare the kept patches with the teacher's: by their classes where both classify tokens, else by features."""
    loss = token_distillation_loss
    if compares_token_logits(outputs, taught):
        decision, loss = outputs.decisions[-1], token_class_distillation_loss
        own, kept = spread_to_patches(outputs.token_logits[:, 1:], decision.owner), decision.kept
        their = cast(Tensor, taught.token_logits)[:, -kept.shape[1] :]
    else:
        own, their, kept = base.compared_features(outputs, taught.features)
    return loss(own, their, kept, mean_over_processes(kept.sum().float()))


def compares_token_logits(outputs: Any, taught: Taught) -> bool:
    """Return whether student and teacher both classify every token, as LV-ViT does."""
    return outputs.get("token_logits") is not None and taught.token_logits is not None


def take_class_token(outputs: Any, taught: Taught) -> tuple[Any, Taught]:
    """Let the logits be those of the class token alone, as released for LV-ViT: patch tokens have a loss of their own.

    Returns:
        copies of `outputs` and `taught`.
    """
    own, their = outputs.token_logits[:, 0], cast(Tensor, taught.token_logits)[:, 0]
    return replace(outputs, logits=own), Taught(their, taught.features, taught.token_logits)


def spread_to_patches(features: Tensor, owner: Tensor) -> Tensor:
    """Copy features of live tokens `[B, N, D]` to the patches they speak for: `[B, num_patches, D]`."""
    return features.gather(1, owner.clamp(min=0)[..., None].expand(-1, -1, features.shape[-1]))
