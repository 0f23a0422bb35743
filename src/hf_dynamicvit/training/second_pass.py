# Copyright 2026 The hf_dynamicvit authors. MCTF (CVPR 2024): https://arxiv.org/abs/2403.10030
"""The second pass of a training step: the same weights and images, fewer tokens removed."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch

from ..model.classification import ReducedForImageClassification
from ..model.logger import logger
from ..model.reducer import TokenReducer
from .adapters import acting_reducer, inner_model
from .arguments import DynamicViTTrainingArguments
from .loss_terms import SECOND_PASS, read_problem_type


def has_second_pass(weights: dict[str, float]) -> bool:
    """Return whether a term of the loss needs a second pass, by the `weights` of all."""
    return any(weights[name] for name in SECOND_PASS)


def check_second_pass(model: Any, weights: dict[str, float], args: DynamicViTTrainingArguments) -> None:
    """Refuse a second pass of a method that trains otherwise than it infers, and consistency without one class.

    Warn of options of a second pass that there is not.
    """
    if not has_second_pass(weights):
        for name in ("second_pass_share", "consistency_threshold"):
            if getattr(args, name) != getattr(DynamicViTTrainingArguments, name):
                needed = " or ".join(SECOND_PASS if name == "second_pass_share" else SECOND_PASS[1:])
                logger.warning(f"{name} is {getattr(args, name)}, but has no effect: loss_weights has no {needed}.")
        return
    config = inner_model(model).config
    if not acting_reducer(model).reduces_in_training:
        name = next(name for name in SECOND_PASS if weights[name])
        raise ValueError(
            f"loss_weights has {name}, which asks for a second pass that removes fewer tokens; reducer "
            f"{config.reducer!r} has none, as methods such as mctf, diffrate, tome and evit have that remove in "
            "training what they remove at inference."
        )
    if weights["consistency"] and read_problem_type(config) != "single_label_classification":
        raise ValueError(
            f"problem_type is {read_problem_type(config)!r}: consistency asks how probable an image's one class is; "
            "set loss_weights={'consistency': 0}."
        )


@contextmanager
def reducing_by(student: ReducedForImageClassification, reducer: TokenReducer) -> Generator[None]:
    """Let `student` reduce by another `reducer`.

    A checkpointed block is handed its reducer, so that it is computed again with the one that it ran with.
    """
    own = student.backbone.reducer
    student.backbone.reducer = reducer
    try:
        yield
    finally:
        student.backbone.reducer = own


def run_second_pass(model: Any, student: ReducedForImageClassification, inputs: dict[str, Any], most: float) -> Any:
    """Run `model`, which may wrap `student`, so that it removes a random share, 0 to `most`, of what it else would."""
    share = most * float(torch.rand(()))
    with reducing_by(student, acting_reducer(student).milder(share)):
        return model(**inputs)
