# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""LV-ViT against the published implementations of DynamicViT and IdleViT on it, and their costs."""

import pytest
import torch
from torch.nn.functional import mse_loss, normalize
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from hf_dynamicvit import DynamicLVViTConfig, DynamicLVViTForImageClassification
from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config
from hf_dynamicvit.checkpoints.published import rename_keys
from hf_dynamicvit.model.scoring import class_query_logits
from hf_dynamicvit.training.losses import (
    class_distillation_loss,
    classification_loss,
    keep_ratio_loss,
    token_class_distillation_loss,
)


def model_of(case, **overrides):
    about = case.about["config"]
    stages = about.get("idle_layers_0based") or about["pruning_loc_0based"]
    config = infer_config(
        case.weights,
        num_attention_heads=about["num_heads"],
        **{"branch_divisor": about["skip_lam"], "reducer_layers": stages} | overrides,
    )
    return convert_state_dict(case.weights, config)


def dense_of(case):
    """The dense twin with the student's own weights."""
    weights = {name: each for name, each in case.weights.items() if not name.startswith("score_predictor.")}
    heads, divisor = case.about["config"]["num_heads"], case.about["config"]["skip_lam"]
    config = infer_config(weights, num_attention_heads=heads, branch_divisor=divisor, reducer="topk")
    return convert_state_dict(weights, config).to_dense()


def positions(kept):
    return torch.stack([image.nonzero()[:, 0] for image in kept])


def assert_published_gradients(model, case, prefix, relative, count):
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    checked = [name for name in case.io if name.startswith(prefix)]
    for name in checked:
        ours = rename_keys({"patch_embed.conv1.weight": torch.zeros(1), name.removeprefix(prefix): case.io[name]})
        parts = {each: tensor for each, tensor in ours.items() if tensor.shape != (1,)}
        assert parts
        for each, expected in parts.items():
            assert (gradients[each] - expected).abs().max() <= relative * case.io[name].abs().max(), name
    assert len(checked) == count


def test_the_dense_model(golden):
    case = golden("dylvvit_eval")
    dense = dense_of(case)
    with torch.no_grad():
        logits, states = dense(case.pixel_values).logits, dense.lvvit(case.pixel_values).last_hidden_state
        stem = dense.lvvit.embeddings.patch_embeddings(case.pixel_values)
    assert_close(stem, case.io["stem"], **case.tolerance("features"))
    assert_close(states, case.io["dense.final_tokens"], **case.tolerance("features"))
    assert_close(dense.classifier(states[:, 0]), case.io["dense.cls_logits"], **case.tolerance("logits"))
    assert_close(logits, case.io["dense.logits"], **case.tolerance("logits"))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_dynamicvit_at_inference(golden, attention):
    case = golden("dylvvit_eval")
    model = model_of(case, keep_ratio=0.7)
    model.set_attn_implementation(attention)
    with torch.no_grad():
        outputs, encoder = model(case.pixel_values), model.lvvit(case.pixel_values, output_hidden_states=True)
    for stage in range(3):
        assert torch.equal(positions(outputs.kept[:, stage]), case.io[f"stage{stage}.kept_sorted"])
    classes = torch.stack([states[:, 0] for states in encoder.hidden_states[1:]])
    assert_close(classes, case.io["cls_after_block"], **case.tolerance("features"))
    assert_close(outputs.logits, case.io["logits"], **case.tolerance("logits"))
    # the survivors, in the order of the grid on both sides
    last = encoder.owner[:, -1].argsort(dim=1)[:, -21:]
    published = case.io["stage2.kept_order"].argsort(dim=1)
    ours = model.answer_tokens(encoder.features, encoder.last_hidden_state[:, 1:])
    assert_close(ours[:, 0], case.io["cls_logits"], **case.tolerance("logits"))
    taken = encoder.owner[:, -1].gather(1, last.sort(dim=1).values)
    for row, at, theirs, order in zip(ours[:, 1:], taken, case.io["aux_logits"], published, strict=True):
        assert_close(row[at], theirs[order], **case.tolerance("logits"))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_dynamicvit_in_training(golden, attention):
    case = golden("dylvvit_train")
    model, teacher = model_of(case, keep_ratio=0.7).train(), dense_of(case)
    model.set_attn_implementation(attention)
    torch.manual_seed(case.about["rng_seed"])
    outputs = model(case.pixel_values)
    own = outputs.token_logits
    assert_close(own[:, 0], case.io["cls_logits"], **case.tolerance("logits"))
    assert_close(own[:, 1:], case.io["aux_logits"], **case.tolerance("logits"))
    for stage, decision in enumerate(outputs.decisions):
        assert torch.equal(decision.kept, case.io[f"stage{stage}.decision"].bool())
        assert_close(decision.mask, case.io[f"stage{stage}.decision_raw"], atol=1e-6, rtol=0)
    after = rename_keys({name.removeprefix("after."): each for name, each in case.io.items() if "after." in name})
    for name, expected in after.items():
        buffer = model.lvvit.get_buffer(name.removeprefix("vit."))
        assert_close(buffer, expected, **case.tolerance("after.*"))

    with torch.no_grad():
        states = teacher.lvvit(case.pixel_values).last_hidden_state
        told = model.answer_dense(teacher, states).token_logits
    assert_close(told[:, 0], case.io["teacher.cls_logits"], **case.tolerance("logits"))
    assert_close(told[:, 1:], case.io["teacher.aux_logits"], **case.tolerance("logits"))
    terms = {
        "cls": classification_loss(own[:, 0], case.io["soft_labels"]),
        "ratio_sum": 3 * keep_ratio_loss(outputs.decisions),
        "cls_kl": class_distillation_loss(own[:, 0], told[:, 0]),
        "token_kl": token_class_distillation_loss(own[:, 1:], told[:, 1:], outputs.decisions[-1].kept),
    }
    for name, term in terms.items():
        assert_close(term, case.io[f"loss.{name}"], **case.tolerance("loss.*"))
    loss = terms["cls"] + 2 * terms["ratio_sum"] / 3 + 0.5 * terms["cls_kl"] + 0.5 * terms["token_kl"]
    assert_close(loss, case.io["loss.total"], **case.tolerance("loss.*"))
    loss.backward()
    assert_published_gradients(model, case, "grad.", 1e-3, 12)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_idlevit_at_inference(golden, attention):
    case = golden("idlelvvit_eval")
    about = case.about["config"]
    model = model_of(case, reducer="idlevit")
    model.set_attn_implementation(attention)
    assert model.token_counts() == about["kept_patches_per_idle_layer_int_trunc"]
    with torch.no_grad():
        outputs, encoder = model(case.pixel_values), model.lvvit(case.pixel_values, output_hidden_states=True)
        for stage, layer in enumerate(about["idle_layers_0based"]):
            assert torch.equal(positions(outputs.kept[:, stage]), case.io[f"layer{layer}.selected_sorted"])
            block = model.lvvit.layers[layer]
            scores = class_query_logits(block.attention, block.layernorm_before(encoder.hidden_states[layer]), 1)
            assert_close(scores, case.io[f"layer{layer}.scores"], **case.tolerance("scores"))
    assert_close(encoder.last_hidden_state, case.io["final_tokens"], **case.tolerance("features"))
    assert_close(outputs.logits, case.io["logits"], **case.tolerance("logits"))


@pytest.mark.parametrize("cut_layers, prefix, count", [("all", "all_layers", 10), ("alternate", "released", 9)])
@pytest.mark.parametrize("teacher", ["teacher", "teacher_eval"])
def test_idlevit_in_training(golden, cut_layers, prefix, count, teacher):
    """With the released feature term, which scales channels over tokens; ours compares class tokens, as on DeiT."""
    case = golden("idlelvvit_train")
    dense = dense_of(case).train(teacher == "teacher")  # the released teacher is never put in eval mode
    with torch.no_grad():
        states = dense.lvvit(case.pixel_values).last_hidden_state
        told = DynamicLVViTForImageClassification.answer_dense(dense, states).logits
    assert_close(states, case.io[f"{teacher}.features"], **case.tolerance("features"))
    assert_close(told, case.io[f"{teacher}.logits"], **case.tolerance("logits"))
    if teacher == "teacher_eval":
        return
    model = model_of(case, reducer="idlevit", reducer_args={"cut_layers": cut_layers}).train()
    outputs = model(case.pixel_values)
    assert_close(outputs.logits, case.io["logits"], **case.tolerance("logits"))
    assert_close(outputs.last_hidden_state, case.io["features"], **case.tolerance("features"))
    for stage, layer in enumerate(model.decision_layers):
        assert torch.equal(outputs.kept[:, stage], case.io[f"layer{layer}.mask"][:, 1:].bool())
    cut = model.reducer.losses(outputs.decisions)["cut"]
    assert_close(cut, case.io[f"{prefix}.cut_sum"] / 6, **case.tolerance("*.cut_sum"))
    mask = case.io["layer7.mask"][..., None]
    features = mse_loss(*(normalize(each * mask, dim=1) for each in (outputs.last_hidden_state, states)))
    terms = {
        "cls": classification_loss(outputs.logits, case.io["soft_labels"]),
        "cls_kl": class_distillation_loss(outputs.logits, told),
        "feature_mse": features,
    }
    for name, term in terms.items():
        assert_close(term, case.io[f"loss.{name}"], **case.tolerance("loss.*"))
    loss = terms["cls"] + 20 * cut + 10 * terms["cls_kl"] + 1000 * features
    assert_close(loss, case.io[f"{prefix}.total"], atol=0, **case.tolerance("*.total"))
    loss.backward()
    assert_published_gradients(model, case, f"{prefix}.grad.", 3e-3, count)


SMALL = {"hidden_size": 384, "num_hidden_layers": 16, "num_attention_heads": 6, "intermediate_size": 1152}
MEDIUM = {"hidden_size": 512, "num_hidden_layers": 20, "num_attention_heads": 8, "intermediate_size": 1536}


def published(sizes, reducer, keep_ratio):
    """A published model without memory."""
    depth = sizes["num_hidden_layers"]
    idle, predictors = range(4, 16) if depth == 16 else range(5, 20), [4, 8, 12] if depth == 16 else [5, 10, 15]
    stages = list(idle) if reducer == "idlevit" else predictors
    config = DynamicLVViTConfig(
        **sizes, reducer=reducer, keep_ratio=keep_ratio, reducer_layers=stages, num_labels=1000
    )
    with torch.device("meta"):
        return DynamicLVViTForImageClassification(config).eval()


@pytest.mark.parametrize("sizes, million, giga", [(SMALL, 26.15, 6.551), (MEDIUM, 55.83, 12.678)])
def test_published_sizes_and_dense_costs(sizes, million, giga):
    model = published(sizes, "topk", 0.7)
    assert round(sum(each.numel() for each in model.parameters()) / 1e6, 2) == million
    assert round(model.dense_multiply_adds() / 1e9, 3) == giga
    with FlopCounterMode(display=False) as counter:
        model.dense_like().to("meta").eval()(torch.empty(1, 3, 224, 224, device="meta"))
    assert counter.get_total_flops() == 2 * model.dense_multiply_adds()


@pytest.mark.parametrize(
    "sizes, reducer, keep_ratio, giga",
    [
        (SMALL, "dynamicvit", 0.7, 4.650),
        (SMALL, "dynamicvit", 0.5, 3.790),
        (SMALL, "idlevit", 0.7, 4.769),
        (SMALL, "idlevit", 0.5, 4.023),
        (MEDIUM, "dynamicvit", 0.7, 8.593),
        (MEDIUM, "dynamicvit", 0.5, 6.741),
        (MEDIUM, "idlevit", 0.7, 8.859),
        (MEDIUM, "idlevit", 0.5, 7.234),
    ],
)
def test_published_costs(sizes, reducer, keep_ratio, giga):
    """The published IdleViT projects every token's key in every idle layer; ours does not, and is cheaper by that."""
    model = published(sizes, reducer, keep_ratio)
    total, width = model.multiply_adds(), sizes["hidden_size"]
    if reducer == "idlevit":
        idle = sum(196 - count for count in model.token_counts())
        total += idle * width**2 - len(model.decision_layers) * width**2  # the latter is what we compute instead
    assert round(total / 1e9, 3) == giga
