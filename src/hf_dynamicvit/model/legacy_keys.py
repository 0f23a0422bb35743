# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Names of tensors in files written before Transformers 5, which it renames for its own classes alone."""

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from .compat import (
    Chunk,
    WeightConverter,
    WeightRenaming,
    get_checkpoint_conversion_mapping,
)


def conversion_mapping(cls: type) -> list | None:
    """Find how Transformers renames the keys of Hub files: of `cls`, a base with a mapping, or its model type."""
    names = [base.__name__ for base in cls.__mro__]
    if getattr(cls, "renamed_by_type", False):
        names.append(cast(Any, cls).config_class.dense_model_type)
    mappings = (get_checkpoint_conversion_mapping(name) for name in names)
    return next((mapping for mapping in mappings if mapping), None)


def rename_legacy_keys(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_) -> None:
    """`load_state_dict` pre-hook: accept the key layout that `save_pretrained` writes.

    The Trainer resumes, and reloads its best model, by a raw `load_state_dict(strict=False)` of a saved file. Saving
    writes the layout from before Transformers 5, so without this every encoder weight would silently stay as it was.
    Can go when `Trainer._load_from_checkpoint` converts keys (transformers issue 43701).
    """
    own = module.state_dict()
    mapping = conversion_mapping(type(module)) or []
    renamings = [renaming for renaming in mapping if isinstance(renaming, WeightRenaming)]
    splits = [converter for converter in mapping if isinstance(converter, WeightConverter)]
    for key in [key for key in state_dict if key.startswith(prefix) and key[len(prefix) :] not in own]:
        name = key[len(prefix) :]
        for renaming in renamings:
            name, _ = renaming.rename_source_key(name)
        for part, tensor in split_weights(name, state_dict[key], splits).items():
            if part in own and prefix + part not in state_dict:
                state_dict[prefix + part] = tensor
                state_dict.pop(key, None)


def rename_root_keys(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_) -> None:
    """`load_state_dict` pre-hook of a model around a base model, whose names `rename_legacy_keys` then sees."""
    own, renamings = module.state_dict(), conversion_mapping(type(module)) or []
    for key in [key for key in state_dict if key.startswith(prefix) and key[len(prefix) :] not in own]:
        name = key[len(prefix) :]
        for renaming in renamings:
            name, _ = renaming.rename_source_key(name)
        state_dict[prefix + name] = state_dict.pop(key)


def split_weights(name: str, tensor: Tensor, converters: Sequence[WeightConverter]) -> dict[str, Tensor]:
    """Split a `tensor` that older files hold as one, such as a gated MLP's, into those that have taken its place."""
    for converter in converters:
        source, targets = converter.source_patterns[0], converter.target_patterns
        if source in name and isinstance(converter.operations[0], Chunk):
            parts = tensor.chunk(len(targets), dim=converter.operations[0].dim)
            return {name.replace(source, target): part for target, part in zip(targets, parts, strict=True)}
    return {name: tensor}
