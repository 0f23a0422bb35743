# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""MSTM as it is described: patches see larger scales, and what is dropped is squeezed into what is kept."""

import pytest
import torch
from torch.testing import assert_close
from toys import toy_config, toy_images, toy_model

from hf_dynamicvit.model.reducer_mstm import average_squares
from hf_dynamicvit.model.tokens import Tokens


def test_squares_are_averaged_and_those_at_the_ends_have_fewer():
    values = torch.arange(15.0).view(1, 15, 1)  # 3 down, 5 across
    tokens = Tokens.start(torch.cat((torch.zeros(1, 1, 1), values), dim=1), 1)
    found = average_squares(tokens, (3, 5), 2)[0, :, 0].view(3, 5)
    grid = values.view(3, 5)
    for down in range(3):
        for across in range(5):
            rows, columns = (slice(place // 2 * 2, place // 2 * 2 + 2) for place in (down, across))
            assert_close(found[down, across], grid[rows, columns].mean())


def test_excluded_patches_are_in_no_mean():
    values, attended = torch.randn(1, 16, 3), torch.ones(1, 17, dtype=torch.bool)
    attended[0, 1:4] = False  # the upper left square of 2 x 2 keeps one of four
    tokens = Tokens.start(torch.cat((torch.zeros(1, 1, 3), values), dim=1), 1, attended)
    found = average_squares(tokens, (4, 4), 2)[0].view(4, 4, 3)
    grid = values[0].view(4, 4, 3)
    assert_close(found[0, 0], (grid[1, 0] + grid[1, 1]) / 2)
    assert_close(found[0, 2], (grid[0, 3] + grid[1, 2] + grid[1, 3]) / 3)
    attended[0, 1:17] = False
    assert not average_squares(Tokens.start(tokens.hidden, 1, attended), (4, 4), 2).any()


def test_untrained_it_is_tps_by_class_attention():
    squeezing = toy_model(reducer="tps", reducer_args={"score": "evit", "temperature": 0.5}, keep_ratio=0.6)
    model = toy_model(reducer="mstm", reducer_args={"temperature": 0.5}, keep_ratio=0.6)
    model.load_state_dict(squeezing.state_dict(), strict=False)
    expected, found = squeezing(toy_images()), model(toy_images())
    assert torch.equal(found.owner, expected.owner)
    assert_close(found.logits, expected.logits, atol=1e-5, rtol=1e-5)
    extra = model.multiply_adds() - squeezing.multiply_adds()
    assert extra == 2 * 64 * 32**2
    alone = toy_model(reducer="mstm", reducer_args={"scales": []}, keep_ratio=0.6)
    assert not [*alone.vit.reducer.parameters()] and alone.multiply_adds() == squeezing.multiply_adds()


def test_trained_maps_add_what_they_make_of_the_squares():
    model = toy_model(reducer="mstm", keep_ratio=0.6)
    reducer = model.vit.reducer
    for parameter in reducer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tokens = model.vit.embed(toy_images())
    after = reducer.before(tokens, model.vit.layers[1], 1)
    means = [average_squares(tokens, (8, 8), side) for side in (2, 4)]
    expected = tokens.patches + sum(project(mean) for project, mean in zip(reducer.projections, means, strict=True))
    assert_close(after.patches, expected)
    assert torch.equal(after.prefix, tokens.prefix)
    assert reducer.before(tokens, model.vit.layers[2], 2) is tokens


def test_maps_that_start_at_zero_learn():
    model = toy_model(reducer="mstm", keep_ratio=0.6).train()
    model(toy_images(), labels=torch.tensor([0, 1, 2])).loss.backward()
    assert all(parameter.grad.any() for parameter in model.vit.reducer.parameters())


@pytest.mark.parametrize(
    "options, told",
    [
        ({"scales": [1]}, r"scales is \[1\], it must be a list of at most 16 integers of 2 or more"),
        ({"scales": 2}, "scales is 2"),
        ({"temperature": 0.0}, r"temperature is 0\.0, it must be 0\.02 or more"),
    ],
)
def test_bad_options_are_named(options, told):
    with pytest.raises(ValueError, match=f"reducer_args: {told}"):
        toy_config(reducer="mstm", reducer_args=options)
