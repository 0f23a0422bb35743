# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Toy pyramids: native models of every family of that table, and ours of the same weights."""

from typing import Any

import torch
from toys import toy_images
from transformers import CONFIG_MAPPING

import hf_dynamicvit
from hf_dynamicvit.families import PYRAMIDS


# An image of 32 pixels has 16 positions in the reduced stage, and one window of them; of 64 pixels, 64 and four.
SIZES: dict[str, dict[str, Any]] = {
    "swin": {"embed_dim": 8, "num_heads": (1, 2, 4, 4), "window_size": 4, "drop_path_rate": 0.0},
    "convnext": {"hidden_sizes": (8, 12, 24, 40), "layer_norm_eps": 1e-6},
}
SHARED = {"depths": (1, 2, 6, 1), "image_size": 64, "patch_size": 2}
KEYS = [*PYRAMIDS]


def our_class(key: str, kind: str = "classifier") -> Any:
    """The class `kind` of the family at `key`."""
    return getattr(hf_dynamicvit, getattr(PYRAMIDS[key], kind))


def native_class(key: str, kind: str = "classifier") -> Any:
    """The native class that it stands ahead of."""
    classifier = our_class(key).dense_class
    return classifier if kind == "classifier" else type(classifier(native_config(key)).base_model)


def native_config(key: str, **overrides: Any) -> Any:
    """A toy configuration of the native model."""
    dense = PYRAMIDS[key].dense
    return CONFIG_MAPPING[dense](**(SHARED | SIZES[dense] | {"num_labels": 5} | overrides))


def native_pyramid(key: str, kind: str = "classifier", **overrides: Any) -> Any:
    """A toy native model whose every weight is drawn at random, in eval mode."""
    torch.manual_seed(0)
    model = native_class(key, kind)(native_config(key, **overrides)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            around = 1.0 if ("norm" in name and name.endswith("weight")) or "scale" in name else 0.0
            torch.nn.init.normal_(parameter, around, 0.2)
    return model


def pyramid(key: str, kind: str = "classifier", native: Any = None, **options: Any) -> Any:
    """Ours with the weights of `native`, and a method that is drawn at random too, in eval mode."""
    native = native_pyramid(key, kind) if native is None else native
    ours = our_class(key, kind)
    model = ours(ours.config_class(**native.config.to_dict(), **options)).eval()
    result = model.load_state_dict(native.state_dict(), strict=False)
    assert not result.unexpected_keys and all("reducer." in name for name in result.missing_keys)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.backbone.reducer.named_parameters():
            torch.nn.init.normal_(parameter, 1.0 if "norm.weight" in name or "scale" in name else 0.0, 0.2)
    return model


def pyramid_images(batch: int = 3, height: int = 64, width: int = 64, seed: int = 0) -> torch.Tensor:
    """Random images of 64 pixels."""
    return toy_images(batch, height, width, seed=seed)
