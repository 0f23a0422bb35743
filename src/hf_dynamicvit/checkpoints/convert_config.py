# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The configuration of a published checkpoint, read off its tensors and timm's `config.json` beside it."""

import re
from typing import Any

from torch import Tensor

from ..model.configuration_dynamicdeit import DynamicDeiTConfig
from ..model.configuration_dynamiclvvit import DynamicLVViTConfig
from ..model.configuration_dynamicvit import DynamicViTConfig
from .convert_checks import check_kind
from .published import Published, has_stem, is_distilled, read_patch_sizes
from .published_levit import infer_levit_config, is_levit
from .pyramids import infer_pyramid_config, recognise_pyramid
from .timm import read_image_size, read_model_args


# Heads of published ViTs that are not 64 wide (So400m, H, g, G), by the width of the model.
HEADS = {240: 4, 1152: 16, 1280: 16, 1408: 16, 1664: 16}

# What the branches of a published LV-ViT are divided by, which the file does not tell, by the width of the model.
DIVISORS = {240: 1.0, 384: 2.0, 512: 2.0, 768: 3.0}

# Biases of the projections of the first block, in models that have them.
QKV_BIASES = ("blocks.0.attn.qkv.bias", "blocks.0.attn.qkv.qkv_layer.bias", "qks.0.qk.bias")


def infer_config(
    state_dict: dict[str, Tensor],
    num_attention_heads: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    label_names: list[str] | None = None,
    **overrides: Any,
) -> Any:
    """Infer the configuration whose sizes the published tensors have.

    `layer_norm_eps` is 1e-6, as they were trained with. It is that of DynamicDeiT where there is a distillation token,
    of DynamicLVViT where there is a stem of convolutions, and of DynamicSwin or DynamicConvNeXt for their files.
    Without a classifier in the file it has no classes.

    Args:
        state_dict: tensors under published keys.
        num_attention_heads: `None` means those usual for the width, in most 64 wide.
        image_size: pixels; `None` means square.
        label_names: names of the classes, in order.
        overrides: fields of `DynamicViTConfig`, such as `reducer`.

    Raises:
        ValueError: a family that is not supported, tensors missing, or sizes that do not fit.
    """
    if is_levit(state_dict):
        names = read_class_names(state_dict, label_names, "head.l.weight")
        return infer_levit_config(state_dict, num_attention_heads, image_size, names, **overrides)
    check_kind(state_dict, overrides.get("reducer", "dynamicvit"))
    if (model_type := recognise_pyramid(state_dict)) is not None:
        if num_attention_heads is not None:
            raise ValueError("--num-attention-heads is given, but the file says how many heads a pyramid has.")
        names = dict(enumerate(read_class_names(state_dict, label_names)))
        return infer_pyramid_config(state_dict, model_type, image_size, names, **overrides)
    num_layers = count_blocks(state_dict)
    width, (channels, patch_height, patch_width) = (
        len(state_dict["patch_embed.proj.weight"]),
        read_patch_sizes(state_dict),
    )
    distilled = is_distilled(state_dict)
    if image_size is None:
        side = side_of_square(state_dict["pos_embed"].shape[1] - (2 if distilled else 1))
        image_size = (side * patch_height, side * patch_width)
    names = read_class_names(state_dict, label_names)
    family: Any = DynamicDeiTConfig if distilled else DynamicLVViTConfig if has_stem(state_dict) else DynamicViTConfig
    config = family(
        hidden_size=width,
        num_hidden_layers=num_layers,
        num_attention_heads=check_heads(width, num_attention_heads),
        intermediate_size=state_dict["blocks.0.mlp.fc1.weight"].shape[0],
        num_channels=channels,
        patch_size=patch_height if patch_height == patch_width else (patch_height, patch_width),
        image_size=image_size[0] if isinstance(image_size, tuple) and image_size[0] == image_size[1] else image_size,
        qkv_bias=any(name in state_dict for name in QKV_BIASES),
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        **(read_own_fields(state_dict, width) | overrides),
    )
    if config.reads_class_token and any(name.startswith("qks.") for name in state_dict):
        raise ValueError(
            "This Evo-ViT checkpoint classifies the mean of the patches; reducer_args has 'pooling': 'class'."
        )
    return config


def read_own_fields(state_dict: dict[str, Tensor], width: int) -> dict[str, Any]:
    """Return the fields of a configuration that differ from family to family."""
    if not has_stem(state_dict):
        return {"layer_norm_eps": 1e-6}
    stem = state_dict["patch_embed.conv1.weight"].shape[0]
    return {"layer_norm_eps": 1e-5, "stem_width": stem, "branch_divisor": DIVISORS.get(width, 2.0)}


def count_blocks(state_dict: dict[str, Tensor]) -> int:
    """Count the blocks of a timm-style ViT.

    Raises:
        ValueError: the tensors are of something else.
    """
    needed = {"pos_embed": 3, "patch_embed.proj.weight": 4, "blocks.0.mlp.fc1.weight": 2}
    if any(name.startswith("head.") for name in state_dict):
        needed["head.weight"] = 2
    if has_stem(state_dict):
        needed["patch_embed.conv1.weight"] = 4
    wrong = [name for name, ndim in needed.items() if name not in state_dict or state_dict[name].ndim != ndim]
    blocks = [re.match(r"blocks\.(\d+)\.", name) for name in state_dict if name.startswith("blocks.")]
    if wrong or not all(blocks):
        raise ValueError(
            f"Not a timm-style ViT checkpoint: {', '.join(wrong) or 'a block without a number'} missing or mis-shaped."
        )
    return 1 + max(int(block[1]) for block in blocks if block)


def read_class_names(state_dict: dict[str, Tensor], given: list[str] | None, head: str = "head.weight") -> list[str]:
    """Return the names of the classes that are `given`, else one made up for each; none without a classifier.

    Raises:
        ValueError: there are more or fewer names than classes.
    """
    num_labels = state_dict[head].shape[0] if head in state_dict else 0
    if given is not None and len(given) != num_labels:
        raise ValueError(f"{len(given)} label names for {num_labels} classes.")
    return given or [f"LABEL_{index}" for index in range(num_labels)]


def side_of_square(num_patches: int) -> int:
    """Return how many patches a square grid has in a row.

    Raises:
        ValueError: they are no square.
    """
    side = round(num_patches**0.5)
    if side * side != num_patches:
        raise ValueError(f"{num_patches} positions are not a square grid; give the image size, height and width.")
    return side


def check_heads(width: int, given: int | None) -> int:
    """Return the number of attention heads that is `given`, or `None`: usual for the width, in most models 64 wide.

    Raises:
        ValueError: they do not divide the width.
    """
    heads = HEADS.get(width, max(1, width // 64)) if given is None else given
    if heads < 1 or width % heads:
        raise ValueError(f"{heads} attention heads do not divide the width {width}; give their number.")
    return heads


def image_size_beside(published: Published) -> tuple[int, int] | None:
    """Return height and width by timm's `config.json`, if the tensors are of a model of that size.

    Raises:
        ValueError: they are not, and its `model_args` say so.
    """
    patches, positions = (published.tensors.get(name) for name in ("patch_embed.proj.weight", "pos_embed"))
    if published.config is None or patches is None or positions is None or patches.ndim != 4 or positions.ndim != 3:
        return None
    height, width = read_image_size(published.config)
    _, patch_height, patch_width = read_patch_sizes(published.tensors)
    num_patches = (height // patch_height) * (width // patch_width)
    num_prefix = 2 if is_distilled(published.tensors) else 1
    if positions.shape[1] == num_prefix + num_patches:
        return height, width
    if "img_size" in read_model_args(published.config):
        raise ValueError(
            f"config.json has img_size {height} x {width} in its model_args, of {num_patches} patches, but the file "
            f"has {positions.shape[1] - num_prefix}: type --image-size, height and width."
        )
    return None


def heads_beside(published: Published) -> int | None:
    """Return the number of attention heads in timm's `config.json`, if it changes the architecture's."""
    return read_model_args(published.config or {}).get("num_heads")


def label_names_beside(published: Published) -> list[str] | None:
    """Names of the classes in timm's `config.json`, where it has one for each."""
    names, head = (published.config or {}).get("label_names"), published.tensors.get("head.weight")
    if not isinstance(names, list) or head is None or len(names) != len(head):
        return None
    return [str(name) for name in names]
