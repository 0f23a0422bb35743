# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""True is no number, wherever one is asked for."""

import inspect

import pytest
from toys import toy_config, toy_model

from hf_dynamicvit import REDUCERS, DynamicViTTrainingArguments
from hf_dynamicvit.data.augmentation import MixCollator, build_erasing
from hf_dynamicvit.model.flags import asks_for_number, holds_flag, refuse_flags
from hf_dynamicvit.training.callbacks import GroupingSwitch


NUMBERS = [
    (reducer, name)
    for reducer, method in sorted(REDUCERS.items())
    for name, parameter in inspect.signature(method).parameters.items()
    if name != "config" and asks_for_number(parameter.annotation)
]


def test_what_asks_for_a_number():
    asks = [float, "float", int | None, list[int | float] | None, "int | list[int]"]
    assert all(map(asks_for_number, asks)) and ("dynamicvit", "tau") in NUMBERS
    assert not any(map(asks_for_number, [bool, str, "str | None", float | bool, inspect.Parameter.empty]))


@pytest.mark.parametrize(
    "value, holds",
    [(True, True), (False, True), ([1, [0.5, True]], True), (1, False), ([0, 1.0], False), ("a", False)],
)
def test_what_holds_a_flag(value, holds):
    assert holds_flag(value) == holds


@pytest.mark.parametrize("reducer, name", NUMBERS)
def test_no_option_of_a_method_takes_a_flag_for_a_number(reducer, name):
    for value in (True, False, [True, True]):
        with pytest.raises(ValueError, match=f"{name}"):
            toy_config(reducer=reducer, keep_ratio=None, reducer_args={name: value})


def test_the_message_names_the_option():
    with pytest.raises(ValueError, match="reducer_args: tau is True; a number is asked for, and True and False are"):
        toy_config(reducer="dynamicvit", reducer_args={"tau": True})
    with pytest.raises(ValueError, match=r"^low is False; a number"):
        refuse_flags(high=1, low=False)


def test_budgets():
    model = toy_model(reducer="topk")
    for budget in ({"fraction": True}, {"gmacs": True}):
        with pytest.raises(ValueError, match="is True; a number is asked for"):
            model.set_budget(**budget)


@pytest.mark.parametrize("name", ["layer_lr_decay", "ema_decay", "second_pass_share", "consistency_threshold"])
def test_arguments_of_the_trainer(name, tmp_path):
    with pytest.raises(ValueError, match=f"{name} is True; a number is asked for"):
        DynamicViTTrainingArguments(str(tmp_path), **{name: True})


@pytest.mark.parametrize(
    "name, call",
    [
        ("mixup", lambda: MixCollator(3, mixup=True)),
        ("random_erasing", lambda: build_erasing(True)),
        ("fraction", lambda: GroupingSwitch(True)),
    ],
)
def test_what_prepares_and_trains(name, call):
    with pytest.raises(ValueError, match=f"{name} is True; a number is asked for"):
        call()
