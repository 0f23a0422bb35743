# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Build the optimizer from groups of parameters with rates of their own."""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn
from transformers import SchedulerType

from ..model.reducer import TokenReducer
from .adapters import acting_reducer, inner_model, is_adapted, learns
from .arguments import DynamicViTTrainingArguments


# Parts of a model, in the order of their groups.
REDUCER, BACKBONE, HEAD = range(3)

# Learning rate of a new classifier on a trained backbone (docs/recipes.md has what it gives).
NEW_HEAD_RATE = 5e-3


def check_schedule(reducer: TokenReducer, args: DynamicViTTrainingArguments) -> None:
    """Refuse to freeze, which sets the rate to 0, under a schedule that computes the next rate from the last."""
    schedule = SchedulerType(args.lr_scheduler_type).value
    epochs = args.freeze_backbone_epochs
    freezes = reducer.frozen_fraction > 0 if epochs is None else epochs > 0
    if freezes and schedule in ("reduce_lr_on_plateau", "greedy"):
        raise ValueError(f"lr_scheduler_type is {schedule!r}, which needs freeze_backbone_epochs=0, not {epochs}.")


def freeze(model: nn.Module, names: list[str]) -> None:
    """Freeze the parameters whose name contains one of `names`.

    Raises:
        ValueError: one of `names` is in no parameter's name, or nothing is left to learn.
    """
    parameters = dict(model.named_parameters())
    for part in names:
        found = [parameter for name, parameter in parameters.items() if part in name]
        if not found:
            raise ValueError(
                f"frozen has {part!r}, which is in no parameter's name, such as {next(iter(parameters))}."
            )
        for parameter in found:
            parameter.requires_grad_(False)
    if not learns(model):
        raise ValueError(f"frozen is {names} and nothing is left to learn; a parameter of the model must.")


def count_blocks_below(name: str, depth: int) -> int:
    """Count how far from the input a parameter is: 0 for the embeddings, `depth` + 1 for what follows all blocks."""
    if any(part in name for part in (".embeddings.", ".pre_layrnorm.", ".shared_position_bias.")):
        return 0
    block = re.search(r"\.layers?\.(\d+)\.", name)
    return depth + 1 if block is None else int(block[1]) + 1


def count_pyramid_blocks_below(name: str, depths: Sequence[int]) -> int:
    """Count the same in a pyramid of stages of `depths` blocks; what changes the grid counts as the block after it."""
    if ".embeddings." in name:
        return 0
    stage = re.search(r"\.encoder\.\w+\.(\d+)\.", name)
    if stage is None:
        return sum(depths) + 1
    index = int(stage[1])
    block = re.search(r"\.encoder\.\w+\.\d+\.(?:blocks|layers)\.(\d+)\.", name)
    after = sum(depths[: index + (".downsample." in name)])  # Swin's is at the end of its stage
    return after + 1 + (0 if block is None else int(block[1]))


# Ends of the names of parameters of several dimensions that weight decay leaves alone.
WITHOUT_DECAY = (
    ".bias",
    "_token",
    "_tokens",
    "position_embeddings",
    "position_embedding.weight",
    "bias_table",
    ".probe",
)


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Return whether weight decay is for a parameter: not for biases, norms, prefix tokens and positions."""
    return parameter.ndim > 1 and not name.endswith(WITHOUT_DECAY)


def is_new(module: nn.Module) -> bool:
    """Return whether a linear layer or norm is as it was initialised: training moves a bias away from 0."""
    return not cast(Tensor, module.bias).any()


def classifiers(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the layers that give the logits, by name, PEFT's copies that learn too; none where there is no class."""
    heads = re.compile(rf"(^|\.)({'|'.join(inner_model(model).heads)})(\.modules_to_save\.\w+)?$")
    found = {name: module for name, module in model.named_modules() if heads.search(name)}
    return {name: module for name, module in found.items() if isinstance(module, nn.Linear)}


def head_starts_anew(model: Any) -> bool:
    """Return whether a trained backbone has a classifier that is not trained yet."""
    heads = classifiers(model)
    norms = [module for module in inner_model(model).backbone.layers.modules() if isinstance(module, nn.LayerNorm)]
    norms += [module for module in inner_model(model).backbone.children() if isinstance(module, nn.LayerNorm)]
    return bool(heads) and all(map(is_new, heads.values())) and not all(map(is_new, norms))


def head_rate(model: Any, args: DynamicViTTrainingArguments) -> float | None:
    """Return the learning rate of the classifier, `None` for that of the backbone."""
    if args.head_learning_rate is None and head_starts_anew(model):
        return NEW_HEAD_RATE
    return args.head_learning_rate


def parameter_groups(
    model: Any, args: DynamicViTTrainingArguments, head_learning_rate: float | None = None
) -> list[dict[str, Any]]:
    """Return the groups of parameters: each with its learning rate, the reducer first.

    The reducer learns at `learning_rate`, the backbone at `backbone_lr_scale` of it, its blocks at `layer_lr_decay` of
    the next, the classifier as the backbone or at `head_learning_rate`. A model without learned
    reducer parameters trains its backbone at the full rate, never frozen. The fraction is that of `args`, else the
    method's published one; that is for pretrained weights, so that adapters of PEFT, which are new as predictors are,
    learn at the full rate.
    """
    depths = getattr(model.config, "stage_depths", None)
    depth = model.config.num_hidden_layers if depths is None else sum(depths)
    groups: dict[tuple[int, int, bool], list[nn.Parameter]] = defaultdict(list)
    heads = tuple(f"{name}." for name in classifiers(model)) if head_learning_rate is not None else ()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = REDUCER if ".reducer." in f".{name}" else HEAD if name.startswith(heads) else BACKBONE
            below_the_last = 0
            if part == BACKBONE and args.layer_lr_decay < 1:
                found = f".{name}"
                blocks = (
                    count_blocks_below(name, depth) if depths is None else count_pyramid_blocks_below(found, depths)
                )
                below_the_last = depth + 1 - blocks
            groups[part, below_the_last, decays(name, parameter)].append(parameter)
    two_rates = any(part == REDUCER for part, _, _ in groups)
    published = 1.0 if is_adapted(model) else acting_reducer(model).backbone_lr_scale
    scale = published if args.backbone_lr_scale is None else args.backbone_lr_scale
    rates = {
        REDUCER: args.learning_rate,
        BACKBONE: args.learning_rate * (scale if two_rates else 1.0),
        HEAD: head_learning_rate,
    }
    return [
        {
            "params": groups[part, below_the_last, decay],
            "lr": cast(float, rates[part]) * args.layer_lr_decay**below_the_last,
            "weight_decay": args.weight_decay if decay else 0.0,
            "backbone": part == BACKBONE and two_rates,
        }
        # the reducer first: its rate is the one that is logged
        for part, below_the_last, decay in sorted(groups)
    ]


def build_optimizer(
    model: Any, args: DynamicViTTrainingArguments, head_learning_rate: float | None, chosen: tuple[Any, dict[str, Any]]
) -> Any:
    """Make the optimizer that `chosen`, a class and its arguments, says for our groups of parameters.

    Raises:
        ValueError: it chooses groups of its own.
    """
    optimizer_class, kwargs = chosen
    if {"params", "model", "optimizer_dict"} & set(kwargs):
        raise ValueError(f"optim is {args.optim!r}, which chooses its own parameter groups; take adamw_torch.")
    return optimizer_class(parameter_groups(model, args, head_learning_rate), **kwargs)
