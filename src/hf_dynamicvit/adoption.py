# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Reduce the tokens of a model that is already loaded, alone or inside another, and take that back.

Its modules, and its configuration, change class in place, as `model/reduction.py` does for a new model. So every
object that holds one of them, a pipeline, adapters or a model around it, has the reduced one.
"""

import copy
import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple, NoReturn

import torch
from torch import nn
from transformers import BackboneMixin, PreTrainedConfig, PreTrainedModel
from transformers.utils import is_peft_available

from .families import ADOPTABLE
from .model.backbone import warn_of_patches_left_behind
from .model.checkpointing import with_gradients
from .model.compat import (
    add_whole_modules,
    checkpointing_function,
    drop_whole_modules,
    forget_loading_hooks,
    forget_recording,
    has_own_forward,
    is_compiled,
    register_recording,
    start_recording,
)
from .model.legacy_keys import rename_legacy_keys, rename_root_keys
from .model.native import native_class
from .model.pretrained import ReducedPreTrainedModel
from .model.reducers import REDUCERS, is_adaptive
from .model.reduction_config import REDUCTION
from .model.refused import NEEDS_TRAINING, REFUSED, refusal
from .names import suggest_nearest
from .registration import ADOPTING
from .vision_language import check_drop


Reduced = type[ReducedPreTrainedModel]

# options of `reduce_tokens` beside the method and its ratio
OPTIONS = tuple(name for name in REDUCTION if name not in ("reducer", "keep_ratio"))
# models around a tower that read its pooled output or class token alone, so that patches may go
POOLED = {
    "CLIPVisionModelWithProjection",
    "MetaClip2VisionModelWithProjection",
    "DeiTForImageClassification",
    "VisionTextDualEncoderModel",
}


class Unasked(float):
    """A keep ratio that the user did not ask for, so that a method which takes none need not refuse it."""


USUAL_KEEP_RATIO = Unasked(0.7)

# by name: those of code that came with a checkpoint are other functions
LOADING_HOOKS = {function.__name__ for function in (rename_legacy_keys, rename_root_keys)}


class Found(NamedTuple):
    """A model within another.

    Attributes:
        model: it.
        name: where, with dots; empty where it is what was handed in.
        hosts: models of Transformers around it, the outermost first.
    """

    model: Any
    name: str
    hosts: list[Any]


def outermost(model: nn.Module, wanted: Any) -> Iterator[Found]:
    """Walk the modules of `model` for those of which `wanted` says so and that are in no other such."""
    names: list[str] = []
    for name, module in model.named_modules():
        if wanted(module) and not any(name.startswith(f"{above}.") or not above for above in names):
            names.append(name)
            parts = name.split(".") if name else []
            around = [model.get_submodule(".".join(parts[:end])) for end in range(len(parts))]
            yield Found(module, name, [each for each in around if isinstance(each, PreTrainedModel)])


def is_reduced(module: nn.Module) -> bool:
    """Return whether `module` is a model whose tokens are reduced, also by code that came with a checkpoint."""
    return isinstance(module, PreTrainedModel) and hasattr(type(module), "adopt")


def reduce_tokens(
    model: Any,
    reducer: str = "tome",
    keep_ratio: float | list[float] | None = USUAL_KEEP_RATIO,
    *,
    drop: bool = False,
    **options: Any,
) -> Any:
    """Reduce the tokens of a loaded model from now on, in place, and return the same object.

    It may be a base model, a classifier, a backbone or a zero-shot model of any family, one inside PEFT's wrapper or
    in a module of your own, a pipeline's `model`, or a model with such an image tower, as LLaVA, or backbone, as DPT.
    The result is that of loading the checkpoint by our class: `save_pretrained` writes a reduced model, which the Auto
    classes find.

    A model of Transformers around the tower reads every patch, unless it is known to read the pooled output. Then the
    tower puts every patch back, in whichever block it is read (`full_grid` in its configuration), as a backbone does
    itself: one whose token was merged has its group's features. With `drop` it hands over the tokens that are left, so
    that a language model reads fewer; `fit_processor` lets the processor write as many placeholders.
    Where it cannot load a reduced tower, its `save_pretrained` says so and refuses. PEFT's wrapper saves the adapters
    alone, as always: load the model, reduce it, then load them.

    A tower handed in alone takes every method; what is around it is not known then, so that neither whether it reads
    every patch is checked, nor whether it can be saved.

    Call it before what looks at the modules of the model: `torch.compile`, FSDP, DDP, offloading. Configurations are
    exchanged in place too, so that a second model built of the same object would have to be given a copy.

    Args:
        model: the loaded model.
        reducer: name of the method, a key of `REDUCERS`.
        keep_ratio: as in `DynamicViTConfig`; `None` is the method's own default. Left out, it is 0.7, or none where
            each image decides (AS-ViT) or an option says how many tokens go (`reducer_args={"r": 8}` of ToMe).
        drop: hand a language model the image tokens that are left; refused where it cannot read fewer.
        **options: `reducer_layers`, `reducer_args` and `drop_path_rate` of `DynamicViTConfig`.

    Raises:
        ValueError: it cannot be done; the message says why, and nothing has changed.
    """
    check_options(reducer, options)
    found = find_native(model)
    check_modules(model, found)
    if isinstance(keep_ratio, Unasked):
        keep_ratio = float(keep_ratio) if takes_keep_ratio(reducer, options) else None
    config = reduced_config(found, {"reducer": reducer, "keep_ratio": keep_ratio, **options})
    check_method(model, config)
    if drop:
        check_drop(found.hosts, tower_config(config))
    elif reads_patches(found) and not tower_config(config).reducer_without_memory().returns_in_every_block:
        tower_config(config).full_grid = True
    adopt(found, config)
    if tower_config(config).full_grid:
        warn_of_patches_left_behind(tower_config(config).reducer, found.model.backbone.reducer, "image features")
    if found.hosts and not builds_reduced(found.hosts[0]):
        for host in found.hosts:
            host.save_pretrained = partial(refuse_saving, type(host).__name__)
    return model


def restore(model: Any) -> Any:
    """Give a model whose tokens are reduced its native classes and configuration back, in place; return it.

    The weights stay as they are, those of the method go. It works after `reduce_tokens`, and on a model that was
    loaded reduced.

    Raises:
        ValueError: no model in it is reduced, or it was compiled, sharded or offloaded since.
    """
    check_module(model)
    reduced = list(outermost(model, is_reduced))
    if not reduced:
        raise ValueError(
            f"{type(model).__name__} holds no model whose tokens are reduced; there is nothing to restore."
        )
    for found in reduced:
        check_wrappers(model, found)
    for found in reduced:
        give_back(found)
    return model


# ----- what is refused, before anything has changed


def check_module(model: Any) -> None:
    """Refuse what is no module."""
    if not isinstance(model, nn.Module):
        hint = "; hand in its .model" if isinstance(getattr(model, "model", None), nn.Module) else ""
        raise ValueError(f"model is a {type(model).__name__}, not a model{hint}.")


def check_options(reducer: str, options: dict[str, Any]) -> None:
    """Refuse options that no configuration takes beside the native ones."""
    unknown = sorted(set(options) - set(OPTIONS))
    if reducer in REDUCERS and {*unknown} & {*REDUCERS[reducer].options()}:
        raise ValueError(f"{', '.join(unknown)}: options of the method are given in reducer_args={{...}}.")
    if unknown:
        nearest = suggest_nearest(unknown[0], OPTIONS, ".")
        raise ValueError(f"{', '.join(unknown)} is no option; there are {', '.join(OPTIONS)}{nearest}")


def takes_keep_ratio(reducer: str, options: dict[str, Any]) -> bool:
    """Return whether a keep ratio goes with the method and its `options`; with an unknown method the ratio is fine."""
    if reducer not in REDUCERS:
        return True
    counts = (options.get("reducer_args") or {}).get
    return not is_adaptive(reducer) and all(counts(name) is None for name in REDUCERS[reducer].count_options)


def find_native(model: Any) -> Found:
    """Find the one model within `model` whose tokens can be reduced."""
    check_module(model)
    reduced = next(outermost(model, is_reduced), None)
    if reduced is not None:
        raise ValueError(
            f"{reduced.name or 'the model'} is a {type(reduced.model).__name__} already; call restore(model) first, "
            "or its set_keep_ratio."
        )
    found = list(outermost(model, lambda module: type(module) in ADOPTING))
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"model holds {', '.join(each.name for each in found)}; hand in one of these.")
    if any(is_sharded(module) for module in model.modules()):
        raise ValueError("model is sharded by FSDP, whose hooks would miss the exchange; reduce first, then shard.")
    raise ValueError(unknown_model(model))


def unknown_model(model: nn.Module) -> str:
    """Say why nothing in `model` can be reduced, and what can."""
    for module in model.modules():
        config: Any = getattr(module, "config", None)
        if isinstance(module, PreTrainedModel) and config.model_type in REFUSED:
            return refusal(config.name_or_path or type(module).__name__, config.model_type, "")
        if isinstance(module, PreTrainedModel) and config.model_type in NEEDS_TRAINING:
            return f"{type(module).__name__} cannot be reduced as it is: {NEEDS_TRAINING[config.model_type]}"
    name = type(model).__name__
    nearest = suggest_nearest(name, [cls.__name__ for cls in ADOPTING], "")
    types = ", ".join(family.dense for family in ADOPTABLE.values())
    return f"{name} holds no model whose tokens can be reduced{nearest or '.'} There are those of model types {types}."


def check_wrappers(model: nn.Module, found: Found) -> None:
    """Refuse modules that something else has taken hold of, which would not see the exchange."""
    around = [model.get_submodule(found.name[:end]) for end, each in enumerate(found.name) if each == "."]
    modules = [model, *around, *found.model.modules()]
    if any(is_sharded(module) for module in modules):
        raise ValueError("model is sharded by FSDP, whose hooks would miss the exchange; reduce first, then shard.")
    if any(isinstance(module, nn.parallel.DistributedDataParallel) for module in modules):
        raise ValueError("model is inside DistributedDataParallel, which knows its parameters; hand in its .module.")
    if any(is_compiled(module) for module in modules):
        raise ValueError("model is compiled, and its graphs are those of before; reduce first, then compile.")
    hooked = [name for name, module in found.model.named_modules() if has_own_forward(module)]
    if hooked:
        raise ValueError(
            f"{hooked[0] or type(found.model).__name__} has a forward of its own, as Accelerate gives for offloading "
            "and device maps; reduce first, then dispatch (for one device: no device_map), or remove_hook_from_module."
        )


def check_modules(model: nn.Module, found: Found) -> None:
    """Refuse a model whose modules cannot change class."""
    check_wrappers(model, found)
    tower, base = parts(found.model)
    for where, module, ours in tower.exchanged_modules(base):
        expected = native_class(ours)
        if type(module) not in (expected, ours):
            raise ValueError(
                f"{where} has a {type(module).__name__} for a {expected.__name__}: it was exchanged, as by "
                "quantisation or other kernels, and cannot be adopted. Reduce first."
            )
        if getattr(module, "gradient_checkpointing", False):
            with_gradients(checkpointing_function(module))
    for name, parameter in base.embeddings.named_parameters():
        if not parameter.is_floating_point():
            raise ValueError(f"embeddings.{name} is quantised ({parameter.dtype}) and cannot be adopted.")


def reads_patches(found: Found) -> bool:
    """Return whether what is around the tower reads its patches, which it does not put back itself."""
    hands_out = ADOPTING[type(found.model)].hands_out_patches
    return not hands_out and any(type(host).__name__ not in POOLED for host in found.hosts)


def check_method(model: nn.Module, config: Any) -> None:
    """Refuse a method that does not fit what is around the model."""
    reducer, method = tower_config(config).reducer, tower_config(config).reducer_without_memory()
    if is_adapted(model) and [*method.parameters()]:
        raise ValueError(
            f"reducer {reducer!r} has weights of its own, which PEFT would neither train nor save. Reduce the model "
            "first, then put adapters on, with modules_to_save=['reducer']."
        )


def is_adapted(model: nn.Module) -> bool:
    """Return whether PEFT has wrapped `model`, or a module in it."""
    if not is_peft_available():
        return False
    from peft import PeftModel

    return any(isinstance(module, PeftModel) for module in model.modules())


# ----- there and back


def parts(model: Any) -> tuple[Any, Any]:
    """Return the class of the image tower of a native `model`, and the tower."""
    ours: Any = ADOPTING[type(model)]
    return (ours.model_class, ours.native_base(model)) if hasattr(ours, "model_class") else (ours, model)


def tower_config(config: Any) -> Any:
    """Return the configuration of the image tower."""
    return getattr(config, "vision_config", config)


def reduced_config(found: Found, options: dict[str, Any]) -> Any:
    """Build our configuration of a native model, which checks `options`."""
    native, config_class = found.model.config, ADOPTING[type(found.model)].config_class
    fields = {field.name for field in dataclasses.fields(tower_config(native))}
    if "drop_path_rate" in options and "drop_path_rate" in fields:
        raise ValueError("drop_path_rate is the native one here; its layers are built, set it as the model is loaded.")
    return config_class.from_dict(native.to_dict(), **options)


def exchange_config(config: Any, other: Any) -> None:
    """Let `config` become `other` in place; what it has stays, but what reduction adds, and the code it came with."""
    state = dict(vars(other))
    for name, value in vars(config).items():
        if isinstance(value, PreTrainedConfig):  # those of the towers, which modules hold too
            if type(value) is not type(state[name]):
                exchange_config(value, state[name])
            state[name] = value
        elif name in state or name not in (*REDUCTION, "auto_map"):
            state[name] = value
    vars(config).clear()
    vars(config).update(state)
    config.__class__ = type(other)


def adopt(found: Found, config: Any) -> None:
    """Let the model, its modules and its configuration change class, and add the method."""
    model, ours = found.model, ADOPTING[type(found.model)]
    exchange_config(model.config, config)
    model.__class__ = ours
    with torch.random.fork_rng(devices=[]):  # weights that are drawn anew below
        model.adopt()
    base = model.backbone
    like = next(parameter for parameter in base.layers.parameters() if parameter.is_floating_point())
    base.reducer.to(device=like.device, dtype=base.dtype).train(base.training)
    base.reducer.apply(base._initialize_weights)
    record_anew(found)
    for each in dict.fromkeys((*found.hosts, model, base)):
        add_whole_modules(each, whole_modules(base))


def record_anew(found: Found) -> None:
    """Let hidden states and attentions be recorded as the classes of now say."""
    forget_recording([*found.hosts, found.model][0])
    for module in found.model.modules():
        if isinstance(module, PreTrainedModel):
            register_recording(module)
    if isinstance(found.model, BackboneMixin):
        start_recording(found.model)


def whole_modules(base: Any) -> set[str]:
    """Name the classes of the modules of a reduced base model that stay on one device."""
    return {*(type(base)._no_split_modules or ()), *getattr(base.reducer, "_no_split_modules", ())}


def become_native(module: Any) -> None:
    """Let a part of a block, or the embeddings, have its native class, if it was given ours."""
    if type(module).__name__.startswith("Dynamic"):
        module.__class__ = native_class(type(module))


def give_back(found: Found) -> None:
    """Let the model, its modules and its configuration be the native ones."""
    model, base = found.model, found.model.backbone
    native = native_class(type(model))
    model.undo_optimize_for_inference()
    config = native.config_class(**model.config.to_native_dict())
    own_rate = "drop_path_rate" in {field.name for field in dataclasses.fields(tower_config(config))}
    whole = whole_modules(base) - {*(native_class(type(base))._no_split_modules or ())}
    if not own_rate:
        for layer in base.layers:
            del layer.drop_path
    del base.reducer
    for module in [*base.modules()][1:]:
        become_native(module)
    exchange_config(model.config, config)
    if any(name.startswith("Dynamic") for name in model.config.architectures or ()):
        model.config.architectures = [native.__name__]
    base.__class__, model.__class__ = native_class(type(base)), native
    for each in dict.fromkeys((model, base)):
        forget_loading_hooks(each, LOADING_HOOKS)
    record_anew(found)
    for each in dict.fromkeys((*found.hosts, model, base)):
        drop_whole_modules(each, whole)
    for host in found.hosts:
        vars(host).pop("save_pretrained", None)


def is_sharded(module: nn.Module) -> bool:
    """Return whether FSDP, of either kind, has taken hold of `module`."""
    if not torch.distributed.is_available():
        return False
    from torch.distributed.fsdp import FSDPModule, FullyShardedDataParallel

    return isinstance(module, FSDPModule | FullyShardedDataParallel)


# ----- models around a tower


def builds_reduced(host: Any) -> bool:
    """Return whether `host`, saved and loaded, has a reduced tower; it is built anew, without memory."""
    try:
        config = type(host.config).from_dict(copy.deepcopy(host.config.to_dict()))
        with torch.device("meta"):
            again = type(host)(config)
    except Exception:  # of any kind: it is code of others, which does not know what it was given
        return False
    return any(is_reduced(module) for module in again.modules())


def refuse_saving(host: str, *_: Any, **__: Any) -> NoReturn:
    """Refuse to write a model that would silently be loaded dense."""
    raise ValueError(
        f"a {host} always builds a dense image tower: saved and loaded, it would be dense again and its reducer lost. "
        "Save restore(model), and call reduce_tokens on what is loaded."
    )
