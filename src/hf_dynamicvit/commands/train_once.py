# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""One training of one model: its images, its Trainer, its evaluation, its folder."""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from ..checkpoints.checkpoint import Checkpoint
from ..data.seeded import SeededImages, SeededImagesEpoch
from ..model.classification import ReducedForImageClassification
from ..model.cost import grid_size
from ..training.arguments import DynamicViTTrainingArguments
from ..training.callbacks import GroupingSwitch, KeepRatioWarmup
from ..training.checkpoints import checkpoints_in
from ..training.metrics import compute_accuracy
from ..training.predictor_start import IMAGES, imitate_class_attention
from ..training.progress import Progress, show
from ..training.teacher import DENSE_COPY
from ..training.trainer import DynamicViTTrainer
from .train_images import Inputs, prepare_inputs, typical_images
from .train_options import DENSE, ModelArguments
from .train_results import collect_results, save
from .train_start import imitates, load_start, set_how_much_is_kept
from .train_task import Task, timed


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        args: the options of its model.
        start: the checkpoint that it starts from.
        known: whether that was trained on the classes of the images.
        training: the options of its Trainer.
        resume: the checkpoint to go on from, `True` for the last one, or `None`.
        title: of its progress.
    """

    args: ModelArguments
    start: Checkpoint
    known: bool
    training: DynamicViTTrainingArguments
    resume: str | bool | None
    title: str


def carry_out(run: Run, task: Task, facts: dict[str, Any]) -> dict[str, Any]:
    """Train once, evaluate and save; `facts` are for the results, and get the seconds."""
    seed, channels = run.training.seed, run.start.image_config.num_channels
    grid = grid_size(task.planned.config) if run.training.align_labels else None
    inputs = prepare_inputs(task.images, task.data, task.processor, channels, seed, grid)
    model = load_start(run.args, run.start, task.images.names, run.known)
    typical = typical_images(task.images.train, seed).with_transform(inputs.plain)
    set_how_much_is_kept(run.args, run.start, model, typical)
    if run.resume is None and imitates(run.args, run.start, model):
        with timed(facts["phases"], "predictors"):
            start_predictors(model, run, task, inputs)
    trainer = make_trainer(model, run, task, inputs)
    progress = Progress(run.title, len(task.images.validation), sparse=run.args.reducer != DENSE)
    show(trainer, progress)
    try:
        metrics, teacher_top1 = train_and_evaluate(trainer, run, facts)
    finally:
        progress.close()
    typical = inputs.plain(typical_images(task.images.validation, seed)[:])["pixel_values"]
    results = facts | collect_results(run.args, trainer, metrics, teacher_top1, typical, facts)
    if progress.first_step:
        results["resumed_after_step"] = progress.first_step
    if task.images.held_out is not None:
        results["held_out"] = dataclasses.asdict(task.images.held_out)
    leave(trainer, run, task, results)
    return results


def start_predictors(model: ReducedForImageClassification, run: Run, task: Task, inputs: Inputs) -> None:
    """Train new predictors to tell what the class token attends to."""
    images = typical_images(task.images.train, run.training.seed, IMAGES)
    pixel_values = torch.stack(images.with_transform(inputs.plain)[:]["pixel_values"])
    imitate_class_attention(model.to(run.training.device), pixel_values)
    model.to("cpu")  # the Trainer knows where to


def make_trainer(model: ReducedForImageClassification, run: Run, task: Task, inputs: Inputs) -> DynamicViTTrainer:
    """Make the Trainer of `model`, with its teacher, images and callbacks."""
    return DynamicViTTrainer(
        model,
        run.training,
        teacher=teacher_for(run, task),
        train_collator=inputs.mix,
        train_dataset=inputs.train,
        eval_dataset=inputs.validation,
        processing_class=task.processor,
        compute_metrics=compute_accuracy,
        callbacks=callbacks_for(run.args, inputs.train),
    )


def teacher_for(run: Run, task: Task) -> Any:
    """Return the model of `--teacher`, else what stands for a dense copy of the start; `None` with `--no-distill`."""
    if not run.args.distill:
        return None
    if task.teacher is None:
        return DENSE_COPY
    return task.teacher.load_as_saved(dtype=torch.float32)  # whatever the file's


def callbacks_for(args: ModelArguments, train_data: Any) -> list[Any]:
    """Return what is called in the course of a training."""
    callbacks: list[Any] = [SeededImagesEpoch(train_data)] if isinstance(train_data, SeededImages) else []
    if args.keep_ratio_warmup_epochs:
        callbacks.append(KeepRatioWarmup(args.keep_ratio_warmup_epochs))
    if args.layer_grouping_fraction:
        callbacks.append(GroupingSwitch(args.layer_grouping_fraction))
    return callbacks


def train_and_evaluate(
    trainer: DynamicViTTrainer, run: Run, facts: dict[str, Any]
) -> tuple[dict[str, float], float | None]:
    """Train, and return the metrics of the model and the accuracy of its teacher, if it has one."""
    with timed(facts["phases"], "training"):
        trainer.train(resume_from_checkpoint=run.resume)
    with timed(facts["phases"], "evaluation"):
        return trainer.final_metrics(), teacher_accuracy(trainer, run.args, facts)


def teacher_accuracy(trainer: DynamicViTTrainer, args: ModelArguments, facts: dict[str, Any]) -> float | None:
    """Return the teacher's accuracy; the dense model that was fine-tuned here has been evaluated."""
    if trainer.teacher is None:
        return None
    return facts["start"]["top1"] if args.teacher is None and "start" in facts else trainer.teacher_accuracy()


def leave(trainer: DynamicViTTrainer, run: Run, task: Task, results: dict[str, Any]) -> None:
    """Write the model and the results, remove what only a resumed training needs, and upload where that was asked."""
    save(run.args, trainer, results)
    if not run.args.keep_checkpoints and trainer.is_world_process_zero():
        for checkpoint in checkpoints_in(Path(cast(str, run.training.output_dir))):
            shutil.rmtree(checkpoint)
    if run.training.push_to_hub:
        dataset = task.data.dataset
        tags = None if Path(dataset).exists() else dataset
        trainer.push_to_hub(dataset_tags=tags, dataset=Path(dataset).name)
