# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Students that PEFT has wrapped, in the Trainer: what learns, who teaches, what is saved and restored."""

from pathlib import Path

import pytest
import torch
from methods import FEW, usual
from peft import LoraConfig, PeftModel, get_peft_model
from torch.testing import assert_close
from toys import toy_dense, toy_images, toy_model
from trainers import trainer_for, weights_of

from hf_dynamicvit.training.callbacks import GroupingSwitch, KeepRatioWarmup
from hf_dynamicvit.training.trainer import DENSE_COPY


pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # read by PEFT


def adapted(method="dynamicvit", **options):
    """A toy with adapters on the queries; the reducer learns too where it has parameters, unless told otherwise."""
    model = toy_model(reducer=method)
    learned = ["reducer"] if list(model.vit.reducer.parameters()) else None
    torch.manual_seed(1)
    return get_peft_model(
        model, LoraConfig(**({"r": 4, "target_modules": ["q_proj"], "modules_to_save": learned} | options))
    )


def moved_parts(model, start):
    """Which parts of the model are not as they were."""
    moved = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, start[name])]
    assert not [name for name in moved if "original_module" in name or "base_layer" in name]
    parts = {"adapters" if "lora_" in name else "reducer" if ".reducer." in name else "backbone" for name in moved}
    return parts


@usual(reducer=FEW)
def test_adapters_and_reducer_of_every_method_learn(tmp_path, reducer):
    model = adapted(reducer)
    start = weights_of(model)
    trainer = trainer_for(tmp_path, model, learning_rate=1e-2)
    trainer.train()
    learned = {"reducer"} if list(model.vit.reducer.parameters()) else set()
    assert moved_parts(model, start) == {"adapters"} | learned
    assert trainer.evaluate()["eval_loss"] > 0


def test_a_reducer_that_cannot_learn_is_said_aloud(tmp_path, warnings_text):
    model = adapted(modules_to_save=None)
    start = weights_of(model)
    trainer_for(tmp_path, model).train()
    assert moved_parts(model, start) == {"adapters"}
    assert "Reducer 'dynamicvit' does not learn" in warnings_text()
    assert "modules_to_save=['reducer']" in warnings_text()


def test_a_reducer_that_learns_or_shall_not_needs_no_word(tmp_path, warnings_text):
    trainer_for(tmp_path, adapted())
    trainer_for(tmp_path, adapted(modules_to_save=None), frozen=["reducer"])
    trainer_for(tmp_path, adapted("evit"))
    assert "does not learn" not in warnings_text()


def test_adapters_learn_at_the_full_rate_unless_told_otherwise(tmp_path):
    for given, expected in ((None, 1e-2), (0.5, 5e-3)):
        trainer = trainer_for(tmp_path, adapted(), backbone_lr_scale=given)
        trainer.create_optimizer()
        rates = {group["backbone"]: group["lr"] for group in trainer.optimizer.param_groups}
        assert rates == {False: 1e-2, True: pytest.approx(expected)}


def test_the_dense_copy_has_the_adapters_merged_in(tmp_path):
    model = adapted(init_lora_weights=False).eval()
    start = weights_of(model)
    teacher = trainer_for(tmp_path, model).teacher
    expected = toy_model(reducer="dynamicvit", keep_ratio=1.0).to_dense()
    q_proj = model.base_model.model.vit.layers[1].attention.q_proj
    change = q_proj.get_delta_weight("default")
    assert change.abs().max() > 1e-3
    for name, tensor in expected.state_dict().items():
        if name == "vit.layers.1.attention.q_proj.weight":
            assert_close(teacher.state_dict()[name], tensor + change)
        elif "q_proj.weight" not in name:
            assert torch.equal(teacher.state_dict()[name], tensor), name
    assert all(torch.equal(tensor, start[name]) for name, tensor in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_the_best_adapters_are_restored_and_load_again(tmp_path):
    model = adapted()
    trainer = trainer_for(
        tmp_path,
        model,
        eval_strategy="steps",
        eval_steps=2,
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        learning_rate=1e-1,
        ema_decay=0.5,
        evaluate_ema=True,
    )
    trainer.train()
    best = Path(trainer.state.best_model_checkpoint)
    other = tmp_path / ("checkpoint-4" if best.name == "checkpoint-2" else "checkpoint-2")
    ours, same, different = (
        saved.state_dict()
        for saved in (model, *(PeftModel.from_pretrained(toy_model(), path) for path in (best, other)))
    )
    assert all(torch.equal(tensor, same[name]) for name, tensor in ours.items()) and set(ours) == set(same)
    assert not all(torch.equal(tensor, different[name]) for name, tensor in ours.items())
    average = PeftModel.from_pretrained(toy_model(), best / "ema").state_dict()
    trainer.save_model(str(tmp_path / "final"))
    final = PeftModel.from_pretrained(toy_model(), tmp_path / "final" / "ema").state_dict()
    assert all(torch.equal(tensor, final[name]) for name, tensor in average.items())
    again = PeftModel.from_pretrained(toy_model(), tmp_path / "final").eval()
    merged = model.eval().merge_and_unload()
    assert_close(merged(toy_images()).logits, again(toy_images()).logits, atol=1e-5, rtol=1e-5)


def test_resumed_adapters_equal_the_uninterrupted_run(tmp_path):
    options = {"save_steps": 2, "ema_decay": 0.5}
    whole = trainer_for(tmp_path, adapted(), **options)
    whole.train()
    resumed = trainer_for(tmp_path, adapted(), **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    ours = resumed.model.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in whole.model.state_dict().items())
    averages = zip(whole._average.average, resumed._average.average, strict=True)
    assert all(torch.equal(first, second) for first, second in averages)


@pytest.mark.parametrize(
    "method, callback, attribute",
    [("dynamicvit", KeepRatioWarmup(0.5), "keep_ratios"), ("evovit", GroupingSwitch(0.5), "grouping")],
)
def test_schedules_reach_the_reducer_that_learns(tmp_path, method, callback, attribute):
    """PEFT trains a copy; what is set on its wrapper would be read by nobody."""
    model = adapted(method)
    copy = model.base_model.model.vit.reducer.modules_to_save["default"]
    target, seen = getattr(copy, attribute), []
    trainer = trainer_for(tmp_path, model, options={"callbacks": [callback]})
    compute_loss = trainer.compute_loss
    trainer.compute_loss = lambda *a, **k: seen.append(getattr(copy, attribute)) or compute_loss(*a, **k)
    trainer.train()
    assert seen[0] != target and seen[-1] == target == getattr(copy, attribute)


def test_adapters_alone_are_not_published(tmp_path):
    trainer = trainer_for(tmp_path, adapted())
    for publish in (trainer.push_to_hub, trainer.create_model_card):
        with pytest.raises(ValueError, match=r"merge_and_unload\(\)"):
            publish()
    with pytest.raises(ValueError, match=r"merge_and_unload\(\)"):
        trainer_for(tmp_path, adapted(), push_to_hub=True, hub_model_id="me/adapted")


def test_who_teaches_adapters(tmp_path):
    model = adapted()
    for teacher in (model, model.get_base_model()):
        with pytest.raises(ValueError, match="the student itself"):
            trainer_for(tmp_path, model, teacher=teacher)
    teacher = get_peft_model(toy_dense(3), LoraConfig(target_modules=["q_proj"], init_lora_weights=False)).eval()
    trainer = trainer_for(tmp_path, adapted(), teacher=teacher)
    logits, features, _ = trainer.teacher_outputs({"pixel_values": toy_images()})
    assert features is not None
    assert_close(logits, teacher(pixel_values=toy_images()).logits.detach(), atol=1e-5, rtol=1e-5)


def test_half_precision_may_lie_below_adapters(tmp_path):
    """What learns is float32: PEFT makes the adapters so; a reducer that learns must be so too."""
    base = toy_model().bfloat16()
    below = get_peft_model(base, LoraConfig(target_modules=["q_proj"]))
    trainer = trainer_for(tmp_path, below, frozen=["reducer"], teacher=DENSE_COPY)
    trainer.train()
    assert torch.tensor(trainer.state.log_history[0]["loss"]).isfinite()
    learned = get_peft_model(
        toy_model().bfloat16(), LoraConfig(target_modules=["q_proj"], modules_to_save=["reducer"])
    )
    with pytest.raises(ValueError, match=r"torch\.bfloat16, such as .*reducer"):
        trainer_for(tmp_path, learned).train()


def test_other_wrapped_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match="model is a ViTForImageClassification"):
        trainer_for(tmp_path, get_peft_model(toy_dense(), LoraConfig(target_modules=["q_proj"])))
