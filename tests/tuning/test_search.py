# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The search alone, on costs and losses that are known."""

import itertools

import pytest

from hf_dynamicvit.model.schedules import SCHEDULES
from hf_dynamicvit.tuning.search import Problem, along, descend, exchange, fitted, give, named, pruned, take, thinned


PATCHES = 12


def problem(weights=(1.0, 4.0, 2.0), least_left=0.0, **changes):
    """Three stages; the loss is of what each removes, and it is dear where its weight is large."""

    def losses(counts):
        entering = (PATCHES, *counts[:-1])
        return (sum(weight * (a - b) ** 2 for weight, a, b in zip(weights, entering, counts, strict=True)),)

    return Problem(PATCHES, [0, 1, 2], 4, least_left, lambda counts: float(sum(counts)), losses, **changes)


def best_of_all(searched, budget):
    counts = itertools.product(range(1, PATCHES + 1), repeat=3)
    falling = [each for each in counts if searched.possible(each) and sum(each) <= budget]
    return min(searched.losses(each)[0] for each in falling)


@pytest.mark.parametrize("budget", [30, 24, 15, 8])
def test_the_search_comes_close_to_the_best_of_all(budget):
    searched = problem()
    *way, end = descend(searched, budget, 1)
    assert way[0].counts == (PATCHES,) * 3 and way[0].loss == 0 and end.cost <= budget
    assert all(before.cost > after.cost for before, after in itertools.pairwise([*way, end]))
    refined = exchange(searched, end, budget, 2, 500, 0)
    best = best_of_all(searched, budget)
    assert best <= refined.loss <= min(end.loss, 1.15 * best)


def test_the_last_step_removes_no_more_than_the_budget_asks_for():
    *_, end = descend(problem(), 35, 8)
    assert 33 <= end.cost <= 35


def test_stages_that_merge_leave_half_at_least():
    searched = problem(least_left=0.5)
    *_, end = descend(searched, 9, 3)
    for counts in searched.known:
        assert all(2 * after >= before for before, after in itertools.pairwise((PATCHES, *counts)))
    assert end.cost <= 11  # 6 + 3 + 2 are the least


def test_decisions_that_cost_more_than_a_step_saves_are_taken_in_larger_ones():
    searched = problem()
    plain = searched.cost
    searched.cost = lambda counts: plain(counts) + 5 * len(set(counts) - {PATCHES})
    *_, end = descend(searched, 30, 1)
    assert end.cost <= 30


def test_a_budget_out_of_reach_ends_at_the_nearest():
    *_, end = descend(problem(), 2, 1)
    assert end.counts == (1, 1, 1)


def test_a_trial_that_is_known_is_not_run_again():
    told = []
    first = problem(on_trial=lambda counts, losses: told.append(counts))
    ends = [[*descend(first, 20, 2)][-1]]
    again = problem(known=dict(first.known), on_trial=lambda counts, losses: pytest.fail(f"{counts} was run again"))
    ends.append([*descend(again, 20, 2)][-1])
    assert ends[0] == ends[1] and len(told) == len(set(told)) == len(first.known)


def test_refining_goes_on_where_stages_can_remove_only_half():
    searched = problem(weights=(1.0, 4.0, 2.0), least_left=0.5)
    start = searched.tried((8, 5, 4), 17.0)
    refined = exchange(searched, start, 17, 2, 300, 0)
    assert refined.loss < start.loss and refined.loss <= 1.1 * best_of_all(searched, 17)


def test_as_few_tokens_as_meet_the_budget():
    searched = problem(least_left=0.5)
    assert fitted(searched, (12, 12, 12), 0, 11, 30) == ((10, 10, 10), 30.0)
    assert fitted(searched, (12, 12, 8), 2, 7, 31) == ((12, 12, 7), 31.0)
    assert fitted(searched, (12, 12, 8), 2, 7, 29) is None  # 6 are the fewest that it can leave
    assert fitted(searched, (12, 12, 8), 0, 1, 10) is None


def test_one_seed_gives_one_result_and_trials_are_limited():
    results = []
    for _ in range(2):
        searched = problem()
        *_, end = descend(searched, 20, 3)
        before = len(searched.known)
        results.append(exchange(searched, end, 20, 2, 7, 5))
        assert len(searched.known) - before <= 7
    assert results[0] == results[1]


def test_named_schedules_meet_the_budget_as_nearly_as_counts_allow():
    searched = problem()
    found = named(searched, 24, ["linear", "cosine", "three-stage"])
    assert set(found) == {"linear", "cosine", "three-stage"}
    assert all(20 <= point.cost <= 24 for point in found.values())
    assert named(searched, 1, ["linear"]) == {}


def test_a_schedule_of_other_blocks_falls_where_the_next_stage_is():
    searched = problem()  # stages at blocks 0, 1, 2; three-stage is at 1, 2, 3 of 4
    assert along(searched, SCHEDULES["three-stage"], 0.5) == (12, 6, 3)
    assert along(searched, SCHEDULES["linear"], 0.5) == (10, 9, 7)  # the fourth block has no stage


def test_front_is_what_nothing_cheaper_beats():
    searched = problem()
    [*descend(searched, 12, 1)]
    front = searched.front()
    assert all(a.cost < b.cost and a.loss > b.loss for a, b in itertools.pairwise(front))
    for counts, (loss,) in searched.known.items():
        assert any(point.cost <= sum(counts) and point.loss <= loss for point in front)
    few = thinned(front, 5)
    assert len(few) <= 5 and few[0] == front[0] and few[-1] == front[-1]


def test_moves():
    assert take((12, 10, 8), 1, 3) == (12, 7, 5)
    assert give(problem(), (12, 9, 8), 1, 2) == (12, 11, 10)
    assert give(problem(), (12, 9, 8), 1, 99) == (12, 12, 11)
    assert give(problem(), (12, 9, 8), 0, 2) is None
    assert pruned([2, 4, 6], (12, 9, 9), 12) == ([4], [9])
    assert pruned([2, 4, 6], (12, 12, 12), 12) == ([6], [12])
