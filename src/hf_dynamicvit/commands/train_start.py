# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The model that `hf-dynamicvit train` starts from: of which method, how much it keeps, for which classes."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.load_report import CLASSIFIER, REDUCER, check_weights, expect_in_report
from ..data.samples import COST_IMAGES
from ..model.classification import ReducedForImageClassification
from ..model.cost import as_pair
from ..model.reducers import is_adaptive
from ..model.schedules import one_or_several
from ..training.optimizer import classifiers
from ..training.predictor_start import can_imitate
from .train_classes import dense_first
from .train_conflicts import read_json
from .train_options import DENSE, ModelArguments
from .train_size import model_at_size


def config_settings(args: ModelArguments, start: Checkpoint, names: list[str]) -> dict[str, Any]:
    """Return the settings of the configuration that replace the checkpoint's."""
    settings = dense_settings() if args.reducer == DENSE else sparse_settings(args, start)
    if args.drop_path_rate is not None:
        settings["drop_path_rate"] = args.drop_path_rate
    if args.image_size is not None:
        settings["image_size"] = args.image_size[0] if len(set(args.image_size)) == 1 else args.image_size
    settings["problem_type"] = "single_label_classification"  # also where labels are mixed
    settings["id2label"] = dict(enumerate(names))
    settings["label2id"] = {name: index for index, name in enumerate(names)}
    return settings


def dense_settings() -> dict[str, Any]:
    return {"reducer": "topk", "keep_ratio": 1.0}


def sparse_settings(args: ModelArguments, start: Checkpoint) -> dict[str, Any]:
    """Return the settings of the method that were typed; the checkpoint or the method has the others."""
    settings: dict[str, Any] = {"reducer": args.reducer}
    adaptive = is_adaptive(cast(str, args.reducer))
    if args.keep_ratio is not None and args.budget is None and not adaptive:
        settings["keep_ratio"] = one_or_several(args.keep_ratio)
    own = start.config.reducer_args if start.reducer == args.reducer else {}
    options = own | read_json(args.reducer_args)
    if adaptive and args.budget is not None:  # its loss holds it there
        options["budget"] = args.budget
    if options:
        settings["reducer_args"] = options
    if args.schedule is not None:
        settings["schedule"] = args.schedule
    if args.reducer_layers is not None:
        settings["reducer_layers"] = args.reducer_layers
    return settings


def plan(args: ModelArguments, start: Checkpoint) -> ReducedForImageClassification:
    """Return the model that will be trained, without memory for its weights, to ask what it keeps and costs.

    Raises:
        ValueError: an option does not fit the model.
    """
    if args.teacher_epochs and start.is_sparse:
        raise ValueError(
            f"{start.source} is sparse already, and --teacher-epochs fine-tunes a dense model first. In its place, "
            f"{dense_first(args, start)}, --teacher names a model that knows the classes, --no-distill goes without."
        )
    if not args.from_scratch:
        start.check_weights_fit()
    if args.reducer == DENSE and start.tower_config_class.fixed_stages:
        raise ValueError(
            f"--reducer none trains a dense model, and there is none of {start.source}: type --reducer evovit, with "
            "--keep-ratio 1 to keep every patch."
        )
    with torch.device("meta"):
        model = start.family(start.configured(**config_settings(args, start, start.labels)))
    if args.budget is not None and args.reducer != DENSE and not model.config.is_adaptive:
        model.set_budget(fraction=args.budget)
    return model


def load_start(
    args: ModelArguments, start: Checkpoint, names: list[str], known: bool
) -> ReducedForImageClassification:
    """Load the model that training begins with, with a classifier for `names`."""
    settings = config_settings(args, start, names)
    if args.from_scratch:
        return start.family(start.configured(**settings))
    settings.pop("image_size", None)  # its weights are of its own
    new = [REDUCER] if known else [REDUCER, CLASSIFIER]
    with expect_in_report(*new):
        model, found = start.family.from_pretrained(
            start.source,
            config=start.configured(**settings),
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    check_weights(start.source, found, new, [] if known else new)
    if not known:
        # as many other classes would keep the classifier, and its meaning
        deviation = getattr(model.backbone.config, "initializer_range", 0.02)  # SigLIP has none
        for head in classifiers(model).values():
            start_anew(head.weight, deviation)
            start_anew(head.bias, deviation)
    size = as_pair(model.config.image_size) if args.image_size is None else (args.image_size[0], args.image_size[-1])
    return model if as_pair(model.config.image_size) == size else model_at_size(model, size)


def start_anew(parameter: Tensor, deviation: float) -> None:
    """Initialise the weight or bias of a classifier as a new model's."""
    if parameter.ndim > 1:
        nn.init.trunc_normal_(parameter, std=deviation)
    else:
        nn.init.zeros_(parameter)


def imitates(args: ModelArguments, start: Checkpoint, model: ReducedForImageClassification) -> bool:
    """Return whether predictors are new and start where the class attention of a trained dense model is."""
    new = not args.from_scratch and start.reducer != args.reducer
    return new and args.predictor_start == "attention" and can_imitate(model.reducer)


def check_predictor_start(args: ModelArguments, model: ReducedForImageClassification) -> None:
    """Refuse predictors that start where there is no class attention, as in a pyramid.

    Raises:
        ValueError: they were to.
    """
    if args.predictor_start == "attention" and args.reducer != DENSE and not can_imitate(model.reducer):
        raise ValueError(
            f"--predictor-start is attention, but a {model.config.dense_model_type} has no class token; its "
            "predictors start at random."
        )


def set_how_much_is_kept(
    args: ModelArguments, start: Checkpoint, model: ReducedForImageClassification, data: Any
) -> None:
    """Meet the budget; put the thresholds of a method whose images decide where they meet it."""
    adaptive = model.config.is_adaptive
    fraction = args.budget
    if adaptive and fraction is None and start.reducer != args.reducer:
        fraction = model.reducer.budget
    if fraction is not None and args.reducer != DENSE:
        typical = torch.stack(data[: min(COST_IMAGES, len(data))]["pixel_values"])
        model.set_budget(fraction=fraction, pixel_values=typical)
