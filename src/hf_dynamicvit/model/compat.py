# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What this folder uses of Transformers and torch that they do not promise to keep: all of it, why, and until when.

It travels with a checkpoint, like its neighbours. The rest of the package has `hf_dynamicvit/compat.py`, and may
import this one too. A test finds what is used elsewhere. Methods that a subclass overrides by name (`_init_weights`,
`_set_gradient_checkpointing`, `_apply`) stand in the subclass.
"""

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

# `torch.export` traces with these: a parameter of this type is still a plain one. Can go when `torch.export` calls
# modules with parameters that are `nn.Parameter`.
from torch._subclasses.fake_tensor import FakeTensor

# Hub files from before Transformers 5 name tensors otherwise; the renaming is looked up by the name of the class. Can
# go when Transformers looks along the bases of a class, or no longer renames.
from transformers.conversion_mapping import (
    get_checkpoint_conversion_mapping,
    register_checkpoint_conversion_mapping,
)
from transformers.core_model_loading import Chunk, WeightConverter, WeightRenaming

# Stochastic depth, which ViT and DeiT lack: without parameters or state. Can go with any public module for it.
from transformers.models.dinov2.modeling_dinov2 import Dinov2DropPath as DropPath

# The attention that the attention interface falls back to; each model has its own, and these are all the same. Can go
# when `ALL_ATTENTION_FUNCTIONS` has "eager".
from transformers.models.vit.modeling_vit import eager_attention_forward
from transformers.utils import cached_file

# `output_hidden_states`, `output_attentions` and `return_dict` as in native models. Can go when Transformers documents
# how a model outside of it records what its blocks hand on.
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import (
    _CAN_RECORD_REGISTRY,
    capture_outputs,
    maybe_install_capturing_hooks,
)


__all__ = [
    "Chunk",
    "DropPath",
    "FakeTensor",
    "WeightConverter",
    "WeightRenaming",
    "add_whole_modules",
    "attends",
    "attention_implementation",
    "auto_class",
    "can_return_tuple",
    "capture_outputs",
    "checkpointing_function",
    "drop_whole_modules",
    "eager_attention_forward",
    "file_in_cache",
    "forget_loading_hooks",
    "forget_recording",
    "get_checkpoint_conversion_mapping",
    "has_hooks",
    "has_own_forward",
    "has_packed_linear",
    "is_compiled",
    "merge_with_config_defaults",
    "native_recordings",
    "pack_linear",
    "packed_linear",
    "register_checkpoint_conversion_mapping",
    "register_recording",
    "set_auto_class",
    "start_recording",
    "take_eager_attention",
    "times_written",
]


# ----- Transformers


def attention_implementation(config: Any) -> str:
    """Read which attention function a model uses; can go when `get_attn_implementation` is there beside its setter."""
    return config._attn_implementation


def take_eager_attention(config: Any) -> None:
    """Set a configuration to the one attention that a model has; can go when models say so and others are ignored."""
    config._attn_implementation = "eager"


def attends(model: Any) -> bool:
    """Return whether a model, or its class, has attention that could be SDPA; no for one of convolutions alone.

    Can go when `set_attn_implementation` takes what a model without attention has.
    """
    return model._supports_sdpa


def checkpointing_function(layer: nn.Module) -> Callable[..., Any]:
    """Read what checkpoints `layer`, which must not be torch's reentrant form; can go when Transformers refuses it."""
    return cast(Any, layer)._gradient_checkpointing_func


def auto_class(cls: type) -> str | None:
    """Read the Auto class that `cls` itself is registered for, which makes `save_pretrained` copy its code."""
    return cls.__dict__.get("_auto_class")


def set_auto_class(cls: type, name: str | None) -> None:
    """Set it, also back to `None`; can go when `register_for_auto_class` takes `None`."""
    cast(Any, cls)._auto_class = name


def register_recording(model: Any) -> None:
    """Let hidden states and attentions of `model`, whose class was exchanged, be recorded as that class says.

    The constructor of a class registers this, by its name in releases where the registry is a plain `dict`. Can go
    when Transformers reads it from the class.
    """
    key = str(type(model)) if type(_CAN_RECORD_REGISTRY) is dict else model
    _CAN_RECORD_REGISTRY[key] = model._can_record_outputs


def native_recordings(cls: Any) -> dict[str, Any]:
    """Read what a native class lets be recorded; can go with `register_recording`."""
    return cls._can_record_outputs


def forget_recording(model: Any) -> None:
    """Take off what a call of `model` left on its modules for recording; the next one asks the classes again.

    Can go with `register_recording`.
    """
    for module in model.modules():
        vars(module).pop("_output_capturing_hooks_installed", None)
        hooks = module._forward_hooks
        for key in [
            key for key, hook in hooks.items() if getattr(hook, "__module__", "") == capture_outputs.__module__
        ]:
            del hooks[key]


def start_recording(model: Any) -> None:
    """Put on the modules of a backbone what records them, as its constructor does, so that graphs find it there.

    Can go with `register_recording`.
    """
    maybe_install_capturing_hooks(model)


def add_whole_modules(model: Any, names: Iterable[str]) -> None:
    """Add classes of modules that no device map splits; can go when Transformers reads them from the class."""
    model._no_split_modules = {*(model._no_split_modules or ()), *names}


def drop_whole_modules(model: Any, names: Iterable[str]) -> None:
    """Take them away again."""
    model._no_split_modules = {*(model._no_split_modules or ())} - {*names}


def has_own_forward(module: nn.Module) -> bool:
    """Return whether a `forward` was put on `module` itself, as Accelerate's hooks do; it has no public question."""
    return "forward" in vars(module) or hasattr(module, "_hf_hook")


def file_in_cache(source: str, name: str, **place: str) -> Path | None:
    """Find a file of `source`, a folder or a repository in the cache, without asking the network.

    `cached_file` raises for what is not there unless told not to, by arguments that are private; can go when they are
    public ones.
    """
    try:
        found = cached_file(
            source,
            name,
            local_files_only=True,
            **cast(Any, place),
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except OSError:  # a folder that is gone since, and no name of a repository either
        return None
    return None if found is None else Path(found)


# ----- torch


def has_hooks(layer: nn.Module) -> bool:
    """Return whether anybody sees or changes what `layer` takes or gives; torch has no public question."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


def is_compiled(module: nn.Module) -> bool:
    """Return whether `module` was compiled, in place or within another; torch has no public question."""
    return module._compiled_call_impl is not None or hasattr(module, "_orig_mod")


def forget_loading_hooks(module: nn.Module, names: Collection[str]) -> None:
    """Take the `load_state_dict` pre-hooks of these names off; torch gives a handle, which no copy of a model has."""
    hooks: dict[int, Any] = module._load_state_dict_pre_hooks
    for key in [key for key, hook in hooks.items() if getattr(hook, "hook", hook).__name__ in names]:
        del hooks[key]


def times_written(tensor: Tensor) -> int:
    """Count how often `tensor` was written to, except through its `.data`; torch has no public counter."""
    return tensor._version


# oneDNN's packed products are what `torch.compile` emits on a CPU; torch has no public way to call them.


def has_packed_linear() -> bool:
    """Return whether this torch can pack weights and multiply by them."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def pack_linear(weight: Tensor) -> Tensor:
    """Return a copy of `weight` `[out, in]` in oneDNN's blocked layout."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)


def packed_linear(hidden: Tensor, packed: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    """Multiply `[..., in]` by a packed weight, with the exact GELU in the same product if `gelu`."""
    activation = ("gelu", [], "none") if gelu else ("none", [], "")
    return torch.ops.mkldnn._linear_pointwise(hidden, packed, bias, *activation)
