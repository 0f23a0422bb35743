# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The folder of a timm checkpoint: its weights, and how its `config.json` says that images are prepared."""

import json
import math
from pathlib import Path
from typing import Any

from PIL.Image import Resampling
from transformers import DeiTImageProcessorPil
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD


# What timm and the Hub call a file of weights, the first that is there; else the only file with such an ending.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
ENDINGS = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".tar")

CROP_MODES = ("center", "squash")

# Of `model_args`: what the tensors tell, what serves in training only, and what is read here.
IN_TENSORS = ("patch_size", "in_chans", "num_classes", "embed_dim", "depth", "mlp_ratio", "qkv_bias", "qk_norm")
IN_TENSORS += ("init_values", "class_token", "reg_tokens", "no_embed_class", "pre_norm", "fc_norm", "final_norm")
IN_TRAINING = ("drop_rate", "pos_drop_rate", "patch_drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate")
IN_TRAINING += ("weight_init", "fix_init", "dynamic_img_size", "dynamic_img_pad", "strict_img_size")
READ = ("num_heads", "img_size", "global_pool")


def is_timm(config: dict[str, Any]) -> bool:
    """Return whether `config`, the content of a `config.json`, is of timm, in its present or older layout."""
    named = config.get("model_type", "timm_wrapper") == "timm_wrapper"  # as Transformers fills it in
    return named and ("pretrained_cfg" in config or "architecture" in config)


def find_weights(source: str | Path) -> Path:
    """Find the file of weights that `source` is, or that is in the folder `source`.

    Raises:
        ValueError: there is none, or one cannot tell which.
    """
    path = Path(source)
    if path.is_file():
        return path
    if not path.is_dir():
        raise ValueError(f"{path} is not there. convert reads a file of timm-style weights, or a folder with one.")
    found = [path / name for name in WEIGHTS if (path / name).is_file()]
    if not found:
        found = sorted(file for file in path.iterdir() if file.suffix in ENDINGS)
        if len(found) != 1:
            listed = f"several files of weights: {', '.join(file.name for file in found)}; name one" if found else ""
            raise ValueError(f"{path} has {listed or f'no file of weights, such as {WEIGHTS[0]}'}.")
    return found[0]


def read_timm_config(weights: Path) -> dict[str, Any] | None:
    """Read the `config.json` beside the file `weights`; `None` where there is none of timm.

    Raises:
        ValueError: it cannot be read, or is that of a checkpoint of Transformers.
    """
    file = weights.with_name("config.json")
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    if not isinstance(config, dict):
        return None
    if is_timm(config):
        return config
    if "model_type" in config and weights.name in WEIGHTS:
        raise ValueError(
            f"{weights.parent} is a checkpoint of Transformers, which needs no conversion: type its folder where a "
            "model is wanted."
        )
    return None


def read_model_args(config: dict[str, Any]) -> dict[str, Any]:
    """Return what `config` changes of the architecture that it names; `null` there means timm's default.

    Raises:
        ValueError: something that changes what is computed, and is not known here.
    """
    found = config.get("model_args") or {}
    if not isinstance(found, dict):
        raise ValueError(f"config.json has model_args {found!r}; it is an object of names and values.")
    said = {name: value for name, value in found.items() if value is not None}
    known = (*IN_TENSORS, *IN_TRAINING, *READ)
    others = [name for name, value in said.items() if name not in known and (name, value) != ("act_layer", "gelu")]
    if others:
        named = ", ".join(f"{name} {said[name]!r}" for name in others)
        raise ValueError(f"config.json has in its model_args {named}, which convert does not know.")
    heads, size = said.get("num_heads", 1), said.get("img_size", 1)
    if type(heads) is not int or heads < 1:
        raise ValueError(f"config.json has num_heads {heads!r}; it is 1 or more.")
    if not all(type(edge) is int and edge > 0 for edge in read_edges(size)) or len(read_edges(size)) != 2:
        raise ValueError(f"config.json has img_size {size!r}; it is a number of pixels, or height and width.")
    return said


def read_edges(size: Any) -> list[Any]:
    """Return height and width of timm's `img_size`."""
    return size if isinstance(size, list) else [size, size]


def read_image_size(config: dict[str, Any]) -> tuple[int, int]:
    """Return height and width in pixels of the model, else of the evaluation of the checkpoint."""
    if (size := read_model_args(config).get("img_size")) is not None:
        height, width = read_edges(size)
        return height, width
    _, height, width = find_preparation(config).get("input_size", (3, 224, 224))
    return height, width


def find_preparation(config: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a timm `config.json` on how images are prepared; in the older layout, all of it."""
    return config.get("pretrained_cfg", config)


def timm_processor(config: dict[str, Any], height: int, width: int) -> DeiTImageProcessorPil:
    """Build the image processor of timm's evaluation of that checkpoint, at this size of the model.

    Where `config` leaves something out it is timm's default.

    Raises:
        ValueError: an interpolation or a kind of crop that there is not here.
    """
    said = find_preparation(config)
    interpolation, crop_mode = said.get("interpolation", "bicubic"), said.get("crop_mode", "center")
    filters = {name.lower(): value for name, value in Resampling.__members__.items()}
    for name, value, known in (("interpolation", interpolation, filters), ("crop_mode", crop_mode, CROP_MODES)):
        if value not in known:
            raise ValueError(f"config.json has {name} {value!r}; it can be {', '.join(known)}.")
    crop = said.get("crop_pct", 0.875)
    if not isinstance(crop, int | float) or not 0 < crop <= 1:
        raise ValueError(f"config.json has crop_pct {crop!r}; it is above 0 and at most 1.")
    down, across = math.floor(height / crop), math.floor(width / crop)
    size = {"shortest_edge": down} if crop_mode == "center" and height == width else {"height": down, "width": across}
    return DeiTImageProcessorPil(
        size=size,
        resample=filters[interpolation],
        crop_size={"height": height, "width": width},
        image_mean=list(said.get("mean", IMAGENET_DEFAULT_MEAN)),
        image_std=list(said.get("std", IMAGENET_DEFAULT_STD)),
    )
