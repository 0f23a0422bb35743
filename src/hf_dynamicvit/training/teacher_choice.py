# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Choose the teacher of a student: load it, and refuse one that the losses cannot compare with the student."""

from typing import Any

import torch
from transformers import AutoModelForImageClassification, AutoModelForObjectDetection, PreTrainedModel

from ..checkpoints.labels import label_names
from ..model.cost import as_pair, feature_width
from ..model.detection import ReducedForObjectDetection
from .adapters import inner_model, is_adapted, merged_model
from .loss_terms import read_problem_type
from .teacher import DENSE_COPY, DISTILLATION, native_family


def choose_teacher(given: Any, model: Any, weights: dict[str, float]) -> PreTrainedModel | None:
    """Return the teacher of `model`; `None` where none is `given` or no term of a weight above 0 distils.

    Raises:
        ValueError: a teacher that no term asks, or that cannot teach this student.
    """
    student = inner_model(model)
    if not any(weights[name] for name in DISTILLATION):
        if given is not None and given != DENSE_COPY:
            raise ValueError(
                f"A teacher is given, but no term of reducer {student.config.reducer!r} distils; set "
                "loss_weights={'class_distill': 0.5}, or teacher=None."
            )
        return None
    teacher = load_teacher(given, model)
    if teacher is not None:
        check_teacher(teacher, student, weights)
    return teacher


def load_teacher(teacher: Any, model: Any) -> PreTrainedModel | None:
    """Load the teacher of `model`; a dense copy has the adapters of PEFT merged in."""
    student = inner_model(model)
    if teacher is model or teacher is student:
        raise ValueError("The teacher is the student itself; the default is a frozen dense copy of it.")
    if teacher == DENSE_COPY and not student.config.reads_class_token:
        raise ValueError(
            f"reducer {student.config.reducer!r} has no dense copy to teach it, since its classifier does not read "
            "the class token; pass teacher= a model or the name of a checkpoint."
        )
    if teacher == DENSE_COPY:
        return merged_model(model).to_dense()
    if isinstance(teacher, str):
        detects = isinstance(student, ReducedForObjectDetection)
        auto: Any = AutoModelForObjectDetection if detects else AutoModelForImageClassification
        return auto.from_pretrained(teacher, dtype=torch.float32)  # whatever the file's
    if is_adapted(teacher):
        return merged_model(teacher)
    if teacher is not None and not isinstance(teacher, PreTrainedModel):
        raise ValueError(f"teacher is a {type(teacher).__name__}; it must be a PreTrainedModel, a name or None.")
    return teacher


def check_teacher(teacher: PreTrainedModel, student: Any, weights: dict[str, float]) -> None:
    """Refuse a teacher that the losses cannot compare with the student."""
    ours, theirs, family = student.config, teacher.config, native_family(teacher)
    sizes = theirs if family is None else family.native_base(teacher).config
    if theirs.num_labels != ours.num_labels:
        raise ValueError(f"The teacher has {theirs.num_labels} labels, the student {ours.num_labels}.")
    own, their = label_names(ours), label_names(theirs)
    differing = [
        f"{index}: {their[index]!r} instead of {name!r}"
        for index, name in enumerate(own)
        if name != their[index] and "LABEL_" not in name + their[index]  # unnamed on one side
    ]
    if differing:
        raise ValueError(f"The teacher's labels are not the student's: {'; '.join(differing[:5])}.")
    detects = isinstance(student, ReducedForObjectDetection)
    if detects and (family is None or getattr(theirs, "num_detection_tokens", 0) != ours.num_detection_tokens):
        raise ValueError(
            f"The teacher, a {type(teacher).__name__}, has no {ours.num_detection_tokens} detection tokens to compare "
            f"with the student's; take a dense {ours.dense_model_type} with as many, or teacher=None."
        )
    if weights["class_distill"] and not detects and read_problem_type(ours) != "single_label_classification":
        raise ValueError(
            f"problem_type is {read_problem_type(ours)!r}: distilling class logits compares one distribution over "
            "classes; set loss_weights={'class_distill': 0}."
        )
    if weights["feature_distill"] and not (family and feature_width(ours) == feature_width(sizes)):
        raise ValueError(
            f"The teacher, a {type(teacher).__name__}, has no class feature to compare with the student's (a dense "
            "ViT of the same width has); set loss_weights={'feature_distill': 0}."
        )
    if weights["token_distill"] and not (family and read_geometry(ours) == read_geometry(sizes)):
        raise ValueError(
            f"The teacher, a {type(teacher).__name__}, has no patch features to compare with the student's (a dense "
            "ViT of the same width, image size and patch size has); set loss_weights={'token_distill': 0}."
        )


def read_geometry(config: Any) -> tuple:
    """Return what two models must share for their patch features to be comparable: width, image, pixels a patch."""
    halvings = max(0, len(getattr(config, "depths", ())) - 1)  # a pyramid's are those of its last stage
    pixels = tuple(size << halvings for size in as_pair(config.patch_size))
    return feature_width(config), as_pair(config.image_size), pixels
