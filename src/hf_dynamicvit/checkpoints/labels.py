# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Names of classes: those of a model, and which of one model is which of another."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def is_known(names: Sequence[str], labels: Sequence[str]) -> bool:
    """Return whether each of `names` is one of `labels`, and only one."""
    counts = Counter(labels)
    return all(counts[name] == 1 for name in names)


def list_first(names: Sequence[str], count: int = 5) -> str:
    """List the first `count` names in quotes, as names have commas, and say how many more there are."""
    return ", ".join(map(repr, names[:count])) + (f" and {len(names) - count} more" if len(names) > count else "")


def find_class_order(labels: Sequence[str], other: Sequence[str], same_classes: bool = False) -> Tensor | None:
    """Find where each of `labels` is in `other`, the classes of another model: `[K]` int64, `None` where they agree.

    Args:
        labels, other: names of classes.
        same_classes: names that differ are of the same classes in the same order.

    Raises:
        ValueError: they are other classes, or another number of them.
    """
    if list(labels) == list(other):
        return None
    if len(labels) != len(other):
        raise ValueError(f"The dense model has {len(other)} classes, the sparse one {len(labels)}.")
    if sorted(labels) != sorted(other) or not is_known(labels, labels):
        if same_classes:
            return None
        only = [name for name in other if name not in labels]
        raise ValueError(
            f"The dense model has other classes: {list_first(only or list(other))}; the sparse one has "
            f"{list_first(labels)}. If they are the same under other names, --same-classes takes them by their order."
        )
    index = {name: position for position, name in enumerate(other)}
    return torch.tensor([index[name] for name in labels])


def label_names(config: Any) -> list[str]:
    """Return the names of the classes in their order."""
    return [config.id2label[index] for index in range(config.num_labels)]


def has_classes(config: Any, names: list[str]) -> bool:
    """Return whether a model has these classes, in any order."""
    return sorted(label_names(config)) == sorted(names)
