# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Published training recipes as settings of `hf-dynamicvit train`, and the settings it has without one."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from ..model.reducer import TokenReducer


# What all of them share: DeiT's augmentation and soft labels.
AUGMENTATION: dict[str, Any] = {
    "augmentation": "full",
    "crop_scale": 0.08,
    "randaugment_magnitude": 9,
    "random_erasing": 0.25,
    "mixup": 0.8,
    "cutmix": 1.0,
    "label_smoothing_factor": 0.1,
}


@dataclass(frozen=True)
class Recipe:
    """A published recipe.

    Attributes:
        source: where the values are from.
        batch: images in one step of the optimizer, over all processes, for which `learning_rate` is meant. With
            another number the rate is scaled in proportion.
        settings: by the name of the option of `hf-dynamicvit train`.
        differs: what is not as published, and why.
    """

    source: str
    batch: int
    settings: dict[str, Any]
    differs: list[str] = field(default_factory=list)


CLIPPED = "gradients are clipped at norm 1 (published: not in float32)"
CLIPPED_BY_UNIT = "gradients are clipped at norm 1 (published: each unit at 1 % of the norm of its weights)"
TEACHER = "the teacher is named with --teacher, or left out with --no-distill (published: RegNetY-160)"
RANDAUGMENT = "RandAugment is torchvision's, without the jitter of magnitudes that timm's has"
REPEATED = "each image is seen once an epoch (published: repeated augmentation, three times)"

COOL_DOWN = "training ends with the schedule (published: 10 more epochs at the lowest rate)"
MERGED = (
    "slow and fast streams start anew from the chosen map at each predictor, so that training computes what inference "
    """does (published: they never do; --reducer-args '{"streams": "separate"}')"""
)
RELATIVE = "the budget loss counts fractions of the dense cost (published: G multiply-adds, for DeiT-S 4.6 times it)"

RECIPES = {
    "dynamicvit-deit-small": Recipe(
        "DynamicViT (NeurIPS 2021), released training script, DeiT-S",
        1024,
        {
            "reducer": "dynamicvit",
            "keep_ratio": [0.7],
            "num_train_epochs": 30,
            "learning_rate": 1e-3,
            "lr_scheduler_type": "cosine_with_min_lr",
            "lr_scheduler_kwargs": {"min_lr_rate": 1e-3},
            "warmup_steps": 5 / 30,
            "weight_decay": 0.05,
            "backbone_lr_scale": 0.01,
            "frozen": ["cls_token", "position_embeddings"],
            "loss_weights": {"ratio": 2.0, "class_distill": 0.5, "token_distill": 0.5},
            "ema_decay": 0.9999,
            "evaluate_ema": True,
            "predictor_start": "random",
            **AUGMENTATION,
        },
        [CLIPPED, RANDAUGMENT],
    ),
    "evit-finetune": Recipe(
        "EViT (ICLR 2022), released fine-tuning script, DeiT-S",
        2048,
        {
            "reducer": "evit",
            "keep_ratio": [0.7],
            "num_train_epochs": 30,
            "learning_rate": 8e-5,
            "lr_scheduler_type": "cosine_with_min_lr",
            "lr_scheduler_kwargs": {"min_lr_rate": 0.025},
            "weight_decay": 1e-6,
            "ema_decay": 0.99996,
            **AUGMENTATION,
        },
        [CLIPPED, RANDAUGMENT, REPEATED],
    ),
    "asvit": Recipe(
        "AS-ViT, released fine-tuning script",
        512,
        {
            "reducer": "asvit",
            "num_train_epochs": 30,
            "learning_rate": 2e-5,
            "lr_scheduler_type": "cosine_with_min_lr",
            "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
            "weight_decay": 1e-6,
            "loss_weights": {"budget": 2.0, "class_distill": 0.5},
            "max_grad_norm": 0.0,
            "ema_decay": 0.99996,
            **AUGMENTATION,
        },
        [RANDAUGMENT, REPEATED, RELATIVE],
    ),
    "idlevit": Recipe(
        "IdleViT, released fine-tuning script, DeiT-S",
        2048,
        {
            "reducer": "idlevit",
            "reducer_args": '{"cut_layers": "alternate"}',
            "keep_ratio": [0.7],
            "num_train_epochs": 30,
            "learning_rate": 4e-5,
            "lr_scheduler_type": "cosine_with_min_lr",
            "lr_scheduler_kwargs": {"min_lr_rate": 0.025},
            "weight_decay": 0.05,
            "frozen": ["cls_token", "position_embeddings"],
            "loss_weights": {"cut": 20.0, "class_distill": 10.0, "feature_distill": 1000.0},
            **AUGMENTATION,
        },
        [CLIPPED, RANDAUGMENT, REPEATED],
    ),
    "dtem": Recipe(
        "DTEM (NeurIPS 2024), released script for the metric alone, DeiT",
        1024,
        {
            "reducer": "dtem",
            "reducer_args": '{"r": 16}',
            "num_train_epochs": 30,
            "learning_rate": 1e-4,
            "lr_scheduler_type": "cosine_with_min_lr",
            "lr_scheduler_kwargs": {"min_lr_rate": 0.01},
            "weight_decay": 1e-4,
            "max_grad_norm": 5.0,
            **AUGMENTATION,
        },
        [RANDAUGMENT, REPEATED],
    ),
    "evovit": Recipe(
        "Evo-ViT (AAAI 2022), released training script, DeiT-S, from random weights",
        1024,
        {
            "reducer": "evovit",
            "from_scratch": True,
            "num_train_epochs": 300,
            "learning_rate": 1e-3,
            "lr_scheduler_type": "cosine_with_min_lr",
            "lr_scheduler_kwargs": {"min_lr_rate": 0.01},
            "warmup_steps": 5 / 300,
            "weight_decay": 0.05,
            "drop_path_rate": 0.1,
            "layer_grouping_fraction": 2 / 3,
            **AUGMENTATION,
        },
        [CLIPPED, RANDAUGMENT, REPEATED],
    ),
}
RECIPES["mctf-finetune"] = Recipe(
    "MCTF (CVPR 2024), released fine-tuning script, DeiT-T and DeiT-S",
    1024,
    {
        "reducer": "mctf",
        "reducer_args": '{"r": 16}',
        "num_train_epochs": 30,
        "learning_rate": 3e-5,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": 1 / 30},
        "drop_path_rate": 0.1,
        "loss_weights": {"second_classification": 1.0, "consistency": 3.0},
        "second_pass_share": 0.5,
        **AUGMENTATION,
        "mixup": 0.0,
        "cutmix": 0.0,
    },
    [CLIPPED, RANDAUGMENT, COOL_DOWN],
)
RECIPES["diffrate-search"] = Recipe(
    "DiffRate (ICCV 2023), released search of the counts of every block, all weights frozen",
    256,
    {
        "reducer": "diffrate",
        "reducer_args": '{"search": 0.65}',
        "num_train_epochs": 3,
        "learning_rate": 0.01,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
    },
    [CLIPPED, RELATIVE],
)
RECIPES["dynamicswin-tiny"] = Recipe(
    "DynamicViT (T-PAMI 2023), released training script, Swin-T",
    4096,
    {
        "reducer": "dynamicvit",
        "keep_ratio": [0.7],
        "num_train_epochs": 120,
        "learning_rate": 4e-3,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": 2.5e-4},
        "warmup_steps": 20 / 120,
        "weight_decay": 0.05,
        "backbone_lr_scale": 0.2,
        "freeze_backbone_epochs": 5,
        "loss_weights": {"ratio": 10.0, "class_distill": 0.5, "token_distill": 0.5},
        "max_grad_norm": 0.0,
        "drop_path_rate": 0.2,
        "ema_decay": 0.9999,
        "evaluate_ema": True,
        "predictor_start": "random",
        **AUGMENTATION,
    },
    [RANDAUGMENT, MERGED],
)
RECIPES["dynamicconvnext-tiny"] = Recipe(
    "DynamicViT (T-PAMI 2023), released training script, ConvNeXt-T",
    4096,
    RECIPES["dynamicswin-tiny"].settings,
    RECIPES["dynamicswin-tiny"].differs,
)
small = RECIPES["dynamicvit-deit-small"]
RECIPES["dynamicvit-deit-base"] = Recipe(
    "DynamicViT (NeurIPS 2021), released training script, DeiT-B",
    small.batch,
    small.settings
    | {"drop_path_rate": 0.2, "loss_weights": {"ratio": 5.0, "class_distill": 0.5, "token_distill": 0.5}},
    small.differs,
)
RECIPES["dynamicvit-lvvit-small"] = Recipe(
    "DynamicViT (NeurIPS 2021), released training script, LV-ViT-S and LV-ViT-M",
    small.batch,
    small.settings,
    small.differs,
)
RECIPES["evo-levit"] = Recipe(
    "Evo-ViT (AAAI 2022), released training script, LeViT, from random weights",
    2048,
    RECIPES["evovit"].settings
    | {
        "learning_rate": 2e-3,
        "lr_scheduler_kwargs": {"min_lr_rate": 5e-3},
        "weight_decay": 0.025,
        "drop_path_rate": 0.0,
        "ema_decay": 0.99996,
    },
    [CLIPPED_BY_UNIT, RANDAUGMENT, REPEATED, TEACHER],
)


# Without a recipe: a few epochs on a few thousand images of one's own.
ALWAYS: dict[str, Any] = {
    "num_train_epochs": 5,
    "learning_rate": 5e-5,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "weight_decay": 0.05,
}
FOR_DENSE = {"num_train_epochs": 3, "learning_rate": 2e-4}
FOR_PREDICTORS = {"learning_rate": 1e-3, "backbone_lr_scale": 0.05}
# of the loss that holds the kept fractions at their targets (published: 2, in 30 epochs)
RATIO_WEIGHT = 10.0


def settings_without_recipe(reducer: "TokenReducer | None") -> dict[str, Any]:
    """Return what `hf-dynamicvit train` sets where no recipe is named.

    Args:
        reducer: the method, or `None` for a dense model.
    """
    if reducer is None:
        return ALWAYS | FOR_DENSE
    learns = reducer.backbone_lr_scale < 1  # predictors, at a rate of their own
    # the steep gradient of thresholds would scale all others down
    clipping = {"max_grad_norm": 0.0} if "budget" in reducer.loss_weights else {}
    weights = {"loss_weights": {"ratio": RATIO_WEIGHT}} if "ratio" in reducer.loss_weights else {}
    return ALWAYS | (FOR_PREDICTORS if learns else {}) | clipping | weights


def told_default(name: str) -> str:
    """Say in words which value of the option `name` a training without recipe has."""
    told = [f"{ALWAYS[name]}"] if name in ALWAYS else []
    if name in FOR_PREDICTORS:
        told.append(f"{FOR_PREDICTORS[name]} where there are predictors (dynamicvit, tps)")
    if name in FOR_DENSE:
        told.append(f"{FOR_DENSE[name]} with --reducer none")
    return "; ".join(told)


def learning_rate_for(recipe: Recipe, batch: int) -> float:
    """Scale the recipe's rate in proportion to the images in one step (the linear rule of DeiT)."""
    return recipe.settings["learning_rate"] * batch / recipe.batch
