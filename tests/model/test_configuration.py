# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The configuration refuses what cannot work, and says what can."""

import json

import pytest
from methods import usual
from toys import TOY, toy_config, toy_dense, toy_images, toy_model

from hf_dynamicvit import REDUCERS, DynamicViTConfig, DynamicViTForImageClassification
from hf_dynamicvit.model.reducers import is_adaptive


@pytest.mark.parametrize(
    "depth, layers", [(12, [3, 6, 9]), (16, [4, 8, 12]), (20, [5, 10, 15]), (4, [1, 2, 3]), (3, [1, 2]), (1, [0])]
)
def test_layers_follow_the_depth(depth, layers):
    config = DynamicViTConfig(num_hidden_layers=depth, keep_ratio=0.9)
    assert config.stage_layers == layers
    assert config.reducer_layers is None
    assert config.to_dict()["reducer_layers"] is None


def test_keep_ratio_is_powers_or_fractions():
    assert DynamicViTConfig().stage_keep_ratios == [0.7, 0.7**2, 0.7**3]
    assert DynamicViTConfig(keep_ratio=[0.9, 0.5, 0.5]).stage_keep_ratios == [0.9, 0.5, 0.5]
    assert DynamicViTConfig(keep_ratio=(1, 0.5, 0.25)).stage_keep_ratios == [1.0, 0.5, 0.25]


@pytest.mark.parametrize(
    "values, named",
    [
        ({"keep_ratio": 1.5}, ["1.5", "(0, 1]"]),
        ({"keep_ratio": 0}, ["0", "(0, 1]"]),
        ({"keep_ratio": 5.6e102}, ["5.6e+102", "(0, 1]"]),
        ({"keep_ratio": -0.5}, ["-0.5", "(0, 1]"]),
        ({"keep_ratio": float("nan")}, ["nan", "(0, 1]"]),
        ({"keep_ratio": [0.5, 0.6, 0.7]}, ["0.6", "not increase"]),
        ({"keep_ratio": [0.5, 0.4]}, ["2 values", "3 reducer_layers"]),
        ({"keep_ratio": [32, 16]}, ["2 values, [32, 16],", "3 reducer_layers"]),
        ({"keep_ratio": [0.5, 0.4, 0.001]}, ["0.001", "keeps none", "in the list is 0.01563"]),
        ({"keep_ratio": 0.1}, ["keep_ratio is 0.1:", "0.001 of 64 patches", "least keep_ratio is 0.25"]),
        ({"keep_ratio": 0.1, "reducer": "tps"}, ["keep_ratio is 0.1:", "least keep_ratio is 0.25"]),
        ({"keep_ratio": 1e-200, "reducer": "evit"}, ["1e-200", "(0, 1]"]),
        ({"reducer_layers": [1, 1, 2]}, ["[1, 1, 2]", "strictly increasing"]),
        ({"reducer_layers": [2, 1]}, ["[2, 1]", "strictly increasing"]),
        ({"reducer_layers": [0, 4]}, ["[0, 4]", "0 to 3"]),
        ({"reducer_layers": [-1, 2]}, ["[-1, 2]", "0 to 3"]),
        ({"reducer_layers": []}, ["[]", "0 to 3"]),
        ({"reducer": "magic"}, ["'magic'", "dynamicvit"]),
        ({"reducer_args": {"temperature": 1}}, ["temperature", "tau"]),
        ({"reducer_args": {"tau": 0}}, ["tau is 0", "above 0"]),
    ],
)
def test_bad_values_are_named(values, named):
    with pytest.raises(ValueError) as error:
        toy_config(**values)
    for part in named:
        assert part in str(error.value)


def test_overrides_are_merged_before_validation(tmp_path):
    """Layers that fit neither the default depth nor, alone, the checkpoint's keep ratios."""
    toy_dense(num_hidden_layers=2).save_pretrained(tmp_path)
    model = DynamicViTForImageClassification.from_pretrained(tmp_path, reducer_layers=[0, 1], keep_ratio=[0.9, 0.8])
    assert model.config.stage_layers == [0, 1]
    model.save_pretrained(tmp_path / "sparse")
    config = DynamicViTConfig.from_pretrained(tmp_path / "sparse", reducer_layers=[1], keep_ratio=0.5)
    assert config.stage_keep_ratios == [0.5]
    with pytest.raises(ValueError, match="2 values"):
        DynamicViTConfig.from_pretrained(tmp_path / "sparse", reducer_layers=[1])


def test_other_layers_for_trained_predictors_are_said_aloud(tmp_path, warnings_text):
    toy_config().save_pretrained(tmp_path)
    DynamicViTConfig.from_pretrained(tmp_path, reducer_layers=[1, 2, 3])
    assert "was made for" not in warnings_text()
    DynamicViTConfig.from_pretrained(tmp_path, reducer_layers=[0, 2, 3])
    assert "reducer_layers is [0, 2, 3]; the checkpoint was made for [1, 2, 3]" in warnings_text()


def test_round_trip(tmp_path):
    config = toy_config(keep_ratio=[0.9, 0.5, 0.3], reducer_args={"tau": 0.5})
    config.save_pretrained(tmp_path)
    again = DynamicViTConfig.from_pretrained(tmp_path)
    assert again.to_dict() == config.to_dict()
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "dynamicvit"


def test_a_dense_config_loads_without_a_warning(tmp_path, warnings_text):
    toy_dense().config.save_pretrained(tmp_path)
    config = DynamicViTConfig.from_pretrained(tmp_path)
    assert config.model_type == "dynamicvit" and "model_type" not in vars(config)
    assert config.hidden_size == TOY["hidden_size"]
    assert "model of type" not in warnings_text()


def test_another_family_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "swin"}))
    with pytest.raises(ValueError, match=r"'swin'.*'vit' and 'dynamicvit'"):
        DynamicViTConfig.from_pretrained(tmp_path)


def test_a_later_mistake_is_found_on_save(tmp_path):
    config = toy_config()
    config.keep_ratio = 2.0
    with pytest.raises(Exception, match=r"keep_ratio is 2\.0"):
        config.save_pretrained(tmp_path)
    assert not (tmp_path / "config.json").exists()


@usual(patches=[9, 196])
@pytest.mark.parametrize("patches", [2, 7, 9, 64, 196, 1023])
def test_the_least_keep_ratio_that_is_named_is_taken(reducer, patches):
    """Of methods that keep `int(patches * ratio)`; the others round up and have no least one."""
    settings = {"reducer": reducer, "image_size": [4, 4 * patches], "num_hidden_layers": 12}
    if is_adaptive(reducer) or REDUCERS[reducer].rounds_up:
        return
    ratio = 0.5 / patches
    stages = len(toy_config(**settings, keep_ratio=1.0).stage_layers)
    for keep_ratio in (ratio, [1.0] * (stages - 1) + [ratio]):
        with pytest.raises(ValueError, match=r"keep_ratio is|cannot go") as error:
            toy_config(**settings, keep_ratio=keep_ratio)
        if "keeps none" in str(error.value):
            least = float(str(error.value).removesuffix(".").split()[-1])
            assert toy_config(**settings, keep_ratio=least if keep_ratio is ratio else [1.0] * (stages - 1) + [least])


@pytest.mark.parametrize(
    "method, args, counts",
    [("evit", {}, [5, 2, 2]), ("topk", {}, [4, 1, 1]), ("tps", {"score": "evit"}, [4, 1, 1])],
)
def test_methods_that_round_up_take_any_keep_ratio(method, args, counts):
    """Released EViT keeps `ceil(rate * current)`, and one fused: 36 patches at 0.1 in blocks 0, 5 and 11 of 12."""
    settings = {"reducer": method, "reducer_args": args, "image_size": 24, "num_hidden_layers": 12}
    model = toy_model(**settings, keep_ratio=0.1, reducer_layers=[0, 5, 11])
    assert model.token_counts() == counts
    states = model(toy_images(2, 24, 24), output_hidden_states=True).hidden_states
    assert [states[layer + 1].shape[1] - 1 for layer in (0, 5, 11)] == counts
    assert toy_model(**settings, keep_ratio=1e-9).token_counts()[-1] == counts[-1]
