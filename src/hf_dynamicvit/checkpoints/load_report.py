# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Which weights of a model are not the checkpoint's: what is meant to be so is not reported, all else is."""

import logging
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any


# The method's own parameters: new where another was trained, left over where another is chosen.
REDUCER = r"(^|\.)reducer\."

# The classifiers of all families, which are new for other classes.
CLASSIFIER = r"^\w*classifier(_distill)?\."

# Transformers' logger of the report, and a line of its table: a name, of several parameters too, and what is with it.
REPORTER = "transformers.modeling_utils"
ROW = re.compile(r"^(\S.*?) +\| (MISSING|UNEXPECTED|MISMATCH|CONVERSION)\b", re.MULTILINE)
COLOURS = re.compile(r"\x1b\[[\d;]*m")


@contextmanager
def expect_in_report(*expected: str) -> Generator[None]:
    """Keep Transformers from reporting weights whose names match one of the patterns `expected`.

    A report that has others too is shown as it is.
    """

    def is_news(record: logging.LogRecord) -> bool:
        rows = ROW.findall(COLOURS.sub("", record.getMessage()))
        return not rows or not all(matches(name, expected) for name, _ in rows)

    reporter = logging.getLogger(REPORTER)  # its level stays: from WARNING on it would check tensor-parallel plans
    reporter.addFilter(is_news)
    try:
        yield
    finally:
        reporter.removeFilter(is_news)


def check_weights(source: str, found: dict[str, Any], missing: Sequence[str], mis_shaped: Sequence[str] = ()) -> None:
    """Refuse a checkpoint that lacks weights, or has them in other shapes: they would be random.

    Args:
        source: of the checkpoint.
        found: what `from_pretrained(..., output_loading_info=True)` says.
        missing, mis_shaped: patterns of the names of those that are meant to be new.

    Raises:
        ValueError: it does; their names.
    """
    names = {name for name in found["missing_keys"] if not matches(name, missing)}
    names |= {name for name, *_ in found["mismatched_keys"] if not matches(name, mis_shaped)}
    if names:
        raise ValueError(f"{source} lacks weights, which would be random: {', '.join(sorted(names))}.")


def matches(name: str, patterns: Sequence[str]) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)
