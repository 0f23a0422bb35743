# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The methods that a slow test is parametrised over."""

from collections.abc import Iterable
from typing import Any

import pytest

from hf_dynamicvit import REDUCERS
from hf_dynamicvit.model.reducers import is_adaptive


# Each image keeps as many tokens as the others of its batch, so that a graph has fixed shapes.
FIXED = [name for name in sorted(REDUCERS) if not is_adaptive(name)]
# Decisions are soft in training, so that its outputs are not those of inference.
RELAX = ("dtem",)
# One of higher score may go where one of lower stays: as a sample, or as the host of others.
SAMPLE = ("ats", "bat", "freq")
# One of each kind: images decide for themselves, patches are masked in training, fused, put back, merged.
FEW = ("asvit", "dynamicvit", "evit", "idlevit", "tome")
OTHERS = tuple(name for name in sorted(REDUCERS) if name not in FEW)
# Those whose operators differ: class attention and a fused token, merging by a stable sort, tokens put back.
UNLIKE = ("evit", "idlevit", "tome")


def usual(**values: Iterable[Any]) -> pytest.MarkDecorator:
    """Mark all cases of a test `long` but those whose parameters have these `values`.

    `@usual(reducer=FEW)` leaves a few methods in the default run. Of several such marks, a case that one of them names
    is usual: `@usual(reducer=FEW)` above `@usual(dtype=["float32"])` leaves every method in one type, a few in all.
    """
    assert {*values.get("reducer", ())} <= {*REDUCERS}
    return pytest.mark.usual(**values)


def is_usual(item: pytest.Item) -> bool:
    """Return false for a case that none of the marks of its test names."""
    marks = [mark.kwargs for mark in item.iter_markers("usual")]
    given = item.callspec.params if marks else {}
    return not marks or any(all(given[name] in mark[name] for name in mark) for mark in marks)


def all_methods(*usual: str, of: Iterable[str] = REDUCERS) -> list[Any]:
    """Return every method `of` these as a parameter; all but the `usual` ones are marked `long`."""
    names = sorted(of)
    assert {*usual} <= {*names}
    return [name if name in usual else pytest.param(name, marks=pytest.mark.long) for name in names]
