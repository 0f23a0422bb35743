# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What `hf-dynamicvit train` says ahead of a training and after it, in plain text."""

import math
import shlex
import textwrap
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import torch
from transformers import SchedulerType

from ..data.loading import Pictures
from ..model.modeling_dynamicvit import DynamicViTForImageClassification
from ..names import UNREADABLE
from ..training.arguments import DynamicViTTrainingArguments
from ..training.progress import MOST_STAGES, told_accuracy, told_fractions
from .train_arguments import images_in_step
from .train_options import DENSE, TRAINER_OPTIONS, DataArguments, ModelArguments
from .train_start import imitates


WIDTH = 100

# By so much a fraction kept in training exceeds the one asked for before that is told.
TOLD_EXCESS = 0.03

# So many names of classes are told.
NAMED_CLASSES = 6


def table(rows: dict[str, str]) -> str:
    """Return a line for each row, its name in a column of its own; long ones go on below their beginning."""
    width = max(map(len, rows)) + 2
    lines = []
    for name, text in rows.items():
        room = math.inf if name == "next" else WIDTH - width - 2
        for part in text.split("\n"):
            wrapped = [part] if len(part) <= room else textwrap.wrap(part, int(room), break_on_hyphens=False)
            lines += [f"  {name if not index else '':{width}}{line}" for index, line in enumerate(wrapped)]
            name = ""
    return "\n".join(lines)


def told_gmacs(value: float) -> str:
    return f"{value:#.4g} GMACs"


def counted(number: float, what: str) -> str:
    return f"{number:.{3 if number % 1 else 12}g} {what}{'' if number == 1 else 's'}"


def told_seconds(seconds: float) -> str:
    """Return a duration in the two units that matter."""
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{int(hours)} h {int(minutes) % 60} min"
    return f"{int(minutes)} min {int(seconds) % 60} s" if minutes >= 2 else f"{seconds:.0f} s"


def steps_of(
    training: DynamicViTTrainingArguments, images: int, epochs: float, max_steps: int = -1
) -> tuple[int, int]:
    """Return how many steps of the optimizer a training has, `max_steps` if above 0, and how many an epoch has."""
    batch = training.train_batch_size * training.world_size
    batches = images // batch if training.dataloader_drop_last else math.ceil(images / batch)
    in_epoch = max(1, math.ceil(batches / training.gradient_accumulation_steps))
    return (max_steps if max_steps > 0 else math.ceil(epochs * in_epoch)), in_epoch


# Ahead of a training


def images_row(args: DataArguments, pictures: Pictures) -> str:
    held_out = pictures.held_out
    source = "a split of their own" if held_out is None else f"{held_out.fraction:.3g} of each class, held out"
    counts = f"{len(pictures.train)} to train on, {len(pictures.validation)} for validation ({source})"
    return f"{args.dataset}: {counts}"


def classes_row(names: list[str], known: bool, args: ModelArguments) -> str:
    some = ", ".join(names[:NAMED_CLASSES]) + (", ..." if len(names) > NAMED_CLASSES else "")
    start = "the model knows them" if known else "new to the model: its classifier starts anew"
    start = "as good as new, since all weights are random" if args.from_scratch else start
    return f"{len(names)} ({some}); {start}"


def method_row(args: ModelArguments, planned: DynamicViTForImageClassification) -> str:
    """Tell what is kept, where."""
    config = planned.config
    if args.reducer == DENSE:
        return "none: a dense model, which keeps every patch"
    if planned.config.is_adaptive:
        return f"{args.reducer}: each picture decides how much it keeps"
    counts, layers = planned.token_counts(), planned.decision_layers
    if args.budget is not None:
        said = f"budget {args.budget:g}"
    elif config.keep_ratio is None:
        said = ", ".join(f"{name} {value}" for name, value in config.reducer_args.items())
    elif isinstance(config.keep_ratio, list):
        said = f"keep ratios {told_fractions(config.keep_ratio)}"
    else:
        said = f"keep ratio {config.keep_ratio:.3g}"
    if len(counts) > MOST_STAGES:
        kept = f"{counts[0]} to {counts[-1]} of {config.num_patches} patches in blocks {layers[0]} to {layers[-1]}"
    else:
        where = ", ".join(map(str, layers))
        kept = f"{', '.join(map(str, counts))} of {config.num_patches} patches from blocks {where} on"
    return f"{args.reducer}, {said}: {kept}"


def cost_row(args: ModelArguments, planned: DynamicViTForImageClassification) -> str:
    dense = planned.dense_multiply_adds() / 1e9
    reducer = planned.reducer
    if args.reducer == DENSE:
        return f"{told_gmacs(dense)} a picture"
    if planned.config.is_adaptive:
        budget = reducer.budget if args.budget is None else args.budget
        return f"about {budget:g} of the dense model's {told_gmacs(dense)} a picture"
    sparse = planned.multiply_adds() / 1e9
    return f"{sparse:#.4g} of the dense model's {told_gmacs(dense)} a picture ({sparse / dense:.2f})"


def teacher_row(
    args: ModelArguments,
    training: DynamicViTTrainingArguments,
    images: int,
    teaches: bool,
    done: bool,
    head: float | None,
) -> str:
    """Say who teaches, and how it comes about.

    Args:
        done: whether the dense model was fine-tuned before.
        head: learning rate of its classifier, where that is another than the backbone's.
    """
    tuned = ""
    if args.teacher_epochs:
        steps, _ = steps_of(training, images, args.teacher_epochs)
        how = f"{counted(args.teacher_epochs, 'epoch')}, {counted(steps, 'step')} at {args.teacher_learning_rate:g}"
        how += "" if head is None else f", the classifier at {head:g}"
        tuned = "was fine-tuned before" if done else f"is fine-tuned first ({how})"
    if not teaches:
        return f"none; the dense start {tuned}" if tuned else "none"
    if args.teacher is not None:
        return args.teacher + (f"; the dense start {tuned}" if tuned else "")
    return f"the dense model, which {tuned}" if tuned else f"a frozen dense copy of {args.model}"


def training_row(training: DynamicViTTrainingArguments, images: int) -> str:
    steps, in_epoch = steps_of(training, images, training.num_train_epochs, training.max_steps)
    epochs = steps / in_epoch if training.max_steps > 0 else training.num_train_epochs
    parts = {"a batch": training.train_batch_size, "batches": training.gradient_accumulation_steps}
    parts["processes"] = training.world_size
    several = [f"{count} {name}" for name, count in parts.items() if name == "a batch" or count > 1]
    how = f" ({' x '.join(several)})" if len(several) > 1 else ""
    return f"{counted(epochs, 'epoch')}, {counted(steps, 'step')} of {images_in_step(training)} images{how}"


def rates_row(
    training: DynamicViTTrainingArguments,
    planned: DynamicViTForImageClassification,
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


def predictors_row(args: ModelArguments, planned: DynamicViTForImageClassification) -> str:
    return "start from the class attention of the dense model" if imitates(args, planned) else ""


def pictures_row(args: DataArguments) -> str:
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


def defaults_row(
    args: ModelArguments,
    data_args: DataArguments,
    training: DynamicViTTrainingArguments,
    planned: DynamicViTForImageClassification,
    chosen: Collection[str],
) -> str:
    """List the options that were not chosen and matter, as they could have been typed."""
    reducer, values = planned.reducer, {"reducer": args.reducer}
    adaptive, ratio = planned.config.is_adaptive, planned.config.keep_ratio
    if args.reducer != DENSE and not adaptive and "budget" not in chosen and ratio:
        values["keep_ratio"] = " ".join(map(str, ratio if isinstance(ratio, list) else [ratio]))
    elif adaptive and "keep_ratio" not in chosen:
        values["budget"] = f"{reducer.budget:g}"
    if "max_steps" not in chosen:
        values["epochs"] = f"{training.num_train_epochs:g}"
    values |= {"lr": f"{training.learning_rate:.3g}", "batch-size": str(training.per_device_train_batch_size)}
    values["augmentation"] = data_args.augmentation
    called = {"epochs": "num_train_epochs", "lr": "learning_rate", "batch-size": "per_device_train_batch_size"}
    words = [f"--{name} {value}" for name, value in values.items() if called.get(name, name) not in chosen]
    return f"{' '.join(words)} (all others: --help)" if words else ""


def summary(
    args: ModelArguments,
    data_args: DataArguments,
    training: DynamicViTTrainingArguments,
    pictures: Pictures,
    planned: DynamicViTForImageClassification,
    known: bool,
    teaches: bool,
    done: bool,
    chosen: Collection[str],
) -> str:
    """Return what will be trained, on what and how, in a dozen lines.

    Args:
        args, data_args, training: all options.
        pictures: what they are read to.
        planned: the model as `train_start.plan` makes it.
        known: whether the model was trained on these classes.
        teaches: whether it is learned from a teacher.
        done: whether the dense model was fine-tuned before.
        chosen: names of the options that the user or a recipe set.
    """
    images = len(pictures.train)
    steps, in_epoch = steps_of(training, images, training.num_train_epochs, training.max_steps)
    head = training.head_learning_rate
    start = "shape of " if args.from_scratch else ""
    rows = {
        "model": f"{start}{args.model}, trained into {training.output_dir}",
        "images": images_row(data_args, pictures),
        "classes": classes_row(pictures.names, known, args),
        "method": method_row(args, planned),
        "cost": cost_row(args, planned),
        "teacher": teacher_row(args, training, images, teaches, done, head),
        "training": training_row(training, images),
        "rates": rates_row(training, planned, steps, in_epoch, None if args.teacher_epochs and not known else head),
        "predictors": predictors_row(args, planned),
        "augmentation": pictures_row(data_args),
        "machine": machine_row(training),
        "by default": defaults_row(args, data_args, training, planned, chosen),
    }
    return f"{table({name: text for name, text in rows.items() if text})}\n"


# After it


def accuracies(results: dict[str, Any], folder: str) -> list[list[str]]:
    """Return a row for each model that was evaluated: what it is, accuracy, cost, epochs, where it comes from."""
    sparse, dense = told_gmacs(results["gmacs"]), told_gmacs(results["dense_gmacs"])
    start = f"{results['start']['epochs']:g}" if "start" in results else ""
    epochs = f"{start} + {results['epochs']:.3g} epochs" if start else counted(results["epochs"], "epoch")
    name = "dense" if results["reducer"] == DENSE else results["reducer"]
    rows = [(name, results, "top1", dense if results["reducer"] == DENSE else sparse, epochs, folder)]
    if "ema_top1" in results:
        rows.append(("averaged weights", results, "ema_top1", *rows[0][3:5], f"{folder}/ema"))
    if "dense" in results:
        rows.append(("dense, as long", results["dense"], "top1", dense, epochs, f"{folder}/dense"))
    if "teacher_top1" in results:
        own, where = results["teacher_is_dense_copy"], results["teacher"]
        trained = counted(results["start"]["epochs"], "epoch") if own and start else ""
        rows.append(
            ("dense teacher" if own else "teacher", results, "teacher_top1", dense if own else "", trained, where)
        )
    found = []
    for name, values, key, cost, trained, where in rows:
        low, high = values[f"{key}_interval"]
        accuracy = f"top-1 {told_accuracy(values[key], results['images'])} ({100 * low:.1f} to {100 * high:.1f})"
        found.append([name, accuracy, cost, trained, where])
    return found


def kept_row(results: dict[str, Any]) -> str:
    """Tell what was kept in training, and whether that is what is kept at inference."""
    kept, asked = results["kept"], results.get("kept_asked")
    told = f"{told_fractions(kept)} of the patches in training"
    if asked is None:
        return told
    told += f", asked for {told_fractions(asked)}"
    if max(have - want for have, want in zip(kept, asked, strict=True)) < TOLD_EXCESS:
        return told
    return (
        f"{told}: it has learned with more than it keeps at inference; more epochs, or a larger weight of the loss "
        """`ratio` (--loss_weights '{"ratio": 10}'), close the gap"""
    )


def report(results: dict[str, Any], folder: str) -> str:
    """Return what came of a training: accuracies, what was kept, how long it took, what to type next."""
    held_out = ", held out of the training" if "held_out" in results else ""
    cells = accuracies(results, folder)
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    lines = [f"Results on {results['images']} validation images{held_out}, with 95 % intervals:"]
    lines += ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    rows = {}
    if results.get("best_epoch", results["epochs"]) < results["epochs"]:
        rows["best"] = f"the weights after epoch {results['best_epoch']:.3g}, the most accurate on these images"
    if "kept" in results:
        rows["kept"] = kept_row(results)
    if results["reducer"] != DENSE:
        rows["cost"] = f"{results['gmacs'] / results['dense_gmacs']:.2f} of the dense multiply-adds"
    times = {name: told_seconds(seconds) for name, seconds in results["phases"].items()}
    if "resumed_after_step" in results:
        times["training"] += f" (after step {results['resumed_after_step']})"
    rows["time"] = ", ".join(f"{name} {told}" for name, told in times.items())
    rows["model"] = f"{folder} (results.json has these numbers and the whole log)"
    rows["next"] = "\n".join(results["next"])
    return "\n".join([*lines, table({name: text for name, text in rows.items() if text})])


def next_commands(
    args: ModelArguments, data_args: DataArguments, training: DynamicViTTrainingArguments, pictures: Pictures
) -> list[str]:
    """Return what to type next, on what was trained here."""
    folder = cast(str, training.output_dir)
    teacher = f"{folder}/teacher" if args.teacher_epochs else None
    columns = {name: vars(data_args)[name] for name in ("dataset_config", "dataset_revision")}
    columns |= {name: vars(data_args)[name] for name in ("image_column", "label_column")}
    unreadable = data_args.unreadable if data_args.unreadable != DataArguments.unreadable else None
    if args.reducer == DENSE:
        columns |= splits_of(data_args, pictures) | {"unreadable": unreadable}
        return [command("train", model=folder, dataset=data_args.dataset, **columns, output=f"{folder}-sparse")]
    columns["unreadable"] = unreadable if unreadable in UNREADABLE else None
    split = data_args.validation_split if pictures.held_out is None else None  # `evaluate` finds what was held out
    data = {"dataset": data_args.dataset, "split": split, **columns}
    commands = [command("evaluate", model=folder, dense=teacher, **data, output=f"{folder}-report")]
    file = pictures.validation[0][pictures.image_column]["path"]
    if Path(data_args.dataset).is_dir() and file is not None and Path(file).is_file():
        commands.append(
            command("visualize", model=folder, images=data_args.dataset, limit=20, output=f"{folder}-seen")
        )
    if not training.push_to_hub:
        commands.append(shlex.join(["hf-dynamicvit", "push", folder, f"USER/{Path(folder).name}"]))
    return commands


def splits_of(args: DataArguments, pictures: Pictures) -> dict[str, Any]:
    """Return the options, `None` where not needed, by which another training has the same pictures for validation."""
    splits: dict[str, Any] = {"train_split": args.train_split, "validation_split": args.validation_split}
    if (apart := pictures.held_out) is not None:
        usual = args.validation_fraction == DataArguments.validation_fraction
        splits["validation_fraction"] = None if usual else args.validation_fraction
        splits["data_seed"] = None if apart.seed == TRAINER_OPTIONS["seed"].default else apart.seed
    return splits


def command(name: str, **options: Any) -> str:
    """Return a command line, without the options that are `None`."""
    given = {option: value for option, value in options.items() if value is not None}
    words = [word for option, value in given.items() for word in (f"--{option.replace('_', '-')}", str(value))]
    return shlex.join(["hf-dynamicvit", name, *words])
