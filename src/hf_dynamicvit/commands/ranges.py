# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Which numbers an option takes, and what is said of others before anything is loaded for them."""

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def as_option(name: str) -> str:
    """Spell the option of the setting `name`: `--keep-ratio` of `keep_ratio`."""
    return f"--{name.replace('_', '-')}"


@dataclass(frozen=True)
class Range:
    """The numbers that an option takes: all from `least` to `most`.

    Attributes:
        above, below: `least`, `most` itself is not one of them.
        besides: one more number, which has a meaning of its own.
        falling: of several, none is above the one before it.
        counts: several whole numbers, of patches, are taken too.
        meaning: what the number is, where that is often mistaken.
    """

    least: float = 0.0
    most: float = math.inf
    above: bool = False
    below: bool = False
    besides: float | None = None
    falling: bool = False
    counts: bool = False
    meaning: str = ""

    def holds(self, value: float) -> bool:
        """Return whether `value` is one of the numbers; infinity and NaN never are."""
        high_enough = value > self.least if self.above else value >= self.least
        low_enough = value < self.most if self.below else value <= self.most
        return value == self.besides or (math.isfinite(value) and high_enough and low_enough)

    def __str__(self) -> str:
        said = [f"above {self.least:g}" if self.above else f"{self.least:.10g} or more"]
        if self.most < math.inf:
            said.append(f"below {self.most:g}" if self.below else f"at most {self.most:.10g}")
        besides = "" if self.besides is None else f", or {self.besides:g}"
        return " and ".join(said) + besides + self.meaning


COUNT, FRACTION, NOT_NEGATIVE, ABOVE_ZERO = Range(1), Range(0, 1), Range(), Range(above=True)
SOME_FRACTION, BELOW_ONE = Range(0, 1, above=True), Range(0, 1, below=True)
KEEP_RATIO = Range(0, 1, above=True, falling=True, counts=True)


def numbers_in(value: Any) -> list[float]:
    """Return the numbers of what was typed for one option; what is no number, the parser of all options refuses."""
    numbers = []
    for part in value if isinstance(value, list) else [value]:
        with contextlib.suppress(TypeError, ValueError):
            numbers.append(float(part))
    return numbers


def check_ranges(
    given: Mapping[str, Any], ranges: Mapping[str, Range], spelled: Mapping[str, str] | None = None
) -> None:
    """Refuse numbers that an option does not take, before anything is loaded for them.

    Args:
        given: name of an option -> its value, or the words of it.
        ranges: name of an option -> what it takes; others take anything.
        spelled: name of an option -> as it was typed, where it has several names.

    Raises:
        ValueError: names the option, the number and those that it takes.
    """
    for name, allowed in ranges.items():
        numbers, option = numbers_in(given.get(name)), (spelled or {}).get(name, as_option(name))
        are_counts = allowed.counts and len(numbers) > 1 and all(n >= 1 and n == int(n) for n in numbers)
        for number in numbers:
            if not are_counts and not allowed.holds(number):
                raise ValueError(f"{option} is {number:g}; it must be {allowed}.")
        if allowed.falling and numbers != sorted(numbers, reverse=True):
            raise ValueError(f"{option} is {' '.join(f'{number:g}' for number in numbers)}; it must not increase.")
