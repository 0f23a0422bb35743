# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""ToMe against the published implementation: matching, merging, schedules, the whole model."""

import pytest
import torch
from token_maps import source_map
from torch.testing import assert_close

from hf_dynamicvit import DynamicViTConfig
from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config
from hf_dynamicvit.model.reducer_tome import ToMeReducer, merge_schedule
from hf_dynamicvit.model.selection import bipartite_matching
from hf_dynamicvit.model.tokens import Stage, Tokens


@pytest.mark.parametrize("group, num_prefix", [("cls", 1), ("nocls", 0), ("distill", 2), ("nocls_odd", 0)])
@pytest.mark.parametrize("r", [1, 8, 16, 100])
def test_merge(golden, group, num_prefix, r):
    case = golden("tome_merge")
    metric, x, size = (case.io[f"{group}.{name}"] for name in ("metric", "x", "size_in"))
    count = x.shape[1] - num_prefix
    r_effective = min(r, count // 2)
    about = case.about["config"]["groups"][group]
    assert r_effective == about["r_effective"][about["r"].index(r)]
    index, rest, host = bipartite_matching(metric[:, num_prefix:], r_effective, num_prefix)
    for sizes, name in ((torch.ones_like(size), "merged"), (size, "merged_sized")):
        tokens = Tokens.start(x, num_prefix).merge(
            index, rest, host, sizes[:, num_prefix:, 0], Stage(0, 0, None, count - r_effective)
        )
        expected = case.io[f"{group}.r{r}.{name}"]
        ours = source_map(tokens.owner, num_prefix)
        theirs = case.io[f"{group}.r{r}.source_map"]
        if num_prefix:
            assert torch.equal(ours, theirs)
        else:  # the reference leaves this order to the scores; the groups are the same
            assert torch.equal(ours[:, :, None] == ours[:, None], theirs[:, :, None] == theirs[:, None])
        unmerged = tokens.hidden.gather(1, ours[..., None].expand_as(x))
        assert_close(unmerged, expected.gather(1, theirs[..., None].expand_as(x)), **case.tolerance("merged*"))
        if name == "merged" and f"{group}.r{r}.unmerged" in case.io:
            assert_close(unmerged, case.io[f"{group}.r{r}.unmerged"], **case.tolerance("unmerged"))


def test_schedules(golden):
    values = golden("tome_eval").about["r_schedules"]["values"]
    for value in values:
        assert merge_schedule(value["r"], value["num_layers"]) == value["per_layer"]
    assert len(values) == 9


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("variant", ["const_r8.prop", "const_r8.noprop", "dec_r8.prop", "dec_r8.noprop"])
def test_forward(golden, variant, attention, training):
    case = golden("tome_eval")
    about = case.about["variants"][variant]
    config = infer_config(
        case.weights,
        num_attention_heads=case.about["config"]["num_heads"],
        reducer="tome",
        reducer_args={"r": about["r"], "proportional_attention": about["prop_attn"]},
    )
    model = convert_state_dict(case.weights, config).train(training)
    model.set_attn_implementation(attention)
    with torch.no_grad():
        outputs, encoder = model(case.pixel_values), model.vit(case.pixel_values, output_hidden_states=True)
    assert [1 + count for count in model.token_counts()] == case.io[f"{variant}.token_counts"].tolist()
    expected = case.io[f"{variant}.source_map_after_block"].long()
    for layer in range(12):
        assert torch.equal(source_map(outputs.owner[:, layer], 1), expected[layer])
        assert outputs.kept[:, layer].sum(-1).tolist() == [model.token_counts()[layer]] * 3
    sizes = torch.stack([image.bincount(minlength=model.token_counts()[-1]) for image in outputs.owner[:, -1]])
    assert torch.equal(sizes.float(), case.io[f"{variant}.final_sizes"][:, 1:])
    classes = torch.stack([states[:, 0] for states in encoder.hidden_states[1:]])
    assert_close(classes, case.io[f"{variant}.cls_after_block"], **case.tolerance("cls_after_block"))
    assert_close(encoder.last_hidden_state, case.io[f"{variant}.final_tokens"], **case.tolerance("final_tokens"))
    assert_close(outputs.logits, case.io[f"{variant}.logits"], **case.tolerance("logits"))


def test_nothing_merged_is_the_dense_model(golden):
    case = golden("tome_eval")
    heads = case.about["config"]["num_heads"]
    config = infer_config(case.weights, num_attention_heads=heads, reducer="tome", reducer_args={"r": 0})
    model = convert_state_dict(case.weights, config)
    assert_close(model(case.pixel_values).logits, case.io["dense.logits"], **case.tolerance("logits"))


def test_each_prefix_length_keeps_its_parity():
    """Positions of the whole sequence alternate, so one more prefix token swaps sources and destinations."""
    metric = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(0))
    assert bipartite_matching(metric, 3, 1)[0].tolist() == [[0, 2, 4]]
    assert bipartite_matching(metric, 3, 2)[0].tolist() == [[1, 3, 5]]
    assert bipartite_matching(metric, 3, 5)[0].tolist() == [[0, 2, 4]]


@pytest.mark.parametrize("r", [-1, 1.5, "8", True, [], [1, 2, 3, 4, 5], [8, 2.0], [1, -1], [8.5, -1.0]])
def test_bad_schedules_are_named(r):
    with pytest.raises(ValueError, match="r is "):
        DynamicViTConfig(num_hidden_layers=4, reducer="tome", reducer_args={"r": r})


def test_a_keep_ratio_out_of_reach_is_named():
    with pytest.raises(
        ValueError, match=r"keep_ratio is 0.05.*from 0.2875 of the patches to 0.05 in block 3.*at most half"
    ):
        DynamicViTConfig(num_hidden_layers=4, reducer="tome", keep_ratio=0.05)
    config = DynamicViTConfig(reducer="tome", keep_ratio=0.5)
    assert ToMeReducer(config).token_counts(196, 12)[-1][1] == 98
