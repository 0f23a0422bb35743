# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Ask a frozen classifier or detector, prepared as the student is, for what it says of the student's batches."""

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any, NamedTuple, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from ..registration import CLASSIFIERS, DETECTORS
from .arguments import DynamicViTTrainingArguments


# The default teacher; not a name that a folder or a Hub repository has.
DENSE_COPY = "dense copy of the student"

# The terms that need a teacher.
DISTILLATION = ("class_distill", "token_distill", "feature_distill", "hard_distill", "auxiliary_hard_distill")


def describe_teacher(teacher: PreTrainedModel | None) -> str | None:
    """Name the teacher, as a card does; `None` without one."""
    if teacher is None:
        return None
    return teacher.config.name_or_path or f"a {type(teacher).__name__}, a copy of the start by default"


def native_family(teacher: PreTrainedModel) -> Any:
    """Return our family whose native image classification model, or detector, `teacher` is, or `None`."""
    family: Any = (CLASSIFIERS | DETECTORS).get(teacher.config.model_type)
    return family if family is not None and type(teacher).forward is family.dense_class.forward else None


# Columns of a batch with what a teacher that was asked before said of it, in the order of `Taught`.
COLUMNS = ("teacher_logits", "teacher_features", "teacher_token_logits")


class Taught(NamedTuple):
    """What a teacher says of a batch.

    Attributes:
        logits: `[B, K]` of the classes, of a detector `[B, Q, K]`; `None` without a teacher.
        features: `[B, P + N, D]`, final-normed, the prefix first; `None` where no native model of ours teaches.
        token_logits: `[B, 1 + N, K]` of the class token and of each patch token, where the teacher classifies those.
    """

    logits: Tensor | None = None
    features: Tensor | None = None
    token_logits: Tensor | None = None


def teacher_outputs(teacher: PreTrainedModel, inputs: dict[str, Any]) -> Taught:
    """Ask `teacher` for what it says of `inputs`."""
    family = native_family(teacher)
    if family is None:
        return Taught(teacher(pixel_values=inputs["pixel_values"]).logits)
    answer, features = family.ask_dense(teacher, inputs)
    return Taught(answer.logits, features, answer.token_logits)


class TeacherOutputs(nn.Module):
    """Wrap `teacher_outputs` as one module, to be compiled or sharded as a whole.

    Args:
        teacher: an image classifier, or a detector.
        dtype: of its arithmetic; it is converted. `None`: as it is, under the autocast of the training.
    """

    def __init__(self, teacher: PreTrainedModel, dtype: torch.dtype | None = None):
        super().__init__()
        self.teacher = teacher if dtype is None else teacher.to(dtype)
        self.dtype = dtype

    def forward(self, **inputs) -> Taught:
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


class Teacher:
    """A frozen model that answers for the batches of the training; made once the training has a device.

    It is a plain object and no module of the student: not saved, counted or optimised.

    Args:
        model: what teaches; it is frozen, put in eval mode, moved to the device of `args` and converted to the dtype
            that they have for it.
        args: of the training; the teacher is compiled as they say for the student.
        accelerator: of the training; the teacher is sharded where the student is.

    Raises:
        ValueError: the training is one that a teacher cannot take part in.
    """

    def __init__(self, model: PreTrainedModel, args: DynamicViTTrainingArguments, accelerator: Accelerator):
        self.model = model.requires_grad_(False).eval().to(cast(Any, args.device))
        self.accelerator = accelerator
        self.has_own_dtype = args.teacher_dtype is not None
        if getattr(accelerator.state, "deepspeed_plugin", None) is not None:
            raise ValueError("A teacher under DeepSpeed is not supported; use DDP or FSDP, or teacher=None.")
        outputs = TeacherOutputs(model, getattr(torch, args.teacher_dtype) if args.teacher_dtype else None)
        plugin = getattr(accelerator.state, "fsdp_plugin", None)
        self.may_be_sharded = plugin is not None
        if plugin is not None and plugin.cpu_ram_efficient_loading:
            raise ValueError(
                "fsdp_cpu_ram_efficient_loading is true: only the first process has the weights that the teacher "
                "is made of; set it to false, or teacher=None."
            )
        if getattr(plugin, "fsdp_version", 1) == 2:  # Accelerate before 1.6 knows the first only
            shard(outputs)
        self._ask: Any = outputs
        if args.torch_compile:
            backend, mode = args.torch_compile_backend or "inductor", args.torch_compile_mode
            self._ask = torch.compile(outputs, backend=backend, mode=mode)

    def outputs(self, inputs: dict[str, Any]) -> Taught:
        """Ask for what the teacher says of a batch, which losses may keep."""
        # a sharded teacher gathers its weights as it goes, which inference mode does not allow
        without_graph = torch.no_grad() if self.may_be_sharded else torch.inference_mode()
        arithmetic = nullcontext() if self.has_own_dtype else self.accelerator.autocast()
        with without_graph, arithmetic:
            taught = self._ask(**inputs)
        # copies: the losses keep them for the backward, which inference tensors cannot be kept for
        return Taught(*(None if each is None else each.clone() for each in taught))

    def accuracy(self, batches: Iterable[dict[str, Any]]) -> float:
        """Compute top-1 on `batches`, which every process has its share of, from 0 to 1."""
        right = []
        for batch in batches:
            labels = batch.pop("labels")
            said = cast(Tensor, self.outputs(batch).logits).argmax(dim=-1)
            right.append(self.accelerator.gather_for_metrics(said == labels))
        return torch.cat(right).float().mean().item()
