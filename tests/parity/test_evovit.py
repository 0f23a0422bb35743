# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Evo-ViT against the published implementation: both groupings, both heads, gradients, cost."""

import pytest
import torch
from torch.testing import assert_close
from toys import assert_same_model, toy_config, toy_dense, toy_images, toy_model

from hf_dynamicvit import DynamicViTConfig, DynamicViTForImageClassification
from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config
from hf_dynamicvit.checkpoints.published import rename_key
from hf_dynamicvit.model.reducer_evovit import EvoViTReducer


def model_of(case, grouping):
    config = infer_config(
        case.weights,
        num_attention_heads=case.about["config"]["num_heads"],
        reducer="evovit",
        reducer_args={"grouping": grouping},
    )
    return convert_state_dict(case.weights, config)


@pytest.fixture
def scores_before(monkeypatch):
    """The global class attention that each selection reads, by layer."""
    seen = {}
    original = EvoViTReducer.reduce

    def reduce(self, tokens, stage, block):
        seen[stage.layer] = tokens.importance
        return original(self, tokens, stage, block)

    monkeypatch.setattr(EvoViTReducer, "reduce", reduce)
    return seen


def check_selection(case, prefix, model, outputs, scores):
    for stage, layer in enumerate(model.decision_layers):
        kept = torch.stack([image.nonzero()[:, 0] for image in outputs.kept[:, stage]])
        assert torch.equal(kept, case.io[f"{prefix}selected_sorted_layer{layer}"])
        expected = case.io[f"{prefix}g_before_layer{layer}"]
        assert_close(scores[layer], expected, **case.tolerance("g_before_layer*"))


@pytest.mark.parametrize("name, grouping", [("evo_stage", "stage"), ("evo_layer", "layer")])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_inference(golden, scores_before, name, grouping, attention):
    case = golden(name)
    model = model_of(case, grouping)
    model.set_attn_implementation(attention)
    with torch.no_grad():
        outputs, encoder = model(case.pixel_values), model.vit(case.pixel_values, output_hidden_states=True)
    assert model.decision_layers == ([4, 8] if grouping == "stage" else list(range(4, 12)))
    check_selection(case, "", model, outputs, scores_before)
    classes = torch.stack([states[:, 0] for states in encoder.hidden_states[1:]])
    assert_close(classes, case.io["cls_after_block"], **case.tolerance("cls_after_block"))
    pooled = encoder.hidden_states[-1][:, 1:].mean(1)
    assert_close(pooled, case.io["pooled"], **case.tolerance("pooled*"))
    assert_close(encoder.features, case.io["pooled_normed"], **case.tolerance("pooled*"))
    assert_close(outputs.logits, case.io["logits"], **case.tolerance("logits*"))


@pytest.mark.parametrize("grouping", ["stage", "layer"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_training(golden, scores_before, grouping, attention):
    case = golden("evo_train")
    model = model_of(case, "stage").train()
    model.vit.reducer.grouping = grouping
    model.set_attn_implementation(attention)
    outputs = model(case.pixel_values, labels=case.io["labels"])
    check_selection(case, f"{grouping}.", model, outputs, scores_before)
    assert_close(outputs.logits, case.io[f"{grouping}.logits"], **case.tolerance("logits*"))
    assert_close(outputs.auxiliary_logits, case.io[f"{grouping}.logits_cls"], **case.tolerance("logits*"))
    assert_close(outputs.loss, case.io[f"{grouping}.loss"], **case.tolerance("loss*"))
    outputs.loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    checked = [name for name in case.io if name.startswith(f"{grouping}.grad.")]
    for name in checked:
        published = name.removeprefix(f"{grouping}.grad.")
        parts = [published.replace(".qk.", f".{part}.") for part in "qk"] if ".qk." in published else [published]
        actual, expected = torch.cat([gradients[rename_key(part)] for part in parts]), case.io[name]
        assert (actual - expected).abs().max() <= 1e-4 * expected.abs().max(), name
    assert len(checked) >= 6


@pytest.mark.parametrize(
    "width, heads, representative, giga, digits",
    [(192, 3, False, 0.818, 3), (384, 6, False, 3.033, 3), (768, 12, False, 11.66, 2), (384, 6, True, 3.049, 3)],
)
def test_published_cost(width, heads, representative, giga, digits):
    """DeiT at 224 px; the table leaves the class rows and the mean of the waiting patches out."""
    config = DynamicViTConfig(
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        num_labels=1000,
        reducer="evovit",
        reducer_args={"representative_token": representative},
    )
    with torch.device("meta"):
        model = DynamicViTForImageClassification(config)
    assert model.token_counts() == [98 + representative] * 2
    reducer = model.vit.reducer
    scoring = reducer.multiply_adds(reducer.token_counts(196, 12), 196, 1)
    assert scoring < 0.0005 * giga * 1e9
    assert round((model.multiply_adds() - scoring) / 1e9, digits) == giga


def test_waiting_patches_are_untouched():
    model = toy_model(reducer="evovit", num_hidden_layers=6)
    assert model.decision_layers == [2, 4]
    outputs = model(toy_images(), output_hidden_states=True)
    for stage, (start, stop) in enumerate([(2, 4), (4, 6)]):
        waited = ~outputs.kept[:, stage]
        before, after = outputs.hidden_states[start][:, 1:], outputs.hidden_states[stop][:, 1:]
        assert torch.equal(before[waited], after[waited])
        assert waited.sum() == 3 * 32


def test_the_representative_token_moves_every_waiting_patch_alike():
    model = toy_model(reducer="evovit", num_hidden_layers=6, reducer_args={"representative_token": True})
    outputs = model(toy_images(), output_hidden_states=True)
    before, after = outputs.hidden_states[2][:, 1:], outputs.hidden_states[4][:, 1:]
    for image in range(3):
        moved = (after - before)[image][~outputs.kept[image, 0]]
        assert moved.abs().max() > 1e-3
        assert_close(moved, moved[:1].expand_as(moved), atol=1e-5, rtol=1e-5)
    assert outputs.hidden_states[3].shape[1] == 1 + 32 + 1


def test_scores_learn_through_the_representative_token():
    for representative in (False, True):
        args = {"representative_token": representative, "pooling": "class"}
        model = toy_model(reducer="evovit", num_hidden_layers=6, reducer_args=args).train()
        tokens = model.vit.embed(toy_images())
        for index, layer in enumerate(model.vit.layers[:4]):
            if index == 2:
                importance = tokens.importance
                importance.retain_grad()
            _, tokens = layer(tokens.hidden, tokens, model.vit.reducer, index)
        tokens.hidden.square().sum().backward()
        assert (importance.grad is not None and importance.grad.abs().max() > 0) == representative


def test_the_dense_classifier_serves_with_class_pooling():
    dense = toy_dense()
    model = toy_model(reducer="evovit", reducer_args={"pooling": "class"}, keep_ratio=1.0)
    missing, unexpected = model.load_state_dict(dense.state_dict(), strict=False)
    assert not missing and not unexpected
    assert_close(model(toy_images()).logits, dense(toy_images()).logits, atol=1e-5, rtol=1e-5)
    assert_same_model(model.to_dense(), dense)


def test_mean_pooling_has_no_dense_copy():
    with pytest.raises(ValueError, match="does not read the class token"):
        toy_model(reducer="evovit").to_dense()


def test_the_class_head_is_for_training_only():
    model = toy_model(reducer="evovit")
    assert model(toy_images()).auxiliary_logits is None
    assert model.train()(toy_images()).auxiliary_logits.shape == (3, 5)


@pytest.mark.parametrize(
    "values, named",
    [
        ({"reducer_args": {"grouping": "block"}}, "grouping is 'block'"),
        ({"reducer_args": {"pooling": "max"}}, "pooling is 'max'"),
        ({"reducer_args": {"representative_token": 1}}, "representative_token is 1"),
        ({"reducer_args": {"alpha": 1.5}}, r"alpha is 1\.5"),
        ({"reducer_layers": [0, 2]}, r"reducer_layers is \[0, 2\]"),
    ],
)
def test_bad_options_are_named(values, named):
    with pytest.raises(ValueError, match=named):
        toy_config(reducer="evovit", **values)
