# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""PiToMe against the published implementation: who merges with whom, and the whole model."""

import pytest
import torch
from token_maps import groups
from torch.testing import assert_close
from toys import toy_images, toy_model

from hf_dynamicvit import DynamicViTConfig
from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config
from hf_dynamicvit.model.reducer_pitome import cluster_energy, energy_matching


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("variant", ["ratio_0.9", "ratio_0.8"])
def test_forward(golden, variant, attention, training):
    case = golden("pitome_eval")
    about = case.about
    config = infer_config(
        case.weights,
        num_attention_heads=about["config"]["num_heads"],
        reducer="pitome",
        reducer_args={"ratio": about["variants"][variant]["ratio"]},
    )
    model = convert_state_dict(case.weights, config).train(training)
    model.set_attn_implementation(attention)
    with torch.no_grad():
        outputs, encoder = model(case.pixel_values), model.vit(case.pixel_values, output_hidden_states=True)
    counts = case.io[f"{variant}.token_counts"].tolist()
    assert [1 + count for count in model.token_counts()] == counts
    theirs = case.io[f"{variant}.source_map_after_block"].long()
    for layer, owner in enumerate(outputs.owner.unbind(1)):
        assert torch.equal(groups(owner), groups(theirs[layer, :, 1:] - 1))
    for image, owner in enumerate(outputs.owner[:, -1]):
        place = theirs[-1, image, 1:]
        size = case.io[f"{variant}.final_sizes"][image, place]
        assert torch.equal(owner.bincount()[owner].int(), size)
        tokens = case.io[f"{variant}.final_tokens"][image]
        assert_close(
            encoder.last_hidden_state[image, owner + 1], tokens[place], **case.tolerance("tokens/cls_after_block")
        )
    classes = torch.stack([states[:, 0] for states in encoder.hidden_states[1:]])
    assert_close(classes, case.io[f"{variant}.cls_after_block"], **case.tolerance("tokens/cls_after_block"))
    assert_close(outputs.logits, case.io[f"{variant}.logits"], **case.tolerance("logits/losses"))


def test_a_patch_like_many_others_has_the_highest_energy():
    metric = torch.nn.functional.normalize(torch.tensor([[[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [-1.0, 0.0]]]), dim=-1)
    energy = cluster_energy(metric @ metric.transpose(1, 2), 0.75)
    assert energy.argsort().tolist()[0][0] == 3 and energy.argmax() == 0
    index, goes, host = energy_matching(metric, 1, 0.0, all_may_go=False)
    assert 3 in index[0] and goes.tolist() == [[0]] and index[0][host[0, 0]] in (1, 2)


def test_counts_are_in_double_precision():
    """0.9 * 100 is 90.00000000000001 in no precision: the released code takes the floor of 100 - 100 * 0.9."""
    model = toy_model(reducer="pitome", num_hidden_layers=3, reducer_args={"ratio": 0.9})
    assert model.vit.reducer.stage_counts(100) == [90, 81, 73]
    assert model.vit.reducer.stage_counts(64) == model.token_counts() == [58, 53, 48]
    model.set_keep_ratio(0.5)
    assert model.token_counts()[-1] == 32 and model.config.reducer_args == {}


def test_sizes_count_in_attention_only_if_asked():
    model = toy_model(reducer="pitome", keep_ratio=0.5)
    plain = model(toy_images()).logits
    model.vit.reducer.proportional_attention = True
    assert (model(toy_images()).logits - plain).abs().max() > 1e-4


@pytest.mark.parametrize("ratio", [0.4, 1.1, True, "0.9"])
def test_bad_ratios_are_named(ratio):
    with pytest.raises(ValueError, match=r"ratio is .*it must be a number from 0.5 to 1"):
        DynamicViTConfig(num_hidden_layers=4, reducer="pitome", reducer_args={"ratio": ratio})
    with pytest.raises(ValueError, match=r"pitome cannot go from .* to .* in block 3"):
        DynamicViTConfig(num_hidden_layers=4, reducer="pitome", keep_ratio=[0.9, 0.8, 0.7, 0.3])
