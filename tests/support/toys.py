# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Toy models and images that every test shares."""

import torch
from torch.testing import assert_close
from transformers import DeiTConfig, ViTConfig, ViTForImageClassification
from transformers.models.deit.modeling_deit import DeiTForImageClassificationWithTeacher

from hf_dynamicvit import (
    DynamicDeiTConfig,
    DynamicDeiTForImageClassification,
    DynamicViTConfig,
    DynamicViTForImageClassification,
)
from hf_dynamicvit.model.cost import as_pair
from hf_dynamicvit.model.reducers import is_adaptive


TOY = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 4,
    "num_labels": 5,
    "layer_norm_eps": 1e-6,
    # weights large enough that logits, scores and attention differ between images
    "initializer_range": 0.2,
}


def toy_config(**overrides) -> DynamicViTConfig:
    return DynamicViTConfig(**(TOY | overrides))


def toy_model(seed: int = 0, **overrides) -> DynamicViTForImageClassification:
    """A model in eval mode; one whose images decide for themselves is set to keep `keep_ratio` on average."""
    torch.manual_seed(seed)
    if not is_adaptive(overrides.get("reducer", "dynamicvit")):
        return DynamicViTForImageClassification(toy_config(**overrides)).eval()
    keep_ratio = overrides.pop("keep_ratio", 0.7)
    return calibrated(DynamicViTForImageClassification(toy_config(**overrides)).eval(), keep_ratio)


def calibrated(model: DynamicViTForImageClassification, keep_ratio) -> DynamicViTForImageClassification:
    """`model` set to `keep_ratio`, on toy images where its images decide for themselves."""
    height, width = as_pair(model.config.image_size)
    model.set_keep_ratio(keep_ratio, toy_images(8, height, width, model.config.num_channels))
    return model


def reads_class_token(reducer: str) -> dict:
    """Options with which the method reads the classifier of a dense checkpoint as it was trained."""
    return {"reducer": reducer, "reducer_args": {"pooling": "class"} if reducer == "evovit" else {}}


def toy_dense(seed: int = 0, **overrides) -> ViTForImageClassification:
    torch.manual_seed(seed)
    return ViTForImageClassification(ViTConfig(**(TOY | overrides))).eval()


def toy_dense_deit(seed: int = 0, **overrides) -> DeiTForImageClassificationWithTeacher:
    torch.manual_seed(seed)
    return stirred(DeiTForImageClassificationWithTeacher(DeiTConfig(**(TOY | overrides))).eval())


def toy_deit(seed: int = 0, keep_ratio: float = 0.6, **overrides) -> DynamicDeiTForImageClassification:
    torch.manual_seed(seed)
    model = DynamicDeiTForImageClassification(DynamicDeiTConfig(**(TOY | overrides))).eval()
    return calibrated(stirred(model), keep_ratio)


def stirred(model):
    """DeiT starts its prefix tokens and positions at 0, where all patches look alike to the class token."""
    embeddings = model.deit.embeddings
    for parameter in (embeddings.cls_token, embeddings.distillation_token, embeddings.position_embeddings):
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def toy_images(batch: int = 3, height: int = 32, width: int = 32, channels: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(seed))


# Bytes at which torch puts a tensor that it makes; one in a mapped file is anywhere.
ALIGNMENT = 64


def unaligned(model):
    """`model` with every parameter, to the bit, where torch itself would not put it."""
    for parameter in model.parameters():
        if not parameter.is_meta:
            storage = parameter.new_empty(parameter.numel() + ALIGNMENT)
            first = 1 if storage.data_ptr() % ALIGNMENT == 0 else 0
            place = storage[first : first + parameter.numel()].view(parameter.shape)
            parameter.data = place.copy_(parameter.data)
    return model


def assert_same_weights(actual, expected):
    """Two state dicts, or two models: the same names, and the same values to the bit."""
    actual, expected = (each if isinstance(each, dict) else each.state_dict() for each in (actual, expected))
    assert set(actual) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(actual[name], tensor), name


def assert_same_outputs(actual, expected):
    """Of copies of one model: decisions to the bit, logits to 1e-5, as kernels round by the weights' address."""
    assert_close(actual.logits, expected.logits, atol=1e-5, rtol=1e-5)
    if "kept" in expected:
        assert torch.equal(actual.kept, expected.kept) and torch.equal(actual.owner, expected.owner)


def assert_same_model(actual, expected, images=None):
    """Copies of one model: weights to the bit, and outputs as in `assert_same_outputs`."""
    assert_same_weights(actual, expected)
    images = toy_images() if images is None else images
    with torch.no_grad():
        assert_same_outputs(actual(images), expected(images))
