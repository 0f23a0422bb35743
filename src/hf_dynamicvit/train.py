# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit train`: fine-tune a model, sparse or dense, on pictures from the Hub, a folder or a file."""

import copy
import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, HfArgumentParser, set_seed

from .model.modeling_dynamicdeit import DynamicDeiTForImageClassification
from .model.modeling_dynamicvit import DynamicViTForImageClassification
from .model.reducers import REDUCERS
from .training.arguments import DynamicViTTrainingArguments
from .training.augmentation import MixCollator
from .training.callbacks import GroupingSwitch, KeepRatioWarmup
from .training.checkpoints import last_complete_checkpoint
from .training.data import ImageTransform
from .training.metrics import compute_accuracy
from .training.pictures import Pictures, load_pictures, with_classes_of
from .training.recipes import RECIPES, learning_rate_for, settings_without_recipe
from .training.teacher import DENSE_COPY, DISTILLATION
from .training.trainer import DynamicViTTrainer


# Trains a dense model: as a DynamicViT that keeps everything, with all that its Trainer has.
DENSE = "none"

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


@dataclass
class ModelArguments:
    """Which model, which method, which teacher."""

    model: str = field(metadata={"help": "ViT or DeiT classifier, dense or sparse: a folder or a name on the Hub."})
    recipe: str | None = field(
        default=None,
        metadata={"help": f"Published settings; what is typed goes before them. One of {', '.join(RECIPES)}."},
    )
    reducer: str | None = field(
        default=None,
        metadata={
            "help": f"Method: {', '.join(REDUCERS)}; {DENSE} trains a dense model. Default: that of a sparse model, "
            "dynamicvit for a dense one."
        },
    )
    keep_ratio: list[float] | None = field(
        default=None, metadata={"help": "Kept at each stage: one number for its powers, or a number for each stage."}
    )
    budget: float | None = field(
        default=None,
        metadata={"help": "Multiply-adds as a fraction of the dense model's, in place of keep_ratio."},
    )
    reducer_args: str | None = field(
        default=None, metadata={"help": """Options of the method as JSON, such as '{"tau": 0.5}'."""}
    )
    reducer_layers: list[int] | None = field(default=None, metadata={"help": "Blocks that reduce, counted from 0."})
    drop_path_rate: float | None = field(default=None, metadata={"help": "Stochastic depth, 0 to 1."})
    from_scratch: bool = field(default=False, metadata={"help": "Take the shape of the model, not its weights."})
    teacher: str | None = field(
        default=None,
        metadata={"help": "Classifier of the same classes to learn from. Default: a frozen dense copy of the start."},
    )
    distill: bool = field(default=True, metadata={"help": "Whether there is a teacher, where the method wants one."})
    teacher_epochs: float = field(
        default=0.0,
        metadata={
            "help": "Fine-tune the dense model on the pictures first, for so many epochs: it becomes the start and "
            "the teacher. For models that were trained on other classes."
        },
    )
    teacher_learning_rate: float = field(default=1e-4, metadata={"help": "Of that fine-tuning."})
    keep_ratio_warmup_epochs: float = field(
        default=0.0, metadata={"help": "Epochs in which the keep ratio falls from 1 to its target."}
    )
    layer_grouping_fraction: float = field(
        default=0.0,
        metadata={"help": "evovit: fraction of the training in which patches are selected anew in every block."},
    )


@dataclass
class DataArguments:
    """Which pictures, and what happens to them."""

    dataset: str = field(
        metadata={"help": "Folder of class folders (alone, or in train/ and test/), parquet, or a name on the Hub."}
    )
    dataset_config: str | None = field(default=None, metadata={"help": "Configuration of a data set with several."})
    dataset_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit on the Hub."})
    train_split: str | None = field(default=None, metadata={"help": "Default: found."})
    validation_split: str | None = field(default=None, metadata={"help": "Default: found, or taken from training."})
    validation_fraction: float = field(default=0.15, metadata={"help": "Of training, where there is no validation."})
    image_column: str | None = field(default=None, metadata={"help": "Default: found."})
    label_column: str | None = field(default=None, metadata={"help": "Default: found."})
    unreadable: str = field(
        default="stop", metadata={"help": "What an unreadable picture does: stop, or skip (all are read once before)."}
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only so many, taken at random."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many, taken at random."})
    augmentation: str = field(
        default="plain",
        metadata={"help": "none; plain: crop and flip; full: RandAugment and erasing too (torchvision); auto."},
    )
    crop_scale: float = field(default=0.35, metadata={"help": "Least part of the area that a training crop keeps."})
    randaugment_magnitude: int = field(default=9, metadata={"help": "0 to 10, with augmentation full."})
    random_erasing: float = field(default=0.25, metadata={"help": "Probability, with augmentation full."})
    color_jitter: float = field(default=0.0, metadata={"help": "Strength, with augmentation full."})
    mixup: float = field(default=0.0, metadata={"help": "Alpha of Mixup, 0 for none (torchvision)."})
    cutmix: float = field(default=0.0, metadata={"help": "Alpha of CutMix, 0 for none (torchvision)."})


def make_parser() -> HfArgumentParser:
    parser = HfArgumentParser(
        (ModelArguments, DataArguments, DynamicViTTrainingArguments),
        prog="hf-dynamicvit train",
        description="Fine-tune a model, sparse or dense, on pictures from the Hub, a folder or a file. All options of "
        "Transformers' TrainingArguments are here too. Example: hf-dynamicvit train "
        "--model facebook/deit-tiny-patch16-224 --dataset my_pictures --teacher_epochs 3 --output_dir my-model",
    )
    parser.set_defaults(
        output_dir="dynamicvit-output",
        per_device_train_batch_size=32,
        per_device_eval_batch_size=64,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=2,
        logging_steps=10,
        metric_for_best_model="accuracy",
        remove_unused_columns=False,
        report_to="none",
    )
    return parser


def parse(argv: Sequence[str]) -> tuple[ModelArguments, DataArguments, DynamicViTTrainingArguments]:
    """Options as typed, else of the recipe, else what suits the method.

    Raises:
        ValueError: there is no such recipe or method, or an option is out of range.
    """
    parser, unset = make_parser(), object()
    names = [option.name for group in parser.dataclass_types for option in dataclasses.fields(group) if option.init]
    watch = make_parser()
    watch.set_defaults(**dict.fromkeys(names, unset))
    typed = {name: value for name, value in vars(watch.parse_args(argv)).items() if value is not unset}
    recipe = typed.get("recipe")
    if recipe is not None:
        if recipe not in RECIPES:
            raise ValueError(f"recipe is {recipe!r}; it must be one of {', '.join(RECIPES)}.")
        parser.set_defaults(**RECIPES[recipe].settings)
    else:
        reducer = typed.get("reducer") or reducer_of(typed["model"])
        if reducer not in (*REDUCERS, DENSE):
            raise ValueError(f"reducer is {reducer!r}; it must be one of {', '.join(REDUCERS)} or {DENSE}.")
        parser.set_defaults(reducer=reducer, **settings_without_recipe(REDUCERS.get(reducer)))
    model, data, training = parser.parse_args_into_dataclasses(list(argv), look_for_args_file=False)
    if recipe is not None:
        if "learning_rate" not in typed:
            training.learning_rate = learning_rate_for(RECIPES[recipe], images_in_step(training))
        if training.should_log:
            print_recipe(recipe, typed, training)
    return model, data, training


def images_in_step(training: DynamicViTTrainingArguments) -> int:
    return training.train_batch_size * training.gradient_accumulation_steps * training.world_size


def print_recipe(name: str, typed: dict[str, Any], training: DynamicViTTrainingArguments) -> None:
    recipe = RECIPES[name]
    print(f"Recipe {name}: {recipe.source}.")
    for option, value in recipe.settings.items():
        note = ""
        if option in typed:
            note = f" -> {typed[option]}, as typed"
        elif option == "learning_rate":
            note = f" at {recipe.batch} images a step -> {training.learning_rate:.3g} at {images_in_step(training)}"
        print(f"  {option}: {value}{note}")
    for difference in recipe.differs:
        print(f"  differs: {difference}")


def reducer_of(model: str) -> str:
    """The method of a sparse checkpoint; `dynamicvit` for a dense one."""
    return getattr(AutoConfig.from_pretrained(model), "reducer", "dynamicvit")


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
    columns = {
        "image_column": pictures.image_column,
        "label_column": pictures.label_column,
        "num_channels": model.config.num_channels,
    }
    augment = ImageTransform(processor, **columns, **augmentation_of(data_args))
    plain = ImageTransform(processor, **columns)
    train_data, validation = pictures.train.with_transform(augment), pictures.validation.with_transform(plain)
    set_how_much_is_kept(args, model, pictures.train.with_transform(plain))
    mixed = data_args.mixup or data_args.cutmix
    trainer = DynamicViTTrainer(
        model,
        training,
        teacher=(args.teacher or DENSE_COPY) if args.distill else None,
        train_collator=MixCollator(len(pictures.names), data_args.mixup, data_args.cutmix) if mixed else None,
        train_dataset=train_data,
        eval_dataset=validation,
        processing_class=processor,
        compute_metrics=compute_accuracy,
        callbacks=callbacks_of(args),
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
    family = FAMILIES[config_of(args.model).model_type]
    if args.reducer == DENSE:
        settings: dict[str, Any] = {"reducer": "topk", "keep_ratio": 1.0}
    else:
        settings = {"reducer": args.reducer}
        if args.keep_ratio is not None and not REDUCERS[cast(str, args.reducer)].adaptive and args.budget is None:
            settings["keep_ratio"] = args.keep_ratio[0] if len(args.keep_ratio) == 1 else args.keep_ratio
        if args.reducer_args is not None or (args.budget is not None and args.reducer == "asvit"):
            settings["reducer_args"] = json_of(args.reducer_args)
            if args.budget is not None and args.reducer == "asvit":  # its loss holds it there
                settings["reducer_args"]["budget"] = args.budget
        if args.reducer_layers is not None:
            settings["reducer_layers"] = args.reducer_layers
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
                nn.init.trunc_normal_(cast(nn.Linear, module).weight, std=model.config.initializer_range)
                nn.init.zeros_(cast(nn.Linear, module).bias)
    return model


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
        fraction = cast(Any, model.encoder.reducer).budget
    if fraction is not None and args.reducer != DENSE:
        typical = torch.stack(data[: min(COSTED, len(data))]["pixel_values"])
        model.set_budget(fraction=fraction, pixel_values=typical)


def callbacks_of(args: ModelArguments) -> list[Any]:
    callbacks: list[Any] = []
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
