# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What `hf-dynamicvit train` says ahead of a training, in plain text."""

import math
from collections.abc import Collection

import torch
from transformers import SchedulerType

from ..data.loading import ImageSplits
from ..hub.card import tell_stages
from ..model.classification import ReducedForImageClassification
from ..training.arguments import DynamicViTTrainingArguments
from ..training.progress import MOST_STAGES, told_fractions
from .ranges import as_option
from .train_arguments import images_in_step
from .train_classes import distils
from .train_options import DENSE, DataArguments, ModelArguments
from .train_start import imitates
from .train_task import Task
from .train_words import counted, table, told_gmacs


# So many names of classes are told.
NAMED_CLASSES = 6


def count_steps(
    training: DynamicViTTrainingArguments, images: int, epochs: float, max_steps: int = -1
) -> tuple[int, int]:
    """Return how many steps of the optimizer a training has, `max_steps` if above 0, and how many an epoch has."""
    batch = training.train_batch_size * training.world_size
    batches = images // batch if training.dataloader_drop_last else math.ceil(images / batch)
    in_epoch = max(1, math.ceil(batches / training.gradient_accumulation_steps))
    return (max_steps if max_steps > 0 else math.ceil(epochs * in_epoch)), in_epoch


def images_row(args: DataArguments, images: ImageSplits) -> str:
    held_out = images.held_out
    source = "a split of their own" if held_out is None else f"{held_out.fraction:.3g} of each class, held out"
    counts = f"{len(images.train)} to train on, {len(images.validation)} for validation ({source})"
    return f"{args.dataset}: {counts}"


def classes_row(names: list[str], known: bool, args: ModelArguments) -> str:
    some = ", ".join(names[:NAMED_CLASSES]) + (", ..." if len(names) > NAMED_CLASSES else "")
    start = "the model knows them" if known else "new to the model: its classifier starts anew"
    start = "as good as new, since all weights are random" if args.from_scratch else start
    return f"{len(names)} ({some}); {start}"


def method_row(args: ModelArguments, planned: ReducedForImageClassification) -> str:
    """Tell what is kept, where."""
    config = planned.config
    if args.reducer == DENSE:
        return "none: a dense model, which keeps every patch"
    if planned.config.is_adaptive:
        return f"{args.reducer}: each image decides how much it keeps"
    if planned.reducer.sought is not None:
        return f"{args.reducer}: training finds how much each block keeps"
    counts, layers = planned.token_counts(), planned.decision_layers
    if args.budget is not None:
        said = f"budget {args.budget:g}"
    elif config.keep_ratio is None:
        said = ", ".join(f"{name} {value}" for name, value in config.reducer_args.items())
    elif config.given_counts is not None:
        said = "numbers of patches"
    elif isinstance(config.keep_ratio, list):
        said = f"keep ratios {told_fractions(config.keep_ratio)}"
    else:
        said = f"keep ratio {config.keep_ratio:.3g}"
    if config.fixed_stages:
        where = ", ".join(map(str, config.stage_layers))
        kept = f"{tell_stages(planned)} patches in the groups from blocks {where} on"
    elif len(counts) > MOST_STAGES:
        kept = f"{counts[0]} to {counts[-1]} of {config.num_patches} patches in blocks {layers[0]} to {layers[-1]}"
    else:
        where = ", ".join(map(str, layers))
        kept = f"{', '.join(map(str, counts))} of {config.num_patches} patches from blocks {where} on"
    return f"{args.reducer}, {said}: {kept}"


def cost_row(args: ModelArguments, planned: ReducedForImageClassification) -> str:
    dense = planned.dense_multiply_adds() / 1e9
    reducer = planned.reducer
    if args.reducer == DENSE:
        return f"{told_gmacs(dense)} an image"
    if planned.config.is_adaptive:
        budget = reducer.budget if args.budget is None else args.budget
        return f"about {budget:g} of the dense model's {told_gmacs(dense)} an image"
    if reducer.sought is not None:
        return f"towards {reducer.sought:g} of the dense model's {told_gmacs(dense)} an image"
    sparse = planned.multiply_adds() / 1e9
    return f"{sparse:#.4g} of the dense model's {told_gmacs(dense)} an image ({sparse / dense:.2f})"


def tuning_of_start(task: Task, training: DynamicViTTrainingArguments, done: bool) -> str:
    """Say how the dense start is fine-tuned; `done`: that it was before. Empty where it is not."""
    args, head = task.args, training.head_learning_rate
    if not args.teacher_epochs:
        return ""
    steps, _ = count_steps(training, len(task.images.train), args.teacher_epochs)
    how = f"{counted(args.teacher_epochs, 'epoch')}, {counted(steps, 'step')} at {args.teacher_learning_rate:g}"
    how += "" if head is None else f", the classifier at {head:g}"
    return "was fine-tuned before" if done else f"is fine-tuned first ({how})"


def teacher_row(task: Task, training: DynamicViTTrainingArguments, done: bool) -> str:
    """Say who teaches, and how it comes about; `done`: the dense model was fine-tuned before."""
    args, tuned = task.args, tuning_of_start(task, training, done)
    if not distils(args, task.start, training):
        return f"none; the dense start {tuned}" if tuned else "none"
    if args.teacher is not None:
        return args.teacher + (f"; the dense start {tuned}" if tuned else "")
    return f"the dense model, which {tuned}" if tuned else f"a frozen dense copy of {args.model}"


def training_row(training: DynamicViTTrainingArguments, images: int) -> str:
    steps, in_epoch = count_steps(training, images, training.num_train_epochs, training.max_steps)
    epochs = steps / in_epoch if training.max_steps > 0 else training.num_train_epochs
    parts = {"a batch": training.train_batch_size, "batches": training.gradient_accumulation_steps}
    parts["processes"] = training.world_size
    several = [f"{count} {name}" for name, count in parts.items() if name == "a batch" or count > 1]
    how = f" ({' x '.join(several)})" if len(several) > 1 else ""
    return f"{counted(epochs, 'epoch')}, {counted(steps, 'step')} of {images_in_step(training)} images{how}"


def rates_row(
    training: DynamicViTTrainingArguments,
    planned: ReducedForImageClassification,
    steps: int,
    in_epoch: int,
    head: float | None,
) -> str:
    """Tell the rates as the optimizer will have them; `head` is the classifier's, `None` for the backbone's."""
    reducer = planned.reducer
    scale = reducer.backbone_lr_scale if training.backbone_lr_scale is None else training.backbone_lr_scale
    frozen = training.freeze_backbone_epochs
    frozen = steps * reducer.frozen_fraction / in_epoch if frozen is None else frozen
    said = [f"learning rate {training.learning_rate:.3g}"]
    if [*reducer.parameters()] and (scale != 1 or frozen):
        still = f", which stands still for {counted(frozen, 'epoch')}" if frozen else ""
        said[0] += f" (reducer) and {training.learning_rate * scale:.3g} (all else{still})"
    if head is not None:
        said.append(f"{head:.3g} (classifier)")
    if training.layer_lr_decay < 1:
        said.append(f"{training.layer_lr_decay:g} of it from block to block")
    said += [
        SchedulerType(training.lr_scheduler_type).value,
        f"warm-up {counted(training.get_warmup_steps(steps), 'step')}",
    ]
    return ", ".join([*said, f"weight decay {training.weight_decay:g}"])


def predictors_row(task: Task) -> str:
    learned = imitates(task.args, task.start, task.planned)
    return "start from the class attention of the dense model" if learned else ""


def augmentation_row(args: DataArguments) -> str:
    level = args.augmentation
    said = [level] if level == "none" else [f"{level}: flips, crops of {args.crop_scale:g} of the area or more"]
    if level == "full":
        said.append(f"RandAugment {args.randaugment_magnitude}, erasing {args.random_erasing:g}")
    mixed = [f"{name} {value:g}" for name, value in (("mixup", args.mixup), ("cutmix", args.cutmix)) if value]
    return ", ".join([*said, *mixed])


def machine_row(training: DynamicViTTrainingArguments) -> str:
    device = training.device
    if device.type == "cuda":
        name = f"{device.type} ({torch.cuda.get_device_name(device)})"
    else:
        name = device.type + (f", torch threads {torch.get_num_threads()}" if device.type == "cpu" else "")
    precision = "bfloat16" if training.bf16 else "float16" if training.fp16 else "float32"
    several = f", {training.world_size} processes" if training.world_size > 1 else ""
    return f"{name}, {precision}{several}"


def defaults_row(task: Task, training: DynamicViTTrainingArguments, chosen: Collection[str]) -> str:
    """List the options that were not chosen and matter, as they could have been typed."""
    args, config = task.args, task.planned.config
    reducer, values = task.planned.reducer, {"reducer": args.reducer}
    adaptive, ratio = config.is_adaptive, config.keep_ratio
    if args.reducer != DENSE and not adaptive and "budget" not in chosen and ratio:
        values["keep_ratio"] = " ".join(map(str, ratio if isinstance(ratio, list) else [ratio]))
    elif adaptive and "keep_ratio" not in chosen:
        values["budget"] = f"{reducer.budget:g}"
    if "max_steps" not in chosen:
        values["epochs"] = f"{training.num_train_epochs:g}"
    values |= {"lr": f"{training.learning_rate:.3g}", "batch-size": str(training.per_device_train_batch_size)}
    values["augmentation"] = task.data.augmentation
    called = {"epochs": "num_train_epochs", "lr": "learning_rate", "batch-size": "per_device_train_batch_size"}
    words = [f"{as_option(name)} {value}" for name, value in values.items() if called.get(name, name) not in chosen]
    return f"{' '.join(words)} (all others: --help)" if words else ""


def summary(task: Task, training: DynamicViTTrainingArguments, done: bool, chosen: Collection[str]) -> str:
    """Return what will be trained, on what and how, in a dozen lines.

    Args:
        task: what is trained, on what.
        training: how.
        done: whether the dense model was fine-tuned before.
        chosen: names of the options that the user or a recipe set.
    """
    args, images, head = task.args, len(task.images.train), training.head_learning_rate
    steps, in_epoch = count_steps(training, images, training.num_train_epochs, training.max_steps)
    shape = "shape of " if args.from_scratch else ""
    rows = {
        "model": f"{shape}{args.model}, trained into {training.output_dir}",
        "images": images_row(task.data, task.images),
        "classes": classes_row(task.images.names, task.known, args),
        "method": method_row(args, task.planned),
        "cost": cost_row(args, task.planned),
        "teacher": teacher_row(task, training, done),
        "training": training_row(training, images),
        "rates": rates_row(
            training, task.planned, steps, in_epoch, None if args.teacher_epochs and not task.known else head
        ),
        "predictors": predictors_row(task),
        "augmentation": augmentation_row(task.data),
        "machine": machine_row(training),
        "by default": defaults_row(task, training, chosen),
    }
    return f"{table({name: text for name, text in rows.items() if text})}\n"
