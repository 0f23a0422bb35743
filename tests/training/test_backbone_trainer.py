# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Models around a reduced backbone in the Trainer: the loss of the task and those of the method."""

from typing import Any

import pytest
import torch
import transformers
from native_toys import native_model
from torch.testing import assert_close
from toys import toy_images, toy_model
from transformers import TrainingArguments

from hf_dynamicvit import REDUCERS, BackboneTrainer, reduce_tokens
from hf_dynamicvit.training.adapters import acting_reducer
from hf_dynamicvit.training.backbone_trainer import weigh_terms


NECK = {"neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8}


def segmenter(reducer: str = "svit", **options: Any) -> Any:
    """A toy UperNet around a backbone with a method."""
    backbone = native_model("dynamicdinov2", "backbone", out_indices=[1, 2, 3, 4])
    torch.manual_seed(0)
    config = transformers.UperNetConfig(
        backbone_config=backbone.config, hidden_size=16, use_auxiliary_head=False, num_labels=3
    )
    model = transformers.UperNetForSemanticSegmentation(config)
    model.backbone.load_state_dict(backbone.state_dict())
    return reduce_tokens(model, reducer, **options)


def depth_model(reducer: str, **options: Any) -> Any:
    backbone = native_model("dynamicdinov2", "backbone", out_indices=[1, 2, 3, 4], reshape_hidden_states=False)
    torch.manual_seed(0)
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone.config, patch_size=4, **NECK, reassemble_hidden_size=32, head_hidden_size=8
    )
    return reduce_tokens(transformers.DepthAnythingForDepthEstimation(config), reducer, **options)


class Scenes(torch.utils.data.Dataset):
    """Images whose bright pixels are of class 1; or with a depth in place of classes."""

    def __init__(self, depth: bool = False):
        self.images, self.depth = toy_images(8, seed=5), depth

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        bright = self.images[index].mean(0) > 0
        return {"pixel_values": self.images[index], "labels": bright.float() if self.depth else bright.long()}


def distance(outputs, labels, num_items_in_batch=None):
    return (outputs.predicted_depth - labels).abs().mean()


def trainer_for(folder, model, loss_weights=None, compute_loss_func=None, depth=False, **overrides) -> BackboneTrainer:
    settings = {"max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "logging_steps": 1}
    settings |= {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no"}
    args = TrainingArguments(str(folder), **(settings | overrides))
    data = Scenes(depth)
    options = {"train_dataset": data, "eval_dataset": data, "compute_loss_func": compute_loss_func}
    return BackboneTrainer(model, args, loss_weights=loss_weights, **options)


def logged(trainer: BackboneTrainer) -> list[dict[str, float]]:
    return [entry for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("reducer", ["svit", "dynamicvit"])
def test_the_method_learns_with_its_own_loss(reducer, tmp_path):
    options = {} if reducer == "svit" else {"keep_ratio": 0.3}
    trainer = trainer_for(tmp_path, segmenter(reducer, **options), max_steps=30, learning_rate=2e-2)
    before = {name: each.clone() for name, each in acting_reducer(trainer.model).named_parameters()}
    torch.manual_seed(0)
    trainer.train()
    entries = logged(trainer)
    for entry in entries:
        total = entry["loss_task"] + trainer.loss_weights["ratio"] * entry["loss_ratio"]
        assert entry["loss"] == pytest.approx(total, rel=1e-3) and 0 <= entry["kept_stage_1"] <= 1
    assert all(not torch.equal(each, before[name]) for name, each in acting_reducer(trainer.model).named_parameters())
    first, last = (sum(entry["loss_ratio"] for entry in part) / 5 for part in (entries[:5], entries[-5:]))
    assert last < 0.5 * first


@pytest.mark.parametrize("reducer", ["svit", "dynamicvit", "asvit"])
def test_the_gradient_reaches_what_the_method_learns_through_the_head(reducer, tmp_path):
    model = segmenter(reducer)
    if reducer == "asvit":
        model.backbone.set_keep_ratio(0.7, toy_images(8))
    trainer = trainer_for(tmp_path, model)
    batch = {name: torch.stack([each[name] for each in map(Scenes().__getitem__, range(4))]) for name in Scenes()[0]}
    torch.manual_seed(0)
    loss = trainer.compute_loss(model.train(), batch)
    loss.backward()
    for name, parameter in acting_reducer(model).named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert any((parameter.grad != 0).any() for parameter in acting_reducer(model).parameters())
    assert not model.backbone._forward_hooks


@pytest.mark.parametrize("make", [segmenter, depth_model])
def test_masked_training_reads_what_inference_reads(make, monkeypatch):
    """Under the head, with the decisions of inference."""
    model = make("svit").eval()
    model.backbone.set_keep_ratio(0.6, toy_images(8))
    images = toy_images(2)
    with torch.no_grad():
        kept = model.backbone(images).kept
        expected = model(images)[0]
    decided = iter(kept.float().unbind(1))
    monkeypatch.setattr("hf_dynamicvit.model.reducer_svit.gumbel_keep", lambda *_: next(decided))
    for module in (model.backbone, *model.backbone.modules()):
        module.training = True
    with torch.no_grad():
        found = model(images)[0]
    assert kept.any() and not kept.all()
    assert_close(found, expected, atol=1e-4 * expected.abs().max().item(), rtol=1e-4)


def test_a_loss_of_the_user_takes_the_place_of_the_native_one(tmp_path):
    model = depth_model("svit")
    trainer = trainer_for(tmp_path, model, {"ratio": 2.0}, distance, depth=True, gradient_accumulation_steps=2)
    trainer.train()
    entry = logged(trainer)[0]
    assert entry["loss"] == pytest.approx(entry["loss_task"] + 2 * entry["loss_ratio"], rel=1e-3)
    metrics = trainer.evaluate()
    with torch.no_grad():
        batch = [Scenes(True)[index] for index in range(8)]
        images, labels = (torch.stack([each[name] for each in batch]) for name in ("pixel_values", "labels"))
        expected = distance(model.eval()(images), labels)
    assert metrics["eval_loss"] == pytest.approx(expected.item(), rel=1e-4)
    assert "loss_ratio" not in metrics


def test_every_method_has_a_weight_for_each_of_its_terms():
    for name in REDUCERS:
        if name == "bat":
            continue
        model = segmenter(name)
        reducer = acting_reducer(model)
        if model.backbone.config.is_adaptive:
            model.backbone.set_keep_ratio(0.7, toy_images(8))
        decisions = model.backbone.train()(toy_images(2)).decisions
        assert {"task", *reducer.losses(decisions)} == weigh_terms(reducer, {}).keys()


def test_what_cannot_be_trained_so_is_refused(tmp_path):
    for model in (toy_model(), torch.nn.Linear(1, 1), segmenter("tome").backbone):
        with pytest.raises(ValueError, match="takes a model around a reduced backbone"):
            trainer_for(tmp_path, model)
    with pytest.raises(ValueError, match="loss_weights has class_distill; the terms here are ratio, task"):
        trainer_for(tmp_path, segmenter(), {"class_distill": 1.0})
    with pytest.raises(ValueError, match=r"parameters that learn are torch\.bfloat16"):
        trainer_for(tmp_path, segmenter().bfloat16())


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    def broken(outputs, labels, num_items_in_batch=None):
        return outputs.predicted_depth.mean() * torch.nan

    trainer = trainer_for(tmp_path, depth_model("svit"), None, broken, depth=True)
    with pytest.raises(FloatingPointError, match="Training stopped in step 1: loss term 'task' is nan"):
        trainer.train()
