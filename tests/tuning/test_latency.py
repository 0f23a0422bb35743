# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The table of block times: what it reads out of runs, and what it predicts."""

import pytest
import torch
from pyramids import KEYS, pyramid
from toys import toy_images, toy_model

from hf_dynamicvit.tuning.latency import LatencyTable, TimeCurve, Timed, time_run


def test_a_curve_is_straight_between_what_was_timed():
    curve = TimeCurve.through({10: [1.0, 9.0, 2.0], 20: [4.0]})
    assert curve.at(10) == 2.0 and curve.at(15) == 3.0 and curve.at(20) == 4.0
    assert curve.at(30) == 6.0 and curve.at(0) == 0.0  # beyond the ends along the last piece, not below 0
    assert TimeCurve.through({10: [1.0]}).at(99) == 1.0


def simulated(model, schedules, decision=0.3, rest=1.0):
    """Runs on a machine where a block takes a hundredth of its tokens, a decision and the rest always as long."""
    table = LatencyTable.__new__(LatencyTable)
    table.config, table.reducer, table.num_patches = model.config, model.reducer, 64
    line = TimeCurve((0, 100), (0.0, 1.0))
    table.curves = {(decides, is_last): line for decides in (False, True) for is_last in (False, True)}
    runs = []
    for counts in schedules:
        model.reducer.set_keep_ratios([count / 64 for count in counts], [*counts])
        blocks = model.reducer.token_counts(64, model.config.depth)
        seconds = [table.block(False, *each) for each in blocks]
        for index, _, _ in table.decided(blocks):
            seconds[index] += decision
        runs.append(Timed(blocks, seconds, sum(seconds) + rest))
    return runs


@pytest.mark.parametrize("reducer", ["tome", "topk", "dynamicvit", "idlevit", "tosa"])
def test_a_table_predicts_schedules_that_were_not_timed(reducer):
    stages = {"tome": 4, "topk": 3, "dynamicvit": 3, "idlevit": 3, "tosa": 2}[reducer]
    model = toy_model(reducer=reducer)
    flat = [[count] * stages for count in (64, 48, 32)]
    falling = [[60, 50, 40, 30][:stages], [50, 40, 30, 20][:stages]]
    table = LatencyTable(model, simulated(model, flat + falling))
    unseen = [56, 44, 36, 34][:stages]
    (run,) = simulated(model, [unseen])
    assert table.predict(run.counts) == pytest.approx(run.whole, rel=0.05)
    table.scale = 2.0
    assert table.predict(run.counts) == pytest.approx(2 * run.whole, rel=0.05)


FLAT = [[count] * 3 for count in (64, 60, 40, 20, 4)]


@pytest.mark.parametrize("reducer", ["idlevit", "evovit"])
def test_blocks_whose_tokens_wait_take_as_long_as_those_that_go_on(reducer):
    model = toy_model(reducer=reducer)
    table = LatencyTable(model, simulated(model, FLAT, rest=0.0))
    for run in simulated(model, [[50, 30, 10], [64, 64, 8], [5, 5, 5]], rest=0.0):
        assert table.predict(run.counts) == pytest.approx(run.whole, rel=0.02)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("reducer", ["dynamicvit", "idlevit"])
def test_blocks_of_pyramids_take_as_long_as_their_slow_positions(key, reducer):
    model = pyramid(key, reducer=reducer)
    stages = len(model.config.stage_layers)
    table = LatencyTable(model, simulated(model, [counts[:1] * stages for counts in FLAT], rest=0.0))
    for run in simulated(model, [[50] * (stages - 1) + [10], [5] * stages], rest=0.0):
        assert table.predict(run.counts) == pytest.approx(run.whole, rel=0.02)


def test_blocks_are_timed_within_the_whole():
    model, images = toy_model(reducer="topk"), toy_images()
    counts, _ = model.block_counts(None)
    with torch.inference_mode():
        run = time_run(model, model.backbone.layers, images, counts[0])
    assert len(run.blocks) == 4 and min(run.blocks) > 0 and sum(run.blocks) < run.whole
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.backbone.layers)
