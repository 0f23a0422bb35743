# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Find, among the numbers of tokens that each block may leave, those that cost little and change answers least."""

import itertools
import random
import statistics
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field

from ..model.schedules import SCHEDULES, Schedule
from ..model.selection import within_reach


Numbers = tuple[int, ...]

# Of each image, how far its answer is from the dense one.
Losses = tuple[float, ...]

# Halvings in which the last step of a search is fitted to the budget.
HALVINGS = 12

# Draws for each schedule that is run in a refinement: of most, nothing new comes near the end.
DRAWS = 20


@dataclass(frozen=True)
class Point:
    """A schedule that was tried.

    Attributes:
        counts: patch tokens that each stage leaves.
        cost: multiply-adds of an image, or predicted seconds of a batch.
        loss: how far the answers are from the dense ones.
    """

    counts: Numbers
    cost: float
    loss: float


@dataclass
class Problem:
    """What is searched over: stages that leave fewer and fewer of the patches, with a cost and a loss for each choice.

    Attributes:
        num_patches: of an image.
        layers: the block of each stage.
        depth: blocks of the model.
        least_left: fraction of what enters a stage that it must leave.
        cost: counts of the stages -> cost, or `None` where they are not possible.
        losses: counts of the stages -> loss of each image; is asked once for each.
        known: losses that are known already.
        on_trial: called after each loss that was asked for.
        expansions: counts of the blocks that reduce -> those of the stages; several where a block is several stages,
            the method's own first.
    """

    num_patches: int
    layers: Sequence[int]
    depth: int
    least_left: float
    cost: Callable[[Numbers], float | None]
    losses: Callable[[Numbers], Losses]
    known: dict[Numbers, Losses] = field(default_factory=dict)
    on_trial: Callable[[Numbers, Losses], None] = lambda counts, losses: None
    expansions: Sequence[Callable[[list[int]], Numbers]] = (tuple,)

    @property
    def everything(self) -> Numbers:
        """All patches at every stage."""
        return (self.num_patches,) * len(self.layers)

    def possible(self, counts: Iterable[int]) -> Numbers | None:
        """Return `counts` where each stage leaves at least one token and no more than it may remove."""
        numbers = tuple(counts)
        reached = within_reach([*numbers], self.num_patches, self.least_left) if self.least_left else [*numbers]
        falls = all(before >= after for before, after in itertools.pairwise((self.num_patches, *numbers)))
        return numbers if falls and numbers[-1] >= 1 and [*numbers] == reached else None

    def priced(self, counts: Iterable[int]) -> tuple[Numbers, float] | None:
        """Return possible `counts` with their cost, without trying them."""
        numbers = self.possible(counts)
        cost = None if numbers is None else self.cost(numbers)
        return None if numbers is None or cost is None else (numbers, cost)

    def cast_priced(self, counts: Numbers) -> tuple[Numbers, float]:
        """Return `counts`, which are always possible, with their cost."""
        found = self.priced(counts)
        if found is None:
            raise ValueError(f"{counts} of {self.num_patches} patches cannot be priced.")
        return found

    def tried(self, counts: Numbers, cost: float) -> Point:
        """Return the point of `counts`, whose `cost` is known, with its loss."""
        if counts not in self.known:
            self.known[counts] = self.losses(counts)
            self.on_trial(counts, self.known[counts])
        return Point(counts, cost, statistics.fmean(self.known[counts]))

    def best(self, budget: float) -> Point:
        """Return the point of least loss among those within the budget that were tried; there must be one."""
        return min((each for each in self.points() if each.cost <= budget), key=lambda each: (each.loss, each.cost))

    def points(self) -> list[Point]:
        """Return all that were tried."""
        priced = [(counts, self.cost(counts)) for counts in self.known]
        return [self.tried(counts, cost) for counts, cost in priced if cost is not None]

    def surely_less(self, point: Point, other: Point) -> bool:
        """Return whether `point` is better than `other` by more than the standard error over the images."""
        gains = [a - b for a, b in zip(self.known[other.counts], self.known[point.counts], strict=True)]
        error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
        return statistics.fmean(gains) > error

    def front(self) -> list[Point]:
        """Return, of all that were tried, those that nothing cheaper beats, from the cheapest up."""
        best, found = float("inf"), []
        for point in sorted(self.points(), key=lambda point: (point.cost, point.loss)):
            if point.loss < best:
                best = point.loss
                found.append(point)
        return found


def take(counts: Numbers, stage: int, number: int) -> Numbers:
    """Return `counts` where `stage` removes `number` more tokens, which all later stages lack while there are any."""
    return tuple(max(1, count - number) if index >= stage else count for index, count in enumerate(counts))


def fitted(problem: Problem, counts: Numbers, stage: int, most: int, budget: float) -> tuple[Numbers, float] | None:
    """Remove as few tokens at `stage` as meet the budget, up to `most`; `None` where it cannot remove as many.

    More tokens cost less, until there are more than can be removed.
    """
    low, high = 0, most + 1
    while high - low > 1:
        middle = (low + high) // 2
        tried = problem.priced(take(counts, stage, middle))
        low, high = (middle, high) if tried is not None and tried[1] > budget else (low, middle)
    found = problem.priced(take(counts, stage, high)) if high <= most else None
    return found if found is not None and found[1] <= budget else None


def descend(problem: Problem, budget: float, step: int) -> Generator[Point]:
    """Remove `step` tokens at a time, where that raises the loss least for the cost it saves; down to the budget.

    Yields every point on the way, the last one within the budget unless nothing can be removed any more.
    """
    current = problem.tried(*problem.cast_priced(problem.everything))
    yield current
    while current.cost > budget:
        found = [removal(problem, current, stage, step, budget) for stage in range(len(problem.layers))]
        moves = [problem.tried(*move) for move in found if move is not None]
        if not moves:
            return
        start = current
        current = min(moves, key=lambda move: (move.loss - start.loss) / (start.cost - move.cost))
        yield current


def removal(problem: Problem, current: Point, stage: int, step: int, budget: float) -> tuple[Numbers, float] | None:
    """Return the fewest tokens to remove at `stage` that save something: steps, or one where a step is too many.

    In time, a decision must be worth what it takes. No more is removed than the budget asks for.
    """
    for number in (*(step << double for double in range(8)), 1):
        move = problem.priced(take(current.counts, stage, number))
        if move is not None and move[1] < current.cost:
            return fitted(problem, current.counts, stage, number, budget) or move
    return None


def along(problem: Problem, schedule: Schedule, keep_ratio: float, expansion: int = 0) -> Numbers:
    """Return what a schedule leaves at the stages of the problem."""
    layers = schedule.layers(problem.depth)
    ratios = dict(zip(layers, schedule.keep_ratios(keep_ratio, len(layers)), strict=True))
    counts, current = [], 1.0
    for low, high in itertools.pairwise((-1, *dict.fromkeys(problem.layers))):
        current = min([current, *(ratio for layer, ratio in ratios.items() if low < layer <= high)])
        counts.append(max(1, int(problem.num_patches * current)))
    return problem.expansions[expansion](within_reach(counts, problem.num_patches, problem.least_left))


def follow(problem: Problem, schedule: Schedule, budget: float, expansion: int = 0) -> Point | None:
    """Try a schedule with as much kept as the budget allows; `None` where it cannot meet it."""
    low, high, best = 0.0, 1.0, None
    for _ in range(HALVINGS + 8):
        middle = (low + high) / 2
        priced = problem.priced(along(problem, schedule, middle, expansion))
        if priced is not None and priced[1] <= budget:
            low, best = middle, priced
        else:
            high = middle
    return None if best is None else problem.tried(*best)


def named(problem: Problem, budget: float, names: Iterable[str]) -> dict[str, Point]:
    """Try each named schedule with as much kept as the budget allows; leave out those that cannot meet it."""
    found = {name: follow(problem, SCHEDULES[name], budget) for name in names}
    return {name: point for name, point in found.items() if point is not None}


def exchange(problem: Problem, start: Point, budget: float, step: int, trials: int, seed: int) -> Point:
    """Keep more tokens at one stage and as many less at another as the budget asks for, while that helps.

    A change stays where it helps by more than the standard error over the images: what helps by less helps these
    images alone as often as not. The stages, and how many tokens, up to `step`, are drawn by `seed`; at most `trials`
    schedules are run.
    """
    draws, best, end = random.Random(seed), start, len(problem.known) + trials
    sizes = [step >> halved for halved in range(step.bit_length())]
    for _ in range(DRAWS * trials if len(problem.layers) > 1 else 0):
        if len(problem.known) >= end:
            break
        back, more = draws.sample(range(len(problem.layers)), 2)
        richer = give(problem, best.counts, back, draws.choice(sizes))
        move = None if richer is None else fitted(problem, richer, more, richer[more] - 1, budget)
        tried = None if move is None else problem.tried(*move)
        if tried is not None and problem.surely_less(tried, best):
            best = tried
    return best


def give(problem: Problem, counts: Numbers, stage: int, number: int) -> Numbers | None:
    """Return `counts` where `stage` removes up to `number` fewer; `None` where it removes none."""
    before = (problem.num_patches, *counts)[stage]
    number = min(number, before - counts[stage])
    return take(counts, stage, -number) if number > 0 else None


def pruned(layers: Sequence[int], counts: Numbers, num_patches: int) -> tuple[list[int], list[int]]:
    """Leave out the stages that remove nothing, as these are none; at least one stays."""
    entering = (num_patches, *counts[:-1])
    used = [index for index, count in enumerate(counts) if count < entering[index]] or [len(counts) - 1]
    return [layers[index] for index in used], [counts[index] for index in used]


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """Choose at most `most` of `points`, at even distances of cost, the first and the last among them."""
    if len(points) <= most:
        return [*points]
    low, high = points[0].cost, points[-1].cost
    wanted = [low + (high - low) * index / (most - 1) for index in range(most)]
    nearest = [min(points, key=lambda point: abs(point.cost - cost)) for cost in wanted]
    return [*dict.fromkeys(nearest)]
