# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The search among curves, on costs and losses that are known."""

import itertools
import math

import pytest

from hf_dynamicvit.model.schedules import SCHEDULES
from hf_dynamicvit.tuning.curves import Curve, first_curves, search_curves
from hf_dynamicvit.tuning.search import Problem, along, follow, named


PATCHES, DEPTH = 196, 12


def problem(losses, **changes):
    cost = changes.pop("cost", lambda counts: float(sum(counts)))
    return Problem(PATCHES, [*range(DEPTH)], DEPTH, 0.0, cost, losses, **changes)


def apart(wanted):
    """Losses that are the distance to the counts `wanted`."""
    return lambda counts: (math.dist(counts, wanted) / PATCHES,)


def ratios(*numbers, stages=6):
    return Curve(*numbers).schedule().keep_ratios(0.4, stages)


def test_a_curve_falls_from_everything_to_what_is_left():
    straight = ratios(0, 1, 1)
    assert straight == pytest.approx(SCHEDULES["linear"].keep_ratios(0.4, 6))
    for curve in first_curves(DEPTH):
        found = [1.0, *curve.schedule().keep_ratios(0.4, 6)]
        assert all(before >= after for before, after in itertools.pairwise(found)) and found[-1] == pytest.approx(0.4)
    slow, plain = ratios(0, 3, 1), ratios(0, 1, 3)
    assert slow[0] > straight[0] > plain[0] and slow[-2] > straight[-2] > plain[-2]
    assert Curve(3, 1, 1).schedule().layers(12) == [*range(3, 12)] and Curve(9, 1, 1).schedule().layers(4) == [3]


@pytest.mark.parametrize("onset, start, end, left", [(0, 1.9, 3.2, 0.2), (0, 1.2, 1.1, 0.3), (4, 1.1, 1.4, 0.5)])
def test_the_curve_that_changes_least_is_found(onset, start, end, left):
    wanted = along(problem(apart([PATCHES] * DEPTH)), Curve(onset, start, end).schedule(), left)
    searched = problem(apart(wanted))
    found = search_curves(searched, sum(wanted))
    by_name = named(searched, sum(wanted), ["linear", "geometric", "cosine", "diffrate", "late", "three-stage"])
    assert found.cost <= sum(wanted) and found.loss < min(point.loss for point in by_name.values())
    assert found.loss < 0.1 and len(searched.known) < 70


def test_the_front_goes_from_everything_to_the_budget():
    searched = problem(lambda counts: (sum(PATCHES - count for count in counts) / 1000,))
    found = search_curves(searched, 0.6 * PATCHES * DEPTH)
    costs = [point.cost for point in searched.front()]
    assert found.cost <= 0.6 * PATCHES * DEPTH and costs[-1] == PATCHES * DEPTH
    assert max(after - before for before, after in itertools.pairwise(costs)) < 0.1 * PATCHES * DEPTH


def test_equal_losses_end_the_search():
    searched = problem(lambda counts: (0.0,))
    assert search_curves(searched, 0.5 * PATCHES * DEPTH) is not None
    assert len(searched.known) < 50


def test_curves_that_meet_no_budget_are_none():
    searched = problem(lambda counts: (0.0,), cost=lambda counts: 100.0)
    assert search_curves(searched, 10.0) is None
    assert search_curves(searched, 100.0).counts == (PATCHES,) * DEPTH


def test_a_stage_of_two_numbers_is_tried_in_every_way():
    def twice(counts):
        return tuple(count for count in counts for _ in range(2))

    def merged(counts):
        return tuple(count for pair in zip((PATCHES, *counts[:-1]), counts, strict=True) for count in pair)

    def dropped(counts):
        return (sum(before - after for before, after in zip((PATCHES, *counts[1::2]), counts[::2], strict=False)),)

    layers = [layer for layer in range(DEPTH) for _ in range(2)]
    cost = lambda counts: float(sum(counts[1::2]))  # noqa: E731
    searched = Problem(PATCHES, layers, DEPTH, 0.0, cost, dropped, expansions=(twice, merged))
    assert follow(searched, Curve(0, 1, 1).schedule(), 0.6 * PATCHES * DEPTH).loss > 0
    assert search_curves(searched, 0.6 * PATCHES * DEPTH).loss == 0


def test_better_is_what_is_better_by_more_than_its_error():
    losses = {1: (1.0, 1.0, 1.0, 1.0), 2: (0.0, 0.0, 2.0, 1.9), 3: (0.9, 0.8, 0.9, 0.8), 4: (0.9, 0.9, 0.9, 0.9)}
    searched = Problem(4, [0], 2, 0.0, lambda counts: 1.0, lambda counts: losses[counts[0]])
    points = {count: searched.tried((count,), 1.0) for count in losses}
    assert points[2].loss < points[1].loss and not searched.surely_less(points[2], points[1])
    assert searched.surely_less(points[3], points[1]) and searched.surely_less(points[4], points[1])
    assert not searched.surely_less(points[1], points[3]) and not searched.surely_less(points[1], points[1])
