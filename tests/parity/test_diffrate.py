# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""DiffRate against the published implementation: what is dropped and merged, sizes, the whole model."""

import pytest
import torch
from token_maps import groups
from torch.testing import assert_close

from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config


def converted(case, **options):
    config = infer_config(
        case.weights, num_attention_heads=case.about["config"]["num_heads"], reducer="diffrate", **options
    )
    return convert_state_dict(case.weights, config)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("variant", ["both", "prune_only", "merge_only"])
def test_forward(golden, variant, attention, training):
    case = golden("diffrate_eval")
    about = case.about["variants"][variant]
    counts = [
        [pruned - 1, merged - 1] for pruned, merged in zip(about["prune_kept"], about["merge_kept"], strict=True)
    ]
    model = converted(case, reducer_args={"counts": counts}).train(training)
    model.set_attn_implementation(attention)
    with torch.no_grad():
        outputs, encoder = model(case.pixel_values), model.vit(case.pixel_values, output_hidden_states=True)
    assert [1 + count for count in model.token_counts()] == case.io[f"{variant}.token_counts"].tolist()
    theirs = case.io[f"{variant}.source_map_after_block"].long()
    for layer, (owner, kept) in enumerate(zip(outputs.owner.unbind(1), outputs.kept.unbind(1), strict=True)):
        assert torch.equal(groups(owner), groups(theirs[layer, :, 1:] - 1))
        assert kept.sum(-1).tolist() == [about["merge_kept"][layer] - 1] * 3 and (owner[kept] >= 0).all()
    for image, owner in enumerate(outputs.owner[:, -1]):
        alive, place = owner >= 0, theirs[-1, image, 1:]
        assert torch.equal(alive, place >= 0)
        tokens = case.io[f"{variant}.final_tokens"][image, place[alive]]
        ours = encoder.last_hidden_state[image, owner[alive] + 1]
        assert_close(ours, tokens, **case.tolerance("tokens/cls_after_block"))
    classes = torch.stack([states[:, 0] for states in encoder.hidden_states[1:]])
    assert_close(classes, case.io[f"{variant}.cls_after_block"], **case.tolerance("tokens/cls_after_block"))
    assert_close(outputs.logits, case.io[f"{variant}.logits"], **case.tolerance("logits/losses"))


def searching(case, **options):
    """A model with the published state of the search; its first block is left alone."""
    about = case.about["variants"]["train"]
    args = {"search": 0.6, "granularity": about["granularity"]}
    model = converted(case, reducer_args=args, **options)
    search = model.vit.reducer.search
    for kind, counts in (("prune", search.pruned), ("merge", search.merged)):
        for layer in range(1, 6):
            logits = case.io[f"train.blocks.{layer}.{kind}_ddp.selected_probability"]
            assert counts.candidates[layer - 1] == list(range(64, 0, -1))
            with torch.no_grad():
                counts[layer - 1].copy_(logits)
    return model.train()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_search_step(golden, attention):
    case = golden("diffrate_eval")
    io, about = case.io, case.about["variants"]["train"]
    model = searching(case)
    model.set_attn_implementation(attention)
    search = model.vit.reducer.search
    for kind, counts in (("prune", search.pruned), ("merge", search.merged)):
        assert [65, *(1 + int(counts.count(index)) for index in range(5))] == io[f"train.{kind}_kept"].tolist()
    outputs = model(case.pixel_values)
    assert_close(outputs.logits, io["train.logits"], **case.tolerance("logits/losses"))
    assert outputs.decisions[-1].mask.sum(-1).tolist() == (io["train.mask"].sum(-1) - 1).tolist()
    patch = 24 * 3 * 8 * 8  # the released counter embeds the class token as if it were one more patch
    cost = search.multiply_adds() + patch
    assert cost.item() == io["train.flops"].item()
    budget = (cost / about["flops_unit"] - about["target"]).square()
    loss = torch.nn.functional.cross_entropy(outputs.logits, io["train.labels"]) + about["weight"] * budget
    assert_close(loss[None], io["train.loss"], **case.tolerance("logits/losses"))
    loss.backward()
    for kind, counts in (("prune", search.pruned), ("merge", search.merged)):
        for layer in range(1, 6):
            expected = io[f"train.grad.blocks.{layer}.{kind}_ddp.selected_probability"]
            told = f"{kind} {layer}"
            assert_close(
                counts[layer - 1].grad, expected, **case.tolerance("gradients"), msg=lambda m, t=told: f"{t}: {m}"
            )
