# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The teacher: where it comes from, what it must share with the student, what it gives."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from transformers import (
    AutoModelForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_layers import GradientCheckpointingLayer

from ..checkpoints.labels import label_names
from ..model import CLASSIFIERS
from ..model.cost import as_pair
from ..model.modeling_dynamicvit import DynamicViTForImageClassification
from .adapters import inner_model, is_adapted, merged_model


# The default teacher; not a name that a folder or a Hub repository has.
DENSE_COPY = "dense copy of the student"

# The terms that need a teacher.
DISTILLATION = ("class_distill", "token_distill", "feature_distill")


def problem_type(config: PreTrainedConfig) -> str:
    """`config.problem_type`; where it is `None`, regression for one label and one class of several otherwise."""
    if config.problem_type is not None:
        return config.problem_type
    return "regression" if config.num_labels == 1 else "single_label_classification"


def teacher_name(teacher: PreTrainedModel | None) -> str | None:
    """What a card says of the teacher."""
    if teacher is None:
        return None
    return (
        getattr(teacher.config, "_name_or_path", "") or f"a {type(teacher).__name__}, a copy of the start by default"
    )


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
        return AutoModelForImageClassification.from_pretrained(teacher, dtype=torch.float32)  # whatever the file's
    if is_adapted(teacher):
        return merged_model(teacher)
    if teacher is not None and not isinstance(teacher, PreTrainedModel):
        raise ValueError(f"teacher is a {type(teacher).__name__}; it must be a PreTrainedModel, a name or None.")
    return teacher


def native_family(teacher: PreTrainedModel) -> Any:
    """Our family whose native image classification model `teacher` is, or `None`."""
    family: Any = CLASSIFIERS.get(teacher.config.model_type)
    return family if family is not None and type(teacher).forward is family.dense_class.forward else None


def teacher_outputs(teacher: PreTrainedModel, inputs: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
    """Class logits `[B, K]` and final-normed features `[B, P + N, D]` (`None` unless a native model teaches)."""
    family = native_family(teacher)
    if family is None:
        return teacher(pixel_values=inputs["pixel_values"]).logits, None
    features = teacher.base_model(**inputs).last_hidden_state
    return family.dense_logits(teacher, features), features


class TeacherOutputs(nn.Module):
    """`teacher_outputs` as one module, to be compiled or sharded as a whole.

    Args:
        teacher: an image classifier.
        dtype: of its arithmetic; it is converted. `None`: as it is, under the autocast of the training.
    """

    def __init__(self, teacher: PreTrainedModel, dtype: torch.dtype | None = None):
        super().__init__()
        self.teacher = teacher if dtype is None else teacher.to(dtype)
        self.dtype = dtype

    def forward(self, **inputs) -> tuple[Tensor, Tensor | None]:
        if self.dtype is not None:
            inputs = {
                name: value.to(self.dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
                for name, value in inputs.items()
            }
        return teacher_outputs(self.teacher, inputs)


def shard(outputs: TeacherOutputs, mesh: DeviceMesh | None = None) -> None:
    """Spread the teacher's weights over the processes (FSDP2): each block is one unit, the rest another."""
    for block in outputs.modules():
        if isinstance(block, GradientCheckpointingLayer):
            fully_shard(block, mesh=mesh)
    fully_shard(outputs, mesh=mesh)


def check_teacher(
    teacher: PreTrainedModel, student: DynamicViTForImageClassification, weights: dict[str, float]
) -> None:
    """Refuse a teacher that the losses cannot compare with the student."""
    ours, theirs = student.config, teacher.config
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
    if weights["class_distill"] and problem_type(ours) != "single_label_classification":
        raise ValueError(
            f"problem_type is {problem_type(ours)!r}: distilling class logits compares one distribution over classes; "
            "set loss_weights={'class_distill': 0}."
        )
    if weights["feature_distill"] and not (native_family(teacher) and ours.hidden_size == theirs.hidden_size):
        raise ValueError(
            f"The teacher, a {type(teacher).__name__}, has no class feature to compare with the student's (a dense "
            "ViT of the same width has); set loss_weights={'feature_distill': 0}."
        )
    if weights["token_distill"] and not (native_family(teacher) and geometry(ours) == geometry(theirs)):
        raise ValueError(
            f"The teacher, a {type(teacher).__name__}, has no patch features to compare with the student's (a dense "
            "ViT of the same width, image size and patch size has); set loss_weights={'token_distill': 0}."
        )


def geometry(config: Any) -> tuple:
    """What two ViTs must share for their patch features to be comparable."""
    return config.hidden_size, as_pair(config.image_size), as_pair(config.patch_size)
