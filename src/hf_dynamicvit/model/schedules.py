# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Named schedules: in which blocks tokens are reduced, and how one keep ratio becomes one of each of them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Where tokens are reduced and along which curve.

    Attributes:
        layers: depth of the model -> 0-based blocks that reduce, strictly increasing.
        keep_ratios: keep ratio of the configuration and number of stages -> fraction of the original patches after
            each stage, not increasing; a keep ratio of 1 keeps everything.
        summary: in one line, what it does and what its number means.
    """

    layers: Callable[[int], list[int]]
    keep_ratios: Callable[[float, int], list[float]]
    summary: str


# Patches that DiffRate's searched schedule of DeiT-Tiny leaves of 196 behind each block (ICCV 2023, its table "0.6").
# The published last one is 2, for classifiers that read the class token; it goes on falling as the two ahead here.
SEARCHED = tuple(count / 196 for count in (196, 186, 166, 138, 113, 89, 75, 65, 56, 44, 36, 28))


def quarters(depth: int) -> list[int]:
    """Blocks at a quarter, half and three quarters of the depth: 3, 6, 9 of 12."""
    return sorted({max(min(1, depth - 1), depth * stage // 4) for stage in (1, 2, 3)})


def behind_quarters(depth: int) -> list[int]:
    """Blocks behind those of `quarters`, 4, 7, 10 of 12, for scores of the block before."""
    return sorted({max(min(1, depth - 1), depth * stage // 4 + (depth > 4)) for stage in (1, 2, 3)})


def at_thirds(depth: int) -> list[int]:
    """Blocks at a third and two thirds of the depth: 4 and 8 of 12."""
    return sorted({min(depth - 1, max(1, depth * stage // 3)) for stage in (1, 2)})


def first_and_third(depth: int) -> list[int]:
    """Return the first block and that at a third of the depth, 0 and 4 of 12, at most the seventh."""
    return sorted({0, min(depth // 3, 6)})


def every(depth: int) -> list[int]:
    """Every block."""
    return list(range(depth))


def behind_the_first(depth: int) -> list[int]:
    """Every block but the first, or the only one."""
    return list(range(min(1, depth - 1), depth))


def every_other(depth: int) -> list[int]:
    """Every other block, from the second on, or the only one."""
    return list(range(min(1, depth - 1), depth, 2))


def from_a_quarter(depth: int) -> list[int]:
    """Every block from a quarter of the depth on: 3 to 11 of 12."""
    return list(range(depth // 4, depth))


def powers(keep_ratio: float, num_stages: int) -> list[float]:
    """Keep at each stage `keep_ratio` of what the one before kept."""
    return [keep_ratio ** (stage + 1) for stage in range(num_stages)]


def powers_by_thirds(keep_ratio: float, num_stages: int) -> list[float]:
    """Keep `keep_ratio`, its square and its cube in a third of the stages each."""
    return [keep_ratio ** (1 + 3 * stage // num_stages) for stage in range(num_stages)]


def constant(keep_ratio: float, num_stages: int) -> list[float]:
    """Keep `keep_ratio` at every stage."""
    return [keep_ratio] * num_stages


def geometric(keep_ratio: float, num_stages: int) -> list[float]:
    """Fall to `keep_ratio` by the same fraction at each stage."""
    return [keep_ratio ** ((stage + 1) / num_stages) for stage in range(num_stages)]


def linear(keep_ratio: float, num_stages: int) -> list[float]:
    """Fall to `keep_ratio` by the same number of patches at each stage."""
    return [1 - (1 - keep_ratio) * (stage + 1) / num_stages for stage in range(num_stages)]


def cosine(keep_ratio: float, num_stages: int) -> list[float]:
    """Fall to `keep_ratio` along half a cosine: few patches at the first and at the last stages."""
    fallen = [(1 - math.cos(math.pi * (stage + 1) / num_stages)) / 2 for stage in range(num_stages)]
    return [1 - (1 - keep_ratio) * part for part in fallen]


def searched(keep_ratio: float, num_stages: int) -> list[float]:
    """Fall to `keep_ratio` along the curve that DiffRate found, read between its twelve blocks for other numbers."""
    fallen = []
    for stage in range(num_stages):
        position = (stage + 1) * len(SEARCHED) / num_stages - 1  # of the end of the stage, on the curve of 12
        low = min(max(math.floor(position), -1), len(SEARCHED) - 2)
        before, after = SEARCHED[low] if low >= 0 else 1.0, SEARCHED[low + 1]
        fallen.append(1 - before - (after - before) * (position - low))
    return [1 - (1 - keep_ratio) * part / fallen[-1] for part in fallen]


def one_or_several(values: Sequence[float]) -> float | list[float]:
    """Return the `keep_ratio` that is meant by numbers on a command line: one, or a list, of counts as integers."""
    numbers = [int(value) if value > 1 and value == int(value) else value for value in values]
    return numbers[0] if len(numbers) == 1 else numbers


SCHEDULES = {
    "linear": Schedule(every, linear, "every block, the same number of patches less each; the number is what is left"),
    "geometric": Schedule(every, geometric, "every block, the same fraction less each; the number is what is left"),
    "cosine": Schedule(every, cosine, "every block, few at first and at the end; the number is what is left"),
    "diffrate": Schedule(every, searched, "every block, as DiffRate's search found; the number is what is left"),
    "late": Schedule(
        from_a_quarter, geometric, "blocks from a quarter of the depth on, the same fraction less each; what is left"
    ),
    "three-stage": Schedule(quarters, powers, "blocks at the quarters of the depth; the number is kept at each"),
    "alternate": Schedule(every_other, constant, "every other block from the second on; the number is kept in each"),
    "algm": Schedule(first_and_third, powers, "the first block and that at a third of the depth; kept at each"),
    "mctf": Schedule(
        behind_the_first,
        geometric,
        "every block but the first, the same fraction less each; the number is what is left",
    ),
    "asvit": Schedule(behind_quarters, powers, "blocks behind the quarters of the depth; the number is kept at each"),
    "evovit": Schedule(at_thirds, constant, "blocks at the thirds of the depth; the number is kept by both"),
    "idlevit": Schedule(
        from_a_quarter, powers_by_thirds, "blocks from a quarter of the depth on; r, r^2 and r^3 in three thirds"
    ),
}
