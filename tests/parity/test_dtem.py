# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""DTEM against the published implementation: inference, and a training step of the metric."""

import pytest
import torch
from torch.testing import assert_close
from toys import toy_config, toy_images, toy_model

from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config
from hf_dynamicvit.checkpoints.published import rename_key
from hf_dynamicvit.model import reducer_dtem, reducer_tome
from hf_dynamicvit.model.reducer_dtem import grouping


def model_of(case, r, **reducer_args):
    heads = case.about["config"]["num_heads"]
    config = infer_config(
        case.weights, num_attention_heads=heads, reducer="dtem", reducer_args={"r": r} | reducer_args
    )
    return convert_state_dict(case.weights, config)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("variant", ["constant", "list"])
def test_inference(golden, variant, attention):
    case = golden("dtem_eval")
    model = model_of(case, case.about["variants"][variant]["r"])
    model.set_attn_implementation(attention)
    with torch.no_grad():
        outputs, encoder = model(case.pixel_values), model.vit(case.pixel_values, output_hidden_states=True)
    assert [1 + count for count in model.token_counts()] == case.io[f"{variant}.token_counts"].tolist()
    maps = case.io[f"{variant}.source_map_after_block"].long()
    for layer in range(6):
        assert torch.equal(outputs.owner[:, layer] + 1, maps[layer][:, 1:])
    sizes = torch.stack([owner.bincount() for owner in outputs.owner[:, -1]])
    assert torch.equal(sizes, case.io[f"{variant}.final_sizes"][:, 1:].long())
    classes = torch.stack([states[:, 0] for states in encoder.hidden_states[1:]])
    tolerance = case.tolerance("tokens/cls_after_block")
    assert_close(classes, case.io[f"{variant}.cls_after_block"], **tolerance)
    assert_close(encoder.last_hidden_state, case.io[f"{variant}.final_tokens"], **tolerance)
    assert_close(outputs.logits, case.io[f"{variant}.logits"], **case.tolerance("logits/losses"))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_training(golden, attention, monkeypatch):
    case = golden("dtem_eval")
    about = case.about["variants"]["train"]
    model = model_of(case, about["r"], num_candidates=about["k2"], tau=about["tau1"], tau_choice=about["tau2"])
    model.train().set_attn_implementation(attention)
    # tokens that nothing went into have equal sizes; the reference leaves their order to torch's sort
    monkeypatch.setattr(reducer_dtem, "largest_first", lambda sizes: sizes.argsort(dim=1, descending=True))
    sizes, merge = [], type(model.vit.reducer).merge_softly

    def record(self, *args):
        tokens = merge(self, *args)
        sizes.append(tokens.size)
        return tokens

    monkeypatch.setattr(type(model.vit.reducer), "merge_softly", record)
    outputs = model(case.pixel_values, labels=case.io["train.labels"])
    assert_close(torch.stack(sizes), case.io["train.sizes_after_block"][:, :, 1:], atol=1e-4, rtol=1e-4)
    assert_close(outputs.logits, case.io["train.logits"], **case.tolerance("logits/losses"))
    assert_close(outputs.loss[None], case.io["train.loss"], **case.tolerance("logits/losses"))
    outputs.loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    published = [name.removeprefix("train.grad.") for name in case.io if name.startswith("train.grad.")]
    assert len(published) == 7
    for name in published:
        assert_close(gradients[rename_key(name)], case.io[f"train.grad.{name}"], **case.tolerance("gradients"))


def test_groups_are_soft_choices_of_the_most_similar():
    similarity = torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    groups = grouping(similarity, 3, num_candidates=2, tau=0.1, tau_choice=1.0)
    assert ((groups > 0).sum(dim=2) <= 2).all() and (groups.sum(dim=2) <= 1 + 1e-6).all()
    assert_close(groups.sum(dim=(1, 2)), torch.full((2,), 3.0), atol=0.4, rtol=0)
    groups.square().sum().backward()
    assert similarity.grad.isfinite().all() and similarity.grad.abs().max() > 0
    sharp = grouping(similarity.detach(), 3, num_candidates=2, tau=0.1, tau_choice=1e-2)
    best, column = similarity.detach().max(dim=2)
    chosen = best.topk(3, dim=1).indices
    expected = torch.zeros(2, 6, 5).scatter(2, column[..., None], 1.0)
    kept = torch.zeros(2, 6).scatter(1, chosen, 1.0)
    assert torch.equal(sharp.round(), expected * kept[..., None])


def test_training_loses_no_patch_and_leaves_the_backbone_alone():
    model = toy_model(reducer="dtem", keep_ratio=0.5).train()
    outputs = model.vit(toy_images())
    counts = model.token_counts()
    assert [kept.sum(-1).tolist() for kept in outputs.kept.unbind(1)] == [[count] * 3 for count in counts]
    assert (outputs.owner.sort(dim=2).values == torch.arange(64)).all()  # all tokens are there
    model.requires_grad_(False)
    model.vit.reducer.requires_grad_(True)
    model(toy_images(), labels=torch.tensor([0, 1, 2])).loss.backward()
    learns = [bool(metric.weight.grad.any()) for metric in model.vit.reducer.metrics]
    assert learns == [True, True, True, False]  # nothing but the class token is read behind the last block
    assert model.vit.layers[0].attention.k_proj.weight.grad is None


def test_a_fused_copy_in_the_file_is_passed_over(golden):
    case = golden("dtem_eval")
    stale = {
        f"blocks.{block}.attn.qkv.{kind}": torch.full((84, 24)[: 2 if kind == "weight" else 1], torch.pi)
        for block in range(6)
        for kind in ("weight", "bias")
    }
    weights = case.weights | stale
    config = infer_config(weights, num_attention_heads=2, reducer="dtem", reducer_args={"r": 6})
    model = convert_state_dict(weights, config)
    assert_close(model(case.pixel_values).logits, case.io["constant.logits"], **case.tolerance("logits/losses"))
    with pytest.raises(ValueError, match="made for reducer 'dtem', not 'tome'"):
        infer_config(weights, num_attention_heads=2, reducer="tome")


def test_the_width_of_the_metric():
    assert toy_model(reducer="dtem").vit.reducer.metrics[0].weight.shape == (8, 32)
    assert toy_model(reducer="dtem", reducer_args={"metric_size": 5}).vit.reducer.metrics[3].weight.shape == (5, 32)
    wide = {"hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 1, "image_size": 8}
    assert toy_model(reducer="dtem", **wide).vit.reducer.metrics[0].weight.shape == (128, 1024)


@pytest.mark.parametrize("options", [{"metric_size": 0}, {"num_candidates": 1.5}, {"tau": 0}, {"tau_choice": "a"}])
def test_bad_options_are_named(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"reducer_args: {name} is {value!r}"):
        toy_config(reducer="dtem", reducer_args=options)


def test_a_trace_holds_what_the_method_needs(monkeypatch):
    seen = []

    def metric(self, tokens, stage, trace):
        seen.append(trace)
        return trace.key[:, :, 1:].mean(dim=1)

    monkeypatch.setattr(reducer_dtem.DTEMReducer, "metric", metric)
    monkeypatch.setattr(reducer_tome.ToMeReducer, "metric", metric)
    for reducer in ("dtem", "tome"):
        toy_model(reducer=reducer)(toy_images())
    assert all(trace.value is None and trace.normed.shape[-1] == 32 for trace in seen[:4])
    assert len(seen) == 8 and all(trace.value is None and trace.normed is None for trace in seen[4:])
