# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The control: seeded, even, and the same for every image."""

import pytest
import torch
from toys import toy_config, toy_images, toy_model

from hf_dynamicvit.model.scoring import hashed_scores


def test_scores_are_evenly_spread_and_distinct():
    for seed in range(20):
        scores = hashed_scores(torch.arange(576), seed)
        assert len(scores.unique()) > 570 and scores.min() >= 0 and scores.max() < 1
        counts = torch.histc(scores, bins=4, min=0, max=1)
        assert counts.min() > 100 and counts.max() < 190  # 144 each, standard deviation 10
    pairs = torch.stack([hashed_scores(torch.arange(576), seed) for seed in range(20)])
    assert torch.corrcoef(pairs).fill_diagonal_(0).abs().max() < 0.2


def test_the_same_patches_for_every_image_and_others_with_another_seed():
    first = toy_model(reducer="random")(toy_images())
    assert (first.kept == first.kept[:1]).all()
    assert torch.equal(toy_model(reducer="random").train()(toy_images()).kept, first.kept)
    other = toy_model(reducer="random", reducer_args={"seed": 1})(toy_images())
    assert not torch.equal(other.kept, first.kept)


@pytest.mark.parametrize("seed", [-1, 0.5, "a"])
def test_bad_seeds_are_named(seed):
    with pytest.raises(ValueError, match=f"seed is {seed!r}"):
        toy_config(reducer="random", reducer_args={"seed": seed})
