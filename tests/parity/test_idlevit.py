# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""IdleViT against the published implementation, and its cost table."""

import pytest
import torch
from torch.testing import assert_close
from toys import toy_images, toy_model
from transformers.models.vit.modeling_vit import ViTForImageClassification

from hf_dynamicvit import DynamicViTConfig, DynamicViTForImageClassification
from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config
from hf_dynamicvit.checkpoints.published import rename_key
from hf_dynamicvit.model.scoring import class_query_logits
from hf_dynamicvit.training.losses import class_distillation_loss, classification_loss, feature_distillation_loss


def model_of(case, **overrides):
    about = case.about["config"]
    config = infer_config(
        case.weights,
        num_attention_heads=about["num_heads"],
        reducer="idlevit",
        reducer_layers=about["idle_layers_0based"],
        **overrides,
    )
    return convert_state_dict(case.weights, config)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_inference(golden, attention):
    case = golden("idlevit_eval")
    about = case.about["config"]
    model = model_of(case)
    model.set_attn_implementation(attention)
    assert model.token_counts() == about["kept_patches_per_idle_layer_int_trunc"]
    with torch.no_grad():
        outputs, encoder = model(case.pixel_values), model.vit(case.pixel_values, output_hidden_states=True)
        for stage, layer in enumerate(about["idle_layers_0based"]):
            kept = torch.stack([image.nonzero()[:, 0] for image in outputs.kept[:, stage]])
            assert torch.equal(kept, case.io[f"layer{layer}.selected_sorted"])
            block = model.vit.layers[layer]
            scores = class_query_logits(block.attention, block.layernorm_before(encoder.hidden_states[layer]), 1)
            assert_close(scores, case.io[f"layer{layer}.scores"], **case.tolerance("scores"))
    classes = torch.stack([states[:, 0] for states in encoder.hidden_states[1:]])
    assert_close(classes, case.io["cls_after_block"], **case.tolerance("cls_after_block"))
    assert_close(encoder.last_hidden_state, case.io["final_tokens"], **case.tolerance("final_tokens"))
    assert_close(outputs.logits, case.io["logits"], **case.tolerance("logits"))


@pytest.mark.parametrize("cut_layers, prefix", [("all", "all_layers"), ("alternate", "released")])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_training(golden, golden_teacher, cut_layers, prefix, attention):
    case = golden("idlevit_train")
    model = model_of(case, reducer_args={"cut_layers": cut_layers}).train()
    model.set_attn_implementation(attention)
    teacher = golden_teacher("idlevit_train")
    outputs = model(case.pixel_values)
    assert_close(outputs.logits, case.io["logits"], **case.tolerance("logits/feature"))
    assert_close(outputs.logits, case.io["eval_logits"], **case.tolerance("logits/feature"))
    for stage, layer in enumerate(model.decision_layers):
        assert torch.equal(outputs.kept[:, stage], case.io[f"layer{layer}.mask"][:, 1:].bool())
    feature = outputs.last_hidden_state[:, 0]
    assert_close(feature, case.io["feature"], **case.tolerance("logits/feature"))
    with torch.no_grad():
        teacher_feature = teacher.vit(case.pixel_values).last_hidden_state[:, 0]
        teacher_logits = teacher.classifier(teacher_feature)

    cut = model.vit.reducer.losses(outputs.decisions)["cut"]
    assert_close(cut, case.io[f"{prefix}.cut_sum"] / 8, atol=1e-6, rtol=1e-5)
    terms = {
        "cls": classification_loss(outputs.logits, case.io["soft_labels"]),
        "cls_kl": class_distillation_loss(outputs.logits, teacher_logits),
        "feature_mse": feature_distillation_loss(feature, teacher_feature),
    }
    for name, term in terms.items():
        assert_close(term, case.io[f"loss.{name}"], atol=1e-6, rtol=2e-5)
    weights = model.vit.reducer.loss_weights
    loss = terms["cls"] * weights["classification"] + cut * weights["cut"]
    loss = loss + terms["cls_kl"] * weights["class_distill"] + terms["feature_mse"] * weights["feature_distill"]
    assert_close(loss, case.io[f"{prefix}.total"], atol=1e-5, rtol=2e-5)
    loss.backward()
    assert_published_gradients(model, case, f"{prefix}.grad.", 1e-3, 7)


def assert_published_gradients(model, case, prefix, relative, count):
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    checked = [name for name in case.io if name.startswith(prefix)]
    for name in checked:
        published = name.removeprefix(prefix)
        parts = [published.replace("qkv", part) for part in "qkv"] if "qkv" in published else [published]
        actual, expected = torch.cat([gradients[rename_key(part)] for part in parts]), case.io[name]
        assert (actual - expected).abs().max() <= relative * expected.abs().max(), name
    assert len(checked) == count


@pytest.mark.parametrize("cut", ["both", "intra", "inter"])
def test_token_cut_of_each_layer(golden, cut):
    case = golden("idlevit_train")
    outputs = model_of(case, reducer_args={"cut": cut}).train()(case.pixel_values)
    losses = torch.stack([decision.loss for decision in outputs.decisions])
    assert_close(losses, case.io[f"cut_loss_per_layer.{cut}"], atol=1e-6, rtol=1e-5)


def test_no_token_cut():
    model = toy_model(reducer="idlevit", reducer_args={"cut": "none"}).train()
    assert model.vit.reducer.losses(model(toy_images()).decisions) == {}


@pytest.mark.parametrize(
    "width, heads, keep_ratio, layers, giga",
    [
        (384, 6, 0.9, range(3, 12), 3.965),
        (384, 6, 0.8, range(3, 12), 3.442),
        (384, 6, 0.7, range(3, 12), 3.007),
        (384, 6, 0.6, range(3, 12), 2.634),
        (384, 6, 0.5, range(3, 12), 2.333),
        (384, 6, 0.9, range(4, 12), 4.067),
        (384, 6, 0.8, range(4, 12), 3.620),
        (384, 6, 0.7, range(4, 12), 3.243),
        (384, 6, 0.6, range(4, 12), 2.912),
        (384, 6, 0.5, range(4, 12), 2.641),
        (768, 12, 0.9, range(3, 12), 15.21),
        (768, 12, 0.8, range(3, 12), 13.24),
        (768, 12, 0.7, range(3, 12), 11.58),
        (768, 12, 0.6, range(3, 12), 10.14),
        (768, 12, 0.5, range(3, 12), 8.98),
    ],
)
def test_published_cost(width, heads, keep_ratio, layers, giga):
    """The published code projects every token's key in every idle layer; ours does not, and is cheaper by that."""
    config = DynamicViTConfig(
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        num_labels=1000,
        reducer="idlevit",
        reducer_layers=list(layers),
        keep_ratio=keep_ratio,
    )
    with torch.device("meta"):
        model = DynamicViTForImageClassification(config)
    keys_of_the_idle = sum(196 - count for count in model.token_counts()) * width**2
    folding = len(layers) * width**2  # what we compute instead
    assert round((model.multiply_adds() - folding + keys_of_the_idle) / 1e9, 3 if width == 384 else 2) == giga


def test_idle_patches_are_untouched():
    model = toy_model(reducer="idlevit", keep_ratio=0.5)
    outputs = model(toy_images(), output_hidden_states=True)
    for stage, layer in enumerate(model.decision_layers):
        before, after = (outputs.hidden_states[index][:, 1:] for index in (layer, layer + 1))
        idle = ~outputs.kept[:, stage]
        assert torch.equal(before[idle], after[idle])
        assert not torch.isclose(before[~idle], after[~idle]).all(-1).any()


def test_patches_come_back():
    kept = toy_model(reducer="idlevit", keep_ratio=[0.5] * 3)(toy_images()).kept
    assert (kept[:, 1:] & ~kept[:, :-1]).any()


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_folded_scores_equal_projected_keys(qkv_bias):
    model = toy_model(reducer="idlevit", qkv_bias=qkv_bias)
    attention = model.vit.layers[1].attention
    hidden = torch.randn(2, 65, 32)
    folded = class_query_logits(attention, hidden, 1)

    class Adapted(torch.nn.Linear):
        pass

    project = Adapted(32, 32, bias=qkv_bias)
    project.load_state_dict(attention.k_proj.state_dict())
    attention.k_proj = project
    assert_close(class_query_logits(attention, hidden, 1), folded, atol=1e-5, rtol=1e-5)


def test_a_dense_checkpoint_is_one_and_loads_back(tmp_path):
    model = toy_model(reducer="idlevit")
    assert not list(model.vit.reducer.state_dict())
    model.save_pretrained(tmp_path)
    _, report = ViTForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]


def test_gradients_of_eval_mode_are_those_of_training():
    gradients = []
    for training in (False, True):
        model = toy_model(reducer="idlevit").train(training)
        model(toy_images(), labels=torch.tensor([0, 1, 2])).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert_close(gradients[0], gradients[1])


def test_golden_teacher(golden_teacher, golden):
    case = golden("idlevit_train")
    logits = golden_teacher("idlevit_train")(case.pixel_values).logits
    assert_close(logits, case.io["teacher_logits"], **case.tolerance("logits/feature"))
