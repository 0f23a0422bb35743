# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""LV-ViT: a dense model that Transformers lacks, and its sparse one, whose patches have a say in the prediction."""

import pytest
import torch
from native_toys import native_model, reduced_model
from safetensors.torch import load_file
from torch.testing import assert_close
from toys import assert_same_weights, toy_images
from trainers import ToyData, trainer_for
from transformers import AutoConfig, AutoModel, AutoModelForImageClassification, pipeline

from hf_dynamicvit import (
    DynamicLVViTConfig,
    DynamicLVViTForImageClassification,
    LVViTConfig,
    LVViTForImageClassification,
    LVViTModel,
    reduce_tokens,
    restore,
)
from hf_dynamicvit.checkpoints.checkpoint import read_checkpoint
from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.model import reducer_dynamicvit
from hf_dynamicvit.model.modeling_lvvit import combine_answers
from hf_dynamicvit.training.loss_terms import spread_to_patches
from hf_dynamicvit.training.losses import (
    class_distillation_loss,
    classification_loss,
    token_class_distillation_loss,
    token_distillation_loss,
)


KEY = "dynamiclvvit"


def toy_dense_lvvit(**overrides) -> LVViTForImageClassification:
    return native_model(KEY, "classifier", **overrides)


def toy_lvvit(reducer="dynamicvit", **options) -> DynamicLVViTForImageClassification:
    return reduced_model(toy_dense_lvvit(), KEY, "classifier", reducer, **options)


# ----- the dense model


def test_the_dense_model_is_found_by_the_auto_classes(tmp_path):
    dense = toy_dense_lvvit()
    dense.save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is LVViTConfig
    assert type(AutoModel.from_pretrained(tmp_path)) is LVViTModel
    again = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert type(again) is LVViTForImageClassification
    assert_same_weights(again, dense)
    assert type(read_checkpoint(tmp_path).load()) is LVViTForImageClassification


def test_a_sparse_checkpoint_loads_into_the_dense_class(tmp_path):
    model = toy_lvvit(keep_ratio=0.6)
    model.save_pretrained(tmp_path)
    config = LVViTConfig(**model.config.to_native_dict())
    dense, report = LVViTForImageClassification.from_pretrained(tmp_path, config=config, output_loading_info=True)
    assert not report["missing_keys"] and all(".reducer." in name for name in report["unexpected_keys"])
    assert_same_weights(dense, toy_dense_lvvit())
    assert not {"reducer", "keep_ratio", "drop_path_rate"} & dense.config.to_dict().keys()


def test_reducing_a_loaded_one_and_back():
    dense = toy_dense_lvvit()
    before = dense(toy_images()).logits
    assert type(reduce_tokens(dense, "tome", keep_ratio=0.6)) is DynamicLVViTForImageClassification
    assert not torch.equal(dense(toy_images()).logits, before)
    assert type(restore(dense)) is LVViTForImageClassification and type(dense.config) is LVViTConfig
    assert torch.equal(dense(toy_images()).logits, before)


@pytest.mark.parametrize("height, width", [(32, 32), (48, 48), (24, 40), (35, 33)])
def test_images_of_any_size(height, width):
    """Part of a patch is left out, as by the projection of ViT."""
    dense, images = toy_dense_lvvit(), toy_images(2, height, width)
    model = toy_lvvit("topk", keep_ratio=1.0)
    expected = dense(images, interpolate_pos_encoding=True).logits
    assert_close(model(images, interpolate_pos_encoding=True).logits, expected, atol=1e-5, rtol=1e-5)
    whole = images[..., : height - height % 4, : width - width % 4]
    assert_close(dense(whole, interpolate_pos_encoding=True).logits, expected)
    sparse = toy_lvvit(keep_ratio=0.6)(images, interpolate_pos_encoding=True)
    assert sparse.logits.isfinite().all() and sparse.kept.shape[-1] == (height // 4) * (width // 4)


def test_another_image_size_needs_interpolation():
    with pytest.raises(ValueError, match="48"):
        toy_dense_lvvit()(toy_images(1, 48, 48))
    with pytest.raises(ValueError, match="has 1 channels; the model takes 3"):
        toy_dense_lvvit()(toy_images(1, channels=1))


@pytest.mark.parametrize(
    "value, message",
    [
        ({"patch_size": 7}, "patch_size is 7; that of an LV-ViT is even"),
        ({"patch_size": (4, 3), "image_size": (32, 33)}, r"patch_size is \(4, 3\)"),
        ({"stem_width": 0}, "stem_width is 0; it must be from 1"),
        ({"branch_divisor": 0.0}, "branch_divisor is 0.0; it must be above 0"),
    ],
)
@pytest.mark.parametrize("config", [LVViTConfig, DynamicLVViTConfig])
def test_sizes_that_the_stem_cannot_have(config, value, message):
    with pytest.raises(ValueError, match=message):
        config(**value)


def test_branches_are_divided():
    halves, whole = (toy_dense_lvvit(branch_divisor=divisor) for divisor in (2.0, 1.0))
    with torch.no_grad():
        for layer in whole.lvvit.layers:
            for branch in (layer.attention.o_proj, layer.mlp.fc2):
                branch.weight /= 2
                branch.bias /= 2
    assert_close(halves(toy_images()).logits, whole(toy_images()).logits, atol=1e-5, rtol=1e-5)


# ----- what the classifier reads


def test_patches_that_are_out_have_no_say():
    answers = torch.tensor([[[1.0, 2.0], [0.0, 4.0], [6.0, -8.0]]])
    assert combine_answers(answers).tolist() == [[4.0, 4.0]]
    assert combine_answers(answers, torch.tensor([[1.0, 0.0]])).tolist() == [[1.0, 4.0]]
    half = combine_answers(answers.half(), torch.tensor([[0.0, 1.0]]))
    assert half.tolist() == [[4.0, -2.0]]


def test_the_prediction_is_of_the_survivors():
    model, images = toy_lvvit(keep_ratio=0.6), toy_images()
    outputs, encoder = model(images), model.lvvit(images)
    states = encoder.last_hidden_state
    assert states.shape[1] == 1 + model.token_counts()[-1]
    expected = model.classifier(states[:, 0]) + 0.5 * model.token_classifier(states[:, 1:]).amax(dim=1)
    assert_close(outputs.logits, expected)
    assert outputs.token_logits is None


def test_training_equals_inference_for_the_same_decisions(monkeypatch):
    """But for the batch statistics of the stem."""
    model = toy_lvvit(keep_ratio=0.6)
    inference = model(toy_images())
    stages = iter(inference.kept.unbind(1))
    monkeypatch.setattr(
        reducer_dynamicvit, "gumbel_keep", lambda log_probs, tau: next(stages).float() + 0 * log_probs[..., 0]
    )
    model.train().lvvit.embeddings.eval()
    training = model(toy_images())
    assert torch.equal(training.kept, inference.kept) and training.token_logits.shape == (3, 65, 5)
    assert_close(training.logits, inference.logits, atol=1e-5, rtol=1e-5)


def test_the_loss_teaches_both_classifiers():
    for model in (toy_dense_lvvit(), toy_lvvit()):
        model.train()(toy_images(), labels=torch.tensor([0, 1, 2])).loss.backward()
        for head in (model.classifier, model.token_classifier):
            assert head.weight.grad.abs().max() > 1e-4


# ----- training


def test_distillation_compares_the_classes_of_kept_patches(tmp_path):
    """With it the other terms read the class token alone, as released, in student and teacher."""
    model = toy_lvvit(keep_ratio=0.6)
    trainer = trainer_for(tmp_path, model)
    images, labels = toy_images(), torch.tensor([0, 1, 2])
    outputs, taught = model.train()(images), trainer.teacher_outputs({"pixel_values": images})
    states = trainer.teacher.lvvit(images).last_hidden_state
    assert type(trainer.teacher) is LVViTForImageClassification and not trainer.teacher.training
    assert_close(taught.token_logits[:, 1:], trainer.teacher.token_classifier(states[:, 1:]))
    assert_close(taught.logits, combine_answers(taught.token_logits))
    terms, own = trainer.loss_terms(outputs, labels, *taught), outputs.token_logits
    told, kept = taught.token_logits, outputs.decisions[-1].kept
    assert_close(terms["classification"], classification_loss(own[:, 0], labels))
    assert_close(terms["class_distill"], class_distillation_loss(own[:, 0], told[:, 0]))
    assert_close(terms["token_distill"], token_class_distillation_loss(own[:, 1:], told[:, 1:], kept))


@pytest.mark.parametrize("weights", [{"token_distill": 0.0}, None], ids=["no token term", "no teacher"])
def test_without_a_token_term_the_prediction_learns(tmp_path, weights):
    model = toy_lvvit(keep_ratio=0.6)
    teacher = {} if weights else {"teacher": None}
    trainer = trainer_for(tmp_path, model, loss_weights=weights, **teacher)
    outputs, labels = model.train()(toy_images()), torch.tensor([0, 1, 2])
    taught = trainer.teacher_outputs({"pixel_values": toy_images()}) if weights else ()
    terms = trainer.loss_terms(outputs, labels, *taught)
    assert_close(terms["classification"], classification_loss(outputs.logits, labels))
    if weights:
        assert_close(terms["class_distill"], class_distillation_loss(outputs.logits, taught.logits))
    assert "token_distill" not in terms


def test_patches_in_another_order_are_compared_with_their_own(tmp_path):
    model = toy_lvvit("topk", keep_ratio=0.6)
    trainer = trainer_for(tmp_path, model, loss_weights={"token_distill": 0.5})
    outputs, taught = model.train()(toy_images()), trainer.teacher_outputs({"pixel_values": toy_images()})
    terms, decision = trainer.loss_terms(outputs, torch.tensor([0, 1, 2]), *taught), outputs.decisions[-1]
    own = spread_to_patches(outputs.token_logits[:, 1:], decision.owner)
    expected = token_class_distillation_loss(own, taught.token_logits[:, 1:], decision.kept)
    assert_close(terms["token_distill"], expected)


def test_a_teacher_without_a_classifier_of_tokens_teaches_features(tmp_path):
    model, teacher = toy_lvvit(keep_ratio=0.6), native_model("dynamicvit", "classifier")
    trainer = trainer_for(tmp_path, model, teacher=teacher)
    outputs, taught = model.train()(toy_images()), trainer.teacher_outputs({"pixel_values": toy_images()})
    assert taught.token_logits is None
    terms, kept = trainer.loss_terms(outputs, torch.tensor([0, 1, 2]), *taught), outputs.decisions[-1].kept
    states = outputs.last_hidden_state
    assert_close(terms["token_distill"], token_distillation_loss(states[:, 1:], taught.features[:, 1:], kept))
    assert_close(terms["classification"], classification_loss(outputs.logits, torch.tensor([0, 1, 2])))


@pytest.mark.parametrize(
    "options",
    [{}, {"cache_teacher": True, "remove_unused_columns": False}, {"ema_decay": 0.9, "evaluate_ema": True}],
    ids=["plain", "cached", "averaged"],
)
def test_a_training_resumes_and_its_best_model_is_the_one_saved(tmp_path, options):
    model = toy_lvvit(keep_ratio=0.6)
    steps = {"max_steps": 4, "save_steps": 2, "eval_steps": 2, "eval_strategy": "steps", "learning_rate": 1e-3}
    trainer = trainer_for(tmp_path, model, load_best_model_at_end=True, **steps, **options)
    trainer.train()
    assert "loss_token_distill" in trainer.state.log_history[0]
    counted = model.lvvit.embeddings.patch_embeddings.norm1.num_batches_tracked.item()
    best = load_file(f"{trainer.state.best_model_checkpoint}/model.safetensors")
    assert counted == int(trainer.state.best_model_checkpoint.rpartition("-")[2])
    if "ema_decay" not in options:
        assert_same_weights(model.state_dict(), best)
    again = trainer_for(tmp_path, toy_lvvit(keep_ratio=0.6), **steps, **options)
    again.train(resume_from_checkpoint=f"{tmp_path}/checkpoint-2")
    last = load_file(f"{tmp_path}/checkpoint-4/model.safetensors")
    assert_same_weights(again.model.state_dict(), last)


def test_a_budget_and_typical_images(tmp_path):
    model = toy_lvvit("topk", keep_ratio=0.9)
    assert model.set_budget(fraction=0.8) <= 0.8 * model.dense_multiply_adds()
    adaptive = toy_lvvit("asvit")
    adaptive.set_budget(fraction=0.8, pixel_values=ToyData().images)
    assert adaptive.multiply_adds(ToyData().images) <= 0.8 * adaptive.dense_multiply_adds()


# ----- files


def published_names(dense: LVViTForImageClassification) -> dict[str, torch.Tensor]:
    """The weights of `dense` as the published files name them."""
    state, tensors = dense.state_dict(), {}
    for index in range(dense.config.num_hidden_layers):
        ours, theirs = f"lvvit.layers.{index}.", f"blocks.{index}."
        projections = [state.pop(f"{ours}attention.{part}_proj.weight") for part in "qkv"]
        tensors[f"{theirs}attn.qkv.weight"] = torch.cat(projections)
        for name, other in (
            ("layernorm_before", "norm1"),
            ("layernorm_after", "norm2"),
            ("attention.o_proj", "attn.proj"),
            ("mlp.fc1", "mlp.fc1"),
            ("mlp.fc2", "mlp.fc2"),
        ):
            for kind in ("weight", "bias"):
                tensors[f"{theirs}{other}.{kind}"] = state.pop(f"{ours}{name}.{kind}")
    parts = [("lvvit.embeddings.patch_embeddings.norm", "patch_embed.bn"), ("projection", "proj")]
    parts += [("lvvit.embeddings.patch_embeddings.", "patch_embed."), ("lvvit.embeddings.cls_token", "cls_token")]
    parts += [("lvvit.embeddings.position_embeddings", "pos_embed"), ("lvvit.layernorm.", "norm.")]
    parts += [("token_classifier.", "aux_head."), ("classifier.", "head.")]
    for name, tensor in state.items():
        for ours, theirs in parts:
            name = name.replace(ours, theirs)
        tensors[name] = tensor
    return tensors


@pytest.mark.parametrize("width, divisor", [(32, 2.0), (240, 1.0)])
def test_a_published_file_is_converted(tmp_path, width, divisor, capsys):
    dense = toy_dense_lvvit(hidden_size=width, branch_divisor=divisor, num_hidden_layers=3, layer_norm_eps=1e-5)
    tensors = published_names(dense)
    assert tensors["patch_embed.bn1.num_batches_tracked"].dtype == torch.int64
    torch.save(tensors, tmp_path / "lvvit.pth.tar")
    command = ["convert", str(tmp_path / "lvvit.pth.tar"), "--output", str(tmp_path / "out"), "--reducer", "tome"]
    heads = ["--num-attention-heads", "4"] if width == 32 else []
    assert main([*command, *heads, "--keep-ratio", "1"]) == 0
    assert ("is divided by 2: assumed" in capsys.readouterr().out) == (width == 32)
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "out").eval()
    assert type(model) is DynamicLVViTForImageClassification
    config = model.config
    assert (config.patch_size, config.image_size, config.stem_width) == (4, 32, 8)
    assert config.branch_divisor == divisor and config.layer_norm_eps == 1e-5 and not config.qkv_bias
    assert_close(model(toy_images()).logits, dense(toy_images()).logits, atol=1e-5, rtol=1e-5)
    assert_same_weights(model.to_dense(), dense)
    classify = pipeline("image-classification", model=str(tmp_path / "out"))
    assert classify.image_processor.crop_size["height"] == 32


def test_other_integers_are_refused(tmp_path, capsys):
    tensors = published_names(toy_dense_lvvit()) | {"norm.bias": torch.zeros(32, dtype=torch.int64)}
    torch.save(tensors, tmp_path / "lvvit.pth")
    assert main(["convert", str(tmp_path / "lvvit.pth"), "--output", str(tmp_path / "out")]) == 1
    assert "not finite floating-point numbers: norm.bias" in capsys.readouterr().err
