# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Backbones: feature maps of every patch, alone and under the heads of Transformers."""

from typing import Any

import pytest
import torch
import transformers
from methods import all_methods
from native_toys import (
    BACKBONES,
    SIZES,
    native_model,
    our_class,
    reduced_model,
    result,
    take_folders_for_repositories,
)
from torch.testing import assert_close
from toys import assert_same_weights, toy_images
from transformers import AutoBackbone
from transformers.models.beit.modeling_beit import BeitRelativePositionBias

from hf_dynamicvit import REDUCERS, DynamicDinov2Backbone, DynamicDinov2Config, reduce_tokens, restore
from hf_dynamicvit.model.backbone import leaves_patches_behind
from hf_dynamicvit.model.reducer_dynamicvit import DynamicViTReducer


EVERY = [0, 1, 2, 3, 4]


@pytest.fixture(params=BACKBONES)
def key(request) -> str:
    return request.param


# ----- against the base model of the same weights, whose tokens other tests compare with native ones


def base_model(backbone: Any, key: str) -> Any:
    """The base model with the weights and the method of a backbone, which records every block."""
    base = our_class(key, "model")(backbone.config).eval()
    prefix = "beit." if key == "dynamicbeit" else ""
    weights = {name.removeprefix(prefix): each for name, each in backbone.state_dict().items()}
    report = base.load_state_dict(weights, strict=False)
    assert not report.unexpected_keys and all("pooler" in name for name in report.missing_keys)
    return base


def put_back(model: Any, outputs: Any) -> list[torch.Tensor]:
    """The states of every stage with a row for every patch, patch by patch and image by image.

    One that went has the row it was last in; one that waits in a group of blocks that which entered the group.
    """
    prefix, rest = model.config.num_prefix, model.reducer.rest
    decided = [*zip(model.decision_layers, outputs.kept.unbind(1), outputs.owner.unbind(1), strict=True)]
    stages = []
    for image in range(len(outputs.kept)):
        rows = [outputs.hidden_states[0][image, prefix:]]
        for block, states in enumerate(outputs.hidden_states[1:]):
            patches, now = states[image, prefix:], rows[-1].clone()
            here = [each for each in decided if each[0] <= block]
            for patch in range(64):
                kept, owner = (each[image] for each in here[-1][1:]) if here else (torch.ones(64), torch.arange(64))
                if rest == "idle" and len(patches) < 64:
                    if kept[patch]:
                        now[patch] = patches[int(kept[:patch].sum())]
                elif owner[patch] >= 0 and (rest != "dropped" or kept[patch]):
                    now[patch] = patches[owner[patch]]
            rows.append(now)
        stages.append(torch.stack(rows))
    return [
        torch.cat((states[:, :prefix], each), dim=1)
        for states, each in zip(outputs.hidden_states, torch.stack(stages, 1), strict=True)
    ]


@pytest.mark.parametrize("reducer", all_methods("tome", "evit", "idlevit", "evovit", "asvit", "diffrate"))
def test_maps_have_every_patch_where_it_is(key, reducer):
    """At every stage: that of the group it was merged into, or its own."""
    native = native_model(key, "backbone", out_indices=EVERY, reshape_hidden_states=False)
    model = reduced_model(native, key, "backbone", reducer, keep_ratio=0.6)
    if key != "dynamicbeit":
        model.config.apply_layernorm = False
    base, images = base_model(model, key), toy_images(2)
    with torch.no_grad():
        outputs, tokens = model(images), base(images, output_hidden_states=True)
    assert torch.equal(outputs.kept, tokens.kept) and torch.equal(outputs.owner, tokens.owner)
    assert outputs.kept.float().mean() < 0.9 and outputs.hidden_states is None
    expected = put_back(base, tokens)
    if key == "dynamicdinov3_vit":  # natively the last one is normed, and there is no prefix in any
        expected = [each[:, model.config.num_prefix :] for each in [*expected[:-1], base.norm(expected[-1])]]
    assert_close([*outputs.feature_maps], expected, atol=1e-5, rtol=1e-5)


def test_a_representative_updates_those_that_wait():
    """Within a group of blocks too, a map has what rejoining would give."""
    native = native_model("dynamicdinov2", "backbone", out_indices=[2, 3], apply_layernorm=False)
    options = {"reducer_layers": [1], "reducer_args": {"representative_token": True}}
    model = reduced_model(native, "dynamicdinov2", "backbone", "evovit", keep_ratio=0.5, **options)
    still = reduced_model(native, "dynamicdinov2", "backbone", "evovit", keep_ratio=0.5, reducer_layers=[1])
    with torch.no_grad():
        outputs, without = model(toy_images(1)), still(toy_images(1))
        states = base_model(still, "dynamicdinov2")(toy_images(1), output_hidden_states=True).hidden_states
    waits = ~outputs.kept[:, 0].view(1, 8, 8)
    entered = states[1][:, 1:].transpose(1, 2).unflatten(2, (8, 8))
    for found, unchanged in zip(outputs.feature_maps, without.feature_maps, strict=True):
        assert torch.equal(unchanged.movedim(1, 3)[waits], entered.movedim(1, 3)[waits])
        update = (found - entered).movedim(1, 3)[waits]
        assert update.abs().max() > 0.1
        assert_close(update, update[:1].expand_as(update), atol=1e-5, rtol=1e-5)


# ----- as natively


@pytest.mark.parametrize("reducer", ["tome", "evit"])
def test_what_a_configuration_asks_for(key, reducer):
    """Everything kept, with each option of native backbones the other way round."""
    for options in (
        {"reshape_hidden_states": False},
        {"apply_layernorm": False, "out_indices": EVERY},
        {"out_indices": None},
        {"out_indices": [-3, -1]},
        {"out_indices": None, "out_features": ["stem", "stage3"]},
        {"out_indices": [1, 2, 3, 4], "add_fpn": True},
        {"return_class_token": True},
    ):
        native = native_model(key, "backbone", **options)
        model = reduced_model(native, key, "backbone", reducer, keep_ratio=1.0)
        with torch.no_grad():
            found, expected = model(toy_images(2)), native(toy_images(2))
        assert_close([*found.feature_maps], [*expected.feature_maps], atol=1e-5, rtol=1e-5)
        assert model.channels == native.channels and model.out_features == native.out_features
        if "cls_tokens" in expected:
            assert_close(found.cls_tokens, expected.cls_tokens, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(48, 24), (16, 40)])
def test_images_of_any_size(key, size):
    native, images = native_model(key, "backbone"), toy_images(2, *size)
    model = reduced_model(native, key, "backbone", "tome", keep_ratio=1.0)
    with torch.no_grad():
        assert_close(result(model(images)), result(native(images)), atol=1e-5, rtol=1e-5)
        model.set_keep_ratio(0.6)
        found = model(images)
    assert all(each.shape == (2, 32, size[0] // 4, size[1] // 4) for each in found.feature_maps)


@pytest.fixture
def own_indices(monkeypatch):
    """A native BEiT has its indices to itself: shared ones cannot be trained with if inference mode made them."""
    shared = BeitRelativePositionBias.generate_relative_position_index
    monkeypatch.setattr(BeitRelativePositionBias, shared.__name__, staticmethod(shared.__wrapped__))


@pytest.mark.parametrize("reducer", ["tome", "topk"])
def test_a_dense_gradient_where_everything_is_kept(key, reducer, own_indices):
    native = native_model(key, "backbone")
    model = reduced_model(native, key, "backbone", reducer, keep_ratio=1.0)
    for each in (native, model):
        sum(value.square().mean() for value in result(each(toy_images(2))).values()).backward()
    expected = {name: each.grad for name, each in native.named_parameters() if each.grad is not None}
    found = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_stages_are_chosen_as_it_is_loaded_and_later(key, tmp_path, monkeypatch):
    take_folders_for_repositories(monkeypatch)
    native, images = native_model(key, "backbone"), toy_images(1)
    native.save_pretrained(tmp_path)
    model = our_class(key, "backbone").from_pretrained(tmp_path, reducer="tome", keep_ratio=0.6, out_indices=[1, 3])
    assert model.config.out_features == ["stage1", "stage3"] and model.config.stage_keep_ratios[-1] == 0.6
    model.out_features = ["stage2"]
    with torch.no_grad():
        (found,) = model.eval()(images).feature_maps
    model.save_pretrained(tmp_path)
    again = AutoBackbone.from_pretrained(str(tmp_path)).eval()
    assert type(again) is our_class(key, "backbone")
    with torch.no_grad():
        assert_close(again(images).feature_maps, (found,), atol=1e-5, rtol=1e-5)
    assert type(AutoBackbone.from_config(again.config)) is type(again)


def test_costs_and_inference():
    model = reduced_model(native_model("dynamicbeit", "backbone"), "dynamicbeit", "backbone", "tome")
    model.set_budget(fraction=0.8)
    assert 0.79 < model.multiply_adds() / model.dense_multiply_adds() <= 0.8
    assert model.token_counts()[-1] < 64 and model.token_counts((48, 32))[0] > 64
    images = toy_images(2)
    with torch.no_grad():
        before = result(model(images))
        model.optimize_for_inference(images, repeats=1)
        assert_close(result(model(images)), before, atol=1e-4, rtol=1e-4)
        outputs = model(images, output_scores=True, output_hidden_states=True, output_attentions=True)
        assert len(outputs.hidden_states) == 5 and outputs.scores.shape == outputs.kept.shape
        maps, *others = model(images, return_dict=False)
    assert len(maps) == 3 and len(others) == 2
    assert model.scatter_to_grid(outputs).shape == (2, 32, 8, 8)


def test_a_mask_of_the_user():
    """Native DINOv2 backbones take one; what it excludes has the features it went with."""
    native, images = native_model("dynamicdinov2", "backbone"), toy_images(2)
    mask = torch.ones(2, 65, dtype=torch.long)
    mask[:, 40:] = 0
    with torch.no_grad():
        for reducer in REDUCERS:
            model = reduced_model(native, "dynamicdinov2", "backbone", reducer, keep_ratio=0.9)
            outputs = model(images, attention_mask=mask)
            assert not outputs.kept[:, :, 39:].any()
            assert all(each.isfinite().all() for each in outputs.feature_maps)
        model = reduced_model(native, "dynamicdinov2", "backbone", "tome", keep_ratio=1.0)
        found, expected = (each(images, attention_mask=mask).feature_maps for each in (model, native))
    for one, other in zip(found, expected, strict=True):
        assert_close(one.flatten(2)[..., :39], other.flatten(2)[..., :39], atol=1e-5, rtol=1e-5)


def test_masked_training_reads_what_inference_reads(monkeypatch):
    """The same decisions give the same maps, and their gradient reaches the predictors through what is read."""
    native = native_model("dynamicdinov2", "backbone")
    model = reduced_model(native, "dynamicdinov2", "backbone", "dynamicvit", keep_ratio=0.6)
    images = toy_images(2)
    with torch.no_grad():
        expected = model(images)
    decided = iter(expected.kept.unbind(1))
    choose = lambda log_probs, tau: next(decided) + log_probs[..., 0] - log_probs[..., 0].detach()  # noqa: E731
    monkeypatch.setattr("hf_dynamicvit.model.reducer_dynamicvit.gumbel_keep", choose)
    found = model.train()(images)
    assert [each.kept.tolist() for each in found.decisions] == [each.tolist() for each in expected.kept.unbind(1)]
    assert_close(result(found), result(expected), atol=1e-5, rtol=1e-5)
    assert isinstance(model.reducer, DynamicViTReducer)
    found.feature_maps[-1].square().sum().backward()
    last = model.reducer.predictors[-1].project.weight.grad
    assert last.isfinite().all() and last.abs().max() > 0


@pytest.mark.parametrize("reducer, options", [("diffrate", {}), ("tome", {"prune_first": 2}), ("topk", {})])
def test_a_map_is_the_same_whichever_others_are_asked_for(reducer, options):
    """A patch that went between two stages has the features of the block that it left."""
    maps = []
    for asked in (EVERY, EVERY[-1:]):
        native = native_model("dynamicdinov2", "backbone", out_indices=asked)
        model = reduced_model(native, "dynamicdinov2", "backbone", reducer, reducer_args=options, keep_ratio=0.5)
        with torch.no_grad():
            maps.append(model(toy_images()).feature_maps[-1])
    assert torch.equal(*maps)


def test_methods_that_leave_patches_behind_say_so_once(warnings_text):
    left = {"asvit", "ats", "diffrate", "dynamicvit", "evit", "evovit", "idlevit", "random", "svit", "topk", "tosa"}
    for name in REDUCERS:
        config = DynamicDinov2Config(**SIZES, mlp_ratio=2, reducer=name)
        assert leaves_patches_behind(config.reducer_without_memory()) == (name in left)
    for name, options, leaves in (
        ("diffrate", {"pruned_share": 0.0}, False),
        ("diffrate", {"search": 0.7}, True),
        ("tome", {"prune_first": 2}, True),
        ("tome", {"merge": False}, True),
    ):
        config = DynamicDinov2Config(**SIZES, mlp_ratio=2, reducer=name, reducer_args=options)
        assert leaves_patches_behind(config.reducer_without_memory()) == leaves
    assert not leaves_patches_behind(
        DynamicDinov2Config(
            **SIZES, reducer="evovit", reducer_args={"representative_token": True}
        ).reducer_without_memory()
    )
    transformers.utils.logging.warning_once.cache_clear()
    before = warnings_text()
    for name in ("tome", "topk", "topk"):
        reduce_tokens(native_model("dynamicdinov2", "backbone"), name)
    said = warnings_text()[len(before) :]
    assert said.count("a patch that it leaves out keeps the features of an earlier block") == 1
    assert "reducer is 'topk'" in said and "Without training take 'tome'" in said


# ----- under the heads of Transformers

NECK = {"neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8}
HEADS = {"hidden_size": 16, "auxiliary_channels": 8, "auxiliary_in_channels": 32, "num_labels": 3}


def encoder(key: str = "dynamicdinov2", **options: Any) -> Any:
    return native_model(key, "backbone", out_indices=[1, 2, 3, 4], **options).config


def host(name: str) -> Any:
    """A toy model around a native backbone, its weights stirred."""
    rows = {"backbone_config": encoder(reshape_hidden_states=False), "patch_size": 4}
    make = {
        "DPTForDepthEstimation": lambda: transformers.DPTConfig(
            **rows, **NECK, hidden_size=32, num_attention_heads=4, image_size=32, neck_ignore_stages=[]
        ),
        "DepthAnythingForDepthEstimation": lambda: transformers.DepthAnythingConfig(
            **rows, **NECK, reassemble_hidden_size=32, head_hidden_size=8
        ),
        "UperNetForSemanticSegmentation": lambda: transformers.UperNetConfig(
            backbone_config=encoder("dynamicbeit", add_fpn=True), **HEADS
        ),
        "Mask2FormerForUniversalSegmentation": lambda: transformers.Mask2FormerConfig(
            backbone_config=encoder("dynamicdinov3_vit"),
            feature_size=32,
            mask_feature_size=32,
            hidden_dim=32,
            encoder_feedforward_dim=32,
            dim_feedforward=32,
            encoder_layers=1,
            decoder_layers=2,
            num_attention_heads=4,
            num_queries=5,
            num_labels=3,
        ),
    }
    torch.manual_seed(0)
    model = getattr(transformers, name)(make[name]()).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    return model


HOSTS = [
    "DPTForDepthEstimation",
    "DepthAnythingForDepthEstimation",
    "UperNetForSemanticSegmentation",
    "Mask2FormerForUniversalSegmentation",
]


def answer(model: Any, images: torch.Tensor | None = None) -> torch.Tensor:
    outputs = model(toy_images(2) if images is None else images)
    names = ("predicted_depth", "logits", "masks_queries_logits")
    return next(outputs[name] for name in names if outputs.get(name) is not None)


def reduced_part(model: Any) -> Any:
    return next(each for each in model.modules() if type(each).__name__.startswith("Dynamic"))


@pytest.mark.parametrize("name", HOSTS)
def test_models_around_a_backbone(name, tmp_path):
    model = host(name)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        dense = answer(model)
        scale = dense.abs().max()
        assert reduce_tokens(model, "tome", keep_ratio=1.0) is model
        assert_close(answer(model), dense, atol=1e-5 * scale, rtol=1e-5)
        reduced_part(model).set_keep_ratio(0.6)
        reduced = answer(model)
        assert (reduced - dense).abs().max() > 1e-3 * scale
        assert model.config.backbone_config is reduced_part(model).config
        model.save_pretrained(tmp_path)
        again, report = type(model).from_pretrained(tmp_path, output_loading_info=True)
        assert not report["missing_keys"] and not report["unexpected_keys"]
        assert type(reduced_part(again)) is type(reduced_part(model))
        assert_close(answer(again.eval()), reduced, atol=1e-5 * scale, rtol=1e-4)
        for each in (model, again):
            assert_close(answer(restore(each)), dense, atol=1e-5 * scale, rtol=1e-5)
            assert not [module for module in each.modules() if type(module).__name__.startswith("Dynamic")]
    assert_same_weights(model, weights)


@pytest.mark.parametrize("name", HOSTS[:3])
def test_gradients_reach_the_backbone_through_the_head(name):
    gradients = []
    for checkpointed in (False, True):
        model = reduce_tokens(host(name), "tome", keep_ratio=0.6).train()
        for module in model.modules():  # of the heads, so that both passes are alike
            if isinstance(module, torch.nn.BatchNorm2d | torch.nn.Dropout):
                module.eval()
        if checkpointed:
            reduced_part(model).gradient_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(0)
        answer(model).square().mean().backward()
        gradients.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
    first, second = gradients
    assert any("layer.0." in name or "layers.0." in name for name in first)
    assert all(each.isfinite().all() for each in first.values()) and first.keys() == second.keys()
    assert_close(first, second, atol=1e-6, rtol=1e-5)


def test_a_model_is_built_around_a_reduced_backbone():
    """By its configuration, as any other; images of another size, too."""
    backbone = DynamicDinov2Config(
        **SIZES, mlp_ratio=2, reducer="tome", keep_ratio=0.6, out_indices=[1, 2, 3, 4], reshape_hidden_states=False
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone, patch_size=4, **NECK, reassemble_hidden_size=32, head_hidden_size=8
    )
    model = transformers.DepthAnythingForDepthEstimation(config).eval()
    assert type(model.backbone) is DynamicDinov2Backbone
    with torch.no_grad():
        assert answer(model, toy_images(1, 32, 48)).shape == (1, 32, 48)


def test_methods_that_drop_are_taken_too():
    """A user who asks for one may mean to train it."""
    model = reduce_tokens(host("DPTForDepthEstimation"), "dynamicvit", keep_ratio=0.6)
    assert "backbone.reducer.predictors.0.project.weight" in model.state_dict()
    assert answer(model).isfinite().all()


@pytest.mark.parametrize("reducer", ["tome", "algm", "evit", "idlevit", "svit"])
@pytest.mark.parametrize("name", HOSTS[1:3])
def test_an_image_by_itself_is_as_in_a_batch(name, reducer):
    """Also where each image has its own number of tokens."""
    model, images = reduce_tokens(host(name), reducer), toy_images(3)
    reduced_part(model).set_budget(fraction=0.8, pixel_values=images)
    with torch.no_grad():
        together = answer(model, images)
        alone = torch.cat([answer(model, image[None]) for image in images])
    assert_close(together, alone, atol=1e-5 * together.abs().max(), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [HOSTS[0], pytest.param(HOSTS[2], marks=pytest.mark.long)])
def test_one_graph_of_a_model_around_a_backbone(name):
    model = reduce_tokens(host(name), "tome", keep_ratio=0.6)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        expected = answer(model)
        torch.compiler.reset()
        assert_close(answer(compiled), expected, atol=1e-5 * expected.abs().max(), rtol=1e-5)
