# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What `Trainer` takes and so do we: `model_init`, searches, dtypes, labels, metrics; what cannot work is refused."""

import warnings

import numpy as np
import pytest
import torch
from methods import FEW, usual
from torch.testing import assert_close
from toys import assert_same_weights, toy_dense, toy_images, toy_model
from trainers import ToyData, arguments, trainer_for, weights_of
from transformers import EvalPrediction
from transformers.trainer_utils import HPSearchBackend

from hf_dynamicvit import DynamicViTTrainer, DynamicViTTrainingArguments
from hf_dynamicvit.training.metrics import compute_accuracy


def trainer_of_init(folder, model_init, teacher=None, **overrides):
    return DynamicViTTrainer(
        None,
        arguments(folder, **overrides),
        **({} if teacher is None else {"teacher": teacher}),
        model_init=model_init,
        train_dataset=ToyData(),
        eval_dataset=ToyData(10),
        compute_metrics=compute_accuracy,
    )


def test_each_training_has_a_model_of_its_own(tmp_path):
    built = []

    def model_init():
        built.append(toy_model())
        return built[-1]

    trainer = trainer_of_init(tmp_path, model_init)
    trainer.train()
    first, optimizer, teacher = weights_of(trainer.model), trainer.optimizer, trainer.teacher
    trainer.train()
    assert trainer.model is built[2] and len(built) == 3
    assert trainer.optimizer is not optimizer and trainer.teacher is not teacher
    assert_same_weights(trainer.model.state_dict(), first)
    start = toy_model().to_dense().state_dict()
    assert_same_weights(trainer.teacher.state_dict(), start)


def test_a_search_builds_student_teacher_and_losses_anew(tmp_path, monkeypatch):
    """As `hyperparameter_search` does: the arguments of the trial, the model let go of in between."""
    methods = iter(["dynamicvit", "dynamicvit", "evit", "tps"])
    trainer = trainer_of_init(tmp_path, lambda trial: toy_model(reducer=next(methods)), max_steps=1)
    trainer.hp_search_backend = HPSearchBackend.WANDB  # hands the values over as they are
    monkeypatch.setattr("transformers.integrations.integration_utils.is_wandb_available", lambda: True)
    trainer._get_output_dir = lambda trial: str(tmp_path)
    trials = [
        ({"learning_rate": 1e-3}, {"ratio", "class_distill", "token_distill", "classification"}),
        ({"learning_rate": 2e-3}, {"classification"}),
        ({"learning_rate": 3e-3, "backbone_lr_scale": 0.1}, {"ratio", "class_distill", "classification"}),
    ]
    for trial, terms in trials:
        trainer.model = None  # as the backends leave it
        trainer.train(trial=dict(trial))
        assert {name for name, weight in trainer.loss_weights.items() if weight} == terms
        assert (trainer.teacher is None) == (terms == {"classification"})
        rates = sorted(group["initial_lr"] for group in trainer.optimizer.param_groups)
        assert rates[-1] == trial["learning_rate"]
    assert rates[0] == pytest.approx(3e-4)
    trainer.args.loss_weights = {"ratio": 1.0}
    methods = iter(["tps"])
    trainer.train(trial={"loss_weights": {"ratio": 7.0}})
    assert trainer.loss_weights["ratio"] == 7.0
    methods = iter(["tps"])
    with pytest.raises(ValueError, match="ema_decay cannot be searched for"):
        trainer.train(trial={"ema_decay": 0.9})


def test_a_given_teacher_teaches_every_model(tmp_path):
    toy_dense(seed=9).save_pretrained(tmp_path / "teacher")
    trainer = trainer_of_init(tmp_path / "run", lambda: toy_model(), teacher=str(tmp_path / "teacher"))
    teacher = trainer.teacher
    trainer.train()
    assert trainer.teacher is teacher
    assert torch.equal(teacher.classifier.weight, toy_dense(seed=9).classifier.weight)


def test_a_model_or_a_way_to_make_it(tmp_path):
    with pytest.raises(ValueError, match="model is a NoneType"):
        DynamicViTTrainer(None, arguments(tmp_path))
    with pytest.raises(ValueError, match="not both"):
        DynamicViTTrainer(toy_model(), arguments(tmp_path), model_init=toy_model)
    with pytest.raises(ValueError, match="model is a ViTForImageClassification"):
        trainer_of_init(tmp_path, lambda: toy_dense())
    with pytest.raises(ValueError, match=r"cache_teacher asks once.*pass teacher="):
        trainer_of_init(tmp_path, lambda: toy_model(), cache_teacher=True, remove_unused_columns=False)
    with pytest.raises(ValueError, match="DynamicViTTrainingArguments"):
        DynamicViTTrainer(toy_model())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_not_trained(tmp_path, dtype):
    """Transformers loads the dtype of the file, and AdamW in it loses small steps without a word."""
    trainer = trainer_for(tmp_path / "run", toy_model().to(dtype))
    with pytest.raises(ValueError, match=rf"{dtype}.*dtype=torch\.float32.*bf16=True"):
        trainer.train()
    assert not list((tmp_path / "run").glob("*"))
    if dtype == torch.bfloat16:
        assert trainer.evaluate()["eval_loss"] > 0
    with pytest.raises(ValueError, match=str(dtype)):
        trainer_of_init(tmp_path, lambda: toy_model().to(dtype))


def test_an_evaluation_in_half_precision_does_not_change_the_training(tmp_path):
    trainer = trainer_for(tmp_path, bf16_full_eval=True)
    trainer.evaluate()
    with pytest.raises(ValueError, match=r"torch\.bfloat16"):
        trainer.train()
    trainer.model.float()
    trainer.train()


@pytest.mark.skipif(torch.accelerator.is_available(), reason="of machines without an accelerator")
@pytest.mark.parametrize("option", ["bf16", "bf16_full_eval"])
def test_bfloat16_on_a_cpu_needs_no_other_option(tmp_path, option):
    args = DynamicViTTrainingArguments(str(tmp_path), report_to="none", max_steps=1, **{option: True})
    assert args.device.type == "cpu"
    trainer = DynamicViTTrainer(toy_model(), args, train_dataset=ToyData())
    trainer.train()
    assert trainer.accelerator.mixed_precision == ("bf16" if option == "bf16" else "no")


def test_float16_on_a_cpu_is_said_to_have_no_effect(tmp_path, warnings_text):
    arguments(tmp_path, bf16=True)
    assert "no effect on a CPU" not in warnings_text()
    arguments(tmp_path, fp16=True)
    assert "fp16 has no effect on a CPU" in warnings_text()


@pytest.mark.skipif(torch.accelerator.is_available(), reason="of machines without an accelerator")
def test_a_training_on_a_cpu_prints_nothing_of_pinned_memory_or_files(tmp_path, capfd):
    args = DynamicViTTrainingArguments(
        str(tmp_path), report_to="none", max_steps=2, save_steps=1, eval_strategy="epoch", ema_decay=0.5
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        trainer = DynamicViTTrainer(toy_model(), args, train_dataset=ToyData(), eval_dataset=ToyData(10))
        trainer.train()
        trainer.evaluate()
    trainer.save_model()
    printed = capfd.readouterr()
    assert "shards" not in printed.err + printed.out and "train_loss" in printed.out


def multi_hot(dtype=torch.float32):
    return torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 0, 1], [0, 0, 0, 0, 0]], dtype=dtype)


@usual(reducer=["dynamicvit"])
@usual(reducer=FEW, dtype=[torch.int64])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool])
def test_multi_hot_labels_of_any_type(tmp_path, dtype, reducer):
    model = toy_model(reducer=reducer, problem_type="multi_label_classification")
    trainer = trainer_for(tmp_path, model, loss_weights={"class_distill": 0.0})
    losses = []
    for labels in (multi_hot(), multi_hot(dtype)):
        torch.manual_seed(0)
        losses.append(trainer.compute_loss(model.train(), {"pixel_values": toy_images(), "labels": labels}))
    assert torch.equal(*losses)
    losses[1].backward()
    loss = trainer.compute_loss(model.eval(), {"pixel_values": toy_images(), "labels": multi_hot(dtype)})
    expected = torch.nn.functional.binary_cross_entropy_with_logits(model(toy_images()).logits, multi_hot())
    assert_close(loss, expected)


def test_integers_as_numbers_and_as_one_hot_rows(tmp_path):
    regression = toy_model(num_labels=1, problem_type="regression")
    trainer = trainer_for(tmp_path, regression, loss_weights={"class_distill": 0.0})
    batch = {"pixel_values": toy_images(), "labels": torch.tensor([1, 2, 3])}
    trainer.compute_loss(regression.train(), batch).backward()
    single = toy_model(problem_type="single_label_classification").eval()
    trainer = trainer_for(tmp_path, single)
    classes = torch.tensor([0, 4, 2])
    losses = [
        trainer.compute_loss(single, {"pixel_values": toy_images(), "labels": labels})
        for labels in (classes, torch.eye(5, dtype=torch.int64)[classes])
    ]
    assert_close(*losses)


@pytest.mark.parametrize(
    "problem, labels, message",
    [
        (None, multi_hot(torch.int64), r"torch\.int64 \(3, 5\) and config\.problem_type is None"),
        ("multi_label_classification", torch.tensor([0, 1, 2]), r"labels have shape \(3,\).*\(3, 5\)"),
    ],
)
def test_labels_of_another_problem_are_named(tmp_path, problem, labels, message):
    model = toy_model(problem_type=problem).train()
    trainer = trainer_for(tmp_path, model, loss_weights={"class_distill": 0.0})
    with pytest.raises(ValueError, match=message):
        trainer.compute_loss(model, {"pixel_values": toy_images(), "labels": labels})


LOGITS = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 2.0, 1.0], [1.0, 0.0, 0.0]])
CLASSES = np.array([0, 2, 1, 1])


@pytest.mark.parametrize(
    "predictions, references",
    [
        (LOGITS, CLASSES),
        (LOGITS.argmax(-1), CLASSES),
        ((LOGITS, np.zeros((4, 7))), CLASSES),
        (LOGITS, (CLASSES,)),
        ([LOGITS[:3], LOGITS[3:]], [CLASSES[:3], CLASSES[3:]]),
        ([(LOGITS[:3], 0), (LOGITS[3:], 0)], [CLASSES[:3], CLASSES[3:]]),
        (LOGITS, np.eye(3, dtype=int)[CLASSES]),
    ],
)
def test_accuracy_of_whatever_the_trainer_hands_on(predictions, references):
    assert compute_accuracy(EvalPrediction(predictions, references)) == {"accuracy": 0.75}


@pytest.mark.parametrize(
    "predictions, references, message",
    [
        (LOGITS, np.array([[1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 1]]), "multi-hot"),
        (np.zeros((4, 1)), CLASSES, r"predictions have shape \(4, 1\)"),
        (np.zeros(4), CLASSES, r"predictions have shape \(4,\) and type float64"),
        (LOGITS, CLASSES.astype(float), "label_ids have shape"),
    ],
)
def test_accuracy_of_something_else_is_refused(predictions, references, message):
    with pytest.raises(ValueError, match=message):
        compute_accuracy(EvalPrediction(predictions, references))


def test_classes_in_place_of_logits_in_the_trainer(tmp_path):
    options = {"preprocess_logits_for_metrics": lambda logits, labels: logits.argmax(dim=-1)}
    expected = trainer_for(tmp_path).evaluate()["eval_accuracy"]
    assert trainer_for(tmp_path, options=options).evaluate()["eval_accuracy"] == expected
    assert trainer_for(tmp_path, eval_do_concat_batches=False).evaluate()["eval_accuracy"] == expected


def test_what_would_have_no_effect_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"label_names is \['target'\]"):
        trainer_for(tmp_path, label_names=["target"])
    trainer_for(tmp_path, label_names=["labels"])
    model = toy_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    with pytest.raises(ValueError, match="a scheduler alone"):
        trainer_for(tmp_path, model, options={"optimizers": (None, schedule)})
    trainer_for(tmp_path, model, options={"optimizers": (optimizer, schedule)})


def test_the_last_evaluation_is_not_run_again(tmp_path):
    runs = []

    def count(prediction):
        runs.append(prediction)
        return compute_accuracy(prediction)

    def trained(**overrides):
        runs.clear()
        trainer = DynamicViTTrainer(
            toy_model(),
            arguments(tmp_path, **overrides),
            train_dataset=ToyData(),
            eval_dataset=ToyData(10),
            compute_metrics=count,
        )
        trainer.train()
        return trainer, len(runs)

    steps = {"eval_strategy": "steps", "eval_steps": 2}
    for overrides, again in (
        (steps, 0),
        ({}, 1),
        (steps | {"ema_decay": 0.5, "evaluate_ema": True}, 0),
    ):
        trainer, before = trained(**overrides)
        metrics = trainer.final_metrics()
        assert len(runs) - before == again
        expected = trainer.evaluate()
        for name in ("eval_loss", "eval_accuracy", *(["eval_ema_loss"] if "ema_decay" in overrides else [])):
            assert metrics[name] == expected[name]
    best = {"load_best_model_at_end": True, "save_steps": 2, "metric_for_best_model": "loss", "learning_rate": 0.1}
    for greater in (True, False):
        trainer, before = trained(**steps, **best, greater_is_better=greater)
        metrics = trainer.final_metrics()
        assert len(runs) == before  # of the step before the last, too
        assert metrics["eval_loss"] == pytest.approx(trainer.evaluate()["eval_loss"], rel=1e-6)
