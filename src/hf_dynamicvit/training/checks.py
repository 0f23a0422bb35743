# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Refuse, or warn of, what cannot be trained well: arguments without effect, half precision, frozen reducers."""

from typing import Any

import torch
from torch import nn

from ..data.augmentation import MixCollator
from ..model.classification import ReducedForImageClassification
from ..model.detection import ReducedForObjectDetection
from ..model.logger import logger
from .adapters import acting_reducer, inner_model, is_adapted, learns
from .arguments import DynamicViTTrainingArguments
from .loss_terms import SECOND_PASS, read_loss_weights, read_problem_type
from .teacher import DENSE_COPY


def check_options(args: Any, teacher: Any, **kwargs: Any) -> None:
    """Refuse what `Trainer` takes and could have no effect, or a wrong one, here."""
    if not isinstance(args, DynamicViTTrainingArguments):
        raise ValueError(f"args is a {type(args).__name__}; DynamicViTTrainer takes DynamicViTTrainingArguments.")
    if args.n_gpu > 1:  # nn.DataParallel cannot gather the records of the decisions
        raise ValueError(
            f"{args.n_gpu} GPUs in one process; start one process each (torchrun or accelerate launch), or show "
            "one GPU only (CUDA_VISIBLE_DEVICES=0)."
        )
    names = args.label_names
    if names is not None and list(names) != ["labels"]:
        raise ValueError(f"label_names is {names}; the losses and metrics here are of ['labels'].")
    optimizer, scheduler = kwargs.get("optimizers") or (None, None)
    if optimizer is None and scheduler is not None:
        raise ValueError("optimizers= has a scheduler alone, which would steer another optimizer; give both.")
    if args.cache_teacher and kwargs.get("model_init") is not None and teacher == DENSE_COPY:
        raise ValueError("cache_teacher asks once, but each model of model_init has a dense copy; pass teacher=.")


def check_student(model: Any, args: DynamicViTTrainingArguments) -> None:
    """Refuse a model that is none of ours, or whose problem type does not go with `args`."""
    student = inner_model(model)
    if isinstance(student, ReducedForObjectDetection):
        check_detector_options(args)
        return
    if not isinstance(student, ReducedForImageClassification):
        raise ValueError(
            f"model is a {type(student).__name__}; load it with DynamicViTForImageClassification.from_pretrained."
        )
    if args.label_smoothing_factor and read_problem_type(student.config) != "single_label_classification":
        raise ValueError(
            f"label_smoothing_factor is {args.label_smoothing_factor}, which needs single-label "
            f"classification; problem_type is {read_problem_type(student.config)!r}."
        )
    if args.layer_lr_decay < 1 and student.config.fixed_stages:
        raise ValueError(
            f"layer_lr_decay is {args.layer_lr_decay}; the blocks of a {type(student).__name__}, which are in stages, "
            "all learn at one rate: leave it out."
        )


def check_alignment(args: DynamicViTTrainingArguments, train_collator: Any) -> None:
    """Refuse to let labels follow the tokens where no image is cut into another along patches."""
    if not args.align_labels:
        return
    if train_collator is None:
        raise ValueError("align_labels is True, but no images are mixed; pass train_collator=MixCollator(..., grid=).")
    if isinstance(train_collator, MixCollator) and not (train_collator.cutmix and train_collator.grid):
        missing = "grid=, the patches of an image down and across" if train_collator.cutmix else "cutmix above 0"
        raise ValueError(f"align_labels is True, but the MixCollator says of no patch whose it is; give it {missing}.")


def check_followed(model: Any, args: DynamicViTTrainingArguments) -> None:
    """Refuse to let labels follow tokens that wait or merge in part, or labels that are no distribution."""
    if not args.align_labels:
        return
    config = inner_model(model).config
    if not acting_reducer(model).aligns_labels:
        raise ValueError(
            f"align_labels is True, but labels cannot follow the tokens of reducer {config.reducer!r}, of which some "
            "wait, or merge in part."
        )
    if read_problem_type(config) != "single_label_classification":
        raise ValueError(f"align_labels is True; problem_type is {read_problem_type(config)!r}, one class is needed.")


def check_detector_options(args: DynamicViTTrainingArguments) -> None:
    """Refuse arguments that are of image classifiers alone."""
    unset = {"label_smoothing_factor": 0.0, "head_learning_rate": None, "cache_teacher": False, "align_labels": False}
    for name, value in unset.items():
        if getattr(args, name) != value:
            raise ValueError(
                f"{name} is {getattr(args, name)}, which is for image classifiers; the model is a detector."
            )
    twice = [name for name in SECOND_PASS if read_loss_weights(args).get(name)]
    if twice:
        raise ValueError(f"loss_weights has {twice[0]}, which is for image classifiers; the model is a detector.")


def check_precision(model: nn.Module) -> None:
    """Refuse to train weights in half precision, in which a small step rounds to none."""
    half = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.dtype in (torch.float16, torch.bfloat16)
    ]
    if half:
        dtype = model.get_parameter(half[0]).dtype
        raise ValueError(
            f"{len(half)} parameters that learn are {dtype}, such as {half[0]}, in which small steps are lost: load "
            "the model with from_pretrained(..., dtype=torch.float32), or call model.float(); bf16=True in the "
            "arguments is what makes training fast."
        )


def warn_of_adapters(model: Any, args: DynamicViTTrainingArguments) -> None:
    """Warn of a reducer that will not learn under PEFT, unless `frozen` has asked for that."""
    reducer = acting_reducer(model)
    asked = any("reducer" in part for part in args.frozen or [])
    if is_adapted(model) and list(reducer.parameters()) and not learns(reducer) and not asked:
        logger.warning(
            f"Reducer {inner_model(model).config.reducer!r} does not learn: PEFT holds its parameters. Unless it was "
            "trained before, it chooses arbitrarily; LoraConfig(..., modules_to_save=['reducer']) lets it learn, "
            "frozen=['reducer'] in the arguments says that it shall not."
        )
