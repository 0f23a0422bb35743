# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Features back on the grid, for every method."""

import pytest
import torch
from methods import FEW, usual
from torch.testing import assert_close
from toys import calibrated, reads_class_token, toy_deit, toy_dense, toy_images, toy_model

from hf_dynamicvit import REDUCERS


@usual(reducer=FEW)
def test_everything_kept_gives_the_dense_features(reducer):
    dense = toy_dense()
    model = toy_model(**reads_class_token(reducer))
    model.load_state_dict(dense.state_dict(), strict=False)
    calibrated(model, 1.0)
    outputs = model(toy_images(), output_hidden_states=True)
    expected = dense.vit(toy_images()).last_hidden_state[:, 1:].transpose(1, 2).unflatten(2, (8, 8))
    assert_close(model.scatter_to_grid(outputs), expected, atol=1e-5, rtol=1e-5)


@usual(reducer=FEW)
@usual(size=[(32, 32)])
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


@usual(reducer=FEW)
def test_what_is_missing_is_named(reducer):
    model = toy_model(reducer=reducer)
    with pytest.raises(ValueError, match="output_hidden_states=True"):
        model.scatter_to_grid(model(toy_images()))
    outputs = model(toy_images(2, 48, 48), interpolate_pos_encoding=True, output_hidden_states=True)
    with pytest.raises(ValueError, match=r"the outputs have 144 patches.*8 x 8"):
        model.scatter_to_grid(outputs)


def hooked(blocks, name, call):
    """What each block's module `name` gave last within `call()`, and what that gave."""
    seen = {}

    def hook(layer):
        return lambda module, inputs, output: seen.update({layer: output})

    hooks = [block.get_submodule(name).register_forward_hook(hook(layer)) for layer, block in enumerate(blocks)]
    outputs = call()
    for each in hooks:
        each.remove()
    return seen, outputs


@usual(reducer=["dynamicvit", "tome"])
@usual(make=[toy_model])
@pytest.mark.parametrize("options", [{}, {"representative_token": True}, {"score": "evit"}], ids=str)
@pytest.mark.parametrize("make", [toy_model, toy_deit])
def test_tokens_of_every_block_are_where_their_patches_are(reducer, options, make):
    """In both norms of each block every patch has one of the tokens, in the order of the grid."""
    if not options.keys() <= set(REDUCERS[reducer].options()):
        return
    model = make(reducer=reducer, keep_ratio=0.6, reducer_args=options, num_hidden_layers=6)
    merging = REDUCERS[reducer].rest == "merged"
    for name in ("layernorm_before", "layernorm_after"):
        seen, outputs = hooked(model.backbone.layers, name, lambda: model(toy_images(), output_hidden_states=True))
        for layer, tokens in seen.items():
            grid = model.tokens_to_grid(tokens, outputs, layer).flatten(2).transpose(1, 2)
            filled = grid.abs().sum(-1) > 0
            prefix = model.config.num_prefix
            rows = [tokens[image, prefix:] for image in range(3)]
            for image in range(3):
                patches = grid[image][filled[image]]
                at = (patches[:, None] == rows[image][None]).all(-1).float().argmax(-1)
                assert torch.equal(rows[image][at], patches)  # each is one of the tokens,
                assert merging or (at.diff() > 0).all()  # in the order of the grid
            live = [
                kept for at, kept in zip(model.decision_layers, outputs.kept.unbind(1), strict=True) if at <= layer
            ]
            if not merging and tokens.shape[1] < prefix + 64:
                assert any(torch.equal(filled, kept) for kept in live)
    states = outputs.hidden_states
    for layer in range(6):
        grid = model.tokens_to_grid(states[layer + 1], outputs, layer)
        assert grid.shape == (3, 32, 8, 8)
    last = model.tokens_to_grid(model.backbone.layernorm(states[6]), outputs, 5).flatten(2)
    expected = model.scatter_to_grid(outputs).flatten(2)
    alive = last.abs().sum(1) > 0
    assert_close(last.transpose(1, 2)[alive], expected.transpose(1, 2)[alive])


@usual(reducer=FEW)
def test_grad_cam_of_everything_kept_is_that_of_the_dense_model(reducer):
    dense = toy_dense()
    model = toy_model(**reads_class_token(reducer))
    model.load_state_dict(dense.state_dict(), strict=False)
    calibrated(model, 1.0)
    gradients = []
    for each in (model, dense):
        seen, outputs = hooked(each.vit.layers, "layernorm_after", lambda each=each: each(toy_images()))
        gradients.append(torch.autograd.grad(outputs.logits[:, 0].sum(), seen[2])[0])
    ours = model.tokens_to_grid(gradients[0], model(toy_images()), 2)
    assert_close(ours, gradients[1][:, 1:].transpose(1, 2).unflatten(2, (8, 8)), atol=1e-5, rtol=1e-4)


def test_tokens_of_another_call_or_block_are_named():
    model = toy_model(reducer="topk", keep_ratio=0.5)
    outputs = model(toy_images(), output_hidden_states=True)
    states = outputs.hidden_states
    with pytest.raises(ValueError, match=r"tokens have 8 patches; in block 1 there are 64 or 32"):
        model.tokens_to_grid(states[-1], outputs, 1)
    with pytest.raises(ValueError, match=r"tokens have shape \(2, 65, 32\); \[3, 1 \+ N, D\]"):
        model.tokens_to_grid(states[0][:2], outputs, 0)
    with pytest.raises(ValueError, match="the outputs have 64 patches"):
        model.tokens_to_grid(states[0], outputs, 0, (48, 48))
    assert model.tokens_to_grid(states[0], outputs, 1).shape == (3, 32, 8, 8)  # ahead of the decision there
    assert model.tokens_to_grid(states[2], outputs, 1).shape == (3, 32, 8, 8)  # and behind it
    one = toy_model(reducer="evit", keep_ratio=[63 / 64, 63 / 64, 63 / 64])  # one goes, a fused one comes
    outputs = one(toy_images(), output_hidden_states=True)
    with pytest.raises(ValueError, match="in block 1 there are 64 or 64"):
        one.tokens_to_grid(outputs.hidden_states[1], outputs, 1)
    kept = one.tokens_to_grid(outputs.hidden_states[3], outputs, 2).abs().sum(1).flatten(1) > 0
    assert torch.equal(kept, outputs.kept[:, 0])
