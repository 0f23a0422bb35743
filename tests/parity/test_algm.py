# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""ALGM against the published implementation: each image alone, and a batch as released."""

import pytest
import torch
from torch.testing import assert_close
from toys import toy_config, toy_images, toy_model

from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config
from hf_dynamicvit.model.reducer_algm import window_positions, window_similarity


def model_of(case, threshold, batch_mode):
    config = infer_config(
        case.weights,
        num_attention_heads=case.about["config"]["num_heads"],
        reducer="algm",
        reducer_layers=[0, 2],
        reducer_args={"threshold": threshold, "batch_mode": batch_mode},
    )
    config.layer_norm_eps = case.about["config"]["layer_norm_eps"]
    return convert_state_dict(case.weights, config)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("threshold", [0.25, 0.5])
def test_a_batch_as_released(golden, threshold, attention):
    case, variant = golden("algm_encoder"), f"batch.threshold_{threshold}"
    model = model_of(case, threshold, "minimum")
    model.set_attn_implementation(attention)
    with torch.no_grad():
        encoder = model.vit(case.pixel_values, output_hidden_states=True)
    maps = case.io[f"{variant}.source_map_after_block"].long()
    for stage, layer in enumerate(model.decision_layers):
        assert torch.equal(encoder.owner[:, stage] + 1, maps[layer][:, 1:])
    tolerance = case.tolerance("tokens/cls_after_block")
    classes = torch.stack([states[:, 0] for states in encoder.hidden_states[1:]])
    assert_close(classes, case.io[f"{variant}.cls_after_block"], **tolerance)
    assert_close(encoder.last_hidden_state, case.io[f"{variant}.final_tokens"], **tolerance)
    sizes = torch.stack([owner.bincount() for owner in encoder.owner[:, -1]])
    assert torch.equal(sizes, case.io[f"{variant}.final_sizes"][:, 1:].long())
    grid = model.scatter_to_grid(encoder).flatten(2).transpose(1, 2)
    assert_close(grid, case.io[f"{variant}.unmerged_features"], **tolerance)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("threshold", [0.25, 0.5])
def test_each_image_as_alone(golden, threshold, together):
    case = golden("algm_encoder")
    model = model_of(case, threshold, "exact")
    for image in range(2):
        images = case.pixel_values if together else case.pixel_values[image : image + 1]
        with torch.no_grad():
            encoder = model.vit(images, output_hidden_states=True)
        index, variant = (image if together else 0), f"alone_{image}.threshold_{threshold}"
        maps = case.io[f"{variant}.source_map_after_block"].long()
        for stage, layer in enumerate(model.decision_layers):
            assert torch.equal(encoder.owner[index, stage] + 1, maps[layer][0, 1:])
        grid = model.scatter_to_grid(encoder).flatten(2).transpose(1, 2)[index]
        tolerance = case.tolerance("tokens/cls_after_block")
        assert_close(grid, case.io[f"{variant}.unmerged_features"][0], **tolerance)


def test_windows_and_their_similarity():
    assert window_positions((2, 5), torch.device("cpu")).tolist() == [[0, 1, 5, 6], [2, 3, 7, 8]]
    patches = torch.randn(2, 10, 3)
    windows = window_positions((2, 5), torch.device("cpu"))
    units = torch.nn.functional.normalize(patches, dim=-1)[:, windows]
    cosines = units @ units.transpose(2, 3)
    expected = (cosines.sum(dim=(2, 3)) - cosines.diagonal(dim1=2, dim2=3).sum(dim=2)) / 12
    assert_close(window_similarity(patches, windows), expected)


def test_calibration_meets_the_ratio_and_images_differ():
    model, images = toy_model(reducer="algm"), toy_images(16)
    model.set_keep_ratio([0.7, 0.5], images)
    kept = model(images).kept.float()
    assert kept.mean((0, 2)).tolist() == pytest.approx([0.7, 0.5], abs=0.02)
    assert len(kept[:, 1].sum(-1).unique()) > 2
    assert set(model.config.reducer_args) == {"threshold", "deviations"}


def test_odd_grids_keep_their_last_row_and_column():
    model = toy_model(reducer="algm", reducer_args={"threshold": -1.0}, image_size=[20, 28])
    model.vit.reducer.calibrated = {"threshold": -1.0}
    outputs = model(toy_images(2, 20, 28))  # 5 x 7
    assert outputs.kept[:, 0].sum(-1).tolist() == [2 * 3 + 7 + 4] * 2


@pytest.mark.parametrize("options", [{"threshold": 3}, {"deviations": [1.0, 2.0]}, {"batch_mode": "mean"}])
def test_bad_options_are_named(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"reducer_args: {name} is "):
        toy_config(reducer="algm", reducer_args={name: value})
