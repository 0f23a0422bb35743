# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit train`: fine-tune a model, sparse or dense, on pictures from the Hub, a folder or a file."""

import copy
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import set_seed

from .command_line import only_json, print_json
from .model_source import read_config, read_processor
from .names import UNCHECKED
from .start import (
    COSTED,
    check_config,
    check_distillation,
    config_of,
    knows,
    label_names,
    load_start,
    same_classes,
    set_how_much_is_kept,
)
from .train_arguments import parse
from .train_options import DENSE, DataArguments, ModelArguments
from .training.arguments import DynamicViTTrainingArguments
from .training.augmentation import MixCollator
from .training.average import FOLDER
from .training.callbacks import GroupingSwitch, KeepRatioWarmup
from .training.checkpoints import last_complete_checkpoint
from .training.data import ImageTransform
from .training.drawn import DrawnPictures, EpochOfPictures
from .training.metrics import compute_accuracy
from .training.pictures import Pictures, load_pictures, with_classes_of
from .training.results import RESULTS, weights_fingerprint
from .training.teacher import DENSE_COPY
from .training.trainer import DynamicViTTrainer


def train(
    model_args: ModelArguments, data_args: DataArguments, training: DynamicViTTrainingArguments
) -> dict[str, Any]:
    """Train and evaluate; the model, its image processor and `results.json` are in `training.output_dir`.

    Returns:
        what is in `results.json`.

    Raises:
        ValueError: an option that does not fit the model or the pictures, or `output_dir` is not empty.
        FloatingPointError: a loss or gradient was not finite.
    """
    resume = resumed_checkpoint(training)
    folder = Path(cast(str, training.output_dir))
    if training.should_save and resume is None and any(path.is_file() for path in folder.rglob("*")):
        raise ValueError(
            f"output_dir {folder} is not empty; name another, or go on there with --resume_from_checkpoint last."
        )
    set_seed(training.seed)
    config = config_of(model_args.model)
    processor = read_processor(model_args.model)
    taught = None if model_args.teacher is None else read_config(model_args.teacher)
    with training.main_process_first(desc="reading the data set"):
        pictures = read_pictures(data_args, training)
    known = same_classes(model_args, config, pictures.names)
    if knows(config, pictures.names):  # its own order of them
        pictures = in_order_of(label_names(config), pictures)
    elif taught is not None and knows(taught, pictures.names):
        pictures = in_order_of(label_names(taught), pictures)
    check_config(model_args, pictures.names)
    check_distillation(model_args, training, known)
    if model_args.teacher_epochs:
        start = fine_tune_teacher(model_args, data_args, training, pictures, known)
        model_args, known = dataclasses.replace(model_args, model=start), True
        if resume is True and last_complete_checkpoint(folder) is None:
            resume = None  # it stopped before the model itself had a checkpoint
    return run(model_args, data_args, training, pictures, processor, known, resume)


def resumed_checkpoint(training: DynamicViTTrainingArguments) -> str | bool | None:
    """What `--resume_from_checkpoint` names: a folder, or `last` (or `True`) for the newest whole one."""
    named = training.resume_from_checkpoint
    return True if str(named).lower() in ("last", "true") else named


def in_order_of(names: list[str], pictures: Pictures) -> Pictures:
    def ordered(data: Any) -> Any:
        return with_classes_of(names, data, pictures.label_column, "the data set")

    return dataclasses.replace(
        pictures, names=names, train=ordered(pictures.train), validation=ordered(pictures.validation)
    )


def read_pictures(args: DataArguments, training: DynamicViTTrainingArguments) -> Pictures:
    return load_pictures(
        args.dataset,
        args.dataset_config,
        args.train_split,
        args.validation_split,
        args.image_column,
        args.label_column,
        args.validation_fraction,
        training.seed if training.data_seed is None else training.data_seed,
        # the first process of a machine has read them all before the others come here
        UNCHECKED if args.unreadable == "stop" and training.local_process_index else args.unreadable,
        args.max_train_samples,
        args.max_eval_samples,
        revision=args.dataset_revision,
        token=training.hub_token,
    )


def fine_tune_teacher(
    args: ModelArguments,
    data_args: DataArguments,
    training: DynamicViTTrainingArguments,
    pictures: Pictures,
    known: bool,
) -> str:
    """The folder of the dense model, fine-tuned on the pictures; not again where that was done before."""
    folder = Path(cast(str, training.output_dir)) / "teacher"
    if not (folder / RESULTS).is_file():
        own = copy.copy(training)
        own.output_dir, own.num_train_epochs, own.max_steps = str(folder), args.teacher_epochs, -1
        own.learning_rate, own.loss_weights, own.frozen = args.teacher_learning_rate, None, None
        own.metric_for_best_model, own.backbone_lr_scale, own.freeze_backbone_epochs = "accuracy", None, None
        own.ema_decay, own.evaluate_ema, own.cache_teacher, own.push_to_hub = None, False, False, False
        dense = ModelArguments(args.model, reducer=DENSE, distill=False)
        resume = last_complete_checkpoint(folder)
        processor = read_processor(args.model)
        run(dense, data_args, own, pictures, processor, known, None if resume is None else str(resume))
    return str(folder)


def run(
    args: ModelArguments,
    data_args: DataArguments,
    training: DynamicViTTrainingArguments,
    pictures: Pictures,
    processor: Any,
    known: bool,
    resume: str | bool | None,
) -> dict[str, Any]:
    """One training, its evaluation and what it leaves behind."""
    model = load_start(args, pictures.names, known)
    columns: dict[str, Any] = {
        "image_column": pictures.image_column,
        "label_column": pictures.label_column,
        "num_channels": model.config.num_channels,
    }
    augment = ImageTransform(processor, **columns, **augmentation_of(data_args))
    plain = ImageTransform(processor, **columns)
    mixed = bool(data_args.mixup or data_args.cutmix)
    train_data: Any = pictures.train.with_transform(plain if data_args.augmentation == "none" else augment)
    if data_args.augmentation != "none":
        train_data = DrawnPictures(train_data, training.seed, tell=mixed)
    set_how_much_is_kept(args, model, some_of(pictures.train, training.seed).with_transform(plain))
    trainer = DynamicViTTrainer(
        model,
        training,
        teacher=(args.teacher or DENSE_COPY) if args.distill else None,
        train_collator=MixCollator(len(pictures.names), data_args.mixup, data_args.cutmix) if mixed else None,
        train_dataset=train_data,
        eval_dataset=pictures.validation.with_transform(plain),
        processing_class=processor,
        compute_metrics=compute_accuracy,
        callbacks=callbacks_of(args, train_data),
    )
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=resume)
    seconds = time.perf_counter() - start
    metrics = trainer.evaluate()
    typical = plain(some_of(pictures.validation, training.seed)[:])["pixel_values"]
    results = results_of(args, trainer, metrics, typical, seconds)
    results |= {"dataset": data_args.dataset, "images": len(pictures.validation)}
    if pictures.held_out is not None:
        results["held_out"] = dataclasses.asdict(pictures.held_out)
    save(args, trainer, results)
    if training.push_to_hub:
        local = Path(data_args.dataset).exists()
        trainer.push_to_hub(dataset_tags=None if local else data_args.dataset, dataset=Path(data_args.dataset).name)
    return results


def some_of(data: Any, seed: int) -> Any:
    """A few pictures, of all classes: data sets often have one class after the other."""
    return data.shuffle(seed=seed).select(range(min(COSTED, len(data))))


def augmentation_of(args: DataArguments) -> dict[str, Any]:
    return {
        "augmentation": args.augmentation,
        "scale": args.crop_scale,
        "randaugment_magnitude": args.randaugment_magnitude,
        "random_erasing": args.random_erasing,
        "color_jitter": args.color_jitter,
    }


def callbacks_of(args: ModelArguments, train_data: Any) -> list[Any]:
    callbacks: list[Any] = [EpochOfPictures(train_data)] if isinstance(train_data, DrawnPictures) else []
    if args.keep_ratio_warmup_epochs:
        callbacks.append(KeepRatioWarmup(args.keep_ratio_warmup_epochs))
    if args.layer_grouping_fraction:
        callbacks.append(GroupingSwitch(args.layer_grouping_fraction))
    return callbacks


def results_of(
    args: ModelArguments, trainer: DynamicViTTrainer, metrics: dict[str, float], images: Any, seconds: float
) -> dict[str, Any]:
    """Accuracy, cost and how it came about."""
    model = trainer.accelerator.unwrap_model(cast(nn.Module, trainer.model)).eval()
    pixel_values = torch.stack(list(images)).to(model.device)
    results = {
        "top1": metrics["eval_accuracy"],
        "gmacs": model.multiply_adds(pixel_values) / 1e9,
        "dense_gmacs": model.dense_multiply_adds() / 1e9,
        "patches": model.token_counts(pixel_values),
        "reducer": args.reducer,
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "seed": trainer.args.seed,
        "seconds": round(seconds, 1),
        "log": trainer.state.log_history,
    }
    if "eval_ema_accuracy" in metrics:
        results["ema_top1"] = metrics["eval_ema_accuracy"]
    if trainer.teacher is not None:
        results["teacher_top1"] = trainer.teacher_accuracy()
    return results


def save(args: ModelArguments, trainer: DynamicViTTrainer, results: dict[str, Any]) -> None:
    """The model and, last, the results: where they are, all is."""
    folder = Path(cast(str, trainer.args.output_dir))
    if args.reducer == DENSE:
        save_dense(trainer, folder)
        if "ema_top1" in results:
            with trainer.averaged():
                save_dense(trainer, folder / FOLDER)
    else:
        trainer.save_model()
    if trainer.is_world_process_zero():
        results["weights"] = weights_fingerprint(folder)
        (folder / RESULTS).write_text(json.dumps(results, indent=1), encoding="utf-8")
    trainer.accelerator.wait_for_everyone()


def save_dense(trainer: DynamicViTTrainer, folder: Path) -> None:
    """The model without its reducer, as any dense ViT is saved."""
    weights = trainer.accelerator.get_state_dict(trainer.model)  # whole, where they are spread over processes
    if trainer.is_world_process_zero():
        model = trainer.accelerator.unwrap_model(cast(nn.Module, trainer.model), keep_torch_compile=False)
        model.to_dense(weights).save_pretrained(folder)
        cast(Any, trainer.processing_class).save_pretrained(folder)


def report(results: dict[str, Any], folder: str) -> str:
    lines = [f"top-1 {results['top1']:.2%} at {results['gmacs']:.3f} of {results['dense_gmacs']:.3f} G multiply-adds"]
    if "ema_top1" in results:
        lines.append(f"averaged weights: top-1 {results['ema_top1']:.2%}, in {folder}/ema")
    if "teacher_top1" in results:
        lines.append(f"teacher: top-1 {results['teacher_top1']:.2%}")
    return "\n".join([*lines, f"{results['seconds']:.0f} s of training; the model is in {folder}"])


def run_command(argv: Sequence[str], as_json: bool) -> None:
    """Train with the options `argv`, and say what came of it."""
    with only_json(as_json):
        model_args, data_args, training = parse(argv)
        results = train(model_args, data_args, training)
    if training.should_log and as_json:
        print_json({name: value for name, value in results.items() if name != "log"})
    elif training.should_log:
        print(report(results, cast(str, training.output_dir)))
