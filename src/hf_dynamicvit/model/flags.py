# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Tell flags from numbers: to Python True is 1, to a user who types it for a number it is a mistake."""

import inspect
import re
from typing import Any


def holds_flag(value: Any) -> bool:
    """Return whether `value` is True or False, or a list or tuple that holds one."""
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(holds_flag, value)))


def asks_for_number(annotation: Any) -> bool:
    """Return whether an annotation, or its text, names numbers and no flag."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    words = set(re.findall(r"\w+", text))
    return bool(words & {"int", "float"}) and "bool" not in words


def refuse_flags(**numbers: Any) -> None:
    """Refuse flags where numbers are asked for.

    Raises:
        ValueError: names the first.
    """
    for name, value in numbers.items():
        if holds_flag(value):
            raise ValueError(f"{name} is {value!r}; a number is asked for, and True and False are none.")
