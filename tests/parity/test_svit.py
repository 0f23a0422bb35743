# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""SViT against the published implementation: inference, and a training step with its samples."""

import re

import pytest
import torch
from torch.testing import assert_close
from toys import toy_config, toy_images, toy_model

from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config
from hf_dynamicvit.model.selection import kept_first
from hf_dynamicvit.model.tokens import Stage, Tokens


TIMM = [
    (r"TransformerEncoderLayer\.self_attn\.in_proj_", "attn.qkv."),
    (r"TransformerEncoderLayer\.self_attn\.out_proj", "attn.proj"),
    (r"TransformerEncoderLayer\.linear(\d)", r"mlp.fc\1"),
    (r"TransformerEncoderLayer\.", ""),
]


def timm_name(name: str) -> str:
    for pattern, replacement in TIMM:
        name = re.sub(pattern, replacement, name)
    return name


def model_of(case, variant, **reducer_args):
    weights = {timm_name(name): tensor for name, tensor in case.weights.items()}
    backbone = {name: tensor for name, tensor in weights.items() if not name.startswith("selective_modules.")}
    config = infer_config(
        backbone,
        num_attention_heads=case.about["config"]["num_heads"],
        reducer="svit",
        reducer_layers=[layer - 1 for layer in case.about["variants"][variant]["select_loc"]],
        reducer_args=reducer_args,
    )
    config.layer_norm_eps = 1e-5
    model = convert_state_dict(backbone, config)
    model.vit.layernorm.eps = 1e-6
    parts = {"norm": "norm", "mlp.fc1": "hidden", "mlp.fc2": "choose"}
    for index, selector in enumerate(model.vit.reducer.selectors):
        selector.load_state_dict(
            {
                f"{ours}.{kind}": weights[f"selective_modules.{index}.{theirs}.{kind}"]
                for theirs, ours in parts.items()
                for kind in ("weight", "bias")
            }
        )
    return model


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_inference(golden, attention):
    case = golden("svit_eval")
    model = model_of(case, "classification")
    model.set_attn_implementation(attention)
    with torch.no_grad():
        outputs, encoder = model(case.pixel_values), model.vit(case.pixel_values, output_hidden_states=True)
    selected = case.io["classification.selected"].bool()  # [S, B, 197]
    # the last selector of this case leaves the class token out of the last block, which ours never do
    assert torch.equal(outputs.kept.transpose(0, 1), selected[..., 1:])
    classes = torch.stack([states[:, 0] for states in encoder.hidden_states[:-1]])
    assert_close(classes, case.io["classification.cls_before_block"], **case.tolerance("tokens/cls_after_block"))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_inference_with_shared_selectors(golden, attention):
    case = golden("svit_eval")
    model = model_of(case, "shared_selectors", share=2)
    model.set_attn_implementation(attention)
    with torch.no_grad():
        outputs, encoder = model(case.pixel_values), model.vit(case.pixel_values, output_hidden_states=True)
    selected = case.io["shared_selectors.selected"].bool()[..., 1:]
    assert torch.equal(outputs.kept.transpose(0, 1), selected.repeat_interleave(2, dim=0))
    tolerance = case.tolerance("tokens/cls_after_block")
    classes = torch.stack([states[:, 0] for states in encoder.hidden_states[:-1]])
    assert_close(classes, case.io["shared_selectors.cls_before_block"], **tolerance)
    assert_close(encoder.last_hidden_state, case.io["shared_selectors.final_tokens"], **tolerance)
    assert_close(outputs.logits, case.io["shared_selectors.logits"], **case.tolerance("logits/losses"))


def test_training_draws_the_published_samples(golden):
    case = golden("svit_eval")
    about = case.about["variants"]["train"]
    model = model_of(case, "train", target=about["keep_ratio"]).train()
    torch.manual_seed(about["torch_seed"])
    outputs = model(case.pixel_values)
    selected = case.io["train.selected"].bool()
    assert torch.equal(outputs.kept[:, :3].transpose(0, 1), selected[:3, :, 1:])  # the last one draws for 197
    picked = torch.stack([decision.mask.mean() for decision in outputs.decisions])
    expected = ((picked - torch.tensor(about["keep_ratio"])) ** 2).mean()
    assert_close(model.vit.reducer.losses(outputs.decisions)["ratio"], expected)


def test_the_gradient_of_a_pick_is_what_the_block_did():
    """x = s block(x) + (1 - s) x: one more unit of s adds the difference."""
    hidden = torch.randn(2, 5, 3)
    keep = torch.tensor([[1.0, 0, 1, 0], [0, 0, 1, 1]], requires_grad=True)
    tokens = Tokens.start(hidden, 1).blend_later(keep, Stage(0, 0, None, 4))
    assert torch.equal(tokens.mask, keep.detach()) and not tokens.mask.requires_grad
    back = tokens.change(hidden=hidden * 3).rejoin()
    assert back.mask is None and back.waiting is None
    assert torch.equal(back.hidden[:, 0], hidden[:, 0] * 3)
    assert_close(back.hidden[:, 1:], torch.where(keep[..., None] > 0, 3 * hidden[:, 1:], hidden[:, 1:]))
    back.hidden.sum().backward()
    assert_close(keep.grad, 2 * hidden[:, 1:].sum(dim=2))


def test_images_with_other_numbers_come_back_to_their_places():
    hidden = torch.randn(3, 6, 4)
    keep = torch.tensor([[0, 1, 0, 1, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]]).bool()
    for unobserved in (False, True):
        tokens = Tokens.start(hidden, 1).change(unobserved=unobserved)
        index, valid = kept_first(keep)
        gone_on = tokens.split_off(index, Stage(0, 0, None, 5), keep.float(), valid=valid)
        assert gone_on.hidden.shape == ((1, 3 + 4, 4) if unobserved else (3, 4, 4))
        assert torch.equal(gone_on.decisions[0].kept, keep)
        back = gone_on.change(hidden=gone_on.hidden + 1).rejoin()
        expected = hidden + torch.cat((torch.ones(3, 1), keep.float()), dim=1)[..., None]
        assert_close(back.hidden, expected)
        assert back.layout is None and back.attention_mask is None


def test_waiting_patches_are_untouched_and_come_back():
    model = toy_model(reducer="svit", keep_ratio=[0.6] * 3)
    images = toy_images(6)
    outputs = model(images, output_hidden_states=True)
    for stage, layer in enumerate(model.decision_layers):
        before, after = (outputs.hidden_states[index][:, 1:] for index in (layer, layer + 1))
        assert torch.equal(before[~outputs.kept[:, stage]], after[~outputs.kept[:, stage]])
    assert (outputs.kept[:, 1] & ~outputs.kept[:, 0]).any()
    assert len(outputs.kept[:, 0].sum(-1).unique()) > 1
    model.set_keep_ratio([0.8, 0.5, 0.3], images)
    assert model(images).kept.float().mean((0, 2)).tolist() == pytest.approx([0.8, 0.5, 0.3], abs=0.01)


@pytest.mark.parametrize("options", [{"target": 0}, {"target": [0.5, 0.5]}, {"tau": 0}, {"share": 0}])
def test_bad_options_are_named(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"reducer_args: {name} is "):
        toy_config(reducer="svit", reducer_args={name: value})
