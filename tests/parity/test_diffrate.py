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
