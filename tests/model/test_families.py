# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A family that no other file knows: other names for the parts of a block, no class token, two readouts."""

from typing import Any

import pytest
import torch
from huggingface_hub.dataclasses import strict
from methods import FEW, usual
from native_toys import native_model, reduced_model
from torch import Tensor, nn
from torch.testing import assert_close
from toys import TOY, assert_same_model, calibrated, toy_images
from transformers import ViTConfig
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import ImageClassifierOutput
from transformers.models.vit.modeling_vit import (
    ViTAttention,
    ViTMLP,
    ViTPatchEmbeddings,
    ViTPreTrainedModel,
)

from hf_dynamicvit import REDUCERS
from hf_dynamicvit.model.block import DynamicAttention, DynamicLayer, alias
from hf_dynamicvit.model.classification import ReducedForImageClassification
from hf_dynamicvit.model.packed import DynamicMLP
from hf_dynamicvit.model.pretrained import ReducedPreTrainedModel
from hf_dynamicvit.model.reduction import ReducedModel
from hf_dynamicvit.model.reduction_config import ReductionConfig
from hf_dynamicvit.model.scoring import masked_mean


# ----- the native family


class TowerConfig(ViTConfig):
    model_type = "tower"


class TowerEmbeddings(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.patch_embeddings = ViTPatchEmbeddings(config)
        self.position_embedding = nn.Embedding(self.patch_embeddings.num_patches, config.hidden_size)

    def forward(self, pixel_values: Tensor, *ignored) -> Tensor:
        return self.patch_embeddings(pixel_values) + self.position_embedding.weight


class TowerAttention(ViTAttention):
    def __init__(self, config):
        super().__init__(config)
        self.out_proj, self.num_heads, self.scale = self.o_proj, self.num_attention_heads, self.scaling
        self.dropout = self.attention_dropout
        del self.o_proj, self.num_attention_heads, self.scaling, self.attention_dropout

    def forward(self, hidden: Tensor) -> Tensor:
        query, key, value = (
            project(hidden).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        context = nn.functional.scaled_dot_product_attention(query, key, value, scale=self.scale)
        return self.out_proj(context.transpose(1, 2).flatten(2))


class TowerLayer(GradientCheckpointingLayer):
    def __init__(self, config):
        super().__init__()
        self.self_attn, self.mlp = TowerAttention(config), ViTMLP(config)
        self.layer_norm1, self.layer_norm2 = (nn.LayerNorm(config.hidden_size, config.layer_norm_eps) for _ in "12")

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.self_attn(self.layer_norm1(hidden))
        return hidden + self.mlp(self.layer_norm2(hidden))


class TowerPreTrainedModel(ViTPreTrainedModel):
    config: TowerConfig
    base_model_prefix = "tower"


class TowerModel(TowerPreTrainedModel):
    def __init__(self, config, add_pooling_layer: bool = False):
        super().__init__(config)
        self.embeddings = TowerEmbeddings(config)
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList([TowerLayer(config) for _ in range(config.num_hidden_layers)])
        self.post_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.post_init()

    def forward(self, pixel_values: Tensor) -> Tensor:
        hidden = self.embeddings(pixel_values)
        for layer in self.encoder.layers:
            hidden = layer(hidden)
        return self.post_norm(hidden)


class TowerForImageClassification(TowerPreTrainedModel):
    """Two classifiers: one reads the mean of the patches, the other their mean square."""

    def __init__(self, config):
        super().__init__(config)
        self.tower = TowerModel(config)
        self.mean_head, self.power_head = (nn.Linear(config.hidden_size, config.num_labels) for _ in "12")
        self.post_init()

    def forward(self, pixel_values: Tensor) -> ImageClassifierOutput:
        states = self.tower(pixel_values)
        first, second = self.mean_head(states.mean(dim=1)), self.power_head(states.square().mean(dim=1))
        return ImageClassifierOutput(logits=(first + second) / 2)


# ----- ours


@strict
class DynamicTowerConfig(ReductionConfig, TowerConfig):
    model_type, dense_model_type = "dynamictower", "tower"
    num_prefix = property(lambda self: 0)
    classifier_size = property(lambda self: 2 * self.hidden_size)


class DynamicTowerEmbeddings(TowerEmbeddings):
    pass


class DynamicTowerAttention(DynamicAttention, TowerAttention):
    o_proj, num_attention_heads = alias("out_proj"), alias("num_heads")
    scaling, attention_dropout = alias("scale"), alias("dropout")


class DynamicTowerMLP(DynamicMLP, ViTMLP):
    pass


class DynamicTowerLayer(DynamicLayer, TowerLayer):
    attention, layernorm_before, layernorm_after = alias("self_attn"), alias("layer_norm1"), alias("layer_norm2")

    def branch(self, output: Tensor, part: int) -> Tensor:
        return self.drop_path(output)


class DynamicTowerPreTrainedModel(ReducedPreTrainedModel, TowerPreTrainedModel):
    config: Any
    config_class = DynamicTowerConfig
    embeddings_class, layer_class = DynamicTowerEmbeddings, DynamicTowerLayer
    attention_class, mlp_class = DynamicTowerAttention, DynamicTowerMLP


class DynamicTowerModel(DynamicTowerPreTrainedModel, ReducedModel, TowerModel):
    layers, layernorm, pooler = alias("encoder.layers"), alias("post_norm"), None

    def read(self, states: Tensor, weights: Tensor | None, num_prefix: int) -> Tensor:
        return torch.cat([masked_mean(each, weights) for each in (states, states.square())], dim=-1)[:, 0]


class DynamicTowerForImageClassification(
    DynamicTowerPreTrainedModel, ReducedForImageClassification, TowerForImageClassification
):
    model_class, dense_class = DynamicTowerModel, TowerForImageClassification
    heads = ("mean_head", "power_head")

    def classify_features(self, features: Tensor, last_hidden_state: Tensor) -> Tensor:
        return self.classify_with(self, features.chunk(2, dim=-1))


def tower(reducer: str, keep_ratio: float = 0.6) -> DynamicTowerForImageClassification:
    torch.manual_seed(0)
    model = DynamicTowerForImageClassification(DynamicTowerConfig(**TOY, reducer=reducer)).eval()
    return calibrated(model, keep_ratio)


@usual(reducer=FEW)
def test_everything_kept_is_the_native_model(reducer, tmp_path):
    torch.manual_seed(0)
    dense = TowerForImageClassification(TowerConfig(**TOY)).eval()
    dense.save_pretrained(tmp_path)
    model, report = DynamicTowerForImageClassification.from_pretrained(
        tmp_path, reducer=reducer, output_loading_info=True
    )
    assert all(name.startswith("tower.reducer.") for name in report["missing_keys"])
    assert not report["unexpected_keys"]
    calibrated(model.eval(), 1.0)
    assert_close(model(toy_images()).logits, dense(toy_images()).logits, atol=1e-5, rtol=1e-5)
    assert_same_model(model.to_dense(), dense)


@usual(reducer=FEW)
def test_it_reduces_and_images_do_not_see_their_batch_mates(reducer):
    model, images = tower(reducer), toy_images(4)
    together = model(images)
    assert together.kept.float().mean() < 0.9
    for index in range(4):
        alone = model(images[index : index + 1])
        assert torch.equal(alone.kept[0], together.kept[index])
        assert_close(alone.logits[0], together.logits[index], atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        assert_close(model(images).logits, together.logits, atol=1e-5, rtol=1e-5)


def test_no_patch_is_taken_for_a_class_token(reducer):
    """A method without positions of its own gives the same for patches in another order."""
    if reducer == "random" or not REDUCERS[reducer].keeps_order:
        pytest.skip("the order of patches is a part of the method")
    model = tower(reducer)
    swapped = model.tower.embeddings.position_embedding.weight
    images = toy_images(2)
    before = model(images).kept[:, 0]
    order = torch.arange(63, -1, -1)
    with torch.no_grad():
        swapped.copy_(swapped[order])
    turned = images.unflatten(2, (8, 4)).unflatten(4, (8, 4)).flip(2, 4).flatten(4, 5).flatten(2, 3)
    assert torch.equal(model(turned).kept[:, 0], before[:, order])


@usual(reducer=FEW)
def test_save_and_load(reducer, tmp_path):
    model = tower(reducer)
    model.save_pretrained(tmp_path)
    assert_same_model(DynamicTowerForImageClassification.from_pretrained(tmp_path).eval(), model)


@usual(reducer=FEW)
def test_it_trains(reducer):
    model = tower(reducer).train()
    outputs = model(toy_images())
    (outputs.logits.square().sum() + sum(model.reducer.losses(outputs.decisions).values())).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)
    assert all(parameter.grad is not None for parameter in model.tower.encoder.parameters())


def test_a_beit_trains_after_a_native_one_has_run_in_inference_mode():
    """All BEiTs share the indices of relative positions, which the first to need them makes."""
    images = torch.randn(1, 3, 48, 80)  # a size that no other test has
    native = native_model("dynamicbeit", "classifier")
    with torch.inference_mode():
        native(images)
    model = reduced_model(native, "dynamicbeit", "classifier", "tome", keep_ratio=0.7).train()
    model(images).logits.sum().backward()
    weights = [weight for name, weight in model.named_parameters() if "position_bias_table" in name]
    assert weights and all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in weights)
