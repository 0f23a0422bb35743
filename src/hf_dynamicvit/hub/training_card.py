# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Write the card of a model that was just trained, from what its training knows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from ..model.classification import WithBaseModel
from .card import MARKER, Measurements, inherited_license, model_card


@dataclass(frozen=True)
class TrainingFacts:
    """What a training knows for the card of its model.

    Attributes:
        args: its `TrainingArguments`.
        state: its `TrainerState`, whose log has the accuracies.
        loss_weights: by the name of the term.
        teacher: the teacher in words, `None` without one.
        evaluated: the last evaluation was of a model that kept as much as it does now.
    """

    args: Any
    state: Any
    loss_weights: Mapping[str, float]
    teacher: str | None
    evaluated: bool


def write_training_card(
    model: WithBaseModel,
    facts: TrainingFacts,
    language: str | None = None,
    license: str | None = None,
    tags: str | list[str] | None = None,
    model_name: str | None = None,
    finetuned_from: str | None = None,
    *,
    dataset_tags: str | list[str] | None = None,
    dataset: str | list[str] | None = None,
) -> None:
    """Write `README.md` into the output folder of a training, unless somebody's own is there.

    Args:
        model: what was trained.
        facts: of its training.
        language, license, tags, model_name, finetuned_from, dataset_tags, dataset: as `Trainer.create_model_card`
            takes them.
    """
    path = Path(cast(str, facts.args.output_dir)) / "README.md"
    if path.is_file() and MARKER not in path.read_text(encoding="utf-8"):
        return
    source = finetuned_from or model.config.name_or_path or None
    top1 = find_accuracy(facts.state, facts.args) if facts.evaluated else None
    data, name = take_first(dataset_tags), take_first(dataset)
    card = model_card(
        model,
        facts.args.hub_model_id or model_name or path.parent.name,
        Measurements(top1=top1, dataset=data, dataset_name=name, recipe=describe_recipe(facts)),
        source if is_repository(source) else None,
        license or inherited_license(source),
        language=language,
        tags=[tags] if isinstance(tags, str) else tags,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    card.save(path)


def find_accuracy(state: Any, args: Any) -> float | None:
    """Find the logged accuracy of the model as training left it, `None` where no evaluation was of that.

    Args:
        state: a `TrainerState`.
        args: its `TrainingArguments`.
    """
    ends = [index for index, entry in enumerate(state.log_history) if "train_runtime" in entry]
    after = [entry for entry in state.log_history[ends[-1] :] if "eval_accuracy" in entry] if ends else []
    if after:
        return after[-1]["eval_accuracy"]
    if args.load_best_model_at_end:
        return state.best_metric if args.metric_for_best_model in ("accuracy", "eval_accuracy") else None
    last = [e for e in state.log_history if "eval_accuracy" in e and e["step"] == state.global_step]
    return last[-1]["eval_accuracy"] if last else None


def describe_recipe(facts: TrainingFacts) -> str:
    """Tell how a model was trained, one sentence each, from the arguments."""
    args, state = facts.args, facts.state
    weights = ", ".join(f"{name} {weight:g}" for name, weight in facts.loss_weights.items() if weight)
    batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    scheduler = getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)
    lines = [
        f"{state.global_step} steps of {batch} images ({state.epoch or 0:g} epochs), learning rate "
        f"{args.learning_rate:g} ({scheduler}), weight decay {args.weight_decay:g}, seed {args.seed}.",
        f"Loss weights: {weights}.",
    ]
    if facts.teacher is not None:
        lines.append(f"Teacher: {facts.teacher}.")
    return "\n".join(lines)


def take_first(names: str | list[str] | None) -> str | None:
    """Return one name of one or several."""
    return names if names is None or isinstance(names, str) else next(iter(names), None)


def is_repository(name: str | None) -> bool:
    """Return whether a model's source is the name of a Hub repository, and no folder that is or was here."""
    try:
        validate_repo_id(name or "")
    except HFValidationError:
        return False
    return not Path(cast(str, name)).exists()
