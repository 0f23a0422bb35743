# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The models that are compared: a sparse one, of any method on the same weights, and a dense one of the same input."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from .export import load
from .load_report import REDUCER, check_weights, without_report_of
from .model import CLASSIFIERS
from .model.budget import with_keep_ratio
from .model.logger import logger
from .model.reducers import REDUCERS
from .model_source import find_processor, read_config
from .training.data import channel_values, target_size


def check_same_input(source: str, processor: Any, other: str, cropped: bool = True) -> None:
    """Refuse a model that is used to pictures prepared otherwise: it would see what it was not trained on.

    Args:
        source: the model whose image processor, `processor`, prepares the pictures.
        other: a checkpoint that sees the same. One without image processor is taken at its word, which is said.
        cropped: what is cut off at the edges must agree too; else, as in training, the size that is left.

    Raises:
        ValueError: its image processor differs in what it does to a picture.
    """
    another = find_processor(other)
    if another is None:
        logger.warning(f"{other} has no image processor: it is shown pictures as {source} takes them.")
        return
    ours, theirs = (preparation(each, cropped) for each in (processor, another))
    differing = [name for name in ours if ours[name] != theirs[name]]
    if differing:
        listed = "; ".join(f"{name} is {theirs[name]} and not {ours[name]}" for name in differing)
        raise ValueError(f"{other} takes pictures prepared otherwise than {source}: {listed}.")


def preparation(processor: Any, cropped: bool = True) -> dict[str, Any]:
    """What an image processor does to a picture."""
    steps: dict[str, Any] = {"size": None, "crop_size": None, "image_mean": None, "image_std": None}
    if not cropped:
        steps["size"] = target_size(processor)
    elif processor.do_resize:
        steps["size"] = {name: value for name, value in dict(processor.size).items() if value}
    if cropped and processor.do_center_crop:
        steps["crop_size"] = {name: value for name, value in dict(processor.crop_size).items() if value}
    if processor.do_normalize:
        steps["image_mean"], steps["image_std"] = one_or_all(processor.image_mean), one_or_all(processor.image_std)
    return steps | {"rescale_factor": processor.rescale_factor if processor.do_rescale else None}


def one_or_all(values: Any) -> float | list[float]:
    """Return one number where all channels have the same: `image_mean` and `image_std` may be given either way."""
    values = channel_values(values, 1)
    return values[0] if len(set(values)) == 1 else values


def family_of(source: str, reducer: str | None) -> tuple[Any, dict[str, Any]]:
    """Return the class of a sparse model of the weights in `source`, and what `reducer` changes in its configuration.

    Raises:
        ValueError: there is no such method, or it does not fit the model.
    """
    if reducer is not None and reducer not in REDUCERS:
        raise ValueError(f"reducer is {reducer!r}; it can be {', '.join(REDUCERS)}.")
    config = read_config(source)
    if config.model_type not in CLASSIFIERS:
        raise ValueError(f"{source} is of model type {config.model_type!r}; this takes {', '.join(CLASSIFIERS)}.")
    own = getattr(config, "reducer", None)
    changes: dict[str, Any] = {}
    if reducer is not None and reducer != own:
        with torch.device("meta"):
            if own is not None and not REDUCERS[own](config, **config.reducer_args).reads_class_token:
                raise ValueError(
                    f"the classifier of {source} ({own}) does not read the class token, which {reducer} needs; "
                    "look at it with its own method."
                )
        changes = {"reducer": reducer, "reducer_args": {}, "reducer_layers": None, "keep_ratio": None}
        if reducer == "evovit":  # the classifier was trained on the class token
            changes["reducer_args"] = {"pooling": "class"}
    return CLASSIFIERS[config.model_type], changes


def check_keep_ratio(source: str, reducer: str | None, keep_ratio: Sequence[float]) -> None:
    """Refuse what was typed as `--keep-ratio` where the model cannot keep that, before its weights are read.

    Raises:
        ValueError: as `model.set_keep_ratio`.
    """
    family, changes = family_of(source, reducer)
    config = family.config_class.from_pretrained(source, **changes)
    try:
        with_keep_ratio(config, keep_ratio[0] if len(keep_ratio) == 1 else [*keep_ratio])
    except ValueError as error:
        raise ValueError(f"--keep-ratio {' '.join(map(str, keep_ratio))}: {error}") from error


def load_sparse(source: str, reducer: str | None = None) -> tuple[Any, bool]:
    """Load the weights in `source` as a sparse model in eval mode; return whether its method's parameters are new."""
    family, changes = family_of(source, reducer)
    with without_report_of(REDUCER):
        model, found = family.from_pretrained(source, dtype=torch.float32, output_loading_info=True, **changes)
    check_weights(source, found, [REDUCER])
    return model.eval(), bool(found["missing_keys"])


def load_dense(source: str) -> PreTrainedModel:
    """The dense classifier in `source`.

    Raises:
        ValueError: it is sparse, of another family, or lacks weights.
    """
    if hasattr(read_config(source), "reducer"):
        raise ValueError(f"{source} holds a sparse model; name a dense one to compare with.")
    return load(source)
