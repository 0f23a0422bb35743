# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What `hf-dynamicvit train` starts from: the model, its method, its classes, and who can teach them."""

from typing import Any, cast

import torch
from torch import nn

from .model.modeling_dynamicdeit import DynamicDeiTForImageClassification
from .model.modeling_dynamicvit import DynamicViTForImageClassification
from .model.reducers import REDUCERS
from .model_source import read_config
from .train_arguments import json_of, method_of, reducer_of
from .train_options import DENSE, ModelArguments
from .training.arguments import DynamicViTTrainingArguments
from .training.teacher import DISTILLATION


FAMILIES = {
    "vit": DynamicViTForImageClassification,
    "dynamicvit": DynamicViTForImageClassification,
    "deit": DynamicDeiTForImageClassification,
    "dynamicdeit": DynamicDeiTForImageClassification,
}

# Names of classifiers, of all families and methods.
CLASSIFIERS = ("classifier", "cls_classifier", "distillation_classifier")

# Pictures on which cost is measured and thresholds are set, where those depend on the picture.
COSTED = 64


def config_of(model: str) -> Any:
    config = read_config(model)
    if config.model_type not in FAMILIES:
        raise ValueError(
            f"{model} is of model type {config.model_type!r}; hf-dynamicvit trains {', '.join(FAMILIES)}."
        )
    return config


def label_names(config: Any) -> list[str]:
    return [config.id2label[index] for index in range(config.num_labels)]


def knows(config: Any, names: list[str]) -> bool:
    """Whether a model was trained on these classes, in whatever order."""
    return sorted(label_names(config)) == sorted(names)


def same_classes(args: ModelArguments, config: Any, names: list[str]) -> bool:
    """Whether the model's classifier is one of these classes: by their names, or because `--same_classes` says so."""
    if args.same_classes and config.num_labels != len(names):
        raise ValueError(f"--same_classes: {args.model} has {config.num_labels} classes, the pictures {len(names)}.")
    return args.same_classes or knows(config, names)


def check_teacher_classes(teacher: str, config: Any, names: list[str]) -> None:
    """Refuse a teacher of more or fewer classes."""
    if config.num_labels != len(names):
        raise ValueError(
            f"--teacher {teacher} has {config.num_labels} classes, the pictures {len(names)}; name one that was "
            "trained on them, or type --teacher_epochs 3 in its place."
        )


def distils(args: ModelArguments, training: DynamicViTTrainingArguments) -> bool:
    """Return whether the training learns from a teacher."""
    if args.reducer == DENSE or not args.distill:
        return False
    weights = method_of(cast(str, args.reducer), args.reducer_args).loss_weights
    weights = weights | cast(dict, training.loss_weights or {})
    return any(weights.get(name) for name in DISTILLATION)


def check_distillation(args: ModelArguments, training: DynamicViTTrainingArguments, known: bool) -> None:
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
        raise ValueError(
            f"{args.model} was trained on other classes than those of the pictures, so that it cannot teach them. "
            "--teacher_epochs 3 fine-tunes it on them first, --teacher names a model that knows them, --no_distill "
            "goes without."
        )


def config_settings(args: ModelArguments, names: list[str]) -> dict[str, Any]:
    """What of the configuration is not the checkpoint's."""
    settings = dense_settings() if args.reducer == DENSE else sparse_settings(args)
    if args.drop_path_rate is not None:
        settings["drop_path_rate"] = args.drop_path_rate
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
    family: Any = FAMILIES[config.model_type]
    if args.teacher_epochs and hasattr(config, "reducer"):
        raise ValueError(
            f"{args.model} is sparse already, and --teacher_epochs fine-tunes a dense model first; name a --teacher, "
            "or start from the dense model."
        )
    with torch.device("meta"):
        model = family(family.config_class.from_pretrained(args.model, **config_settings(args, names)))
    if args.budget is not None and args.reducer != DENSE and not model.encoder.reducer.adaptive:
        model.set_budget(fraction=args.budget)
    return model


def load_start(args: ModelArguments, names: list[str], known: bool) -> DynamicViTForImageClassification:
    """The model that training begins with, with a classifier for `names`."""
    family: Any = FAMILIES[config_of(args.model).model_type]
    settings = config_settings(args, names)
    if args.from_scratch:
        return family(family.config_class.from_pretrained(args.model, **settings))
    model = family.from_pretrained(args.model, ignore_mismatched_sizes=not known, **settings)
    if not known:
        # as many other classes would keep the classifier, and its meaning
        for name, module in model.named_modules():
            if name.split(".")[-1] in CLASSIFIERS:
                nn.init.trunc_normal_(module.weight, std=model.config.initializer_range)
                nn.init.zeros_(module.bias)
    return model


def dense_settings() -> dict[str, Any]:
    return {"reducer": "topk", "keep_ratio": 1.0}


def sparse_settings(args: ModelArguments) -> dict[str, Any]:
    """What of the configuration is typed; all else is the checkpoint's, or the method's default."""
    settings: dict[str, Any] = {"reducer": args.reducer}
    adaptive = REDUCERS[cast(str, args.reducer)].adaptive
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


def set_how_much_is_kept(args: ModelArguments, model: DynamicViTForImageClassification, data: Any) -> None:
    """Meet the budget; put the thresholds of a method whose images decide where its pictures meet it."""
    adaptive = model.encoder.reducer.adaptive
    fraction = args.budget
    if adaptive and fraction is None and reducer_of(args.model) != args.reducer:
        fraction = model.encoder.reducer.budget
    if fraction is not None and args.reducer != DENSE:
        typical = torch.stack(data[: min(COSTED, len(data))]["pixel_values"])
        model.set_budget(fraction=fraction, pixel_values=typical)
