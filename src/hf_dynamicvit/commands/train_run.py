# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit train`: fine-tune a model, sparse or dense, on images from the Hub, a folder or a file."""

import dataclasses
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, cast

from transformers import set_seed

from ..checkpoints.checkpoint import Checkpoint, read_checkpoint
from ..checkpoints.results import RESULTS
from ..training.arguments import DynamicViTTrainingArguments
from ..training.checkpoints import last_complete_checkpoint
from ..training.optimizer import NEW_HEAD_RATE
from ..training.progress import no_bars_of_weights
from .parser import only_json, print_json
from .train_arguments import read_options
from .train_checks import check_run
from .train_classes import distils
from .train_dense import TEACHER, train_compared, train_start
from .train_next import next_commands
from .train_once import Run, carry_out
from .train_options import DENSE, DataArguments, ModelArguments, option_names
from .train_report import report
from .train_start import check_predictor_start
from .train_summary import count_steps, summary
from .train_task import Task, prepare


def train(
    model_args: ModelArguments,
    data_args: DataArguments,
    training: DynamicViTTrainingArguments,
    chosen: Collection[str] | None = None,
    start: Checkpoint | None = None,
) -> dict[str, Any]:
    """Train and evaluate; the model, its image processor and `results.json` are in `training.output_dir`.

    Args:
        model_args, data_args, training: all options.
        chosen: names of those that were not left at what the command sets; `None`: all were chosen.
        start: the checkpoint that `model_args.model` names, if it was read before.

    Returns:
        what is in `results.json`.

    Raises:
        ValueError: an option that does not fit the model or the images, or `output_dir` cannot be written or holds
            something.
        FloatingPointError: a loss or gradient was not finite.
    """
    resume = resumed_checkpoint(training)
    check_run(training, resume, model_args.teacher_epochs > 0 or model_args.compare_dense)
    set_seed(training.seed)
    task = prepare(model_args, data_args, training, read_checkpoint(model_args.model) if start is None else start)
    if chosen is not None and "predictor_start" in chosen:
        check_predictor_start(model_args, task.planned)
    training = settle(task, training, chosen)
    if resume is True and (ended := ended_before(training, len(task.images.train))) is not None:
        return ended
    if training.process_index == 0:
        everything = option_names(ModelArguments, DataArguments, DynamicViTTrainingArguments)
        done = (output_folder(training) / TEACHER / RESULTS).is_file()
        print(summary(task, training, done, everything if chosen is None else chosen), flush=True)
    facts = task.facts()
    facts["phases"]["images"] = task.seconds
    facts["next"] = next_commands(task.args, task.data, training, task.images)
    return carry_out_all(Run(task.args, task.start, task.known, training, resume, ""), task, facts)


def output_folder(training: DynamicViTTrainingArguments) -> Path:
    return Path(cast(str, training.output_dir))


def settle(
    task: Task, training: DynamicViTTrainingArguments, chosen: Collection[str] | None
) -> DynamicViTTrainingArguments:
    """Set the options of the Trainer that depend on the images: the rate of a new classifier, how often it logs."""
    if not task.known and not task.args.from_scratch and training.head_learning_rate is None:
        training = training.changed(head_learning_rate=NEW_HEAD_RATE)
    if chosen is not None and "logging_steps" not in chosen:  # at least once an epoch
        steps = count_steps(training, len(task.images.train), 1, training.max_steps)
        training = training.changed(logging_steps=min(training.logging_steps, *steps))
    return training


def carry_out_all(run: Run, task: Task, facts: dict[str, Any]) -> dict[str, Any]:
    """Train what was asked for in its order: the dense start, the dense model to compare, the model itself."""
    args, training, resume = run.args, run.training, run.resume
    count = 1 + bool(args.teacher_epochs) + args.compare_dense
    if args.teacher_epochs:
        teaches = " and the teacher" * distils(args, task.start, training)
        title = f"1 of {count}: training the dense model, which becomes the start{teaches}"
        train_start(dataclasses.replace(run, title=title), task, facts)
        tuned = read_checkpoint(output_folder(training) / TEACHER)
        args = dataclasses.replace(args, model=tuned.source)
        run = dataclasses.replace(run, args=args, start=tuned, known=True)
        if not task.known:  # it was for the classifier that started anew
            training = training.changed(head_learning_rate=None)
            run = dataclasses.replace(run, training=training)
    if args.compare_dense:
        title = f"{count - 1} of {count}: training the dense model as long, to compare"
        train_compared(dataclasses.replace(run, title=title), task, facts)
    if count > 1 and resume is True and last_complete_checkpoint(output_folder(training)) is None:
        resume = None  # it stopped before the model itself had a checkpoint
    title = f"training {args.reducer}" if args.reducer != DENSE else "training the dense model"
    title = title.capitalize() if count == 1 else f"{count} of {count}: {title}"
    return carry_out(dataclasses.replace(run, resume=resume, title=title), task, facts)


def resumed_checkpoint(training: DynamicViTTrainingArguments) -> str | bool | None:
    """Return the folder that `--resume-from-checkpoint` names, or `True` where it says `last`."""
    named = training.resume_from_checkpoint
    return True if str(named).lower() in ("last", "true") else named


def ended_before(training: DynamicViTTrainingArguments, images: int) -> dict[str, Any] | None:
    """Return the results of a training that ended in the output folder and left no checkpoint to go on from.

    Raises:
        ValueError: it had fewer steps than are asked for now.
    """
    folder = output_folder(training)
    if last_complete_checkpoint(folder) is not None or not (folder / RESULTS).is_file():
        return None
    results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    steps, _ = count_steps(training, images, training.num_train_epochs, training.max_steps)
    if steps > (done := results["steps"]):
        raise ValueError(
            f"--resume-from-checkpoint last: the training in {folder} ended after {done} steps and kept no "
            f"checkpoint, so that it cannot go on to {steps}; start from its model (--model {folder}, another "
            "--output-dir), or type --keep-checkpoints the next time."
        )
    return results


def run_command(argv: Sequence[str], as_json: bool) -> None:
    """Train with the options `argv`, and say what came of it."""
    with only_json(as_json), no_bars_of_weights():
        options = read_options(argv)
        results = train(options.model, options.data, options.training, options.chosen, options.start)
    if options.training.process_index == 0 and as_json:
        print_json({name: value for name, value in results.items() if name != "log"})
    elif options.training.process_index == 0:
        print(f"\n{report(results, cast(str, options.training.output_dir))}")
