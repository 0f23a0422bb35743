# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""BAT as it is described: attentive tokens in pairs, the others in clusters."""

import pytest
import torch
from torch.testing import assert_close
from toys import toy_config, toy_images, toy_model

from hf_dynamicvit.model.clustering import FAR, density_peaks, scaled_distances
from hf_dynamicvit.model.reducer_bat import Split
from hf_dynamicvit.model.scoring import class_attention
from hf_dynamicvit.model.tokens import Tokens, Trace


def test_distances_are_root_mean_squares():
    features = torch.randn(2, 5, 8)
    expected = torch.cdist(features, features) / 8**0.5
    assert_close(scaled_distances(features), expected, atol=1e-5, rtol=1e-5)
    attended = torch.tensor([[True, True, False, True, True]] * 2)
    masked = scaled_distances(features, attended)
    assert (masked[:, 2, [0, 1, 3, 4]] == FAR).all() and (masked[:, [0, 1, 3, 4], 2] == FAR).all()
    assert_close(masked[:, :2, :2], expected[:, :2, :2], atol=1e-5, rtol=1e-5)


def test_peaks_are_dense_and_apart():
    """Two dense groups on a line, and one that is far from all: each has a peak, where it is densest."""
    places = torch.tensor([0.0, 0.1, 0.2, 5.0, 5.1, 5.2, 5.4, 9.0])
    distances = (places[:, None] - places).abs()[None]
    peaks, nearest = density_peaks(distances, 2, 2)
    assert peaks.tolist() == [[1, 4]]
    assert nearest.tolist() == [[0, 0, 0, 1, 1, 1, 1, 1]]
    peaks, nearest = density_peaks(distances, 8, 2)
    assert peaks.tolist() == [list(range(8))] and nearest.tolist() == [list(range(8))]
    assert density_peaks(distances[:, :1, :1], 1, 5)[1].tolist() == [[0]]


def test_tokens_that_are_all_alike_still_have_peaks():
    peaks, nearest = density_peaks(torch.zeros(1, 6, 6), 3, 5)
    assert peaks.unique().numel() == 3 and nearest[0, peaks[0]].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "shares, entering, count, split",
    [
        ((0.1, 0.1), 64, 40, Split(40, 4, 4)),
        ((0.1, 0.1), 64, 63, Split(58, 1, 6)),  # 1 goes, and none is left for more pairs
        ((0.5, 0.0), 64, 10, Split(5, 0, 5)),
        ((0.01, 1.0), 64, 20, Split(38, 19, 1)),
        ((1.0, 0.5), 64, 20, Split(0, 0, 20)),
        ((0.1, 0.5), 64, 1, Split(0, 0, 1)),
    ],
)
def test_what_a_stage_makes_of_its_tokens(shares, entering, count, split):
    options = dict(zip(("cluster_share", "pair_share"), shares, strict=True))
    model = toy_model(reducer="bat", keep_ratio=[max(count, 2), count, count], reducer_args=options)
    assert model.vit.reducer.split(entering, count) == split
    outputs = model(toy_images())
    assert (outputs.owner[:, -1].amax(dim=1) == count - 1).all() and (outputs.owner >= 0).all()


def test_clusters_are_weighted_with_class_attention_and_pairs_are_not():
    torch.manual_seed(0)
    args = {"cluster_share": 0.2, "pair_share": 0.25}
    model = toy_model(image_size=16, reducer="bat", keep_ratio=[10, 10, 10], reducer_args=args)
    reducer = model.vit.reducer
    assert reducer.split(16, 10) == Split(10, 2, 2)
    tokens = Tokens.start(torch.randn(2, 1 + 16, 32), 1)
    trace = Trace(torch.randn(2, 4, 17, 8), torch.randn(2, 4, 17, 8), torch.zeros(2, 17, 4, 8))
    attention = class_attention(trace.query, trace.key, 1).mean(dim=1)
    after = reducer.between(tokens, trace, model.config.stage_layers[0])
    for image in range(2):
        attentive = {*attention[image].topk(10).indices.tolist()}
        groups = [(after.owner[image] == each).nonzero()[:, 0] for each in range(10)]
        for place, group in enumerate(groups):
            members = {*group.tolist()}
            # a group is of attentive tokens or of the others
            assert members <= attentive if place < 8 else not members & attentive
            weights = attention[image, group] if place >= 8 else torch.ones(len(group))
            mean = (weights[:, None] * tokens.patches[image, group]).sum(dim=0) / weights.sum()
            assert_close(after.patches[image, place], mean)
        assert sum(len(group) - 1 for group in groups[:8]) == 2 and sum(map(len, groups[8:])) == 6
        assert after.size[image].tolist() == [len(group) for group in groups]


def test_attention_counts_patches_if_asked():
    plain, counted = (
        toy_model(reducer="bat", reducer_args={"proportional_attention": asked}).vit.reducer for asked in (False, True)
    )
    tokens = Tokens.start(torch.randn(1, 4, 8), 1).change(size=torch.tensor([[1.0, 2, 4]]))
    assert plain.key_bias(tokens) is None
    assert_close(counted.key_bias(tokens), tokens.size.log())


@pytest.mark.parametrize(
    "options, told",
    [
        ({"cluster_share": 0}, "cluster_share is 0, it must be a number above 0, at most 1"),
        ({"pair_share": 1.5}, "pair_share is 1.5"),
        ({"neighbours": 0}, "neighbours is 0"),
        ({"proportional_attention": 1}, "proportional_attention is 1"),
    ],
)
def test_bad_options_are_named(options, told):
    with pytest.raises(ValueError, match=f"reducer_args: {told}"):
        toy_config(reducer="bat", reducer_args=options)
