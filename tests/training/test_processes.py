# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Several processes: the same training as one process with the batch of all, and weights spread over them."""

import json

import pytest
from methods import FEW, OTHERS, all_methods
from programs import launch
from safetensors.torch import load_file
from torch.testing import assert_close
from toys import assert_same_weights, toy_model
from trainers import trainer_for, weights_of

from hf_dynamicvit import DynamicViTForImageClassification


pytestmark = pytest.mark.slow


# Methods without random decisions in training: EViT, and DynamicViT whose sampling takes the likelier side.
TRAIN = """
import json, sys
from pathlib import Path

import torch
from trainers import trainer_for
from toys import toy_model

import hf_dynamicvit.model.reducer_dynamicvit as dynamicvit


def likelier(log_probs, tau):
    soft = log_probs.softmax(dim=-1)[..., 0]
    return (soft > 0.5).float() + soft - soft.detach()


dynamicvit.gumbel_keep = likelier
folder, method = Path(sys.argv[1]), sys.argv[2]
options = {"ema_decay": 0.5, "save_steps": 2, "logging_steps": 1, "optim": "sgd", "evaluate_ema": True}
if len(sys.argv) > 3:
    options |= json.loads(sys.argv[3])
resume = options.pop("resume", None)
trainer = trainer_for(folder, toy_model(reducer=method), **options)
trainer.train(resume_from_checkpoint=resume)
metrics = trainer.evaluate()
if trainer.is_world_process_zero():
    result = {"processes": trainer.args.world_size, "log": trainer.state.log_history, "metrics": metrics}
    (folder / "result.json").write_text(json.dumps(result))
trainer.save_model()
trainer.accelerator.end_training()
"""


@pytest.mark.parametrize("method", all_methods("dynamicvit", of=("dynamicvit", "evit")))
def test_two_processes_train_as_one_with_both_batches(tmp_path, method, monkeypatch):
    """Losses, every term, kept fractions and accuracies agree to 1e-4, weights to 1e-5."""
    launch(TRAIN, str(tmp_path / "two"), method, '{"per_device_train_batch_size": 2}', folder=tmp_path)
    two = json.loads((tmp_path / "two" / "result.json").read_text())
    assert two["processes"] == 2
    options = '{"per_device_train_batch_size": 4}'
    launch(TRAIN, str(tmp_path / "one"), method, options, folder=tmp_path, processes=1)
    one = json.loads((tmp_path / "one" / "result.json").read_text())
    for ours, theirs in zip(two["log"], one["log"], strict=True):
        measured = {name for name in theirs if "runtime" not in name and "per_second" not in name}
        # the Trainer's evaluation loss counts the images that fill the last batch up twice
        for name in measured - {"total_flos", "eval_loss", "eval_ema_loss"}:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4), (name, theirs["step"])
    assert two["metrics"]["eval_ema_accuracy"] == one["metrics"]["eval_ema_accuracy"]
    for part in ("", "ema/", "checkpoint-2/", "checkpoint-4/ema/"):
        weights = [load_file(tmp_path / name / f"{part}model.safetensors") for name in ("two", "one")]
        for name, value in weights[1].items():
            assert_close(weights[0][name], value, atol=1e-5, rtol=1e-4)
    # a checkpoint of two processes is one of a single process
    loaded = DynamicViTForImageClassification.from_pretrained(tmp_path / "two" / "checkpoint-4")
    final = DynamicViTForImageClassification.from_pretrained(tmp_path / "two")
    assert_same_weights(weights_of(loaded), weights_of(final))
    trainer = trainer_for(tmp_path / "two", toy_model(reducer=method), max_steps=5, ema_decay=0.5, optim="sgd")
    trainer.train(resume_from_checkpoint=str(tmp_path / "two" / "checkpoint-4"))
    assert trainer.state.global_step == 5


def test_two_processes_resume_bit_identically(tmp_path):
    settings = {"per_device_train_batch_size": 2, "optim": "adamw_torch", "cache_teacher": True}
    settings["remove_unused_columns"] = False
    launch(TRAIN, ".", "dynamicvit", json.dumps(settings), folder=tmp_path)
    whole = load_file(tmp_path / "model.safetensors"), load_file(tmp_path / "ema" / "model.safetensors")
    launch(TRAIN, ".", "dynamicvit", json.dumps(settings | {"resume": "checkpoint-2"}), folder=tmp_path)
    assert_same_weights(load_file(tmp_path / "model.safetensors"), whole[0])
    assert_same_weights(load_file(tmp_path / "ema" / "model.safetensors"), whole[1])


# One process meets a loss that is not finite; both must stop.
STOP = """
import sys

from trainers import trainer_for

trainer = trainer_for(sys.argv[1], per_device_train_batch_size=2)
compute = trainer.loss_terms


def terms(*args):
    result = compute(*args)
    if trainer.args.process_index == 1 and trainer.state.global_step == 1:
        result["ratio"] = result["ratio"] * float("nan")
    return result


trainer.loss_terms = terms
try:
    trainer.train()
except FloatingPointError as error:
    assert "'ratio'" in str(error), error
    print("stopped")
else:
    raise SystemExit("went on")
trainer.accelerator.end_training()
"""


def test_what_is_not_finite_on_one_process_stops_both(tmp_path):
    launch(STOP, ".", folder=tmp_path)
    DynamicViTForImageClassification.from_pretrained(tmp_path / "checkpoint-1")


# FSDP2 on a mesh of CPUs: every block, the embeddings and the predictors are units of their own.
SHARDED = """
import sys

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from toys import toy_dense, toy_images, toy_model

from hf_dynamicvit.training.average import WeightAverage, learned_parameters
from hf_dynamicvit.training.losses import class_distillation_loss
from hf_dynamicvit.training.teacher import TeacherOutputs, shard, teacher_outputs


def grown(model, images, rank):
    torch.manual_seed(0)
    outputs = model.train()(images[rank::2])
    loss = outputs.logits.square().mean() + sum(model.vit.reducer.losses(outputs.decisions).values())
    loss.backward()
    return outputs.logits.detach()


torch.distributed.init_process_group("gloo")
rank = torch.distributed.get_rank()
mesh = init_device_mesh("cpu", (2,))
images = toy_images(4)[[0, 0, 1, 1]]  # both processes see the same images and draw the same noise
for method in sys.argv[1:]:
    plain, sharded = (toy_model(reducer=method) for _ in range(2))
    wrapped = set(sharded._no_split_modules)
    for module in list(sharded.modules())[1:]:
        if type(module).__name__ in wrapped:
            fully_shard(module, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    assert all(isinstance(parameter, DTensor) for parameter in sharded.parameters())
    expected, logits = grown(plain, images, rank), grown(sharded, images, rank)
    torch.testing.assert_close(logits, expected, msg=method)
    # torch 2.8 adds gradients up over gloo, later ones take their mean
    summed = sharded.classifier.weight.grad.full_tensor().norm() / plain.classifier.weight.grad.norm()
    for (name, ours), theirs in zip(sharded.named_parameters(), plain.parameters(), strict=True):
        if theirs.grad is not None:
            gradient, message = ours.grad.full_tensor() / summed.round(), f"{method} {name}"
            torch.testing.assert_close(gradient, theirs.grad, msg=message, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(sharded.eval()(images).logits, plain.eval()(images).logits)

whole = get_model_state_dict(sharded, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
if rank == 0 and sharded.vit.reducer.reads_class_token:
    torch.testing.assert_close(sharded.to_dense(whole)(images).logits, plain.to_dense()(images).logits)

average = WeightAverage(0.5)
average.average = [torch.zeros_like(parameter) for parameter in learned_parameters(sharded)]
average.on_optimizer_step(None, None, None, model=sharded)
with average.in_place(sharded):
    for ours, theirs in zip(sharded.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.full_tensor(), theirs / 2)

teacher, dense = toy_dense(), toy_dense()
outputs = TeacherOutputs(teacher.requires_grad_(False).eval())
shard(outputs, mesh)
assert all(isinstance(parameter, DTensor) for parameter in teacher.parameters())
with torch.no_grad():
    expected = teacher_outputs(dense, {"pixel_values": images})
    for ours, theirs in zip(outputs(pixel_values=images), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize("methods", [FEW, pytest.param(OTHERS, marks=pytest.mark.long)], ids=["few", "others"])
def test_sharded_models_compute_what_whole_ones_do(tmp_path, methods):
    """Every method: logits, gradients, evaluation; the average of the weights; the teacher."""
    launch(SHARDED, *methods, folder=tmp_path)
