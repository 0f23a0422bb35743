# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Push the model of a `Trainer` to the Hub: only what a user of it needs."""

import shutil
from pathlib import Path
from typing import Any, cast

from huggingface_hub import HfApi
from transformers import Trainer, TrainingArguments

from ..hub.card import UPLOADED
from ..model.remote_code import code_travels
from .adapters import acting_reducer, inner_model, is_adapted


def refuse_adapters(model: Any) -> None:
    """Refuse to publish adapters alone: the card and the code are those of a whole model."""
    if is_adapted(model):
        name = type(inner_model(model)).__name__
        raise ValueError(
            f"model is a {type(model).__name__}, whose adapters alone are no {name}; merge them first: "
            "trainer.model.merge_and_unload() gives the whole model, which has save_pretrained and push_to_hub."
        )


def read_kept_settings(model: Any) -> tuple:
    """Return what decides how much `model` keeps: an accuracy holds for these."""
    thresholds = acting_reducer(model).state_dict() if model.config.is_adaptive else {}
    return model.config.keep_ratio, model.config.reducer_args, [value.tolist() for value in thresholds.values()]


def create_repository(args: TrainingArguments, token: str | None, private: bool | None) -> str:
    """Make the repository that `args` name, unless it is there, and return its name with that of its owner."""
    name = args.hub_model_id or Path(cast(str, args.output_dir)).absolute().name
    private = args.hub_private_repo if private is None else private
    return HfApi(token=token).create_repo(name, private=private, exist_ok=True).repo_id


def save_with_code(trainer: Trainer) -> Path:
    """Save model, processor and the code that loads them, and nothing else, to a folder of their own; return it.

    All processes take part.
    """
    folder = Path(cast(str, trainer.args.output_dir)) / "_push"
    model = trainer.accelerator.unwrap_model(trainer.model)
    if trainer.is_world_process_zero():
        shutil.rmtree(folder, ignore_errors=True)
    with code_travels(model.config, model.auto_classes()):
        trainer.save_model(str(folder), _internal_call=True)
    return folder


def commit_folder(
    folder: Path, repo_id: str, token: str | None, message: str | None, revision: str | None, wait: bool
):
    """Commit the model in `folder` with the card beside it; return the commit, or a `Future` of it unless `wait`."""
    shutil.copy(folder.parent / "README.md", folder)
    return HfApi(token=token).upload_folder(
        repo_id=repo_id,
        folder_path=folder,
        commit_message=message,
        run_as_future=not wait,
        allow_patterns=UPLOADED,
        ignore_patterns=["*/*"],
        revision=revision,
    )
