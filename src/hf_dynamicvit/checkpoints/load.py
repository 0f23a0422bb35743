# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Load classifiers: as they were saved, or as a sparse model of any method on the same weights."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForImageClassification, PreTrainedModel

from ..model import CLASSIFIERS
from ..model.budget import BudgetMixin, with_keep_ratio
from ..model.cost import grid_size, vit_multiply_adds
from ..model.reducers import REDUCERS
from .load_report import REDUCER, check_weights, without_report_of
from .source import read_config


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


def load(name: str) -> PreTrainedModel:
    """The classifier in the folder or Hub repository `name`, in float32.

    Raises:
        ValueError: it is of another family, or lacks weights.
    """
    model_type = read_config(name).model_type
    if model_type not in CLASSIFIERS:
        raise ValueError(f"{name} is of model type {model_type!r}; export takes {', '.join(CLASSIFIERS)}.")
    model, found = AutoModelForImageClassification.from_pretrained(
        name, dtype=torch.float32, attn_implementation="sdpa", output_loading_info=True
    )
    if found["missing_keys"]:
        missing = ", ".join(sorted(found["missing_keys"]))
        raise ValueError(f"{name} lacks weights of a {type(model).__name__}, which would be random: {missing}.")
    return model.eval()


def multiply_adds(model: Any, image_size: tuple[int, int] | None = None) -> int:
    """Count the multiply-adds of a sparse or dense `model` for one image of `image_size`, by default its own."""
    if isinstance(model, BudgetMixin):
        return model.multiply_adds(image_size)
    num_patches, own = math.prod(grid_size(model.config, image_size)), math.prod(grid_size(model.config))
    num_prefix = model.base_model.embeddings.position_embeddings.shape[1] - own
    num_outputs = sum(layer.out_features for layer in model.children() if isinstance(layer, nn.Linear))
    counts = [(num_patches, num_patches)] * model.config.num_hidden_layers
    return vit_multiply_adds(model.config, num_patches, counts, num_prefix, num_outputs)
