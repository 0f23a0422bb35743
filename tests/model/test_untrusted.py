# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Files from anywhere: a configuration or weights that cannot be are refused with a clear error, and nothing runs."""

import json
import math
import struct

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from toys import toy_config, toy_model

from hf_dynamicvit import (
    REDUCERS,
    DynamicDeiTConfig,
    DynamicSwinConfig,
    DynamicViTConfig,
    DynamicViTForImageClassification,
    DynamicYolosConfig,
)


# What refuses: ours, the strict fields that every configuration of Transformers has, and a name that is no string.
REFUSALS = (ValueError, StrictDataclassError)

NUMBERS = st.one_of(
    st.integers(-3, 70),
    st.sampled_from([10**9, 10**30, -(10**12), 2**63]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([float("nan"), float("inf"), 0.0, -0.5, 1.0, 1e-300]),
)
ANYTHING = st.recursive(
    st.one_of(NUMBERS, st.booleans(), st.none(), st.text(max_size=8), st.sampled_from(["../../etc/passwd", "magic"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(["tau", "r", "seed", "budget", "x"]), inner)
    ),
    max_leaves=6,
)
FIELDS = [
    "reducer_layers",
    "keep_ratio",
    "reducer_args",
    "reducer",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "image_size",
    "patch_size",
    "num_channels",
    "layer_norm_eps",
    "initializer_range",
    "hidden_dropout_prob",
    "qkv_bias",
    "unknown_field",
]


@pytest.mark.parametrize("count", [300, pytest.param(3000, marks=pytest.mark.long)])
def test_a_mutated_configuration_is_refused_or_right(count):
    mutated = given(
        reducer=st.sampled_from(sorted(REDUCERS)),
        changes=st.dictionaries(st.sampled_from(FIELDS), ANYTHING, min_size=1, max_size=3),
        family=st.sampled_from([DynamicViTConfig, DynamicDeiTConfig]),
    )
    options = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": list(HealthCheck)}
    settings(max_examples=count, **options)(mutated(refused_or_right))()


def refused_or_right(reducer, changes, family):
    good = toy_config(reducer=reducer).to_dict()
    try:
        config = family.from_dict({**good, "model_type": family.model_type, **changes})
    except REFUSALS as error:
        assert str(error)
        return
    ratios, layers = config.stage_keep_ratios, config.stage_layers
    assert all(0 < ratio <= 1 for ratio in ratios)
    assert layers == sorted(set(layers)) and layers[0] >= 0 and layers[-1] < config.num_hidden_layers
    assert set(config.reducer_args) <= set(REDUCERS[config.reducer].options())
    with torch.device("meta"):
        REDUCERS[config.reducer](config, **config.reducer_args)


@pytest.mark.parametrize("values", [{"num_labels": 10**9}, {"num_labels": -1}, {"pooler_output_size": 10**9}])
def test_tables_and_layers_of_any_size_are_refused(values):
    ((name, value),) = values.items()
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be from"):
        DynamicViTConfig.from_dict({**toy_config().to_dict(), **values})


@pytest.mark.parametrize(
    ("family", "values"),
    [
        (DynamicViTConfig, {"reducer": "tosa", "reducer_args": {"kernel": 2**40 + 1}}),
        (DynamicViTConfig, {"reducer": "mstm", "reducer_args": {"scales": [2] * 10_000}}),
        (DynamicViTConfig, {"reducer": "dtem", "reducer_args": {"metric_size": 2**40}}),
        (DynamicYolosConfig, {"num_detection_tokens": 2**40}),
        (DynamicYolosConfig, {"num_detection_tokens": 0}),
        (DynamicSwinConfig, {"mlp_ratio": 1e9}),
        (DynamicSwinConfig, {"mlp_ratio": 0.0}),
        (DynamicSwinConfig, {"mlp_ratio": math.nan}),
    ],
    ids=lambda value: str(value)[:50],
)
def test_parts_of_any_size_are_refused(family, values):
    name = next(iter(values.get("reducer_args", values)))
    with pytest.raises(ValueError, match=f"{name} is .*; it must be|{name} is .*, it must be"):
        family(**values)


def saved(folder):
    model = toy_model()
    model.save_pretrained(folder)
    return folder / "model.safetensors"


def test_truncated_weights_are_refused(tmp_path):
    file = saved(tmp_path)
    content = file.read_bytes()
    for length in (0, 5, 100, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises((SafetensorError, OSError, ValueError)):
            DynamicViTForImageClassification.from_pretrained(tmp_path)


def test_a_header_of_huge_size_is_refused(tmp_path):
    file = saved(tmp_path)
    file.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises((SafetensorError, OSError, ValueError)):
        DynamicViTForImageClassification.from_pretrained(tmp_path)


def test_weights_of_other_shapes_are_refused(tmp_path):
    file = saved(tmp_path)
    tensors = load_file(file)
    tensors["vit.reducer.predictors.0.project.weight"] = torch.zeros(3, 3)
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises((RuntimeError, ValueError), match=r"predictors\.0\.project\.weight|size mismatch|mismatch"):
        DynamicViTForImageClassification.from_pretrained(tmp_path)


def test_a_pickle_is_never_read(tmp_path, monkeypatch):
    file = saved(tmp_path)
    file.unlink()

    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"vit.layernorm.weight": Attack()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(Exception):  # noqa: B017 - which of its errors is up to Transformers
        DynamicViTForImageClassification.from_pretrained(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_code_in_a_checkpoint_does_not_run_unasked(tmp_path):
    saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "attack.Config", "AutoModelForImageClassification": "../attack.Model"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "attack.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\n")
    from transformers import AutoModelForImageClassification

    model = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert type(model) is DynamicViTForImageClassification
    assert not (tmp_path / "owned").exists()
