# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit train`: fine-tune a model, sparse or dense, on pictures from the Hub, a folder or a file."""

import dataclasses
import json
import shutil
import time
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import set_seed

from ..checkpoints.labels import knows, label_names
from ..checkpoints.results import RESULTS, weights_fingerprint, wilson_interval
from ..checkpoints.source import read_config, read_processor
from ..data.augmentation import MixCollator
from ..data.loading import Pictures, load_pictures, readable, reorder_classes
from ..data.preparation import check_same_input
from ..data.samples import COST_IMAGES
from ..data.seeded import DrawnPictures, EpochOfPictures
from ..data.transforms import ImageTransform
from ..model.cost import as_pair
from ..model.modeling_dynamicvit import DynamicViTForImageClassification
from ..names import UNCHECKED
from ..training.arguments import DynamicViTTrainingArguments
from ..training.average import EMA_FOLDER
from ..training.callbacks import GroupingSwitch, KeepRatioWarmup
from ..training.checkpoints import checkpoints_in, last_complete_checkpoint
from ..training.metrics import compute_accuracy
from ..training.optimizer import NEW_HEAD_RATE
from ..training.predictor_start import IMAGES, imitate_class_attention
from ..training.progress import Progress, kept_fractions, no_bars_of_weights, show
from ..training.teacher import DENSE_COPY
from ..training.trainer import DynamicViTTrainer
from .parser import only_json, print_json
from .train_arguments import chosen_options, parse
from .train_checks import check_run, check_task
from .train_options import DENSE, DataArguments, ModelArguments, names_of
from .train_report import next_commands, report, steps_of, summary
from .train_start import (
    at_size,
    choose_size,
    config_of,
    distils,
    imitates,
    load_start,
    plan,
    same_classes,
    set_how_much_is_kept,
    tell_of_other_names,
    tell_of_size,
)


# Folders of dense models in the output folder.
TEACHER, COMPARED = "teacher", "dense"

# How the training of a dense model differs from that of the sparse one that follows.
FOR_DENSE: dict[str, Any] = {
    **dict.fromkeys(("loss_weights", "frozen", "backbone_lr_scale", "freeze_backbone_epochs", "ema_decay")),
    **dict.fromkeys(("evaluate_ema", "cache_teacher", "push_to_hub"), False),
    "metric_for_best_model": "accuracy",
}


def train(
    model_args: ModelArguments,
    data_args: DataArguments,
    training: DynamicViTTrainingArguments,
    chosen: Collection[str] | None = None,
) -> dict[str, Any]:
    """Train and evaluate; the model, its image processor and `results.json` are in `training.output_dir`.

    Args:
        model_args, data_args, training: all options.
        chosen: names of those that were not left at what the command sets; `None`: all were chosen.

    Returns:
        what is in `results.json`.

    Raises:
        ValueError: an option that does not fit the model or the pictures, or `output_dir` cannot be written or holds
            something.
        FloatingPointError: a loss or gradient was not finite.
    """
    resume = resumed_checkpoint(training)
    folder = Path(cast(str, training.output_dir))
    check_run(training, resume, model_args.teacher_epochs > 0 or model_args.compare_dense)
    set_seed(training.seed)
    model_args, task = prepare(model_args, data_args, training)
    known, teaches = task.known, distils(model_args, training)
    if not known and not model_args.from_scratch and training.head_learning_rate is None:
        training = training.changed(head_learning_rate=NEW_HEAD_RATE)
    if chosen is not None and "logging_steps" not in chosen:  # at least once an epoch
        images = len(task.pictures.train)
        steps = steps_of(training, images, 1, training.max_steps)
        training = training.changed(logging_steps=min(training.logging_steps, *steps))
    if resume is True and (ended := ended_before(training, len(task.pictures.train))) is not None:
        return ended
    if training.process_index == 0:
        done = (folder / TEACHER / RESULTS).is_file()
        every = names_of(ModelArguments, DataArguments, DynamicViTTrainingArguments) if chosen is None else chosen
        planned, pictures = task.planned, task.pictures
        told = summary(model_args, data_args, training, pictures, planned, known, teaches, done, every)
        print(told, flush=True)
    facts = task.facts(model_args.model)
    facts["phases"]["images"] = task.seconds
    facts["next"] = next_commands(model_args, data_args, training, task.pictures)
    title = f"training {model_args.reducer}" if model_args.reducer != DENSE else "training the dense model"
    count = 1 + bool(model_args.teacher_epochs) + model_args.compare_dense
    if model_args.teacher_epochs:
        what = f"training the dense model, which becomes the start{' and the teacher' * teaches}"
        epochs = {"num_train_epochs": model_args.teacher_epochs, "max_steps": -1}
        tuned = train_dense(model_args, task, training, known, TEACHER, f"1 of {count}: {what}", **epochs)
        facts["phases"]["teacher"] = tuned["seconds"]
        facts["start"] = {name: tuned[name] for name in ("top1", "epochs")}
        model_args, known = dataclasses.replace(model_args, model=str(folder / TEACHER)), True
        if not task.known:  # it was for the classifier that started anew
            training = training.changed(head_learning_rate=None)
    if model_args.compare_dense:
        what = f"{count - 1} of {count}: training the dense model as long, to compare"
        compared = train_dense(model_args, task, training, known, COMPARED, what)
        facts["phases"]["dense"] = compared["seconds"]
        facts["dense"] = {name: compared[name] for name in ("top1", "top1_interval", "epochs")}
    if count > 1 and resume is True and last_complete_checkpoint(folder) is None:
        resume = None  # it stopped before the model itself had a checkpoint
    title = title.capitalize() if count == 1 else f"{count} of {count}: {title}"
    return run(model_args, task, training, known, resume, title, facts)


@dataclass(frozen=True)
class Task:
    """What all trainings of one run share.

    Attributes:
        args: how the pictures were asked for.
        pictures: all that are used, each read once.
        processor: what prepares them.
        known: whether the model was trained on their classes.
        planned: the model without memory, to ask what it keeps and costs.
        seconds: that reading the pictures took.
    """

    args: DataArguments
    pictures: Pictures
    processor: Any
    known: bool
    planned: DynamicViTForImageClassification
    seconds: float

    def facts(self, model: str) -> dict[str, Any]:
        """Return what `results.json` says of a training from `model` before it begins."""
        counts = {"train_images": len(self.pictures.train), "images": len(self.pictures.validation)}
        classes = len(self.pictures.names)
        return {"model": model, "dataset": self.args.dataset, "classes": classes, **counts, "phases": {}, "next": []}


def prepare(
    args: ModelArguments, data_args: DataArguments, training: DynamicViTTrainingArguments
) -> tuple[ModelArguments, Task]:
    """Settle the image size and read the pictures, after all that is cheaper to check; return `args` with that size.

    Raises:
        ValueError: an option that does not fit the model or the pictures.
    """
    config, processor = config_of(args.model), read_processor(args.model)
    size = choose_size(args, config, processor)
    if args.image_size is not None:
        processor = at_size(processor, size)
    if size != as_pair(config.image_size):
        args = dataclasses.replace(args, image_size=list(size))
    planned = plan(args, label_names(config))
    taught = None if args.teacher is None else read_config(args.teacher)
    if args.teacher is not None:
        check_same_input(args.model, processor, args.teacher, cropped=False)
    with training.main_process_first(desc="reading the data set"):
        pictures = read_pictures(data_args, training)
    known = same_classes(args, config, pictures.names)
    pictures = in_known_order(pictures, [config, taught])
    check_task(args, training, known, taught, pictures.names, len(pictures.train))
    seconds: dict[str, float] = {}
    with timed(seconds, "images"), training.main_process_first(desc="reading every image"):
        pictures = checked(pictures, data_args, training)
    if not known:
        tell_of_other_names(args, config, pictures.names)
    tell_of_size(args, config, size)
    planned.config.id2label = dict(enumerate(pictures.names))
    return args, Task(data_args, pictures, processor, known, planned, seconds["images"])


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Generator[None]:
    """Record how many seconds the block takes."""
    start = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - start, 1)


def resumed_checkpoint(training: DynamicViTTrainingArguments) -> str | bool | None:
    """Return the folder that `--resume_from_checkpoint` names, or `True` where it says `last`."""
    named = training.resume_from_checkpoint
    return True if str(named).lower() in ("last", "true") else named


def in_known_order(pictures: Pictures, configs: Sequence[Any]) -> Pictures:
    """Put the classes in the order of the first of `configs` that knows them; `None` knows none."""
    names = next((label_names(config) for config in configs if config and knows(config, pictures.names)), None)
    if names is None:
        return pictures
    parts = [
        reorder_classes(names, data, pictures.label_column, "the data set")
        for data in (pictures.train, pictures.validation)
    ]
    return dataclasses.replace(pictures, names=names, train=parts[0], validation=parts[1])


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
        UNCHECKED,  # until all that is cheap to check is
        args.max_train_samples,
        args.max_eval_samples,
        revision=args.dataset_revision,
        token=training.hub_token,
    )


def checked(pictures: Pictures, args: DataArguments, training: DynamicViTTrainingArguments) -> Pictures:
    """Read every picture once, as `--unreadable` says."""
    # the first process of a machine has read them all before the others come here
    done = args.unreadable == "stop" and training.local_process_index > 0
    return pictures if done or args.unreadable == UNCHECKED else readable(pictures, args.unreadable)


def ended_before(training: DynamicViTTrainingArguments, images: int) -> dict[str, Any] | None:
    """Return the results of a training that ended in the output folder and left no checkpoint to go on from.

    Raises:
        ValueError: it had fewer steps than are asked for now.
    """
    folder = Path(cast(str, training.output_dir))
    if last_complete_checkpoint(folder) is not None or not (folder / RESULTS).is_file():
        return None
    results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    steps, _ = steps_of(training, images, training.num_train_epochs, training.max_steps)
    if steps > (done := results["steps"]):
        raise ValueError(
            f"--resume_from_checkpoint last: the training in {folder} ended after {done} steps and kept no "
            f"checkpoint, so that it cannot go on to {steps}; start from its model (--model {folder}, another "
            "--output_dir), or type --keep_checkpoints the next time."
        )
    return results


def train_dense(
    args: ModelArguments,
    task: Task,
    training: DynamicViTTrainingArguments,
    known: bool,
    name: str,
    title: str,
    **settings: Any,
) -> dict[str, Any]:
    """Train the dense model into the folder `name` of the output, unless that was done before; return its results.

    Args:
        settings: attributes of `training` that are others.
    """
    folder = Path(cast(str, training.output_dir)) / name
    if not (folder / RESULTS).is_file():
        rate = {"output_dir": str(folder), "learning_rate": args.teacher_learning_rate}
        own = training.changed(**FOR_DENSE, **rate, **settings)
        dense = ModelArguments(args.model, reducer=DENSE, distill=False, image_size=args.image_size)
        dense.keep_checkpoints = args.keep_checkpoints
        resume = last_complete_checkpoint(folder)
        run(dense, task, own, known, None if resume is None else str(resume), title, task.facts(args.model))
    return json.loads((folder / RESULTS).read_text(encoding="utf-8"))


def run(
    args: ModelArguments,
    task: Task,
    training: DynamicViTTrainingArguments,
    known: bool,
    resume: str | bool | None,
    title: str,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Train once, evaluate and save; `facts` are for the results, and get the seconds."""
    pictures, data_args = task.pictures, task.args
    columns: dict[str, Any] = {
        "image_column": pictures.image_column,
        "label_column": pictures.label_column,
        "num_channels": config_of(args.model).num_channels,
    }
    augment = ImageTransform(task.processor, **columns, **augmentation_of(data_args))
    plain = ImageTransform(task.processor, **columns)
    mixed = bool(data_args.mixup or data_args.cutmix)
    mix = MixCollator(len(pictures.names), data_args.mixup, data_args.cutmix) if mixed else None
    train_data: Any = pictures.train.with_transform(plain if data_args.augmentation == "none" else augment)
    if data_args.augmentation != "none":
        train_data = DrawnPictures(train_data, training.seed, tell=mixed)
    model = load_start(args, pictures.names, known)
    set_how_much_is_kept(args, model, some_of(pictures.train, training.seed).with_transform(plain))
    if resume is None and imitates(args, model):
        with timed(facts["phases"], "predictors"):
            images = some_of(pictures.train, training.seed, IMAGES).with_transform(plain)[:]["pixel_values"]
            imitate_class_attention(model.to(training.device), torch.stack(images))
            model.to("cpu")  # the Trainer knows where to
    trainer = DynamicViTTrainer(
        model,
        training,
        teacher=(args.teacher or DENSE_COPY) if args.distill else None,
        train_collator=mix,
        train_dataset=train_data,
        eval_dataset=pictures.validation.with_transform(plain),
        processing_class=task.processor,
        compute_metrics=compute_accuracy,
        callbacks=callbacks_of(args, train_data),
    )
    progress = Progress(title, len(pictures.validation), sparse=args.reducer != DENSE)
    show(trainer, progress)
    phases = facts["phases"]
    try:
        with timed(phases, "training"):
            trainer.train(resume_from_checkpoint=resume)
        with timed(phases, "evaluation"):
            metrics = trainer.final_metrics()
            teacher_top1 = top1_of_teacher(args, trainer, facts)
    finally:
        progress.close()
    typical = plain(some_of(pictures.validation, training.seed)[:])["pixel_values"]
    results = facts | results_of(args, trainer, metrics, teacher_top1, typical, facts)
    if progress.first_step:
        results["resumed_after_step"] = progress.first_step
    if pictures.held_out is not None:
        results["held_out"] = dataclasses.asdict(pictures.held_out)
    save(args, trainer, results)
    if not args.keep_checkpoints and trainer.is_world_process_zero():
        for checkpoint in checkpoints_in(Path(cast(str, training.output_dir))):
            shutil.rmtree(checkpoint)
    if training.push_to_hub:
        local = Path(data_args.dataset).exists()
        trainer.push_to_hub(dataset_tags=None if local else data_args.dataset, dataset=Path(data_args.dataset).name)
    return results


def top1_of_teacher(args: ModelArguments, trainer: DynamicViTTrainer, facts: dict[str, Any]) -> float | None:
    """Return the teacher's accuracy; the dense model that was fine-tuned here has been evaluated."""
    if trainer.teacher is None:
        return None
    return facts["start"]["top1"] if args.teacher is None and "start" in facts else trainer.teacher_accuracy()


def some_of(data: Any, seed: int, count: int = COST_IMAGES) -> Any:
    """A few pictures, of all classes: data sets often have one class after the other."""
    return data.shuffle(seed=seed).select(range(min(count, len(data))))


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
    args: ModelArguments,
    trainer: DynamicViTTrainer,
    metrics: dict[str, float],
    teacher_top1: float | None,
    typical: Any,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Collect accuracy, cost and how it came about.

    Args:
        typical: some pictures, `[channels, height, width]` each, on which cost is measured.
        facts: the number of `images` evaluated, and the seconds of `phases`.
    """
    model = trainer.accelerator.unwrap_model(cast(nn.Module, trainer.model)).eval()
    pixel_values = torch.stack(list(typical)).to(model.device)
    results: dict[str, Any] = {
        "top1": metrics["eval_accuracy"],
        "gmacs": model.multiply_adds(pixel_values) / 1e9,
        "dense_gmacs": model.dense_multiply_adds() / 1e9,
        "patches": model.token_counts(pixel_values),
        "reducer": args.reducer,
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "seed": trainer.args.seed,
        "seconds": facts["phases"]["training"],
    }
    state = trainer.state
    if trainer.args.load_best_model_at_end and state.best_global_step is not None:
        results["best_epoch"] = state.epoch * state.best_global_step / state.global_step
    if "eval_ema_accuracy" in metrics:
        results["ema_top1"] = metrics["eval_ema_accuracy"]
    if teacher_top1 is not None:
        results["teacher_top1"] = teacher_top1
        results["teacher"] = args.teacher or args.model
        results["teacher_is_dense_copy"] = args.teacher is None
    for name in [name for name in results if name.endswith("top1")]:
        results[f"{name}_interval"] = wilson_interval(results[name], facts["images"])
    if args.reducer != DENSE:
        results |= kept_of(model, trainer.state.log_history)
    return results | {"log": trainer.state.log_history}


def kept_of(model: DynamicViTForImageClassification, log: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Return the fraction kept at each stage at the end of the training, and what was asked for where images do not
    decide."""
    found = [kept for entry in log if (kept := kept_fractions(entry))]
    if not found:
        return {}
    asked = model.config.stage_keep_ratios
    return {"kept": found[-1]} | ({"kept_asked": asked} if len(asked) == len(found[-1]) else {})


def save(args: ModelArguments, trainer: DynamicViTTrainer, results: dict[str, Any]) -> None:
    """The model and, last, the results: where they are, all is."""
    folder = Path(cast(str, trainer.args.output_dir))
    if args.reducer == DENSE:
        save_dense(trainer, folder)
        if "ema_top1" in results:
            with trainer.averaged():
                save_dense(trainer, folder / EMA_FOLDER)
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


def run_command(argv: Sequence[str], as_json: bool) -> None:
    """Train with the options `argv`, and say what came of it."""
    with only_json(as_json), no_bars_of_weights():
        model_args, data_args, training = parse(argv)
        results = train(model_args, data_args, training, chosen_options(argv))
    if training.process_index == 0 and as_json:
        print_json({name: value for name, value in results.items() if name != "log"})
    elif training.process_index == 0:
        print(f"\n{report(results, cast(str, training.output_dir))}")
