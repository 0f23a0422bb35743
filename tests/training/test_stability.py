# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Training that stays finite, stops when it does not, and leaves checkpoints that can be trusted."""

import shutil
import signal
from collections import namedtuple

import pytest
import torch
from programs import run_program
from toys import assert_same_weights, toy_images, toy_model
from trainers import trainer_for, weights_of

from hf_dynamicvit import DynamicViTForImageClassification
from hf_dynamicvit.training.checkpoints import last_complete_checkpoint


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("steps", [100, pytest.param(300, marks=pytest.mark.long)])
@pytest.mark.parametrize("keep_ratio, seed", [(0.1, 0)])
def test_low_keep_ratios_train_for_many_steps(tmp_path, keep_ratio, seed, steps):
    """From the released initialisation, in which half of the tokens go at each stage, with the published weights."""
    model = toy_model(seed, keep_ratio=[keep_ratio, keep_ratio, keep_ratio], hidden_size=16, initializer_range=0.02)
    trainer = trainer_for(tmp_path, model, max_steps=steps, logging_steps=1, save_strategy="no", seed=seed)
    trainer.train()
    losses = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == steps
    for entry in losses:
        assert all(torch.tensor(value).isfinite() for value in entry.values()), entry
    assert all(value.isfinite().all() for value in weights_of(trainer.model).values())
    fractions = [sum(entry["kept_stage_1"] for entry in part) / 20 for part in (losses[:20], losses[-20:])]
    assert abs(fractions[1] - keep_ratio) < abs(fractions[0] - keep_ratio)  # and it learns how much to keep


def spoil(trainer, step, value):
    """From `step` on, the class distillation is `value`."""
    compute = trainer.loss_terms

    def terms(*args):
        result = compute(*args)
        if trainer.state.global_step >= step:
            result["class_distill"] = result["class_distill"] * value
        return result

    trainer.loss_terms = terms


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_term_that_is_not_finite_stops_the_training(tmp_path, value):
    trainer = trainer_for(tmp_path, save_strategy="no")
    seen = {}
    step = trainer.training_step

    def watch(*args):
        seen[trainer.state.global_step] = weights_of(trainer.model)
        return step(*args)

    trainer.training_step = watch
    spoil(trainer, 2, value)
    with pytest.raises(FloatingPointError, match=r"in step 3: loss term 'class_distill' is (nan|inf).*checkpoint-2"):
        trainer.train()
    saved = DynamicViTForImageClassification.from_pretrained(tmp_path / "checkpoint-2")
    assert_same_weights(weights_of(saved), seen[2])
    fresh = trainer_for(tmp_path)
    fresh.train(resume_from_checkpoint=True)  # a whole checkpoint, optimizer and all
    assert fresh.state.global_step == 4


def test_a_gradient_that_is_not_finite_stops_the_training(tmp_path):
    trainer = trainer_for(tmp_path, save_strategy="no", max_grad_norm=0.0)
    weight = trainer.model.classifier.weight
    weight.register_hook(lambda grad: grad * float("nan") if trainer.state.global_step == 1 else grad)
    with pytest.raises(FloatingPointError, match="in step 2: all loss terms are finite, but the norm"):
        trainer.train()
    saved = DynamicViTForImageClassification.from_pretrained(tmp_path / "checkpoint-1")
    assert all(value.isfinite().all() for value in weights_of(saved).values())


def test_gradients_are_clipped_by_default(tmp_path):
    trainer = trainer_for(tmp_path, max_steps=1, optim="sgd", learning_rate=1.0, backbone_lr_scale=1.0)
    trainer.loss_weights = {name: 1000 * weight for name, weight in trainer.loss_weights.items()}
    start = weights_of(trainer.model)
    trainer.train()
    moved = torch.stack([(value - start[name]).norm() for name, value in weights_of(trainer.model).items()]).norm()
    assert moved == pytest.approx(1.0, rel=1e-3)


def test_half_precision_trains_finite(tmp_path):
    trainer = trainer_for(tmp_path, toy_model(keep_ratio=0.3), bf16=True, max_steps=20, logging_steps=1)
    trainer.train()
    assert all(torch.tensor(entry["loss"]).isfinite() for entry in trainer.state.log_history if "loss" in entry)
    with torch.autocast("cpu", torch.bfloat16):
        logits = trainer.model.train()(toy_images()).logits
    assert logits.isfinite().all()


KILLED = """
import os, signal, sys

from trainers import trainer_for

trainer = trainer_for(sys.argv[1], save_steps=2, save_total_limit=1, ema_decay=0.5)
save = trainer._save_optimizer_and_scheduler


def save_and_die(folder):
    save(folder)
    if trainer.state.global_step == 4:
        os.kill(os.getpid(), signal.SIGKILL)


trainer._save_optimizer_and_scheduler = save_and_die
trainer.train()
"""


def test_a_run_killed_while_saving_leaves_the_checkpoint_before(tmp_path):
    run = run_program(KILLED, str(tmp_path / "out"), folder=tmp_path)
    assert run.returncode == -signal.SIGKILL, run.stderr
    broken = tmp_path / "out" / "checkpoint-4"
    assert broken.is_dir()
    assert last_complete_checkpoint(tmp_path / "out") == tmp_path / "out" / "checkpoint-2"
    with pytest.raises(ValueError, match="checkpoint-4 is no checkpoint that was written to its end"):
        trainer_for(tmp_path / "out", ema_decay=0.5).train(resume_from_checkpoint=str(broken))
    resumed = trainer_for(tmp_path / "out", ema_decay=0.5, save_steps=2, save_total_limit=1)
    resumed.train(resume_from_checkpoint=True)
    whole = trainer_for(tmp_path / "whole", ema_decay=0.5)
    whole.train()
    assert_same_weights(weights_of(resumed.model), weights_of(whole.model))
    assert last_complete_checkpoint(tmp_path / "out") == broken  # now written to its end
    assert not (tmp_path / "out" / "checkpoint-2").exists()


def test_nothing_to_resume_from_is_an_error(tmp_path):
    (tmp_path / "checkpoint-8").mkdir()
    with pytest.raises(ValueError, match=r"no checkpoint in .* written to its end"):
        trainer_for(tmp_path).train(resume_from_checkpoint=True)


def test_a_full_disk_is_an_error_before_training(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**40, 2**40, 1000))
    trainer = trainer_for(tmp_path)
    start = weights_of(trainer.model)
    with pytest.raises(ValueError, match="0 MiB of free disk; a checkpoint needs about"):
        trainer.train()
    assert_same_weights(weights_of(trainer.model), start)


def test_an_output_that_cannot_be_written_is_an_error_before_training(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    trainer = trainer_for(tmp_path)
    trainer.args.output_dir = str(tmp_path / "file" / "out")
    with pytest.raises(ValueError, match=r"output_dir .*out cannot be written to"):
        trainer.train()
