# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Reach into a student that PEFT has wrapped: the model inside, the reducer that acts, merged weights."""

import copy
from pathlib import Path
from typing import Any

from torch import nn
from transformers.utils import is_peft_available

from ..checkpoints.checkpoint import find_reduced
from ..model.reducer import TokenReducer


def is_adapted(model: Any) -> bool:
    """Return whether PEFT has wrapped `model`."""
    if not is_peft_available():
        return False
    from peft import PeftModel

    return isinstance(model, PeftModel)


def inner_model(model: Any) -> Any:
    """Return the model that PEFT has wrapped, or `model` itself."""
    return model.get_base_model() if is_adapted(model) else model


def merged_model(model: Any) -> Any:
    """Copy `model` with its adapters merged into its weights; return `model` itself where there are none."""
    return copy.deepcopy(model).merge_and_unload() if is_adapted(model) else model


def acting_reducer(model: Any) -> TokenReducer:
    """Return the reducer of `model` or of the backbone in it; PEFT's copy that learns where there is one."""
    reducer: Any = find_reduced(inner_model(model)).backbone.reducer
    return reducer if isinstance(reducer, TokenReducer) else reducer.modules_to_save[reducer.active_adapter]


def load_adapters(model: Any, folder: Path) -> None:
    """Load the adapters that `save_pretrained` wrote to `folder` in place of the active ones."""
    from peft import load_peft_weights, set_peft_model_state_dict

    set_peft_model_state_dict(model, load_peft_weights(str(folder), device="cpu"), model.active_adapter)


def learns(module: nn.Module) -> bool:
    """Return whether a parameter of `module` learns."""
    return any(parameter.requires_grad for parameter in module.parameters())
