# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What `hf-dynamicvit train` starts from: the model, its method, its classes, and who can teach them."""

import copy
import re
from typing import Any, cast

import torch
from torch import nn

from ..checkpoints.labels import few, knows
from ..checkpoints.load_report import CLASSIFIER, REDUCER, check_weights, without_report_of
from ..checkpoints.source import read_config
from ..data.samples import COST_IMAGES
from ..data.transforms import target_size
from ..model import CLASSIFIERS
from ..model.cost import as_pair
from ..model.logger import logger
from ..model.modeling_dynamicvit import DynamicViTForImageClassification
from ..model.reducers import is_adaptive
from ..model.spatial import interpolate_positions
from ..training.arguments import DynamicViTTrainingArguments
from ..training.predictor_start import has_predictors
from ..training.teacher import DISTILLATION
from .train_arguments import json_of, method_of, reducer_of
from .train_options import DENSE, ModelArguments


def config_of(model: str) -> Any:
    config = read_config(model)
    if config.model_type not in CLASSIFIERS:
        raise ValueError(
            f"{model} is of model type {config.model_type!r}; hf-dynamicvit trains {', '.join(CLASSIFIERS)}."
        )
    return config


def same_classes(args: ModelArguments, config: Any, names: list[str]) -> bool:
    """Return whether the classifier is for these classes: by their names, or because `--same_classes` says so."""
    if args.same_classes and config.num_labels != len(names):
        raise ValueError(f"--same_classes: {args.model} has {config.num_labels} classes, the pictures {len(names)}.")
    return args.same_classes or knows(config, names)


def other_names(config: Any, names: list[str]) -> str:
    """Return a hint to `--same_classes` for a model of as many classes of other names; empty for others."""
    if config.num_labels != len(names):
        return ""
    return f" If its classes are these in this order, {few(names)}, only called otherwise, type --same_classes."


def tell_of_other_names(args: ModelArguments, config: Any, names: list[str]) -> None:
    """Say that a classifier of as many classes is thrown away, which may be meant otherwise."""
    hint = other_names(config, names)
    if hint and not args.from_scratch:
        logger.warning(f"{args.model} was trained on classes of other names: its classifier starts anew.{hint}")


def tell_of_size(args: ModelArguments, config: Any, size: tuple[int, int]) -> None:
    """Say that the position embeddings are interpolated, where they are."""
    if size != as_pair(config.image_size) and not args.from_scratch:
        told = [f"{height} x {width}" for height, width in (as_pair(config.image_size), size)]
        logger.warning(
            f"{args.model} was trained on images of {told[0]} pixels; here they are {told[1]}: its position "
            "embeddings are interpolated."
        )


def is_sparse(config: Any) -> bool:
    """Return whether a checkpoint of this configuration has a method already."""
    return hasattr(config, "reducer")


def dense_first(args: ModelArguments) -> str:
    """Say what to type in place of `--teacher_epochs` where the model is sparse already."""
    return (
        f"`--model {args.model} --reducer {DENSE} --output FOLDER` fine-tunes its weights without a method, and then "
        f"`--model FOLDER --reducer {args.reducer}` (and how much it keeps) starts from what that wrote"
    )


def check_teacher_classes(args: ModelArguments, config: Any, names: list[str]) -> None:
    """Refuse a teacher, of configuration `config`, of more or fewer classes."""
    if config.num_labels == len(names):
        return
    sparse = is_sparse(config_of(args.model))
    other = f"go without one: {dense_first(args)}" if sparse else "type --teacher_epochs 3 in its place"
    raise ValueError(
        f"--teacher {args.teacher} has {config.num_labels} classes, the pictures {len(names)}; name one that was "
        f"trained on them, or {other}."
    )


def distils(args: ModelArguments, training: DynamicViTTrainingArguments) -> bool:
    """Return whether the training learns from a teacher."""
    if args.reducer == DENSE or not args.distill:
        return False
    weights = method_of(cast(str, args.reducer), args.reducer_args).loss_weights
    weights = weights | cast(dict, training.loss_weights or {})
    return any(weights.get(name) for name in DISTILLATION)


def check_distillation(
    args: ModelArguments, training: DynamicViTTrainingArguments, known: bool, names: list[str]
) -> None:
    """Refuse to take for a teacher what knows nothing of the classes, and a teacher that nothing is learned from."""
    if not distils(args, training):
        if args.teacher is None:
            return
        raise ValueError(
            f"--teacher is {args.teacher}, but --reducer {args.reducer} learns from none; leave it out, or type "
            """--loss_weights '{"class_distill": 0.5}'."""
        )
    if args.teacher is None and args.from_scratch:
        raise ValueError("A model from random weights cannot teach itself: name --teacher, or type --no_distill.")
    if args.teacher is None and not known and not args.teacher_epochs:
        config = config_of(args.model)
        first = dense_first(args) if is_sparse(config) else "--teacher_epochs 3 fine-tunes it on them first"
        raise ValueError(
            f"{args.model} was trained on other classes than those of the pictures, so that it cannot teach them. "
            f"{first}, --teacher names a model that knows them, --no_distill goes without."
            f"{other_names(config, names)}"
        )


def choose_size(args: ModelArguments, config: Any, processor: Any) -> tuple[int, int]:
    """Choose height and width in pixels to train at: as typed, else as the image processor prepares images.

    Raises:
        ValueError: `--image_size` is no size.
    """
    typed = args.image_size
    if typed is not None and (len(typed) > 2 or min(typed) < 1):
        raise ValueError(f"--image_size is {' '.join(map(str, typed))}; one number of pixels, or height and width.")
    if typed is not None:
        size, patch = (typed[0], typed[-1]), as_pair(config.patch_size)
        if any(pixels % side for pixels, side in zip(size, patch, strict=True)):
            raise ValueError(
                f"--image_size is {' '.join(map(str, typed))}; patches are {patch[0]} x {patch[1]} pixels, and what "
                "is left over would not be seen: take multiples of that."
            )
        return size
    return target_size(processor) or as_pair(config.image_size)


def at_size(processor: Any, size: tuple[int, int]) -> Any:
    """Return `processor` for images of `size`, height and width, with as large a part cropped as before."""
    before, (height, width) = target_size(processor), size
    if before == size:
        return processor
    changes: dict[str, Any] = {"do_resize": True, "size": {"height": height, "width": width}}
    if processor.do_center_crop:
        changes["crop_size"] = {"height": height, "width": width}
    if processor.do_center_crop and processor.do_resize and before is not None:
        edges = processor.size["height"], processor.size["width"]
        edges = edges if edges[0] else (processor.size["shortest_edge"],) * 2
        down, across = (round(new * edge / old) for new, edge, old in zip(size, edges, before, strict=True))
        by_edge = processor.size["shortest_edge"] and down == across
        changes["size"] = {"shortest_edge": down} if by_edge else {"height": down, "width": across}
    return type(processor).from_dict(processor.to_dict() | changes)


def model_at_size(model: DynamicViTForImageClassification, size: tuple[int, int]) -> DynamicViTForImageClassification:
    """Copy `model` for images of `size`, height and width, with interpolated position embeddings."""
    config = copy.deepcopy(model.config)
    config.image_size = size[0] if size[0] == size[1] else list(size)
    resized = type(model)(config)
    embeddings = cast(Any, model.base_model).embeddings
    positions = f"{model.base_model_prefix}.embeddings.position_embeddings"
    weights = model.state_dict() | {positions: interpolate_positions(embeddings, config.num_prefix, *size)}
    resized.load_state_dict(weights)
    return resized


def config_settings(args: ModelArguments, names: list[str]) -> dict[str, Any]:
    """Return the settings of the configuration that replace the checkpoint's."""
    settings = dense_settings() if args.reducer == DENSE else sparse_settings(args)
    if args.drop_path_rate is not None:
        settings["drop_path_rate"] = args.drop_path_rate
    if args.image_size is not None:
        settings["image_size"] = args.image_size[0] if len(set(args.image_size)) == 1 else args.image_size
    settings["problem_type"] = "single_label_classification"  # also where labels are mixed
    settings["id2label"] = dict(enumerate(names))
    settings["label2id"] = {name: index for index, name in enumerate(names)}
    return settings


def plan(args: ModelArguments, names: list[str]) -> DynamicViTForImageClassification:
    """Return the model that will be trained, without memory for its weights, to ask what it keeps and costs.

    Raises:
        ValueError: an option does not fit the model.
    """
    config = config_of(args.model)
    family: Any = CLASSIFIERS[config.model_type]
    if args.teacher_epochs and is_sparse(config):
        raise ValueError(
            f"{args.model} is sparse already, and --teacher_epochs fine-tunes a dense model first. In its place, "
            f"{dense_first(args)}, --teacher names a model that knows the classes, --no_distill goes without."
        )
    with torch.device("meta"):
        model = family(family.config_class.from_pretrained(args.model, **config_settings(args, names)))
    if args.budget is not None and args.reducer != DENSE and not model.config.is_adaptive:
        model.set_budget(fraction=args.budget)
    return model


def load_start(args: ModelArguments, names: list[str], known: bool) -> DynamicViTForImageClassification:
    """The model that training begins with, with a classifier for `names`."""
    family: Any = CLASSIFIERS[config_of(args.model).model_type]
    settings = config_settings(args, names)
    if args.from_scratch:
        return family(family.config_class.from_pretrained(args.model, **settings))
    settings.pop("image_size", None)  # its weights are of its own
    new = [REDUCER] if known else [REDUCER, CLASSIFIER]
    with without_report_of(*new):
        model, found = family.from_pretrained(
            args.model, ignore_mismatched_sizes=True, output_loading_info=True, dtype=torch.float32, **settings
        )
    check_weights(args.model, found, new, [] if known else new)
    if not known:
        # as many other classes would keep the classifier, and its meaning
        for name, parameter in model.named_parameters():
            if re.search(CLASSIFIER, name):
                start_anew(parameter, model.config.initializer_range)
    size = as_pair(model.config.image_size) if args.image_size is None else (args.image_size[0], args.image_size[-1])
    return model if as_pair(model.config.image_size) == size else model_at_size(model, size)


def start_anew(parameter: nn.Parameter, deviation: float) -> None:
    """Initialise the weight or bias of a classifier as a new model's."""
    if parameter.ndim > 1:
        nn.init.trunc_normal_(parameter, std=deviation)
    else:
        nn.init.zeros_(parameter)


def dense_settings() -> dict[str, Any]:
    return {"reducer": "topk", "keep_ratio": 1.0}


def sparse_settings(args: ModelArguments) -> dict[str, Any]:
    """Return the settings of the method that were typed; the checkpoint or the method has the others."""
    settings: dict[str, Any] = {"reducer": args.reducer}
    adaptive = is_adaptive(cast(str, args.reducer))
    if args.keep_ratio is not None and args.budget is None and not adaptive:
        settings["keep_ratio"] = args.keep_ratio[0] if len(args.keep_ratio) == 1 else args.keep_ratio
    config = config_of(args.model)
    own = config.reducer_args if getattr(config, "reducer", None) == args.reducer else {}
    options = own | json_of(args.reducer_args)
    if adaptive and args.budget is not None:  # its loss holds it there
        options["budget"] = args.budget
    if options:
        settings["reducer_args"] = options
    if args.reducer_layers is not None:
        settings["reducer_layers"] = args.reducer_layers
    return settings


def imitates(args: ModelArguments, model: DynamicViTForImageClassification) -> bool:
    """Return whether predictors are new and start where the class attention of a trained dense model is."""
    config = config_of(args.model)
    new = not args.from_scratch and not (is_sparse(config) and config.reducer == args.reducer)
    return new and args.predictor_start == "attention" and has_predictors(model.reducer)


def set_how_much_is_kept(args: ModelArguments, model: DynamicViTForImageClassification, data: Any) -> None:
    """Meet the budget; put the thresholds of a method whose images decide where its pictures meet it."""
    adaptive = model.config.is_adaptive
    fraction = args.budget
    if adaptive and fraction is None and reducer_of(args.model) != args.reducer:
        fraction = model.reducer.budget
    if fraction is not None and args.reducer != DENSE:
        typical = torch.stack(data[: min(COST_IMAGES, len(data))]["pixel_values"])
        model.set_budget(fraction=fraction, pixel_values=typical)
