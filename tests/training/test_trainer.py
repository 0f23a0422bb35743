# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The Trainer: what it optimises, logs, restores and refuses."""

import json
from pathlib import Path

import pytest
import torch
from methods import FEW, usual
from programs import launch
from torch.testing import assert_close
from toys import assert_same_weights, toy_dense, toy_images, toy_model
from trainers import ToyData, arguments, trainer_for, weights_of
from transformers import HfArgumentParser, ResNetConfig, ResNetForImageClassification

from hf_dynamicvit import DynamicViTForImageClassification, DynamicViTTrainer, DynamicViTTrainingArguments
from hf_dynamicvit.training.losses import (
    class_distillation_loss,
    classification_loss,
    feature_distillation_loss,
    token_distillation_loss,
)
from hf_dynamicvit.training.metrics import Accuracy


def test_loss_is_the_weighted_sum(tmp_path):
    trainer = trainer_for(
        tmp_path,
        loss_weights={
            "ratio": 3.0,
            "classification": 0.7,
            "class_distill": 0.2,
            "token_distill": 0.4,
            "feature_distill": 0.3,
        },
    )
    model, teacher = trainer.model.train(), trainer.teacher
    batch = {"pixel_values": toy_images(), "labels": torch.tensor([0, 1, 2])}
    torch.manual_seed(0)
    loss = trainer.compute_loss(model, batch)
    torch.manual_seed(0)
    outputs = model(batch["pixel_values"])
    expected_teacher = teacher.vit(batch["pixel_values"]).last_hidden_state
    expected = (
        0.7 * classification_loss(outputs.logits, batch["labels"])
        + 3.0 * model.vit.reducer.losses(outputs.decisions)["ratio"]
        + 0.2 * class_distillation_loss(outputs.logits, teacher(batch["pixel_values"]).logits)
        + 0.4 * token_distillation_loss(outputs.last_hidden_state[:, 1:], expected_teacher[:, 1:], outputs.kept[:, -1])
        + 0.3 * feature_distillation_loss(outputs.last_hidden_state[:, 0], expected_teacher[:, 0])
    )
    assert_close(loss, expected)
    assert "labels" in batch  # the caller's batch is left alone


def test_default_teacher_is_the_frozen_dense_start(tmp_path):
    model = toy_model()
    start = weights_of(model)
    trainer = trainer_for(tmp_path, model)
    trainer.train()
    teacher = trainer.teacher.state_dict()
    assert_same_weights(teacher, {name: tensor for name, tensor in start.items() if ".reducer." not in name})
    assert not trainer.teacher.training and not any(p.requires_grad for p in trainer.teacher.parameters())
    assert all("teacher" not in name for name, _ in trainer.model.named_modules())
    changed = [name for name, tensor in trainer.model.state_dict().items() if not torch.equal(tensor, start[name])]
    assert len(changed) == len(start)


def test_logs_every_term_and_the_kept_fractions(tmp_path):
    trainer = trainer_for(tmp_path)
    recorded = []
    compute = trainer.loss_terms

    def record(*args):
        terms = compute(*args)
        recorded.append({name: term.item() for name, term in terms.items()})
        return terms

    trainer.loss_terms = record
    trainer.train()
    first, second = (entry for entry in trainer.state.log_history if "loss" in entry)
    assert set(recorded[0]) == {"classification", "ratio", "class_distill", "token_distill"}
    for entry, steps in ((first, recorded[:2]), (second, recorded[2:])):
        for name in recorded[0]:
            assert entry[f"loss_{name}"] == pytest.approx(sum(step[name] for step in steps) / 2, rel=1e-5)
        total = entry["loss_classification"] + 2 * entry["loss_ratio"]
        total += 0.5 * entry["loss_class_distill"] + 0.5 * entry["loss_token_distill"]
        assert entry["loss"] == pytest.approx(total, rel=1e-4)
        assert 1 > entry["kept_stage_1"] > entry["kept_stage_2"] > entry["kept_stage_3"] > 0


def test_every_method_trains(tmp_path, reducer):
    model = toy_model(reducer=reducer)
    start = weights_of(model)
    trainer = trainer_for(tmp_path, model)
    trainer.train()
    entry = next(entry for entry in trainer.state.log_history if "loss" in entry)
    weights = model.vit.reducer.loss_weights
    assert {name for name in entry if name.startswith("loss_")} == {f"loss_{name}" for name in weights}
    assert all(torch.tensor(entry[name]).isfinite() for name in entry)
    total = sum(weight * entry[f"loss_{name}"] for name, weight in weights.items())
    assert entry["loss"] == pytest.approx(total, rel=1e-3)
    assert (trainer.teacher is not None) == any("distill" in name for name in weights)
    still = [name for name, tensor in weights_of(model).items() if torch.equal(tensor, start[name])]
    assert still == [f"vit.reducer.{name}" for name in model.vit.reducer.unread]


@pytest.mark.parametrize(
    "method, weights",
    [
        ("dynamicvit", {"classification": 1.0, "ratio": 2.0, "class_distill": 0.5, "token_distill": 0.5}),
        ("tps", {"classification": 1.0, "ratio": 2.0, "class_distill": 0.5}),
        ("evit", {"classification": 1.0}),
        ("topk", {"classification": 1.0}),
        ("tome", {"classification": 1.0}),
        ("evovit", {"classification": 0.5, "auxiliary": 0.5}),
        ("asvit", {"classification": 1.0, "budget": 2.0, "class_distill": 0.5}),
        ("idlevit", {"classification": 1.0, "cut": 20.0, "class_distill": 10.0, "feature_distill": 1000.0}),
    ],
)
def test_published_weights(tmp_path, method, weights):
    resolved = trainer_for(tmp_path, toy_model(reducer=method)).loss_weights
    assert {name: weight for name, weight in resolved.items() if weight} == weights


def test_weights_on_the_command_line(tmp_path):
    (args,) = HfArgumentParser(DynamicViTTrainingArguments).parse_args_into_dataclasses(
        ["--output_dir", str(tmp_path), "--loss_weights", '{"ratio": 4.0}', "--report_to", "none"]
    )
    assert args.loss_weights == {"ratio": 4.0}
    assert DynamicViTTrainer(toy_model(), args).loss_weights["ratio"] == 4.0


def test_weights_of_other_terms_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"loss_weights has ratio; the terms here are .*budget"):
        trainer_for(tmp_path, toy_model(reducer="asvit"), loss_weights={"ratio": 1.0})


def test_a_teacher_that_nothing_asks_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no term of reducer 'evit' distils"):
        trainer_for(tmp_path, toy_model(reducer="evit"), teacher=toy_dense())
    trainer = trainer_for(
        tmp_path, toy_model(reducer="evit"), teacher=toy_dense(), loss_weights={"class_distill": 0.5}
    )
    trainer.train()
    assert "loss_class_distill" in trainer.state.log_history[0]


def test_published_rates(tmp_path):
    """Predictors faster than the backbone, thresholds as fast."""
    for method, scale in (("dynamicvit", 0.01), ("tps", 0.01), ("asvit", 1.0), ("evovit", 1.0)):
        trainer = trainer_for(tmp_path, toy_model(reducer=method), backbone_lr_scale=None)
        trainer.create_optimizer()
        rates = {group["backbone"]: group["lr"] for group in trainer.optimizer.param_groups}
        assert rates == {False: 1e-2, True: pytest.approx(1e-2 * scale)}


def test_nothing_learned_trains_at_the_full_rate(tmp_path):
    trainer = trainer_for(tmp_path, toy_model(reducer="evit"), backbone_lr_scale=0.5)
    trainer.create_optimizer()
    assert {group["lr"] for group in trainer.optimizer.param_groups} == {1e-2}


def test_a_weight_of_a_term_that_does_not_come_is_said_aloud(tmp_path, warnings_text):
    model = toy_model(reducer="idlevit", reducer_args={"cut": "none"})
    trainer_for(tmp_path, model, loss_weights={"cut": 5.0}).train()
    assert warnings_text().count("loss_weights has cut, but this training has no such term") == 1


@pytest.mark.parametrize("method", ["asvit", "evovit", "idlevit", "tps"])
def test_every_weight_survives_resume_and_best_model(tmp_path, method):
    def trainer_in(folder):
        options = {"save_steps": 2, "eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True}
        return trainer_for(folder, toy_model(reducer=method), metric_for_best_model="loss", **options)

    whole = trainer_in(tmp_path / "whole")
    whole.train()
    saved = DynamicViTForImageClassification.from_pretrained(whole.state.best_model_checkpoint)
    assert_same_weights(whole.model.state_dict(), saved.state_dict())
    parts = trainer_in(tmp_path / "parts")
    parts.train()
    second = trainer_in(tmp_path / "parts")
    second.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-2"))
    assert_same_weights(second.model.state_dict(), whole.model.state_dict())


@usual(reducer=[*FEW, "evovit"])
@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_every_method_and_problem(tmp_path, reducer, problem):
    model = toy_model(reducer=reducer, problem_type=problem)
    trainer = trainer_for(tmp_path, model, loss_weights={"class_distill": 0.0})
    labels = torch.rand(3, 5) if problem == "regression" else torch.eye(5)[:3]
    assert trainer.compute_loss(model.train(), {"pixel_values": toy_images(), "labels": labels}).isfinite()


def test_evovit_learns_from_a_dense_checkpoint(tmp_path):
    """The released code cannot: its attention starts at random, and backward fails."""
    toy_dense().save_pretrained(tmp_path / "dense")
    model = DynamicViTForImageClassification.from_pretrained(tmp_path / "dense", reducer="evovit")
    assert torch.equal(model.vit.layers[3].attention.q_proj.weight, toy_dense().vit.layers[3].attention.q_proj.weight)
    trainer = trainer_for(tmp_path / "run", model, max_steps=60, learning_rate=3e-3, logging_steps=10)
    trainer.train()
    losses = [entry["loss_classification"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.5 * losses[0]


def test_the_second_classifier_is_smoothed_and_measured_too(tmp_path):
    model = toy_model(reducer="evovit").train()
    trainer = trainer_for(tmp_path, model, label_smoothing_factor=0.1)
    labels = torch.tensor([0, 1, 2])
    outputs = model(toy_images())
    terms = trainer.loss_terms(outputs, labels)
    assert_close(terms["auxiliary"], classification_loss(outputs.auxiliary_logits, labels, 0.1))
    seen = []
    own = trainer_for(
        tmp_path, model, options={"compute_loss_func": lambda o, *a, **k: seen.append(o.kept) or o.logits.mean()}
    )
    own.loss_terms(outputs, labels, {"pixel_values": toy_images()})
    assert len(seen) == 2 and all(kept is outputs.kept for kept in seen)


def test_no_dense_copy_teaches_mean_pooling(tmp_path):
    with pytest.raises(ValueError, match="pass teacher= a model"):
        trainer_for(tmp_path, toy_model(reducer="evovit"), loss_weights={"class_distill": 0.5})
    trainer_for(tmp_path, toy_model(reducer="evovit"), teacher=toy_dense(), loss_weights={"class_distill": 0.5})


def test_a_teacher_without_a_class_feature_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'feature_distill': 0"):
        trainer_for(tmp_path, toy_model(reducer="idlevit"), teacher=toy_dense(hidden_size=64))


def test_thresholds_are_put_right_after_a_step(tmp_path):
    model = toy_model(reducer="asvit", reducer_args={"budget": 1.0, "tau": 1e-2})
    trainer_for(tmp_path, model, max_steps=20, learning_rate=1e-2, loss_weights={"budget": 100.0}).train()
    thresholds = [threshold.item() for threshold in model.vit.reducer.thresholds]
    assert min(thresholds) == pytest.approx(1e-12) and max(thresholds) < 0.05


def test_a_stuck_threshold_is_said_aloud(tmp_path, warnings_text):
    model = toy_model(reducer="asvit")
    trainer_for(tmp_path / "moving", model, learning_rate=1e-5).train()
    assert "stuck" not in warnings_text()
    model.vit.reducer.thresholds[1].data.fill_(0.9)  # far above every score
    trainer_for(tmp_path / "stuck", model).train()
    assert "thresholds.1" in warnings_text() and "set_budget" in warnings_text()


def test_thresholds_follow_the_budget(tmp_path):
    costs = []
    for budget in (0.4, 0.95):
        model = toy_model(reducer="asvit", reducer_args={"budget": budget, "tau": 1e-2})
        trainer = trainer_for(tmp_path, model, max_steps=30, learning_rate=1e-3, loss_weights={"budget": 50.0})
        trainer.train()
        costs.append(model.multiply_adds(ToyData().images) / model.dense_multiply_adds())
    assert costs[0] < 0.6 < 0.8 < costs[1]


def test_token_distillation_compares_each_kept_patch_with_its_own(tmp_path):
    """A student that drops tokens in training has them in another order than the teacher."""
    trainer = trainer_for(tmp_path, toy_model(reducer="topk"), loss_weights={"token_distill": 0.5})
    model, images = trainer.model.train(), toy_images()
    outputs = model(images)
    terms = trainer.loss_terms(outputs, torch.tensor([0, 1, 2]), *trainer.teacher_outputs({"pixel_values": images}))
    teacher = trainer.teacher.vit(images).last_hidden_state[:, 1:]
    kept, owner = outputs.kept[:, -1], outputs.owner[:, -1]
    total = 0.0
    for image in range(3):
        for patch in kept[image].nonzero()[:, 0]:
            student = outputs.last_hidden_state[image, 1 + owner[image, patch]]
            total += (student - teacher[image, patch]).square().mean()
    assert_close(terms["token_distill"], total / kept.sum())


def test_no_teacher_no_distillation(tmp_path):
    trainer = trainer_for(tmp_path, teacher=None)
    trainer.train()
    entry = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert "loss_ratio" in entry and "loss_class_distill" not in entry and "loss_token_distill" not in entry


def test_gradient_accumulation_averages(tmp_path, monkeypatch):
    """One batch of 8 and two of 4 give the same step and the same log, once the sampling is fixed."""

    def keep_every_other(log_probs, tau):
        """Deterministic, with a gradient; every image keeps as many, so that the token means weigh alike."""
        probability = log_probs[..., 0].exp()
        return torch.arange(probability.shape[1]) % 2 + probability - probability.detach()

    monkeypatch.setattr("hf_dynamicvit.model.reducer_dynamicvit.gumbel_keep", keep_every_other)
    results = []
    for batch, accumulation in ((8, 1), (4, 2)):
        trainer = trainer_for(
            tmp_path / str(batch),
            max_steps=2,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation,
            optim="sgd",
        )
        trainer.train()
        results.append((weights_of(trainer.model), trainer.state.log_history[0]))
    (expected, expected_log), (actual, actual_log) = results
    for name in expected:
        assert_close(actual[name], expected[name], atol=1e-6, rtol=1e-4)
    for name in expected_log:
        if name.startswith(("loss", "kept")):
            assert actual_log[name] == pytest.approx(expected_log[name], rel=1e-4, abs=1e-7), name


def test_parameter_groups(tmp_path):
    trainer = trainer_for(tmp_path, weight_decay=0.1, learning_rate=1e-3, backbone_lr_scale=0.01)
    trainer.create_optimizer()
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    seen = []
    for group in trainer.optimizer.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            seen.append(name)
            assert group["lr"] == pytest.approx(1e-3 if ".reducer." in name else 1e-5), name
            assert group["backbone"] == (".reducer." not in name)
            undecayed = parameter.ndim == 1 or name.endswith(("bias", "cls_token", "position_embeddings"))
            assert group["weight_decay"] == (0.0 if undecayed else 0.1), name
    assert sorted(seen) == sorted(names.values())
    assert ".reducer." in names[id(trainer.optimizer.param_groups[0]["params"][0])]  # its rate is the one logged


def rates_by_name(trainer) -> dict[str, float]:
    trainer.create_optimizer()
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    groups = trainer.optimizer.param_groups
    return {names[id(parameter)]: group["lr"] for group in groups for parameter in group["params"]}


def test_a_new_classifier_on_a_trained_backbone_has_a_rate_of_its_own(tmp_path):
    """A bias of 0 tells what has not been trained; weights that are all new learn alike."""

    def rates(trained, reducer="dynamicvit", **options):
        model = toy_model(reducer=reducer)
        for name, parameter in model.named_parameters():
            if name.startswith(trained) and name.endswith("bias"):
                torch.nn.init.normal_(parameter)
        options |= {"learning_rate": 1e-3, "backbone_lr_scale": 0.01, "layer_lr_decay": 0.5}
        found = rates_by_name(trainer_for(tmp_path, model, **options))
        return found["classifier.weight"], found["classifier.bias"], found["vit.layernorm.weight"]

    for reducer, backbone in (("dynamicvit", 1e-5), ("evit", 1e-3)):
        assert rates(("vit",), reducer) == (5e-3, 5e-3, backbone)
        assert rates(("vit",), reducer, head_learning_rate=2e-3) == (2e-3, 2e-3, backbone)
        assert rates(("vit", "classifier"), reducer) == (backbone,) * 3
        assert rates(("vit", "classifier"), reducer, head_learning_rate=2e-3) == (2e-3, 2e-3, backbone)
        assert rates((), reducer) == (backbone,) * 3


def test_a_new_classifier_resumes_at_its_rate(tmp_path):
    """Its groups are those of the start, though what is resumed is no longer new."""

    def model():
        made = toy_model(reducer="evit")
        torch.nn.init.normal_(made.vit.layernorm.bias)
        return made

    trainer_for(tmp_path, model(), max_steps=2, save_steps=1).train()
    whole = trainer_for(tmp_path / "whole", model(), max_steps=4, save_steps=1)
    whole.train()
    resumed = trainer_for(tmp_path, model(), max_steps=4, save_steps=1)
    resumed.train(resume_from_checkpoint=True)
    rates = [[group["initial_lr"] for group in trainer.optimizer.param_groups] for trainer in (whole, resumed)]
    assert rates[0] == rates[1] and 5e-3 in rates[0]


@pytest.mark.parametrize("epochs, frozen_steps", [(0, 0), (1, 4), (1.5, 6), (None, 2)])
def test_backbone_is_frozen_in_the_first_epochs(tmp_path, epochs, frozen_steps):
    trainer = trainer_for(tmp_path, max_steps=-1, num_train_epochs=3, freeze_backbone_epochs=epochs)
    start, moved = weights_of(trainer.model), []

    class Watch(type(trainer.callback_handler.callbacks[0])):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, start[name])}
            moved.append(any(".reducer." not in name for name in changed))
            assert any(".reducer." in name for name in changed)

    trainer.add_callback(Watch())
    trainer.train()
    assert moved == [False] * frozen_steps + [True] * (12 - frozen_steps)


def test_resume_equals_the_uninterrupted_run(tmp_path):
    whole = trainer_for(tmp_path / "whole", save_steps=2)
    whole.train()
    first = trainer_for(tmp_path / "parts", save_steps=2)
    first.train()
    # a new process would build the model anew and then read the checkpoint of step 2
    second = trainer_for(tmp_path / "parts", save_steps=2)
    second.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-2"))
    assert second.state.global_step == 4
    assert_same_weights(second.model.state_dict(), whole.model.state_dict())


def test_best_model_reload_restores_every_weight(tmp_path):
    trainer = trainer_for(
        tmp_path,
        eval_strategy="steps",
        eval_steps=2,
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        learning_rate=1e-1,
        backbone_lr_scale=1.0,
        greater_is_better=True,
    )
    trainer.train()
    best = Path(trainer.state.best_model_checkpoint)
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert best.name == f"checkpoint-{2 * (1 + losses.index(max(losses)))}"
    saved = DynamicViTForImageClassification.from_pretrained(best)
    assert_same_weights(trainer.model.state_dict(), saved.state_dict())
    other = tmp_path / ("checkpoint-4" if best.name == "checkpoint-2" else "checkpoint-2")
    different = DynamicViTForImageClassification.from_pretrained(other).state_dict()
    name = "vit.layers.0.attention.q_proj.weight"
    assert not torch.equal(different[name], saved.state_dict()[name])


def test_evaluation_drops_tokens_and_gives_plain_logits(tmp_path):
    trainer = trainer_for(tmp_path, per_device_eval_batch_size=3)
    prediction = trainer.predict(ToyData(10))
    assert prediction.predictions.shape == (10, 5)
    model = trainer.model.eval()
    images = ToyData(10).images
    logits = model(images).logits
    assert_close(torch.tensor(prediction.predictions), logits.detach(), atol=1e-5, rtol=1e-5)
    labels = torch.arange(10) % 5
    assert prediction.metrics["test_accuracy"] == pytest.approx((logits.argmax(-1) == labels).float().mean().item())
    assert prediction.metrics["test_loss"] == pytest.approx(classification_loss(logits, labels).item(), rel=1e-4)


def test_soft_labels_and_label_smoothing(tmp_path):
    model = toy_model(problem_type="single_label_classification")
    trainer = trainer_for(tmp_path, model, teacher=None, label_smoothing_factor=0.1)
    model.train()
    soft = torch.rand(3, 5).softmax(-1)
    for labels in (soft, torch.tensor([0, 1, 2])):
        torch.manual_seed(0)
        loss = trainer.compute_loss(model, {"pixel_values": toy_images(), "labels": labels})
        torch.manual_seed(0)
        outputs = model(toy_images())
        ratio = model.vit.reducer.losses(outputs.decisions)["ratio"]
        assert_close(loss, classification_loss(outputs.logits, labels, 0.1) + 2 * ratio)


def test_multi_label_trains_without_class_distillation(tmp_path):
    model = toy_model(problem_type="multi_label_classification")
    with pytest.raises(ValueError, match="'class_distill': 0"):
        trainer_for(tmp_path, model)
    trainer = trainer_for(tmp_path, model, loss_weights={"class_distill": 0.0})
    loss = trainer.compute_loss(model.train(), {"pixel_values": toy_images(), "labels": torch.eye(5)[:3]})
    assert loss.isfinite()


def test_any_classifier_can_teach(tmp_path):
    teacher = ResNetForImageClassification(
        ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=5)
    )
    with pytest.raises(ValueError, match="'token_distill': 0"):
        trainer_for(tmp_path, teacher=teacher)
    trainer = trainer_for(tmp_path, teacher=teacher, loss_weights={"token_distill": 0.0})
    trainer.train()
    assert "loss_class_distill" in trainer.state.log_history[0]


def test_teacher_from_a_checkpoint(tmp_path):
    toy_dense(seed=9).save_pretrained(tmp_path / "teacher")
    trainer = trainer_for(tmp_path, teacher=str(tmp_path / "teacher"))
    assert torch.equal(trainer.teacher.classifier.weight, toy_dense(seed=9).classifier.weight)


def test_a_teacher_of_a_half_precision_file_computes_as_the_training_does(tmp_path):
    toy_dense().bfloat16().save_pretrained(tmp_path / "teacher")
    trainer = trainer_for(tmp_path, teacher=str(tmp_path / "teacher"))
    assert trainer.teacher_outputs({"pixel_values": toy_images()})[0].dtype == torch.float32


@pytest.mark.parametrize(
    "teacher, message",
    [
        ({"num_labels": 4}, "teacher has 4 labels, the student 5"),
        ({"id2label": dict(enumerate("abcdf"))}, "4: 'f' instead of 'e'"),
        ({"hidden_size": 64}, "'token_distill': 0"),
        ({"patch_size": 8}, "'token_distill': 0"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(tmp_path, teacher, message):
    model = toy_model(id2label=dict(enumerate("abcde")))
    with pytest.raises(ValueError, match=message):
        trainer_for(tmp_path, model, teacher=toy_dense(**teacher))


@pytest.mark.parametrize(
    "values, message",
    [
        ({"loss_weights": {"ratio": -1.0}}, r"loss_weights\['ratio'\] is -1\.0"),
        ({"backbone_lr_scale": float("nan")}, "backbone_lr_scale is nan"),
        ({"freeze_backbone_epochs": -2.0}, r"freeze_backbone_epochs is -2\.0"),
        ({"loss_weights": "ratio"}, "loss_weights is 'ratio'"),
        ({"loss_weights": '{"ratio": 4.0'}, "which is no JSON"),
        ({"loss_weights": '{"ratio": null}'}, r"loss_weights\['ratio'\] is None"),
        ({"loss_weights": '{"ratio": Infinity}'}, r"loss_weights\['ratio'\] is inf"),
        ({"loss_weights": {"ratio": True}}, r"loss_weights\['ratio'\] is True"),
    ],
)
def test_bad_arguments_are_named(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        arguments(tmp_path, **values)


def test_freezing_under_a_schedule_that_builds_on_itself_is_refused(tmp_path):
    schedule = {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "epoch"}
    with pytest.raises(ValueError, match="freeze_backbone_epochs=0, not None"):
        trainer_for(tmp_path, freeze_backbone_epochs=None, **schedule)
    trainer_for(tmp_path, toy_model(reducer="asvit"), freeze_backbone_epochs=None, **schedule)


def test_other_models_and_arguments_are_refused(tmp_path):
    from transformers import TrainingArguments

    with pytest.raises(ValueError, match="ViTForImageClassification"):
        DynamicViTTrainer(toy_dense(), arguments(tmp_path))
    with pytest.raises(ValueError, match="DynamicViTTrainingArguments"):
        DynamicViTTrainer(toy_model(), TrainingArguments(str(tmp_path)))


def test_float_labels_need_a_problem_type(tmp_path):
    """Soft labels of mixup would silently become multi-label targets, and the configuration with them."""
    trainer = trainer_for(tmp_path)
    with pytest.raises(ValueError, match=r"torch\.float32 \(3, 5\) and config\.problem_type is None"):
        trainer.compute_loss(trainer.model.train(), {"pixel_values": toy_images(), "labels": torch.rand(3, 5)})
    assert trainer.model.config.problem_type is None


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_label_smoothing_of_other_problems_is_refused(tmp_path, problem):
    model = toy_model(problem_type=problem)
    with pytest.raises(ValueError, match=rf"label_smoothing_factor is 0\.1.*{problem}"):
        trainer_for(tmp_path, model, loss_weights={"class_distill": 0.0}, label_smoothing_factor=0.1)


def test_regression_of_one_value(tmp_path):
    model = toy_model(num_labels=1)
    with pytest.raises(ValueError, match=r"'regression'.*'class_distill': 0"):
        trainer_for(tmp_path, model)
    trainer = trainer_for(tmp_path, model, loss_weights={"class_distill": 0.0})
    batch = {"pixel_values": toy_images(), "labels": torch.rand(3)}
    assert trainer.compute_loss(model.train(), batch).isfinite()


def test_compute_loss_func_replaces_the_classification_loss(tmp_path):
    def distance(outputs, labels, num_items_in_batch):
        assert num_items_in_batch is None
        return (outputs.logits.sum(-1) - labels).abs().mean()

    trainer = trainer_for(tmp_path, options={"compute_loss_func": distance})
    torch.manual_seed(0)
    batch = {"pixel_values": toy_images(), "labels": torch.tensor([0, 1, 2])}
    trainer.compute_loss(trainer.model.train(), batch)
    torch.manual_seed(0)
    expected = distance(trainer.model(batch["pixel_values"]), batch["labels"], None)
    assert trainer._term_log.sums["loss_classification"] == pytest.approx(expected.item())
    trainer.train()


def test_labels_and_geometry_are_compared_by_meaning(tmp_path):
    names = dict(enumerate("abcde"))
    teacher = toy_dense(id2label=dict(reversed(names.items())), image_size=[32, 32], patch_size=[4, 4])
    trainer_for(tmp_path, toy_model(id2label=names), teacher=teacher)


@pytest.mark.parametrize("teacher", [5, torch.nn.Linear(2, 2)])
def test_a_teacher_of_another_kind_is_refused(tmp_path, teacher):
    with pytest.raises(ValueError, match="teacher is a"):
        trainer_for(tmp_path, teacher=teacher)


def test_the_student_cannot_teach_itself(tmp_path):
    model = toy_model()
    with pytest.raises(ValueError, match="the student itself"):
        trainer_for(tmp_path, model, teacher=model, loss_weights={"token_distill": 0.0})
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_the_teacher_sees_what_the_student_sees_in_eval_mode(tmp_path):
    dropout = {"hidden_dropout_prob": 0.5}
    teacher = toy_dense(seed=3, **dropout).train()
    trainer = trainer_for(tmp_path, toy_model(**dropout), teacher=teacher)
    mask = torch.ones(3, 37, dtype=torch.bool)
    mask[:, 20:] = False
    inputs = {"pixel_values": toy_images(3, 24, 24), "interpolate_pos_encoding": True, "attention_mask": mask}
    outputs = trainer.model.train()(**inputs)
    terms = trainer.loss_terms(outputs, torch.tensor([0, 1, 2]), *trainer.teacher_outputs(inputs))
    expected = toy_dense(seed=3, **dropout)(**inputs).logits
    assert_close(terms["class_distill"], class_distillation_loss(outputs.logits, expected))


def test_several_gpus_in_one_process_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(DynamicViTTrainingArguments, "n_gpu", 2)
    with pytest.raises(ValueError, match="2 GPUs in one process"):
        trainer_for(tmp_path)


def test_own_optimizer_is_said_to_go_without_the_two_rates(tmp_path, warnings_text):
    model = toy_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = trainer_for(tmp_path, model, options={"optimizers": (optimizer, None)}, freeze_backbone_epochs=9.0)
    assert "backbone_lr_scale" in warnings_text()
    trainer.train()


def test_a_second_training_logs_only_its_own_terms(tmp_path):
    trainer = trainer_for(tmp_path, max_steps=3)  # the third step is not logged
    trainer.train()
    assert trainer._term_log.counts["loss_ratio"] == 1
    trainer.train()
    totals = []
    for entry in [entry for entry in trainer.state.log_history if "loss" in entry]:
        total = entry["loss_classification"] + 2 * entry["loss_ratio"]
        totals.append((entry["loss"], total + 0.5 * entry["loss_class_distill"] + 0.5 * entry["loss_token_distill"]))
    assert all(loss == pytest.approx(total, rel=1e-4) for loss, total in totals)


def test_training_without_labels_is_refused(tmp_path):
    trainer = trainer_for(tmp_path)
    with pytest.raises(ValueError, match="needs 'labels'"):
        trainer.compute_loss(trainer.model.train(), {"pixel_values": toy_images()})


def test_low_keep_ratios_stay_finite(tmp_path):
    """The published code gives NaN here once an image drops everything."""
    model = toy_model(keep_ratio=[0.1, 0.05, 0.02])
    trainer = trainer_for(tmp_path, model, max_steps=40, learning_rate=3e-2)
    trainer.train()
    assert all(torch.tensor(entry["loss"]).isfinite() for entry in trainer.state.log_history if "loss" in entry)
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def test_accuracy_metric_is_offline():
    assert Accuracy().compute(predictions=[1, 2, 3, 3], references=[1, 2, 3, 0]) == {"accuracy": 0.75}


TWO_PROCESSES = """
import json, sys
from pathlib import Path

from trainers import trainer_for

trainer = trainer_for(Path(sys.argv[1]), max_steps=2, per_device_train_batch_size=2, optim="sgd")
trainer.train()
accuracy = trainer.evaluate()["eval_accuracy"]
result = {"processes": trainer.args.world_size, "accuracy": accuracy, **trainer.state.log_history[0]}
if trainer.is_world_process_zero():
    Path(sys.argv[1], "result.json").write_text(json.dumps(result))
trainer.accelerator.end_training()
"""


@pytest.mark.slow
def test_two_processes_log_the_mean_over_both(tmp_path):
    launch(TWO_PROCESSES, str(tmp_path), folder=tmp_path)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["processes"] == 2 and 0 <= result["accuracy"] <= 1
    # the loss is averaged by the Trainer, its terms by us: they agree only if ours are averaged over both as well
    total = result["loss_classification"] + 2 * result["loss_ratio"]
    total += 0.5 * result["loss_class_distill"] + 0.5 * result["loss_token_distill"]
    assert result["loss"] == pytest.approx(total, rel=1e-5)


def test_gradient_checkpointing_trains_as_without(tmp_path):
    """Also with options that do not name `use_reentrant`, whose absence means the reentrant form to torch."""
    weights = []
    for options in (
        {},
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"preserve_rng_state": True}},
    ):
        trainer = trainer_for(tmp_path / str(len(weights)), max_steps=2, save_strategy="no", **options)
        trainer.train()
        weights.append(weights_of(trainer.model))
    for name, expected in weights[0].items():
        assert_close(weights[1][name], expected, atol=1e-5, rtol=1e-4)


def test_reentrant_checkpointing_is_refused_before_the_first_step(tmp_path):
    options = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}}
    trainer = trainer_for(tmp_path, **options)
    with pytest.raises(ValueError, match="leave it out, or use use_reentrant=False"):
        trainer.train()
    assert trainer.state.global_step == 0 and not list(tmp_path.iterdir())
