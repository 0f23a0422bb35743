# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Top-K and EViT against the published implementation, and the published cost table."""

import pytest
import torch
from torch.testing import assert_close

from hf_dynamicvit import DynamicViTConfig, DynamicViTForImageClassification
from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config
from hf_dynamicvit.checkpoints.published import rename_key
from hf_dynamicvit.training.losses import classification_loss


def model_of(case, reducer):
    config = infer_config(case.weights, num_attention_heads=case.about["config"]["num_heads"], reducer=reducer)
    return convert_state_dict(case.weights, config)


@pytest.mark.parametrize("name, reducer", [("evit_eval_fuse", "evit"), ("evit_eval_nofuse", "topk")])
@pytest.mark.parametrize("training", [False, True])
def test_forward(golden, name, reducer, training):
    case = golden(name)
    model = model_of(case, reducer).train(training)
    with torch.no_grad():
        outputs, encoder = model(case.pixel_values), model.vit(case.pixel_values)
    assert model.token_counts() == case.about["config"]["tokens_after_each_site_without_cls"]
    for stage in range(3):
        for kept, expected in zip(outputs.kept[:, stage], case.io[f"site{stage}.kept_sorted"], strict=True):
            assert torch.equal(kept.nonzero()[:, 0], expected[expected >= 0])  # -1 is a fused token
    assert_close(outputs.logits, case.io["logits"], **case.tolerance("logits"))
    # neighbours of almost equal score may swap; owner says where each patch's token is
    tokens, expected = encoder.last_hidden_state, case.io["final_tokens"]
    for image, index in enumerate(case.io["final_index"]):
        alive = index >= 0
        position = outputs.owner[image, -1, index[alive]]
        assert_close(tokens[image, 1 + position], expected[image, 1:][alive], **case.tolerance("final_tokens"))
        if reducer == "evit":
            assert_close(tokens[image, -1], expected[image, -1], **case.tolerance("final_tokens"))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_gradients(golden, attention):
    case = golden("evit_train_fuse")
    model = model_of(case, "evit").train()
    model.set_attn_implementation(attention)
    loss = classification_loss(model(case.pixel_values).logits, case.io["labels"])
    loss.backward()
    assert_close(loss, case.io["loss"], **case.tolerance("loss"))
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    checked = [name for name in case.io if name.startswith("grad.")]
    for name in checked:
        published = name.removeprefix("grad.")
        parts = [published.replace("qkv", part) for part in "qkv"] if "qkv" in published else [published]
        actual, expected = torch.cat([gradients[rename_key(part)] for part in parts]), case.io[name]
        assert (actual - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert len(checked) == 6


@pytest.mark.parametrize(
    "reducer, keep_ratio, counts, giga",
    [
        ("topk", 0.9, [177, 160, 144], 3.988),
        ("topk", 0.8, [157, 126, 101], 3.444),
        ("topk", 0.7, [138, 97, 68], 2.997),
        ("topk", 0.6, [118, 71, 43], 2.608),
        ("topk", 0.5, [98, 49, 25], 2.282),
        ("evit", 0.9, [178, 162, 147], 4.022),
        ("evit", 0.8, [158, 128, 104], 3.477),
        ("evit", 0.7, [139, 99, 71], 3.029),
        ("evit", 0.6, [119, 73, 45], 2.635),
        ("evit", 0.5, [99, 51, 27], 2.309),
    ],
)
def test_published_cost(reducer, keep_ratio, counts, giga):
    """DeiT-S at 224 px; the table leaves the class row out, which is at most 0.00021 G."""
    config = DynamicViTConfig(
        hidden_size=384,
        num_attention_heads=6,
        intermediate_size=1536,
        num_labels=1000,
        reducer=reducer,
        keep_ratio=keep_ratio,
    )
    with torch.device("meta"):
        model = DynamicViTForImageClassification(config)
    assert model.token_counts() == counts
    reducer = model.vit.reducer
    scoring = reducer.multiply_adds(reducer.token_counts(196, 12), 196, 1)
    assert scoring < 2.1e5
    assert round((model.multiply_adds() - scoring) / 1e9, 3) == giga
