# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Toy native models of every family of the table, and ours of the same weights."""

from typing import Any

import torch
from toys import TOY, toy_images
from transformers import CONFIG_MAPPING

import hf_dynamicvit
from hf_dynamicvit.families import FAMILIES, Family
from hf_dynamicvit.model.native import native_class as dense_class


SIZES = {name: value for name, value in TOY.items() if name not in ("num_labels", "initializer_range")}
TEXT = {"vocab_size": 50, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXT |= {"max_position_embeddings": 64, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}

# what a family's configuration has beside the sizes, so that each of its parts is there
OWN: dict[str, dict[str, Any]] = {
    "dinov2": {"mlp_ratio": 2, "use_swiglu_ffn": True},
    "dinov2_with_registers": {"mlp_ratio": 2, "num_register_tokens": 4},
    "dinov3_vit": {"num_register_tokens": 4, "use_gated_mlp": True},
    "lvvit": {"stem_width": 8},
    "beit": {"use_relative_position_bias": True, "use_shared_relative_position_bias": True},
    "yolos": {"image_size": [32, 32], "num_detection_tokens": 6},
}

# (key of the family, name of the class in it): every model of the table
MODELS = [
    (key, kind)
    for key, family in FAMILIES.items()
    for kind in ("model", "classifier", "zero_shot", "backbone", "detector")
    if getattr(family, kind) is not None
]
CLASSIFIERS = [key for key, kind in MODELS if kind == "classifier"]
BACKBONES = [key for key, kind in MODELS if kind == "backbone"]
# the stages of a backbone: the embedding, one between blocks, the last
STAGES = [0, 2, 4]


def our_class(key: str, kind: str) -> Any:
    """The class `kind` of the family at `key`."""
    return getattr(hf_dynamicvit, getattr(FAMILIES[key], kind))


def native_class(key: str, kind: str) -> Any:
    """The native class that it stands ahead of."""
    return dense_class(our_class(key, kind))


def native_config(family: Family, kind: str, num_labels: int = 5, **overrides) -> Any:
    """A toy configuration of the native model."""
    stages = {"out_indices": STAGES} if kind == "backbone" else {}
    sizes = SIZES | OWN.get(family.dense, {}) | stages | overrides
    if not family.two_towers:
        return CONFIG_MAPPING[family.dense](**sizes, num_labels=num_labels)
    if kind == "model":
        return CONFIG_MAPPING[f"{family.dense}_vision_model"](**sizes)
    return CONFIG_MAPPING[family.dense](
        vision_config=sizes, text_config=dict(TEXT), projection_dim=16, num_labels=num_labels
    )


def native_model(key: str, kind: str, num_labels: int = 5, **overrides) -> Any:
    """A toy native model whose every weight is drawn at random, in eval mode."""
    torch.manual_seed(0)
    model = native_class(key, kind)(native_config(FAMILIES[key], kind, num_labels, **overrides)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            around = 1.0 if ("norm" in name and name.endswith("weight")) or "lambda" in name else 0.0
            torch.nn.init.normal_(parameter, around, 0.2)
    return model


def reduced_model(native: Any, key: str, kind: str, reducer: str = "topk", **options) -> Any:
    """Ours with the weights of `native`, in eval mode, set to keep what `keep_ratio` says."""
    keep_ratio = options.pop("keep_ratio", None)
    torch.manual_seed(1)
    ours = our_class(key, kind)
    model = ours(ours.config_class(**native.config.to_dict(), reducer=reducer, **options)).eval()
    result = model.load_state_dict(native.state_dict(), strict=False)
    assert not result.unexpected_keys and all("reducer." in name for name in result.missing_keys)
    if keep_ratio is not None:
        model.set_keep_ratio(keep_ratio, toy_images(8))
    return model


def take_folders_for_repositories(monkeypatch) -> None:
    """Let `AutoBackbone.from_pretrained` load from a folder; it asks the Hub first, and takes others for timm."""
    monkeypatch.setattr("huggingface_hub.HfApi.repo_exists", lambda self, name: True)


def toy_inputs(kind: str, batch: int = 3) -> dict[str, torch.Tensor]:
    """What a model of `kind` is called with."""
    inputs = {"pixel_values": toy_images(batch)}
    if kind == "zero_shot":
        inputs["input_ids"] = torch.tensor([[2, 7, 9, 3], [2, 8, 3, 1]])
    return inputs


def result(outputs: Any) -> dict[str, torch.Tensor]:
    """What people read of the outputs of a model."""
    names = ("logits", "logits_per_image", "pooler_output", "last_hidden_state")
    if "pred_boxes" in outputs:  # whose states are those of the prefix alone
        names = ("logits", "pred_boxes")
    maps = {f"feature_map_{index}": each for index, each in enumerate(outputs.get("feature_maps") or ())}
    return {name: outputs[name] for name in names if outputs.get(name) is not None} | maps
