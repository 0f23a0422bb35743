# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Named schedules, counts in place of ratios, and changing both on a model."""

import itertools
import json

import pytest
import torch
from methods import FIXED

from hf_dynamicvit import DynamicViTConfig, DynamicViTForImageClassification
from hf_dynamicvit.model.reducers import REDUCERS
from hf_dynamicvit.model.schedules import SCHEDULES, one_or_several
from hf_dynamicvit.names import SCHEDULES as NAMES


TOY = {"image_size": 32, "patch_size": 4, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
TOY |= {"num_hidden_layers": 12, "num_labels": 3}


def config(**changes):
    return DynamicViTConfig(**{**TOY, **changes})


def model(**changes):
    torch.manual_seed(0)
    return DynamicViTForImageClassification(config(**changes)).eval()


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("depth", [1, 2, 5, 12, 24])
def test_every_schedule_falls_from_everything_along_the_depth(name, depth):
    schedule = SCHEDULES[name]
    layers = schedule.layers(depth)
    assert layers == sorted(set(layers)) and layers[0] >= 0 and layers[-1] < depth
    assert schedule.keep_ratios(1.0, len(layers)) == pytest.approx([1.0] * len(layers))
    for ratio in (0.9, 0.5, 0.1):
        ratios = schedule.keep_ratios(ratio, len(layers))
        assert len(ratios) == len(layers) and 0 < ratios[-1] <= ratios[0] <= 1
        assert all(before >= after for before, after in itertools.pairwise(ratios))


@pytest.mark.parametrize("name", ["linear", "geometric", "cosine", "diffrate", "late"])
def test_the_number_of_a_schedule_of_every_block_is_what_is_left(name):
    assert SCHEDULES[name].keep_ratios(0.3, 12)[-1] == pytest.approx(0.3)


def test_each_curve_is_its_own():
    found = {name: SCHEDULES[name].keep_ratios(0.4, 12) for name in ("linear", "geometric", "cosine", "diffrate")}
    removed = {name: -ratios[0] + 1 for name, ratios in found.items()}
    assert removed["diffrate"] < removed["cosine"] < removed["linear"] < removed["geometric"]
    assert found["linear"] == pytest.approx([1 - 0.05 * (stage + 1) for stage in range(12)])
    assert found["geometric"][5] == pytest.approx(0.4**0.5) and found["cosine"][5] == pytest.approx(0.7)
    searched = SCHEDULES["diffrate"].keep_ratios(28 / 196, 12)
    assert [round(196 * ratio) for ratio in searched] == [196, 186, 166, 138, 113, 89, 75, 65, 56, 44, 36, 28]


def test_names_without_torch_are_those_of_the_table():
    assert tuple(SCHEDULES) == NAMES


@pytest.mark.parametrize("reducer", REDUCERS)
def test_a_method_without_one_takes_its_own_schedule_and_writes_it_down(reducer, tmp_path):
    made = config(reducer=reducer)
    assert made.schedule == REDUCERS[reducer].default_schedule
    made.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["schedule"] == made.schedule
    assert DynamicViTConfig.from_pretrained(tmp_path).stage_keep_ratios == made.stage_keep_ratios
    assert "schedule" not in made.to_native_dict()


def test_a_file_of_before_schedules_means_what_it_meant(tmp_path):
    content = config(reducer="tome", keep_ratio=0.4).to_dict()
    del content["schedule"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    found = DynamicViTConfig.from_pretrained(tmp_path)
    assert found.schedule == "linear" and found.stage_keep_ratios[5] == pytest.approx(0.7)


def test_another_method_on_a_checkpoint_takes_its_own_schedule(tmp_path):
    config(reducer="tome", schedule="cosine").save_pretrained(tmp_path)
    assert DynamicViTConfig.from_pretrained(tmp_path).schedule == "cosine"
    assert DynamicViTConfig.from_pretrained(tmp_path, reducer="topk").schedule == "three-stage"
    assert DynamicViTConfig.from_pretrained(tmp_path, schedule="late").stage_layers == list(range(3, 12))


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="schedule is 'steep'; it can be linear, geometric"):
        config(schedule="steep")


@pytest.mark.parametrize("reducer", FIXED)
def test_counts_are_what_is_left(reducer):
    layers = [2, 5, 8]
    made = model(reducer=reducer, reducer_layers=layers, keep_ratio=[50, 40, 21])
    kept = made(torch.randn(2, 3, 32, 32)).kept.sum(-1)
    stages = kept[:, [made.decision_layers.index(layer) for layer in layers]]
    assert stages.tolist() == [[50, 40, 21]] * 2 or REDUCERS[reducer].rest == "merged"
    assert made.backbone.reducer.stage_counts(64) == [50, 40, 21]
    assert made.backbone.reducer.stage_counts(256) == [200, 160, 84]


def test_counts_survive_saving_and_ramps(tmp_path):
    made = model(reducer="tome", keep_ratio=[60, 55, 50, 45, 40, 36, 33, 30, 28, 26, 25, 25])
    made.save_pretrained(tmp_path)
    again = DynamicViTForImageClassification.from_pretrained(tmp_path)
    assert again.token_counts() == made.token_counts() == made.config.keep_ratio


@pytest.mark.parametrize(
    "counts, problem",
    [
        ([65, 40, 20], "integers from 1 to 64"),
        ([40, 20, 0], "integers from 1 to 64"),
        ([40, 0.5, 0.2], "ratios in .* or integers"),
        ([20, 40, 10], "must not increase"),
        ([40, 20], "2 values"),
    ],
)
def test_impossible_counts_are_refused(counts, problem):
    with pytest.raises(ValueError, match=problem):
        config(keep_ratio=counts)


def test_more_than_half_at_once_is_refused_for_merging():
    with pytest.raises(ValueError, match=r"tome cannot go from 1 of the patches to 0\.3"):
        config(reducer="tome", reducer_layers=[3], keep_ratio=[20])
    assert config(reducer="topk", reducer_layers=[3], keep_ratio=[20]).stage_keep_ratios == [20 / 64]


def test_a_list_of_ones_keeps_everything():
    assert config(keep_ratio=[1, 1, 1]).given_counts is None
    assert config(keep_ratio=[1, 1, 1]).stage_keep_ratios == [1.0, 1.0, 1.0]


def test_set_schedule_is_the_model_that_has_it():
    images = torch.randn(2, 3, 32, 32)
    for schedule, keep_ratio in (("cosine", 0.4), ([2, 4], [50, 30]), ("late", None)):
        changed = model(reducer="tome")
        changed.set_schedule(schedule, keep_ratio)
        given = {"schedule": schedule} if isinstance(schedule, str) else {"reducer_layers": schedule}
        built = model(reducer="tome", **given, **({} if keep_ratio is None else {"keep_ratio": keep_ratio}))
        assert changed.token_counts() == built.token_counts()
        assert torch.equal(changed(images).logits, built(images).logits)
        assert changed.config.to_dict() == built.config.to_dict()


def test_set_schedule_refuses_what_was_learned_for_other_blocks():
    learned = model(reducer="dynamicvit")
    with pytest.raises(ValueError, match=r"dynamicvit was trained for blocks \[3, 6, 9\]"):
        learned.set_schedule("linear", 0.5)
    assert learned.config.schedule == "three-stage" and learned.token_counts() == [44, 31, 21]
    learned.set_schedule([3, 6, 9], [40, 30, 20])
    assert learned.token_counts() == [40, 30, 20]
    with pytest.raises(ValueError, match="give keep_ratio too"):
        learned.set_schedule([3, 6, 9])
    with pytest.raises(ValueError, match="each image decides"):
        model(reducer="asvit").set_schedule("linear", 0.5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_budget_is_met_along_every_schedule(schedule):
    for reducer in ("tome", "topk"):
        made = model(reducer=reducer, schedule=schedule)
        dense = made.dense_multiply_adds()
        assert 0.7 * dense < made.set_budget(fraction=0.8) <= 0.8 * dense


def test_numbers_of_a_command_line_are_ratios_or_counts():
    assert one_or_several([0.7]) == 0.7 and one_or_several([0.7, 0.5]) == [0.7, 0.5]
    counts = one_or_several([60.0, 30.0])
    assert counts == [60, 30] and all(isinstance(count, int) for count in counts)


@pytest.mark.parametrize("counts", [[float("inf")] * 3, [60, float("inf"), 20], [60, float("nan"), 20]])
def test_numbers_that_are_none_are_refused(counts):
    with pytest.raises(ValueError, match=r"keep_ratio is .*integers from 1 to 64"):
        model(reducer="topk", keep_ratio=counts)
