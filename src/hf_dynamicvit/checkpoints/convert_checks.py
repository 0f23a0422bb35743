# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Published checkpoints that cannot be converted, refused by name."""

import re
from typing import Any

from torch import Tensor

from .timm import read_model_args


# Families whose files are recognised by a key of theirs and refused by name.
REFUSED = {
    "Swin": r"(relative_position_bias_table$|^layers\.\d+\.blocks\.)",
    "ConvNeXt": r"^(downsample_layers\.|stages\.\d+\.\d+\.dwconv\.)",
}

# Key of a method -> the reducers that it is for. Evo-ViT's classifier reads the mean of the patches.
MADE_FOR = {
    r"^(qks|norms)\.": ("evovit",),
    r"^score_predictor\.\d+\.keep_threshold$": ("asvit",),
    r"^score_predictor\.\d+\.in_conv\.": ("dynamicvit", "tps"),
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
            raise ValueError(f"This is a {family} checkpoint, which convert does not take; ViT, DeiT and LV-ViT are.")
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
