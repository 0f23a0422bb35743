# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Frequency-aware reduction as it is described: attention received, means of windows."""

import pytest
import torch
from torch.testing import assert_close
from toys import toy_config, toy_images, toy_model

from hf_dynamicvit.model.reducer_freq import choose_hosts, number_windows
from hf_dynamicvit.model.scoring import attention_weights
from hf_dynamicvit.model.tokens import Tokens, Trace


def test_windows_of_odd_grids_differ_by_a_row_or_a_column():
    assert number_windows((3, 5), 2, torch.device("cpu")).view(3, 5).tolist() == [
        [0, 0, 0, 1, 1],
        [0, 0, 0, 1, 1],
        [2, 2, 2, 3, 3],
    ]
    assert number_windows((4, 4), 1, torch.device("cpu")).unique().tolist() == [0]


def test_each_window_has_its_first_and_the_highest_stand_in_for_empty_ones():
    window, scores = torch.tensor([[2, 0, 2, 0, 0]]), torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.5]])
    hosts, others, host = choose_hosts(window, scores, 4, 3)  # windows 1 and 3 are empty
    assert hosts.tolist() == [[0, 1, 2]] and others.tolist() == [[3, 4]]
    assert host.tolist() == [[1, 1]]  # of window 0


def reduced(images: int = 2, **options):
    """Run two stages of a method on random tokens of 4 x 4 patches; return tokens, traces and what came of each."""
    torch.manual_seed(0)
    config = toy_config(image_size=16, reducer="freq", keep_ratio=[10, 6, 6], **options)
    reducer = toy_model(image_size=16, reducer="freq", keep_ratio=[10, 6, 6], **options).vit.reducer
    tokens, seen = Tokens.start(torch.randn(images, 1 + 16, 32), 1).change(grid=(4, 4)), []
    for layer in config.stage_layers[:2]:
        length = tokens.hidden.shape[1]
        query, key = torch.randn(2, images, 4, length, 8).unbind()
        trace = Trace(query, key, torch.zeros(images, length, 4, 8))
        before, tokens = tokens, reducer.between(tokens, trace, layer)
        seen.append((before, trace, tokens))
    return reducer, seen


def test_what_gets_most_attention_stays_and_windows_are_means():
    reducer, [(before, trace, after), (_, second, last)] = reduced()
    assert reducer.plan(16) == [(6, 2), (5, 1), (5, 1)]
    received = attention_weights(trace.query, trace.key, 1).mean(dim=(1, 2))[:, 1:]
    window = number_windows((4, 4), 2, torch.device("cpu"))
    for image in range(2):
        kept = received[image].topk(6).indices.sort().values
        assert_close(after.patches[image, :6], before.patches[image, kept])
        gone = torch.ones(16, dtype=torch.bool).index_fill(0, kept, False)
        groups = [gone & (window == each) for each in range(4)]
        means = [before.patches[image, group].mean(dim=0) for group in groups if group.any()]
        found = after.patches[image, 6:]
        assert all(any(torch.allclose(mean, token, atol=1e-6) for token in found) for mean in means)
        assert after.size[image].sum() == 16 and (after.size[image, :6] == 1).all()
    received = attention_weights(second.query, second.key, 1).mean(dim=(1, 2))[:, 1:7]
    for image in range(2):
        stays = received[image].topk(5).indices.sort().values
        assert_close(last.patches[image, :5], after.patches[image, stays])
        original = after.owner[image]
        gone = ~(original[:, None] == stays).any(dim=1)
        # over all patches, not a mean of means
        assert_close(last.patches[image, 5], before.patches[image, gone].mean(dim=0))
        assert last.size[image].tolist() == [1, 1, 1, 1, 1, 11]


@pytest.mark.parametrize("proportional", [False, True])
def test_attention_counts_patches_if_asked(proportional):
    reducer, [(_, _, after), _] = reduced(reducer_args={"proportional_attention": proportional})
    bias = reducer.key_bias(after)
    if not proportional:
        assert bias is None
    else:
        assert_close(bias, after.size.log())


@pytest.mark.parametrize(
    "windows, ratios, plan",
    [
        ([2, 1], [40, 20, 10], [(36, 2), (19, 1), (9, 1)]),
        ([2, 1], [64, 20, 10], [(64, 2), (16, 2), (9, 1)]),  # a stage that keeps all has no windows
        ([4, 2, 2], [40, 12, 10], [(24, 4), (8, 2), (6, 2)]),
        ([4, 4, 1], [40, 39, 3], [(24, 4), (23, 4), (2, 1)]),
        ([4, 1], [40, 39, 1], [(24, 4), (24, 1), (0, 1)]),  # no patch comes back: some means stay themselves
    ],
)
def test_plans(windows, ratios, plan):
    model = toy_model(reducer="freq", keep_ratio=ratios, reducer_args={"windows": windows})
    assert model.vit.reducer.plan(64) == plan
    outputs = model(toy_images())
    assert [owner.max().item() + 1 for owner in outputs.owner.unbind(1)] == model.token_counts() == ratios
    assert (outputs.owner >= 0).all() and outputs.logits.isfinite().all()


@pytest.mark.parametrize("windows", [[], [0], [2, 3], [1, 2], 2, [2.0], ["2"]])
def test_bad_windows_are_named(windows):
    with pytest.raises(ValueError, match=r"reducer_args: windows is .*each a divisor of the one before"):
        toy_config(reducer="freq", reducer_args={"windows": windows})
