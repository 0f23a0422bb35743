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
from transformers import AutoConfig, AutoImageProcessor, set_seed

from .model.modeling_dynamicdeit import DynamicDeiTForImageClassification
from .model.modeling_dynamicvit import DynamicViTForImageClassification
from .model.reducers import REDUCERS
from .train_arguments import DENSE, DataArguments, ModelArguments, parse, reducer_of
from .training.arguments import DynamicViTTrainingArguments
from .training.augmentation import MixCollator
from .training.callbacks import GroupingSwitch, KeepRatioWarmup
from .training.checkpoints import last_complete_checkpoint
from .training.data import ImageTransform
from .training.drawn import DrawnPictures, EpochOfPictures
from .training.metrics import compute_accuracy
from .training.pictures import Pictures, load_pictures, with_classes_of
from .training.teacher import DENSE_COPY, DISTILLATION
from .training.trainer import DynamicViTTrainer


FAMILIES = {
    "vit": DynamicViTForImageClassification,
    "dynamicvit": DynamicViTForImageClassification,
    "deit": DynamicDeiTForImageClassification,
    "dynamicdeit": DynamicDeiTForImageClassification,
}

# Names of classifiers, of all families and methods.
CLASSIFIERS = ("classifier", "cls_classifier", "distillation_classifier")

RESULTS = "results.json"

# Pictures on which cost is measured and thresholds are set, where those depend on the picture.
COSTED = 64


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
    if training.should_save and resume is None and folder.is_dir() and any(folder.iterdir()):
        raise ValueError(
            f"output_dir {folder} is not empty; name another, or go on there with --resume_from_checkpoint last."
        )
    set_seed(training.seed)
    config = config_of(model_args.model)
    processor = AutoImageProcessor.from_pretrained(model_args.model)
    with training.main_process_first(desc="reading the data set"):
        pictures = read_pictures(data_args, training)
    known = knows(config, pictures.names)
    if known:  # its own order of them
        pictures = in_order_of(label_names(config), pictures)
    check_distillation(model_args, training, known)
    if model_args.teacher_epochs:
        start = fine_tune_teacher(model_args, data_args, training, pictures, known)
        model_args, known = dataclasses.replace(model_args, model=start), True
    return run(model_args, data_args, training, pictures, processor, known, resume)


def resumed_checkpoint(training: DynamicViTTrainingArguments) -> str | bool | None:
    """What `--resume_from_checkpoint` names: a folder, or `last` (or `True`) for the newest whole one."""
    named = training.resume_from_checkpoint
    return True if str(named).lower() in ("last", "true") else named


def config_of(model: str) -> Any:
    config = AutoConfig.from_pretrained(model)
    if config.model_type not in FAMILIES:
        raise ValueError(
            f"{model} is of model type {config.model_type!r}; hf-dynamicvit trains {', '.join(FAMILIES)}."
        )
    return config


def label_names(config: Any) -> list[str]:
    return [config.id2label[index] for index in range(config.num_labels)]


def knows(config: Any, names: list[str]) -> bool:
    """Whether a model was trained on these classes, in whatever order."""
    return sorted(label_names(config)) == sorted(names)


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
        args.unreadable,
        args.max_train_samples,
        args.max_eval_samples,
        revision=args.dataset_revision,
        token=training.hub_token,
    )


def check_distillation(args: ModelArguments, training: DynamicViTTrainingArguments, known: bool) -> None:
    """Refuse to take for a teacher what knows nothing of the classes."""
    reducer = REDUCERS.get(args.reducer or "")
    weights = (reducer.loss_weights if reducer else {}) | cast(dict, training.loss_weights or {})
    distils = reducer is not None and args.distill and any(weights.get(name) for name in DISTILLATION)
    if distils and args.teacher is None and args.from_scratch:
        raise ValueError("A model from random weights cannot teach itself: name --teacher, or type --no_distill.")
    if distils and args.teacher is None and not known and not args.teacher_epochs:
        raise ValueError(
            f"{args.model} was trained on other classes than those of the pictures, so that it cannot teach them. "
            "--teacher_epochs 3 fine-tunes it on them first, --teacher names a model that knows them, --no_distill "
            "goes without."
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
        own.ema_decay, own.evaluate_ema, own.cache_teacher, own.push_to_hub = None, False, False, False
        dense = ModelArguments(args.model, reducer=DENSE, distill=False)
        resume = last_complete_checkpoint(folder)
        processor = AutoImageProcessor.from_pretrained(args.model)
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
    set_how_much_is_kept(args, model, pictures.train.with_transform(plain))
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
    results = results_of(args, trainer, metrics, plain(pictures.train[:COSTED])["pixel_values"], seconds)
    save(args, trainer, results)
    if training.push_to_hub:
        local = Path(data_args.dataset).exists()
        trainer.push_to_hub(dataset_tags=None if local else data_args.dataset, dataset=Path(data_args.dataset).name)
    return results


def load_start(args: ModelArguments, names: list[str], known: bool) -> DynamicViTForImageClassification:
    """The model that training begins with, with a classifier for `names`."""
    family: Any = FAMILIES[config_of(args.model).model_type]
    settings = dense_settings() if args.reducer == DENSE else sparse_settings(args)
    if args.drop_path_rate is not None:
        settings["drop_path_rate"] = args.drop_path_rate
    settings["problem_type"] = "single_label_classification"  # also where labels are mixed
    settings["id2label"] = dict(enumerate(names))
    settings["label2id"] = {name: index for index, name in enumerate(names)}
    if args.from_scratch:
        return family(family.config_class.from_pretrained(args.model, **settings))
    model = family.from_pretrained(args.model, ignore_mismatched_sizes=not known, **settings)
    if not known:  # as many other classes keep the size of the classifier, and its meaning
        for name, module in model.named_modules():
            if name.split(".")[-1] in CLASSIFIERS:
                nn.init.trunc_normal_(module.weight, std=model.config.initializer_range)
                nn.init.zeros_(module.bias)
    return model


def dense_settings() -> dict[str, Any]:
    return {"reducer": "topk", "keep_ratio": 1.0}


def sparse_settings(args: ModelArguments) -> dict[str, Any]:
    """What of the configuration is typed; all else is the checkpoint's, or the method's default."""
    settings: dict[str, Any] = {"reducer": args.reducer}
    adaptive = REDUCERS[cast(str, args.reducer)].adaptive
    if args.keep_ratio is not None and args.budget is None and not adaptive:
        settings["keep_ratio"] = args.keep_ratio[0] if len(args.keep_ratio) == 1 else args.keep_ratio
    options = json_of(args.reducer_args)
    if adaptive and args.budget is not None:  # its loss holds it there
        options["budget"] = args.budget
    if options:
        settings["reducer_args"] = options
    if args.reducer_layers is not None:
        settings["reducer_layers"] = args.reducer_layers
    return settings


def json_of(text: str | None) -> dict[str, Any]:
    try:
        options = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"reducer_args is {text!r}, which is no JSON such as '{{\"tau\": 0.5}}': {error}") from error
    if not isinstance(options, dict):
        raise ValueError(f"reducer_args is {text!r}; it must be a JSON object such as '{{\"tau\": 0.5}}'.")
    return options


def augmentation_of(args: DataArguments) -> dict[str, Any]:
    return {
        "augmentation": args.augmentation,
        "scale": args.crop_scale,
        "randaugment_magnitude": args.randaugment_magnitude,
        "random_erasing": args.random_erasing,
        "color_jitter": args.color_jitter,
    }


def set_how_much_is_kept(args: ModelArguments, model: DynamicViTForImageClassification, data: Any) -> None:
    """Meet the budget; put the thresholds of a method whose images decide where its pictures meet it."""
    adaptive = model.encoder.reducer.adaptive
    fraction = args.budget
    if adaptive and fraction is None and reducer_of(args.model) != args.reducer:
        fraction = model.encoder.reducer.budget
    if fraction is not None and args.reducer != DENSE:
        typical = torch.stack(data[: min(COSTED, len(data))]["pixel_values"])
        model.set_budget(fraction=fraction, pixel_values=typical)


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
        dense = trainer.accelerator.unwrap_model(cast(nn.Module, trainer.model)).to_dense()
        if trainer.is_world_process_zero():
            dense.save_pretrained(folder)
            cast(Any, trainer.processing_class).save_pretrained(folder)
    else:
        trainer.save_model()
    if trainer.is_world_process_zero():
        (folder / RESULTS).write_text(json.dumps(results, indent=1), encoding="utf-8")
    trainer.accelerator.wait_for_everyone()


def report(results: dict[str, Any], folder: str) -> str:
    lines = [f"top-1 {results['top1']:.2%} at {results['gmacs']:.3f} of {results['dense_gmacs']:.3f} G multiply-adds"]
    if "ema_top1" in results:
        lines.append(f"averaged weights: top-1 {results['ema_top1']:.2%}, in {folder}/ema")
    if "teacher_top1" in results:
        lines.append(f"teacher: top-1 {results['teacher_top1']:.2%}")
    return "\n".join([*lines, f"{results['seconds']:.0f} s of training; the model is in {folder}"])


def run_command(argv: Sequence[str]) -> None:
    """`hf-dynamicvit train` with the options `argv`."""
    model_args, data_args, training = parse(argv)
    results = train(model_args, data_args, training)
    if training.should_log:
        print(report(results, cast(str, training.output_dir)))
