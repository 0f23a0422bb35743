# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Published checkpoints that cannot be converted, refused by name."""

import re
from typing import Any

from torch import Tensor

from .pyramids import recognise_pyramid
from .timm import read_model_args


# Families whose files are recognised by a key of theirs and refused by name.
REFUSED = {
    "Swin V2": r"\.attn\.(logit_scale|cpb_mlp\.)",
    "ConvNeXt V2": r"^stages\.\d+\.\d+\.grn\.",
}
# The same where they are not in the layout of the official files.
OTHER_LAYOUTS = {
    "Swin": r"(relative_position_bias_table$|^layers\.\d+\.blocks\.)",
    "ConvNeXt": r"^(stem\.\d|stages\.\d+\.(blocks\.)?\d+\.(conv_dw|dwconv)\.)",
}

# Key of a method -> the reducers that it is for. Evo-ViT's classifier reads the mean of the patches.
MADE_FOR = {
    r"^(qks|norms)\.": ("evovit",),
    r"^score_predictor\.\d+\.keep_threshold$": ("asvit",),
    r"^score_predictor\.\d+\.in_conv\.": ("dynamicvit", "tps"),
    r"^layers\.\d+\.score_predictor\.": ("dynamicvit",),
    r"^blocks\.\d+\.attn\.qkv\.metric_layer\.": ("dtem",),
}


def check_kind(state_dict: dict[str, Tensor], reducer: str) -> None:
    """Refuse, by name, checkpoints of other families, of other methods than `reducer`, and those of Transformers.

    Raises:
        ValueError: it is one of them.
    """
    if any(name.startswith(("vit.", "deit.", "lvvit.")) for name in state_dict):
        raise ValueError(
            "This is a checkpoint of Transformers, which needs no conversion: type its folder where a model is wanted."
        )
    for family, pattern in REFUSED.items():
        if any(re.search(pattern, name) for name in state_dict):
            raise ValueError(
                f"This is a {family} checkpoint, which convert does not take; it takes ViT, DeiT, LV-ViT, LeViT, "
                "Swin and ConvNeXt."
            )
    for family, pattern in OTHER_LAYOUTS.items():
        if recognise_pyramid(state_dict) is None and any(re.search(pattern, name) for name in state_dict):
            raise ValueError(
                f"This is a {family} checkpoint, but not in the layout of the official files, such as timm's: take a "
                "checkpoint of Transformers or the official one."
            )
    for pattern, methods in MADE_FOR.items():
        if reducer not in methods and any(re.search(pattern, name) for name in state_dict):
            raise ValueError(
                f"This checkpoint was made for reducer {' or '.join(map(repr, methods))}, not {reducer!r}: it has "
                f"{next(name for name in state_dict if re.search(pattern, name))}."
            )


def check_head(config: dict[str, Any] | None) -> None:
    """Refuse a timm model whose classifier reads another thing than the class token.

    Raises:
        ValueError: it does, or as `read_model_args`.
    """
    config = config or {}
    pool = read_model_args(config).get("global_pool", config.get("global_pool", "token"))
    if pool not in ("token", "", None):
        raise ValueError(f"config.json has global_pool {pool!r}; convert takes models that classify the class token.")
