# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Schedules of the keep ratio."""

from itertools import pairwise

import pytest
import torch
from methods import FEW, usual
from toys import assert_same_model, calibrated, toy_images, toy_model
from trainers import ToyData, arguments
from transformers import TrainerCallback

from hf_dynamicvit import DynamicViTForImageClassification, DynamicViTTrainer
from hf_dynamicvit.training.callbacks import GroupingSwitch, KeepRatioWarmup


@pytest.mark.parametrize(
    "epoch, rate", [(0, 1.0), (10, 1.0), (35, 0.956), (60, 0.85), (85, 0.744), (110, 0.7), (200, 0.7)]
)
def test_published_schedule(epoch, rate):
    warmup = KeepRatioWarmup(epochs=100, start_epoch=10)
    assert 1 - 0.3 * warmup.dropped_fraction(epoch) == pytest.approx(rate, abs=5e-4)


@pytest.mark.parametrize("keep_ratio", [0.5, [0.8, 0.6, 0.4]])
def test_ratio_falls_in_training_and_checkpoints_have_the_target(tmp_path, keep_ratio):
    model, seen = toy_model(reducer="evit", keep_ratio=keep_ratio), []
    target = model.config.stage_keep_ratios

    class Watch(TrainerCallback):
        def on_step_begin(self, args, state, control, model, **kwargs):
            seen.append(model.vit.reducer.keep_ratios)
            assert model.config.keep_ratio == keep_ratio

        def on_evaluate(self, args, state, control, model, **kwargs):
            assert model.vit.reducer.keep_ratios == target

    trainer = DynamicViTTrainer(
        model,
        arguments(tmp_path, max_steps=8, save_steps=2, eval_strategy="steps", eval_steps=2),
        teacher=None,
        train_dataset=ToyData(),
        eval_dataset=ToyData(4),
        callbacks=[KeepRatioWarmup(epochs=1), Watch()],
    )
    trainer.train()
    assert seen[0] == [1.0, 1.0, 1.0] and seen[4:] == [pytest.approx(target)] * 4
    assert all(earlier > later for earlier, later in pairwise(seen[:5]))
    saved = DynamicViTForImageClassification.from_pretrained(tmp_path / "checkpoint-2")
    assert saved.config.keep_ratio == keep_ratio


@pytest.mark.parametrize(
    "options, reason",
    [({"reducer": "asvit"}, "each image"), ({"reducer": "tome", "reducer_args": {"r": 4}}, "sets r")],
)
def test_no_warmup_without_a_keep_ratio(tmp_path, options, reason):
    trainer = DynamicViTTrainer(
        toy_model(**options), arguments(tmp_path), train_dataset=ToyData(), callbacks=[KeepRatioWarmup(1)]
    )
    before = trainer.model.eval()(toy_images()).logits
    with pytest.raises(ValueError, match=reason):
        trainer.train()
    assert torch.equal(trainer.model.eval()(toy_images()).logits, before)  # refused, and nothing changed


def test_evovit_switches_its_grouping_at_two_thirds(tmp_path):
    model, seen = toy_model(reducer="evovit", num_hidden_layers=6), []

    class Watch(TrainerCallback):
        def on_step_begin(self, args, state, control, model, **kwargs):
            seen.append(model.vit.reducer.grouping)

        def on_evaluate(self, args, state, control, model, **kwargs):
            assert model.vit.reducer.grouping == "stage"

    trainer = DynamicViTTrainer(
        model,
        arguments(tmp_path, max_steps=6, logging_steps=1, eval_strategy="steps", eval_steps=1),
        train_dataset=ToyData(),
        eval_dataset=ToyData(4),
        callbacks=[GroupingSwitch(), Watch()],
    )
    trainer.train()
    assert seen == ["layer"] * 4 + ["stage"] * 2
    logged = [[name for name in entry if name.startswith("kept_stage")] for entry in trainer.state.log_history]
    assert [len(names) for names in logged if names] == [4] * 4 + [2] * 2


@pytest.mark.parametrize("method, callback", [("evovit", GroupingSwitch(1.0)), ("evit", KeepRatioWarmup(9))])
def test_what_holds_within_steps_ends_with_an_interrupted_training(tmp_path, method, callback):
    model = toy_model(reducer=method, num_hidden_layers=6)
    expected = model(toy_images()).logits

    class Interrupt(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, **kwargs):
            raise KeyboardInterrupt

    trainer = DynamicViTTrainer(model, arguments(tmp_path), train_dataset=ToyData(), callbacks=[callback, Interrupt()])
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert torch.equal(model.eval()(toy_images()).logits, expected)


def test_evaluation_within_an_accumulated_step_has_the_target(tmp_path):
    model, seen = toy_model(reducer="evit"), []

    class Watch(TrainerCallback):
        def on_evaluate(self, args, state, control, model, **kwargs):
            seen.append(model.vit.reducer.keep_ratios)

    class Stream(torch.utils.data.IterableDataset):  # of no known length: an epoch ends within an accumulated step
        def __iter__(self):
            return iter(ToyData(12))

    DynamicViTTrainer(
        model,
        arguments(tmp_path, max_steps=4, eval_strategy="epoch", gradient_accumulation_steps=2),
        train_dataset=Stream(),
        eval_dataset=ToyData(4),
        callbacks=[KeepRatioWarmup(epochs=9), Watch()],
    ).train()
    assert len(seen) >= 2 and all(ratios == model.config.stage_keep_ratios for ratios in seen)


def test_a_grouping_by_layer_stays_one(tmp_path):
    model = toy_model(reducer="evovit", num_hidden_layers=6, reducer_args={"grouping": "layer"})
    DynamicViTTrainer(model, arguments(tmp_path), train_dataset=ToyData(), callbacks=[GroupingSwitch()]).train()
    assert model.vit.reducer.grouping == "layer"


def test_warmup_from_a_later_epoch(tmp_path):
    model, seen = toy_model(reducer="evit"), []

    class Watch(TrainerCallback):
        def on_step_begin(self, args, state, control, model, **kwargs):
            seen.append(model.vit.reducer.keep_ratios[0])

    callbacks = [KeepRatioWarmup(epochs=1, start_epoch=1), Watch()]
    DynamicViTTrainer(model, arguments(tmp_path, max_steps=8), train_dataset=ToyData(), callbacks=callbacks).train()
    assert seen[:5] == [1.0] * 5 and seen[7] < seen[6] < seen[5] < 1.0


def test_warmup_of_tome_without_a_count(tmp_path):
    model = toy_model(reducer="tome", reducer_args={"r": None})
    DynamicViTTrainer(model, arguments(tmp_path), train_dataset=ToyData(), callbacks=[KeepRatioWarmup(1)]).train()
    assert model.vit.reducer.keep_ratios == model.config.stage_keep_ratios


def test_logs_average_over_the_steps_that_had_the_term(tmp_path):
    """Evo-ViT's decisions become fewer in the middle of what one log line covers."""
    model = toy_model(reducer="evovit", num_hidden_layers=6)
    settings = arguments(tmp_path, max_steps=6, logging_steps=6)
    trainer = DynamicViTTrainer(model, settings, train_dataset=ToyData(), callbacks=[GroupingSwitch()])
    trainer.train()
    entry = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert [entry[f"kept_stage_{stage}"] for stage in (1, 2, 3, 4)] == pytest.approx([0.5] * 4)


def test_grouping_switch_is_for_evovit(tmp_path):
    trainer = DynamicViTTrainer(
        toy_model(), arguments(tmp_path), train_dataset=ToyData(), callbacks=[GroupingSwitch()]
    )
    with pytest.raises(ValueError, match="'dynamicvit'"):
        trainer.train()
    with pytest.raises(ValueError, match=r"fraction is 1\.5"):
        GroupingSwitch(1.5)


@pytest.mark.parametrize("epochs", [-1.0, float("nan")])
def test_bad_epochs_are_named(epochs):
    with pytest.raises(ValueError, match=f"epochs is {epochs}"):
        KeepRatioWarmup(epochs)


@usual(reducer=FEW)
def test_set_keep_ratio(reducer):
    model = toy_model(reducer=reducer, keep_ratio=0.9)
    adaptive, stages = model.config.is_adaptive, len(model.config.stage_layers)
    for keep_ratio in (0.5, [0.9, 0.6, 0.4, 0.2][:stages], 1.0):
        calibrated(model, keep_ratio)
        expected = toy_model(reducer=reducer, keep_ratio=keep_ratio)
        assert model.token_counts(toy_images()) == expected.token_counts(toy_images())
        assert_same_model(model, expected)
        assert model.config.keep_ratio == (None if adaptive else keep_ratio)
    for wrong in (1.5, [0.5] * 9, 0):
        with pytest.raises(ValueError, match="keep_ratio"):
            model.set_keep_ratio(wrong, toy_images())
    assert model(toy_images()).kept.all()
