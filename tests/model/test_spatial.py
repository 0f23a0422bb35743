# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Features back on the grid, for every method."""

import pytest
import torch
from torch.testing import assert_close
from toys import calibrated, reads_class_token, toy_dense, toy_images, toy_model


def test_everything_kept_gives_the_dense_features(reducer):
    dense = toy_dense()
    model = toy_model(**reads_class_token(reducer))
    model.load_state_dict(dense.state_dict(), strict=False)
    calibrated(model, 1.0)
    outputs = model(toy_images(), output_hidden_states=True)
    expected = dense.vit(toy_images()).last_hidden_state[:, 1:].transpose(1, 2).unflatten(2, (8, 8))
    assert_close(model.scatter_to_grid(outputs), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(32, 32), (24, 48)])
def test_every_patch_gets_features(reducer, size):
    model = toy_model(reducer=reducer, keep_ratio=0.5)
    outputs = model.vit(toy_images(3, *size), interpolate_pos_encoding=True, output_hidden_states=True)
    grid = model.scatter_to_grid(outputs, size)
    assert grid.shape == (3, 32, size[0] // 4, size[1] // 4)
    features = grid.flatten(2).transpose(1, 2)
    # those kept at the end are where owner says they are
    kept, owner = outputs.kept[:, -1], outputs.owner[:, -1]
    for image in range(3):
        expected = outputs.last_hidden_state[image, 1 + owner[image][kept[image]]]
        assert_close(features[image][kept[image]], expected, atol=1e-5, rtol=1e-5)
    assert features.abs().sum(-1).min() > 0  # and nobody is left out


def test_a_dropped_patch_has_what_it_left_its_last_block_with():
    model = toy_model(keep_ratio=0.6)
    outputs = model(toy_images(), output_hidden_states=True)
    features = model.scatter_to_grid(outputs).flatten(2).transpose(1, 2)
    first = ~outputs.kept[:, 0]  # dropped ahead of block 1, as block 0 left them
    expected = model.vit.layernorm(outputs.hidden_states[1][:, 1:])
    assert_close(features[first], expected[first], atol=1e-6, rtol=1e-6)
    second = outputs.kept[:, 0] & ~outputs.kept[:, 1]
    position = outputs.owner[:, 0]
    states = model.vit.layernorm(outputs.hidden_states[2][:, 1:])
    for image in range(3):
        expected = states[image, position[image][second[image]]]
        assert_close(features[image][second[image]], expected, atol=1e-6, rtol=1e-6)


def test_merged_patches_share_features():
    model = toy_model(reducer="tome", keep_ratio=0.5)
    outputs = model(toy_images(), output_hidden_states=True)
    features = model.scatter_to_grid(outputs).flatten(2).transpose(1, 2)
    owner = outputs.owner[:, -1]
    for image in range(3):
        same = owner[image][:, None] == owner[image][None]
        equal = (features[image][:, None] == features[image][None]).all(-1)
        assert torch.equal(same, equal) and same.sum() > 64


def test_what_is_missing_is_named(reducer):
    model = toy_model(reducer=reducer)
    with pytest.raises(ValueError, match="output_hidden_states=True"):
        model.scatter_to_grid(model(toy_images()))
    outputs = model(toy_images(2, 48, 48), interpolate_pos_encoding=True, output_hidden_states=True)
    with pytest.raises(ValueError, match=r"the outputs have 144 patches.*8 x 8"):
        model.scatter_to_grid(outputs)
