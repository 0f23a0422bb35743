# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Published Swin and ConvNeXt, dense or with slow and fast paths: our names of their tensors, and their sizes."""

import re
from typing import Any

from torch import Tensor

from ..model.configuration_dynamicconvnext import DynamicConvNextConfig
from ..model.configuration_dynamicswin import DynamicSwinConfig
from ..model.pyramid_config import PyramidConfig


PREDICTOR = [
    (r"score_predictor\.(\d+)\.in_conv\.0\.", r"ROOT.reducer.predictors.\1.norm."),
    (r"score_predictor\.(\d+)\.in_conv\.1\.", r"ROOT.reducer.predictors.\1.project."),
    (r"score_predictor\.(\d+)\.out_conv\.(0|2|4)\.", r"ROOT.reducer.predictors.\1.score.\2."),
]

# model type -> (pattern of the published key, our key), first match wins; fused projections are split beforehand
RENAMINGS = {
    "dynamicswin": [
        (r"^patch_embed\.proj\.", "ROOT.embeddings.patch_embeddings.projection."),
        (r"^patch_embed\.norm\.", "ROOT.embeddings.norm."),
        (r"^absolute_pos_embed$", "ROOT.embeddings.position_embeddings"),
        *((rf"^layers\.\d+\.{pattern}", key) for pattern, key in PREDICTOR),
        (r"^layers\.\d+\.blocks\.(\d+)\.fastmlp\.fc1\.0\.", r"ROOT.reducer.fast_paths.\1.norm."),
        (r"^layers\.\d+\.blocks\.(\d+)\.fastmlp\.fc1\.1\.", r"ROOT.reducer.fast_paths.\1.project."),
        (r"^(layers\.\d+\.blocks\.\d+)\.norm1\.", r"ROOT.encoder.\1.layernorm_before."),
        (r"^(layers\.\d+\.blocks\.\d+)\.norm2\.", r"ROOT.encoder.\1.layernorm_after."),
        (r"^(layers\.\d+\.blocks\.\d+)\.attn\.(q|k|v)\.", r"ROOT.encoder.\1.attention.\2_proj."),
        (r"^(layers\.\d+\.blocks\.\d+)\.attn\.proj\.", r"ROOT.encoder.\1.attention.o_proj."),
        (
            r"^(layers\.\d+\.blocks\.\d+)\.attn\.relative_position_bias_table$",
            r"ROOT.encoder.\1.attention.relative_position_bias.relative_position_bias_table",
        ),
        (r"^(layers\.\d+\.(?:blocks\.\d+\.mlp|downsample)\.)", r"ROOT.encoder.\1"),
        (r"^norm\.", "ROOT.layernorm."),
        (r"^head\.", "classifier."),
    ],
    "dynamicconvnext": [
        (r"^downsample_layers\.0\.0\.", "ROOT.embeddings.patch_embeddings."),
        (r"^downsample_layers\.0\.1\.", "ROOT.embeddings.layernorm."),
        (r"^downsample_layers\.(\d+)\.(0|1)\.", r"ROOT.encoder.stages.\1.downsampling_layer.\2."),
        *((f"^{pattern}", key) for pattern, key in PREDICTOR),
        (r"^stages\.\d+\.(\d+)\.fast_path\.0\.", r"ROOT.reducer.fast_paths.\1.norm."),
        (r"^stages\.\d+\.(\d+)\.fast_path\.1\.", r"ROOT.reducer.fast_paths.\1.project."),
        (r"^stages\.\d+\.(\d+)\.fast_path_gamma$", r"ROOT.reducer.fast_paths.\1.scale"),
        (r"^stages\.(\d+)\.(\d+)\.norm\.", r"ROOT.encoder.stages.\1.layers.\2.layernorm."),
        (r"^stages\.(\d+)\.(\d+)\.gamma$", r"ROOT.encoder.stages.\1.layers.\2.layer_scale_parameter"),
        (r"^stages\.(\d+)\.(\d+)\.(dwconv|pwconv1|pwconv2)\.", r"ROOT.encoder.stages.\1.layers.\2.\3."),
        (r"^norm\.", "ROOT.layernorm."),
        (r"^head\.", "classifier."),
    ],
}

# model type -> a key that only its files have
MARKS = {"dynamicswin": "layers.0.downsample.norm.weight", "dynamicconvnext": "downsample_layers.0.0.weight"}

# Constants that the files hold, and our models compute.
INTEGERS = ".relative_position_index"
CONSTANTS = (INTEGERS, ".attn_mask")


def recognise_pyramid(state_dict: dict[str, Tensor]) -> str | None:
    """Return the model type of a published pyramid, or `None` where these tensors are of something else."""
    return next((model_type for model_type, mark in MARKS.items() if mark in state_dict), None)


def rename_pyramid_keys(state_dict: dict[str, Tensor], model_type: str) -> dict[str, Tensor]:
    """Rename published tensors to ours; fused projections are split, convolutions of one pixel are linear layers."""
    root = model_type.removeprefix("dynamic")
    split: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        if ".attn.qkv." in name:
            rows = zip("qkv", tensor.chunk(3), strict=True)
            split |= {name.replace("qkv", part): third.clone() for part, third in rows}
        elif not name.endswith(CONSTANTS):
            split[name] = tensor.flatten(1) if "score_predictor" in name and tensor.ndim == 4 else tensor
    return {rename_pyramid_key(name, model_type).replace("ROOT", root): tensor for name, tensor in split.items()}


def rename_pyramid_key(name: str, model_type: str) -> str:
    """Return our key of a published one, with `ROOT` for the base model."""
    for pattern, replacement in RENAMINGS[model_type]:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def infer_pyramid_config(
    state_dict: dict[str, Tensor], model_type: str, image_size: Any, id2label: dict[int, str], **overrides: Any
) -> PyramidConfig:
    """Infer the configuration whose sizes the published tensors of a `model_type` have.

    Args:
        state_dict: tensors under published keys.
        model_type: as `recognise_pyramid` has found.
        image_size: pixels; `None` means as the file's windows say, else 224.
        id2label: names of the classes.
        overrides: fields of the configuration, such as `keep_ratio`.
    """
    labels = {"id2label": id2label, "label2id": {name: index for index, name in id2label.items()}}
    if image_size is not None and not isinstance(image_size, int):
        image_size = image_size[0] if image_size[0] == image_size[1] else tuple(image_size)
    infer = infer_swin if model_type == "dynamicswin" else infer_convnext
    return infer(state_dict, image_size, **labels, **overrides)


def count_parts(state_dict: dict[str, Tensor], pattern: str) -> int:
    """Count the numbers that the group of `pattern` matches in the names."""
    return 1 + max((int(found[1]) for name in state_dict if (found := re.match(pattern, name))), default=-1)


def infer_swin(state_dict: dict[str, Tensor], image_size: Any, **options: Any) -> DynamicSwinConfig:
    """Read the sizes of a Swin off its tensors."""
    width, channels, patch, _ = state_dict["patch_embed.proj.weight"].shape
    stages = range(count_parts(state_dict, r"layers\.(\d+)\."))
    tables = [state_dict[f"layers.{stage}.blocks.0.attn.relative_position_bias_table"] for stage in stages]
    window = (round(len(tables[0]) ** 0.5) + 1) // 2
    mask = state_dict.get("layers.0.blocks.1.attn_mask")
    usual = 224 if mask is None else round(len(mask) ** 0.5) * window * patch
    return DynamicSwinConfig(
        image_size=image_size or usual,
        patch_size=patch,
        num_channels=channels,
        embed_dim=width,
        depths=[count_parts(state_dict, rf"layers\.{stage}\.blocks\.(\d+)\.") for stage in stages],
        num_heads=[table.shape[1] for table in tables],
        window_size=window,
        mlp_ratio=len(state_dict["layers.0.blocks.0.mlp.fc1.weight"]) / width,
        qkv_bias="layers.0.blocks.0.attn.qkv.bias" in state_dict,
        use_absolute_embeddings="absolute_pos_embed" in state_dict,
        **options,
    )


def infer_convnext(state_dict: dict[str, Tensor], image_size: Any, **options: Any) -> DynamicConvNextConfig:
    """Read the sizes of a ConvNeXt off its tensors; the official files are of an epsilon of 1e-6 throughout."""
    stages = range(count_parts(state_dict, r"stages\.(\d+)\."))
    patches = state_dict["downsample_layers.0.0.weight"]
    return DynamicConvNextConfig(
        image_size=image_size or 224,
        patch_size=patches.shape[-1],
        num_channels=patches.shape[1],
        num_stages=len(stages),
        hidden_sizes=[len(state_dict[f"stages.{stage}.0.dwconv.weight"]) for stage in stages],
        depths=[count_parts(state_dict, rf"stages\.{stage}\.(\d+)\.") for stage in stages],
        layer_norm_eps=1e-6,
        **options,
    )
