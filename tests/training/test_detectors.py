# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Detectors in the Trainers: the native loss, and distillation from the dense model's detection tokens."""

import pytest
import torch
from native_toys import native_model, reduced_model
from torch.testing import assert_close
from toys import assert_same_weights, toy_images, toy_model
from trainers import arguments
from transformers import Trainer, TrainingArguments

from hf_dynamicvit import DynamicViTTrainer, DynamicYolosForObjectDetection
from hf_dynamicvit.hub.card import Measurements, model_card


KEY = "dynamicyolos"


class ToyBoxes(torch.utils.data.Dataset):
    def __init__(self, count: int = 8):
        self.images = toy_images(count, seed=5)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        box = torch.tensor([[0.3, 0.4, 0.2, 0.1 + 0.05 * index]])
        labels = {"class_labels": torch.tensor([index % 5]), "boxes": box}
        return {"pixel_values": self.images[index], "labels": labels}


def collate(items):
    images = torch.stack([item["pixel_values"] for item in items])
    return {"pixel_values": images, "labels": [item["labels"] for item in items]}


def detector(reducer: str = "dynamicvit", **options) -> DynamicYolosForObjectDetection:
    return reduced_model(native_model(KEY, "detector"), KEY, "detector", reducer, **options)


def trainer_for(folder, model=None, teacher="dense copy of the student", **overrides) -> DynamicViTTrainer:
    overrides = {"eval_do_concat_batches": False} | overrides
    return DynamicViTTrainer(
        detector() if model is None else model,
        arguments(folder, **overrides),
        teacher=teacher,
        data_collator=collate,
        train_dataset=ToyBoxes(),
        eval_dataset=ToyBoxes(4),
    )


def test_it_learns_from_boxes_and_from_the_dense_copy(tmp_path):
    weights = {"feature_distill": 100.0}
    trainer = trainer_for(tmp_path, max_steps=2, logging_steps=1, save_steps=1, loss_weights=weights)
    trainer.train()
    entry = next(each for each in trainer.state.log_history if "loss" in each)
    names = ("detection", "ratio", "class_distill", "token_distill", "feature_distill")
    total = sum(trainer.loss_weights[name] * entry[f"loss_{name}"] for name in names)
    assert entry["loss"] == pytest.approx(total, rel=1e-3) and entry["loss_feature_distill"] > 0
    metrics = trainer.evaluate()
    expected = [detected(trainer.model, each) for each in ToyBoxes(4)]
    assert metrics["eval_loss"] == pytest.approx(sum(expected) / 4, rel=0.2)  # the native loss counts boxes by batch
    again = DynamicYolosForObjectDetection.from_pretrained(tmp_path / "checkpoint-2")
    assert_same_weights(again, trainer.model)
    resumed = trainer_for(tmp_path, max_steps=2, logging_steps=1, save_steps=1, loss_weights=weights)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    for name, parameter in resumed.model.named_parameters():
        assert_close(parameter, dict(trainer.model.named_parameters())[name], atol=1e-6, rtol=1e-5)


def detected(model, item) -> float:
    with torch.no_grad():
        return model(item["pixel_values"][None], labels=[item["labels"]]).loss.item()


def test_nothing_is_to_be_learned_from_a_copy_that_keeps_everything(tmp_path):
    trainer = trainer_for(tmp_path, detector("tome", keep_ratio=1.0), loss_weights={"token_distill": 1.0})
    trainer.loss_weights |= {"class_distill": 1.0, "feature_distill": 1.0}
    inputs = collate([ToyBoxes()[index] for index in range(3)])
    labels = inputs.pop("labels")
    outputs = trainer.model.train()(**inputs)
    terms = trainer.loss_terms(outputs, labels, *trainer.teacher_outputs(inputs))
    for name in ("class_distill", "feature_distill", "token_distill"):
        assert terms[name].item() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        native = native_model(KEY, "detector")(**inputs, labels=labels)
    assert terms["detection"].item() == pytest.approx(native.loss.item(), rel=1e-5)


def test_the_plain_trainer_takes_it(tmp_path):
    options = {"max_steps": 2, "use_cpu": True, "report_to": "none", "disable_tqdm": True}
    args = TrainingArguments(str(tmp_path), remove_unused_columns=False, eval_do_concat_batches=False, **options)
    model = detector("tome", keep_ratio=0.6)
    trainer = Trainer(model, args, data_collator=collate, train_dataset=ToyBoxes(), eval_dataset=ToyBoxes(4))
    assert trainer.train().training_loss > 0
    assert trainer.evaluate()["eval_loss"] > 0


@pytest.mark.parametrize(
    "option", [{"label_smoothing_factor": 0.1}, {"head_learning_rate": 1e-3}, {"cache_teacher": True}]
)
def test_arguments_of_classifiers_are_refused(option, tmp_path):
    with pytest.raises(ValueError, match=f"{next(iter(option))} is .*, which is for image classifiers"):
        trainer_for(tmp_path, remove_unused_columns=False, **option)


def test_a_second_pass_is_refused(tmp_path):
    with pytest.raises(ValueError, match="loss_weights has consistency, which is for image classifiers"):
        trainer_for(tmp_path, detector("mctf", keep_ratio=0.6), loss_weights={"consistency": 1.0})


def test_teachers_that_detect_otherwise_are_refused(tmp_path):
    other = native_model(KEY, "detector", num_detection_tokens=3)
    for teacher in (other, toy_model().to_dense()):
        with pytest.raises(ValueError, match="has no 6 detection tokens to compare with the student's"):
            trainer_for(tmp_path, teacher=teacher)


def test_its_card_names_the_task():
    card = str(model_card(detector("tome", keep_ratio=0.6), "me/detector", Measurements()))
    assert "pipeline_tag: object-detection" in card
    assert 'detect = pipeline("object-detection", model="me/detector")' in card and "classify" not in card
