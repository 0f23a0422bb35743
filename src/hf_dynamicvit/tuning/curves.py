# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Search a schedule among curves of three numbers: some dozens of trials, which a few images suffice to tell apart.

A schedule that is free in every block has as many numbers as blocks, takes hundreds of trials and fits the images that
it was searched on. A curve says how the patches fall from the first block to the last: after how many blocks that
begins, how slow it starts, how slow it ends. How deep it falls is what meets the budget.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ..model.schedules import Schedule
from .search import Point, Problem, follow


@dataclass(frozen=True)
class Curve:
    """`1 - (1 - x^start)^end`, the distribution function of Kumaraswamy (1980), over the blocks behind the first ones.

    Attributes:
        onset: blocks at the beginning that remove nothing; `x` is the fraction of the others.
        start: the larger, the longer these keep their patches; 1 and 1 is a straight line.
        end: the larger, the fewer the last ones remove.
        expansion: how counts behind the blocks become those of the stages, by its place in `Problem.expansions`.
    """

    onset: int
    start: float
    end: float
    expansion: int = 0

    def schedule(self) -> Schedule:
        """Return the schedule that is meant."""

        def layers(depth: int) -> list[int]:
            return [*range(min(self.onset, depth - 1), depth)]

        def keep_ratios(keep_ratio: float, num_stages: int) -> list[float]:
            places = [(stage + 1) / num_stages for stage in range(num_stages)]
            return [1 - (1 - keep_ratio) * (1 - (1 - place**self.start) ** self.end) for place in places]

        return Schedule(layers, keep_ratios, f"from block {self.onset} on; the number is what is left")

    def neighbours(self, factor: float) -> Iterator["Curve"]:
        """Yield the curves that differ in one number, by `factor` or one block."""
        for onset in (self.onset + 1, max(0, self.onset - 1)):
            yield replace(self, onset=onset)
        for change in (factor, 1 / factor):
            yield replace(self, start=self.start * change)
            yield replace(self, end=self.end * change)


# Where the search begins: all ends with all starts, from the first block on; and a few behind a quarter of them.
STARTS, LATER_STARTS, ENDS = (1.0, 1.5, 2.25, 3.4), (1.0, 1.5), (1.0, 1.6, 2.6, 4.2)

# By what factors the best of them is then changed, first by the larger, as long as that helps, at most so many times.
FACTORS, MOVES = (1.25, 1.12), 4

# Costs, between everything and the budget, at which the best curve is tried for the front.
FRONT = 5


def first_curves(depth: int) -> list[Curve]:
    """Return the curves that are tried first."""
    quarter = depth // 4
    found = [Curve(0, start, end) for start, end in itertools.product(STARTS, ENDS)]
    return found + [Curve(quarter, start, end) for start, end in itertools.product(LATER_STARTS, ENDS) if quarter]


def search_curves(problem: Problem, budget: float, tell: Callable[[], object] = lambda: None) -> Point | None:
    """Find the curve that changes answers least within the budget; `None` where none meets it.

    Args:
        problem: what is searched over.
        budget: of its cost.
        tell: called after each curve.
    """
    whole = problem.tried(*problem.cast_priced(problem.everything))
    if whole.cost <= budget:
        return whole
    tried: set[Curve] = set()
    found: dict[Curve, Point] = {}

    def attempt(curve: Curve) -> None:
        point = None if curve in tried else follow(problem, curve.schedule(), budget, curve.expansion)
        if point is not None:
            found[curve] = point
        tried.add(curve)
        tell()

    def best() -> Curve:
        return min(found, key=lambda curve: found[curve].loss)  # the first of equals, so that nothing goes in circles

    for curve in first_curves(problem.depth):
        attempt(curve)
    if not found:
        return None
    for expansion in range(1, len(problem.expansions)):
        attempt(replace(best(), expansion=expansion))
    for factor in FACTORS:
        centre, moves = None, 0
        while best() != centre and moves < MOVES:
            centre, moves = best(), moves + 1
            for curve in centre.neighbours(factor):
                attempt(curve)
    add_front(problem, whole.cost, budget, best())
    return found[best()]


def add_front(problem: Problem, most: float, budget: float, curve: Curve) -> None:
    """Try a curve at costs between `most` and the budget."""
    for part in range(1, FRONT + 1):
        follow(problem, curve.schedule(), budget + (most - budget) * part / (FRONT + 1), curve.expansion)
