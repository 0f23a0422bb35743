# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Options of `hf-dynamicvit train` that do not go together, refused by what was typed alone."""

import json
from typing import Any

from ..model.configuration_dynamicswin import DynamicSwinConfig
from ..model.configuration_dynamicvit import DynamicViTConfig
from ..model.pyramid_reducer import PYRAMID_REDUCERS
from ..model.reducer import TokenReducer
from ..model.reducers import REDUCERS, is_adaptive
from ..training.predictor_start import has_predictors
from .ranges import as_option
from .train_options import DENSE, DataArguments


# Options that are ignored, each unless the second, which is named as it can be typed, is there too.
ONLY_WITH = {
    "teacher_learning_rate": ("teacher_epochs", "--teacher-epochs 3"),
    "hub_model_id": ("push_to_hub", "--push-to-hub"),
}

# Options of augmentation that are ignored at other levels.
AT_LEVELS = {
    "crop_scale": ("plain", "full", "auto"),
    "randaugment_magnitude": ("full", "auto"),
    "random_erasing": ("full", "auto"),
    "color_jitter": ("full", "auto"),
}


def check_typed(reducer: str, typed: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse options that would be ignored, or that contradict each other.

    Args:
        reducer: the method, or `none`.
        typed: options that are, by name.
        settings: those that are not, but set for the method or by a recipe.

    Raises:
        ValueError: names one, and why.
    """
    check_effects(reducer, typed, settings)
    check_how_much_is_kept(reducer, typed)
    check_teacher(reducer, typed)
    if typed.get("remove_unused_columns"):
        raise ValueError("--remove-unused-columns true would remove the images; leave it out.")
    if reducer == DENSE and typed.get("push_to_hub"):
        raise ValueError(f"--push-to-hub is for sparse models; upload what --reducer {DENSE} saves with `hf upload`.")


def check_effects(reducer: str, typed: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse options that have no effect beside the others."""
    for name, (needed, as_typed) in ONLY_WITH.items():
        if name in typed and not typed.get(needed):
            raise ValueError(f"{as_option(name)} is typed, but has no effect without {as_typed}.")
    level = (settings | typed).get("augmentation", DataArguments.augmentation)
    for name, levels in AT_LEVELS.items():
        if name in typed and level not in levels:
            raise ValueError(f"{as_option(name)} is typed, but has no effect with --augmentation {level}.")
    check_alignment(reducer, settings | typed)
    learned = reducer != DENSE and has_predictors(build_method(reducer, (settings | typed).get("reducer_args")))
    if "predictor_start" in typed and not learned:
        raise ValueError(f"--predictor-start is typed, but --reducer {reducer} has no predictors.")


def check_alignment(reducer: str, options: dict[str, Any]) -> None:
    """Refuse to let labels follow the tokens where CutMix mixes none, or where they cannot."""
    if not options.get("align_labels"):
        return
    if not options.get("cutmix"):
        raise ValueError("--align-labels is typed, but has no effect without CutMix; type --cutmix 1.")
    if reducer != DENSE and not build_method(reducer, options.get("reducer_args")).aligns_labels:
        raise ValueError(
            f"--align-labels is typed, but labels cannot follow the tokens of --reducer {reducer}, of which some "
            "wait, or merge in part."
        )


def check_how_much_is_kept(reducer: str, typed: dict[str, Any]) -> None:
    """Refuse to keep less of a dense model, or as much as two options say."""
    kept = [name for name in ("keep_ratio", "budget") if name in typed]
    if reducer == DENSE and kept:
        raise ValueError(f"{as_option(kept[0])} is typed, but --reducer {DENSE} keeps everything.")
    if len(kept) == 2:
        raise ValueError("--keep-ratio and --budget both say how much is kept; type one.")
    if reducer != DENSE and is_adaptive(reducer) and "keep_ratio" in typed:
        raise ValueError(f"--keep-ratio is typed, but with --reducer {reducer} each image decides; type --budget.")


def check_teacher(reducer: str, typed: dict[str, Any]) -> None:
    """Refuse a teacher, or a dense model to compare with, beside options that have no use for it."""
    taught = [name for name in ("teacher", "teacher_epochs") if typed.get(name)]
    if reducer == DENSE and taught:
        raise ValueError(f"{as_option(taught[0])} is typed, but --reducer {DENSE} learns from no teacher.")
    if reducer == DENSE and typed.get("compare_dense"):
        raise ValueError(f"--compare-dense is typed, but --reducer {DENSE} trains the dense model itself.")
    if typed.get("distill") is False and "teacher" in typed:
        raise ValueError(f"--teacher is {typed['teacher']}, but --no-distill goes without; type one.")
    mixed = typed.get("mixup") or typed.get("cutmix")
    if typed.get("cache_teacher") and (typed.get("augmentation") != "none" or mixed):
        raise ValueError("--cache-teacher needs the same images in every epoch: type --augmentation none, no mixing.")


def build_method(reducer: str, reducer_args: str | None) -> TokenReducer:
    """Build a method with its options, without memory: for what it learns, how fast, and from whom.

    One of pyramids, where only that has all the options.
    """
    options = read_json(reducer_args)
    config_class: Any = DynamicViTConfig
    if reducer in PYRAMID_REDUCERS and not {*options} <= {*REDUCERS[reducer].options()}:
        config_class = DynamicSwinConfig if {*options} <= {*PYRAMID_REDUCERS[reducer].options()} else config_class
    return config_class(reducer=reducer, reducer_args=options).reducer_without_memory()


def read_json(text: str | None) -> dict[str, Any]:
    """Read the options of a method from a command line."""
    example = """'{"tau": 0.5}'"""
    try:
        options = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"--reducer-args is {text!r}, which is no JSON such as {example}: {error}") from error
    if not isinstance(options, dict):
        raise ValueError(f"--reducer-args is {text!r}; it must be a JSON object such as {example}.")
    return options
