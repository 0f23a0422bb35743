# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Search a schedule among curves of two numbers: some dozens of trials, which a few images suffice to tell apart.

A schedule that is free in every block has as many numbers as blocks, takes hundreds of trials and fits the images that
it was searched on. A curve says how the patches fall from the first block to the last: how slow it starts, how slow it
ends. How deep it falls is what meets the budget.
"""

import itertools
from collections.abc import Callable

from ..model.schedules import Schedule, every
from .search import Point, Problem, follow


# How slow a curve starts and ends: 1 and 1 is a straight line; the search starts from these, all with all.
STARTS, ENDS = (1.0, 1.5, 2.25, 3.4), (1.0, 1.6, 2.6, 4.2)

# By what factors the best of them is then changed, first by the larger, as long as that helps, at most so many times.
FACTORS, MOVES = (1.25, 1.12), 4

# Costs, between everything and the budget, at which the best curve is tried for the front.
FRONT = 5


def make_curve(start: float, end: float) -> Schedule:
    """Make a schedule of every block along `1 - (1 - x^start)^end`, the distribution function of Kumaraswamy (1980).

    `x` is the fraction of the blocks. The larger `start`, the longer the first blocks keep their patches; the larger
    `end`, the fewer the last ones remove.
    """

    def keep_ratios(keep_ratio: float, num_stages: int) -> list[float]:
        fallen = [1 - (1 - ((stage + 1) / num_stages) ** start) ** end for stage in range(num_stages)]
        return [1 - (1 - keep_ratio) * part for part in fallen]

    return Schedule(every, keep_ratios, f"every block, along a curve: start {start:g}, end {end:g}; what is left")


def search_curves(problem: Problem, budget: float, tell: Callable[[], None] = lambda: None) -> Point | None:
    """Find the curve that changes answers least within the budget; `None` where none meets it.

    Args:
        problem: what is searched over.
        budget: of its cost.
        tell: called after each curve.
    """
    whole = problem.tried(*problem.cast_priced(problem.everything))
    if whole.cost <= budget:
        return whole
    found: dict[tuple[float, float, int], Point] = {}

    def attempt(start: float, end: float, expansion: int) -> None:
        if (start, end, expansion) not in found:
            point = follow(problem, make_curve(start, end), budget, expansion)
            if point is not None:
                found[start, end, expansion] = point
            tell()

    def best() -> tuple[float, float, int]:
        return min(found, key=lambda curve: found[curve].loss)  # the first of equals, so that nothing goes in circles

    for start, end in itertools.product(STARTS, ENDS):
        attempt(start, end, 0)
    if not found:
        return None
    for expansion in range(1, len(problem.expansions)):
        attempt(*best()[:2], expansion)
    for factor in FACTORS:
        centre, moves = None, 0
        while best() != centre and moves < MOVES:
            centre, moves = best(), moves + 1
            start, end, expansion = centre
            for change in (factor, 1 / factor):
                attempt(start * change, end, expansion)
                attempt(start, end * change, expansion)
    start, end, expansion = best()
    for part in range(1, FRONT + 1):
        between = budget + (whole.cost - budget) * part / (FRONT + 1)
        follow(problem, make_curve(start, end), between, expansion)
    return found[best()]
