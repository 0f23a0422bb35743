# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The parts that published recipes add: stochastic depth, the average of weights, layer-wise rates, a start."""

import pytest
import torch
from methods import FEW, all_methods, usual
from safetensors.torch import load_file
from torch.testing import assert_close
from toys import assert_same_model, assert_same_weights, toy_config, toy_dense, toy_images, toy_model
from trainers import ToyData, arguments, trainer_for, weights_of

from hf_dynamicvit import DynamicViTForImageClassification
from hf_dynamicvit.data.seeded import SeededImages


@usual(reducer=FEW)
def test_stochastic_depth_is_of_training_and_grows_with_depth(reducer):
    model = toy_model(reducer=reducer, drop_path_rate=0.3)
    rates = [layer.drop_path.drop_prob for layer in model.vit.layers]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])
    dense = toy_model(reducer=reducer)
    dense.load_state_dict(model.state_dict())
    assert_same_model(model, dense)
    torch.manual_seed(0)
    logits = model.train()(toy_images()).logits
    torch.manual_seed(1)
    assert not torch.equal(model(toy_images()).logits, logits)
    logits.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_a_skipped_branch_leaves_the_image_as_it_is():
    """At a rate of almost 1 the last block does nothing; what remains is scaled, so that its mean is right."""
    model = toy_model(keep_ratio=1.0, drop_path_rate=0.9)
    layer, tokens = model.vit.layers[-1].train(), model.vit.embed(toy_images(64))
    torch.manual_seed(0)
    after, _ = layer(tokens.hidden, tokens, model.vit.reducer.eval(), 3)
    untouched = (after == tokens.hidden).all(dim=(1, 2))
    assert 0.6 < untouched.float().mean() < 0.95  # 0.9 * 0.9


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_stochastic_depth_has_bounds(rate):
    with pytest.raises(ValueError, match=f"drop_path_rate is {rate}"):
        toy_config(drop_path_rate=rate)


def test_the_dense_copy_has_no_stochastic_depth(tmp_path):
    model = toy_model(drop_path_rate=0.2)
    assert "drop_path_rate" not in model.to_dense().config.to_dict()
    model.save_pretrained(tmp_path)
    assert DynamicViTForImageClassification.from_pretrained(tmp_path).config.drop_path_rate == 0.2


@pytest.mark.parametrize("options", [{"reducer": "dynamicvit"}, {"reducer": "tps"}])
def test_predictors_can_start_at_their_target(tmp_path, options):
    toy_dense(image_size=64).save_pretrained(tmp_path)
    images = toy_images(8, 64, 64)
    fractions = {}
    for start in (False, True):
        torch.manual_seed(0)
        model = DynamicViTForImageClassification.from_pretrained(
            tmp_path, keep_ratio=[0.9, 0.6, 0.5], reducer_args={"start_at_target": start}, **options
        )
        for predictor in model.vit.reducer.predictors:  # as at the published width of a DeiT, whose weights are small
            predictor.score[-1].weight.data.mul_(0.01)
        decisions = model.train()(images).decisions
        fractions[start] = [decision.mask.mean().item() for decision in decisions]
    assert fractions[False] == pytest.approx([0.5, 0.25, 0.125], abs=0.06)
    assert fractions[True] == pytest.approx([0.9, 0.6, 0.5], abs=0.06)


def test_a_checkpoint_of_trained_predictors_keeps_them(tmp_path):
    model = toy_model(reducer_args={"start_at_target": True})
    for predictor in model.vit.reducer.predictors:
        torch.nn.init.normal_(predictor.score[-1].bias)
    model.save_pretrained(tmp_path)
    assert_same_weights(weights_of(DynamicViTForImageClassification.from_pretrained(tmp_path)), weights_of(model))


def test_the_average_follows_the_weights(tmp_path):
    trainer = trainer_for(tmp_path, ema_decay=0.5, max_steps=3, save_strategy="no")
    expected, seen = weights_of(trainer.model), []
    step = trainer._average.on_optimizer_step

    def follow(*args, **kwargs):
        step(*args, **kwargs)
        seen.append(weights_of(trainer.model))

    trainer._average.on_optimizer_step = follow
    trainer.train()
    for weights in seen:
        expected = {name: 0.5 * expected[name] + 0.5 * weights[name] for name in expected}
    trainer.save_model()
    assert_same_weights(weights_of(trainer.model), seen[-1])  # the model itself is as it was
    loaded = DynamicViTForImageClassification.from_pretrained(tmp_path / "ema")
    for name, value in weights_of(loaded).items():
        assert_close(value, expected[name])
    assert (tmp_path / "ema" / "config.json").is_file()


def test_the_average_is_evaluated_and_restored_with_the_best_model(tmp_path):
    best = {"load_best_model_at_end": True, "metric_for_best_model": "ema_accuracy"}
    steps = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    trainer = trainer_for(tmp_path, ema_decay=0.9, evaluate_ema=True, max_steps=6, **best, **steps)
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if "eval_ema_accuracy" in entry]
    assert len(entries) == 3
    kept = load_file(f"{trainer.state.best_model_checkpoint}/ema/model.safetensors")
    trainer.save_model()
    saved = load_file(tmp_path / "ema" / "model.safetensors")
    assert_same_weights(saved, kept)
    metrics = trainer.evaluate()
    plain = DynamicViTForImageClassification.from_pretrained(tmp_path / "ema").eval()
    data = ToyData(10)
    correct = plain(data.images).logits.argmax(-1) == torch.arange(10) % 5
    assert metrics["eval_ema_accuracy"] == pytest.approx(correct.float().mean().item())


def test_a_short_training_for_the_decay_is_said_aloud(tmp_path, warnings_text):
    trainer_for(tmp_path, ema_decay=0.9999, save_strategy="no").train()
    assert "averages over 10000 steps; this training has only 4" in warnings_text()


@pytest.mark.parametrize("method", ["dynamicvit", "asvit"])
def test_resume_in_the_middle_is_bit_identical(tmp_path, method):
    """Weights, optimizer, schedule, average, random numbers, with noise from dropping blocks and sampling masks."""
    options = {"ema_decay": 0.8, "save_steps": 3, "max_steps": 6, "lr_scheduler_type": "cosine", "warmup_steps": 2}
    whole = trainer_for(tmp_path, toy_model(reducer=method, drop_path_rate=0.2), **options)
    whole.train()
    resumed = trainer_for(tmp_path, toy_model(reducer=method, drop_path_rate=0.2), **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert_same_weights(weights_of(resumed.model), weights_of(whole.model))
    for ours, theirs in zip(resumed._average.average, whole._average.average, strict=True):
        assert torch.equal(ours, theirs)
    states = [trainer.optimizer.state_dict()["state"] for trainer in (resumed, whole)]
    for ours, theirs in zip(*(state.values() for state in states), strict=True):
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    losses = [[entry["loss"] for entry in t.state.log_history if "loss" in entry][-1] for t in (resumed, whole)]
    assert losses[0] == losses[1]


def test_resume_at_the_end_of_an_epoch_is_bit_identical(tmp_path):
    """Evaluation there, after the checkpoint, draws nothing of the training's."""
    options = {"save_steps": 4, "max_steps": 6, "eval_strategy": "epoch"}  # 4 steps are an epoch
    whole = trainer_for(tmp_path, **options)
    whole.train()
    resumed = trainer_for(tmp_path, **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert_same_weights(weights_of(resumed.model), weights_of(whole.model))


def test_the_average_is_of_what_was_put_right(tmp_path):
    model = toy_model(reducer="asvit")
    trainer = trainer_for(tmp_path, model, ema_decay=0.0, learning_rate=10.0, max_steps=1)
    trainer.train()
    trainer.save_model()
    mean = DynamicViTForImageClassification.from_pretrained(tmp_path / "ema")
    assert_same_weights(weights_of(mean), weights_of(trainer.model))


def test_resume_without_a_saved_average_is_refused(tmp_path):
    trainer_for(tmp_path, save_steps=2).train()
    with pytest.raises(ValueError, match="was saved without an average"):
        trainer_for(tmp_path, ema_decay=0.9).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_layer_wise_rates(tmp_path):
    trainer = trainer_for(tmp_path, layer_lr_decay=0.5, learning_rate=1.0, backbone_lr_scale=0.1)
    trainer.create_optimizer()
    rates = {id(p): group["lr"] for group in trainer.optimizer.param_groups for p in group["params"]}
    expected = {"embeddings": 1 / 32, "layers.0": 1 / 16, "layers.3": 1 / 2, "classifier": 1.0, "vit.layernorm": 1.0}
    for name, parameter in trainer.model.named_parameters():
        if ".reducer." in name:
            assert rates[id(parameter)] == 1.0, name
        for part, rate in expected.items():
            if part in name and ".reducer." not in name:
                assert rates[id(parameter)] == pytest.approx(0.1 * rate), name


def test_frozen_parameters_do_not_learn(tmp_path):
    trainer = trainer_for(tmp_path, frozen=["cls_token", "position_embeddings", "layers.0."], weight_decay=0.5)
    start = weights_of(trainer.model)
    trainer.train()
    for name, value in weights_of(trainer.model).items():
        frozen = any(part in name for part in trainer.args.frozen)
        assert torch.equal(value, start[name]) == frozen, name


@pytest.mark.parametrize(
    "frozen, message", [(["no_such"], "frozen has 'no_such'"), (["vit", "classifier"], "nothing")]
)
def test_freezing_too_little_or_too_much_is_refused(tmp_path, frozen, message):
    with pytest.raises(ValueError, match=message):
        trainer_for(tmp_path, frozen=frozen)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"layer_lr_decay": 0}, "layer_lr_decay is 0"),
        ({"layer_lr_decay": 1.5}, "layer_lr_decay is 1.5"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
        ({"evaluate_ema": True}, "there is no average"),
        ({"teacher_dtype": "int8"}, "teacher_dtype is 'int8'"),
        ({"cache_teacher": True}, "remove_unused_columns=False"),
    ],
)
def test_bad_options_are_named(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        arguments(tmp_path, **values)


def test_arguments_are_copied_with_others_and_checked(tmp_path):
    args = arguments(tmp_path, loss_weights={"ratio": 1.0})
    other = args.changed(loss_weights=None, learning_rate=0.5, ema_decay=0.9)
    assert (other.loss_weights, other.learning_rate, other.ema_decay) == (None, 0.5, 0.9)
    assert (args.loss_weights, args.learning_rate, args.ema_decay) == ({"ratio": 1.0}, 1e-2, None)
    assert other.output_dir == args.output_dir and other.device == args.device
    for values, message in (
        ({"ema_decay": 2.0}, r"ema_decay is 2\.0"),
        ({"head_learning_rate": -1.0}, r"head_learning_rate is -1\.0"),
        ({"learning_rat": 1.0}, "has no argument learning_rat"),
    ):
        with pytest.raises(ValueError, match=message):
            args.changed(**values)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", None])
def test_the_teacher_in_half_precision(tmp_path, dtype):
    trainer = trainer_for(tmp_path, teacher_dtype=dtype, teacher=toy_dense(seed=3))
    logits, features, _ = trainer.teacher_outputs({"pixel_values": toy_images()})
    assert logits.dtype == (torch.bfloat16 if dtype == "bfloat16" else torch.float32)
    expected = toy_dense(seed=3)(toy_images()).logits
    assert_close(logits.float(), expected, atol=0.1 if dtype == "bfloat16" else 1e-5, rtol=0.05)
    assert not logits.is_inference() and not features.is_inference()  # they can be kept for a backward
    trainer.train()


def test_a_cached_teacher_gives_the_same_training(tmp_path):
    asked = trainer_for(tmp_path / "asked", remove_unused_columns=False)
    asked.train()
    cached = trainer_for(tmp_path / "cached", remove_unused_columns=False, cache_teacher=True)
    calls = []
    cached.teacher.base_model.register_forward_hook(lambda *_: calls.append(1))
    cached.train()
    assert len(calls) == 2  # 16 images in batches of 8, before the training
    for ours, theirs in zip(cached.state.log_history, asked.state.log_history, strict=True):
        for name in (name for name in theirs if name.startswith("loss")):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-3), name


def test_augmented_images_are_not_cached(tmp_path):
    class Random(ToyData):
        def __getitem__(self, index):
            return super().__getitem__(index) | {"pixel_values": torch.rand(3, 32, 32)}

    trainer = trainer_for(tmp_path, remove_unused_columns=False, cache_teacher=True)
    for data in (Random(), SeededImages(ToyData(), seed=0)):
        trainer.train_dataset = data
        with pytest.raises(ValueError, match="same pixels in every epoch"):
            trainer.train()


@pytest.mark.parametrize("method", all_methods("dynamicvit"))
@pytest.mark.slow
def test_training_compiles(tmp_path, method):
    """Under `torch_compile` both models are wrapped; losses and weights are those of the plain training."""
    torch._dynamo.reset()
    results = []
    for options in ({}, {"torch_compile": True, "torch_compile_backend": "eager"}):
        # by plain gradients: Adam makes much of the rounding of those that are almost 0
        trainer = trainer_for(
            tmp_path, toy_model(reducer=method, num_hidden_layers=2), max_steps=2, optim="sgd", **options
        )
        trainer.train()
        results.append(weights_of(trainer.model))
    for name, value in results[1].items():
        assert_close(value, results[0][name], atol=1e-4, rtol=1e-3)
    trainer.save_model()
    assert_same_weights(weights_of(DynamicViTForImageClassification.from_pretrained(tmp_path)), results[1])
