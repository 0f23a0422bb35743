# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The dense models that are trained ahead of the model itself: its start and teacher, and one to compare it with."""

import json
from pathlib import Path
from typing import Any, cast

from ..checkpoints.results import RESULTS
from ..training.checkpoints import last_complete_checkpoint
from .train_once import Run, carry_out
from .train_options import DENSE, ModelArguments
from .train_task import Task


# Folders of dense models in the output folder.
TEACHER, COMPARED = "teacher", "dense"

# What trainings of dense models have otherwise, whatever the training of the model itself has.
SETTINGS: dict[str, Any] = {
    "loss_weights": None,
    "frozen": None,
    "metric_for_best_model": "accuracy",
    "second_pass_share": 1.0,
    "consistency_threshold": 0.4,
    "backbone_lr_scale": None,
    "freeze_backbone_epochs": None,
    "ema_decay": None,
    "evaluate_ema": False,
    "cache_teacher": False,
    "push_to_hub": False,
}


def train_dense(run: Run, task: Task, name: str, **settings: Any) -> dict[str, Any]:
    """Train the dense model into the folder `name` of the output, unless that was done before; return its results.

    Args:
        run: the training of the model itself, but for the title.
        settings: attributes of its `training` that are others.
    """
    folder = Path(cast(str, run.training.output_dir)) / name
    if not (folder / RESULTS).is_file():
        rate = {"output_dir": str(folder), "learning_rate": run.args.teacher_learning_rate}
        own = run.training.changed(**SETTINGS, **rate, **settings)
        args = ModelArguments(run.start.source, reducer=DENSE, distill=False, image_size=run.args.image_size)
        args.keep_checkpoints = run.args.keep_checkpoints
        resume = last_complete_checkpoint(folder)
        dense = Run(args, run.start, run.known, own, None if resume is None else str(resume), run.title)
        carry_out(dense, task, task.facts() | {"model": run.start.source})
    return json.loads((folder / RESULTS).read_text(encoding="utf-8"))


def train_start(run: Run, task: Task, facts: dict[str, Any]) -> None:
    """Fine-tune the dense model that becomes the start, and the teacher; `facts` get what came of it."""
    tuned = train_dense(run, task, TEACHER, num_train_epochs=run.args.teacher_epochs, max_steps=-1)
    facts["phases"]["teacher"] = tuned["seconds"]
    facts["start"] = {name: tuned[name] for name in ("top1", "epochs")}


def train_compared(run: Run, task: Task, facts: dict[str, Any]) -> None:
    """Train the dense model for as long as the model itself; `facts` get what came of it."""
    compared = train_dense(run, task, COMPARED)
    facts["phases"]["dense"] = compared["seconds"]
    facts["dense"] = {name: compared[name] for name in ("top1", "top1_interval", "epochs")}
