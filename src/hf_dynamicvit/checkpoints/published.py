# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Published checkpoints: what is read of their files, and our names of their tensors."""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .labels import list_first
from .published_levit import is_levit, rename_levit_keys
from .pyramids import INTEGERS
from .timm import find_weights, read_timm_config


# (pattern of the published key, our key), first match wins; fused projections are split beforehand.
RENAMINGS = [
    (r"^cls_token$", "vit.embeddings.cls_token"),
    (r"^dist_token$", "vit.embeddings.distillation_token"),
    (r"^pos_embed$", "vit.embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "vit.embeddings.patch_embeddings.projection."),
    (r"^patch_embed\.conv(\d)\.", r"vit.embeddings.patch_embeddings.conv\1."),
    (r"^patch_embed\.bn(\d)\.", r"vit.embeddings.patch_embeddings.norm\1."),
    (r"^blocks\.(\d+)\.norm1\.", r"vit.layers.\1.layernorm_before."),
    (r"^blocks\.(\d+)\.norm2\.", r"vit.layers.\1.layernorm_after."),
    (r"^blocks\.(\d+)\.attn\.qkv\.metric_layer\.", r"vit.reducer.metrics.\1."),
    (r"^blocks\.(\d+)\.attn\.(q|k|v)\.", r"vit.layers.\1.attention.\2_proj."),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"vit.layers.\1.attention.o_proj."),
    (r"^blocks\.(\d+)\.mlp\.(fc1|fc2)\.", r"vit.layers.\1.mlp.\2."),
    # Evo-ViT keeps its attention in lists of their own
    (r"^norms\.(\d+)\.", r"vit.layers.\1.layernorm_before."),
    (r"^qks\.(\d+)\.(q|k)\.", r"vit.layers.\1.attention.\2_proj."),
    (r"^vs\.(\d+)\.v\.", r"vit.layers.\1.attention.v_proj."),
    (r"^projs\.(\d+)\.", r"vit.layers.\1.attention.o_proj."),
    (r"^norm_cls\.", "vit.reducer.class_norm."),
    (r"^head_cls\.", "vit.reducer.class_head."),
    (r"^norm\.", "vit.layernorm."),
    (r"^head\.", "classifier."),
    (r"^head_dist\.", "distillation_classifier."),
    (r"^aux_head\.", "token_classifier."),
    (r"^score_predictor\.(\d+)\.in_conv\.0\.", r"vit.reducer.predictors.\1.norm."),
    (r"^score_predictor\.(\d+)\.in_conv\.1\.", r"vit.reducer.predictors.\1.project."),
    (r"^score_predictor\.(\d+)\.out_conv\.(0|2|4)\.", r"vit.reducer.predictors.\1.score.\2."),
    (r"^score_predictor\.(\d+)\.keep_threshold$", r"vit.reducer.thresholds.\1"),
]

# a DeiT with distillation token: (pattern of the key that `RENAMINGS` gives, key of DynamicDeiT)
DISTILLED = [(r"^vit\.", "deit."), (r"^classifier\.", "cls_classifier.")]
# an LV-ViT, likewise
STEM = [(r"^vit\.", "lvvit.")]

# What batch norm counts beside its statistics; the only integers among the weights.
COUNTERS = ".num_batches_tracked"

# Where training scripts put the weights in their files, and the average of them; the first is taken that is there.
PLACES = ("model", "state_dict", "model_ema", "state_dict_ema")

# What wrappers put in front of every key.
PREFIXES = ("module.", "_orig_mod.", "model.")
WRAPPED = re.compile(rf"^((?:{'|'.join(map(re.escape, PREFIXES))})+)pos_embed$")

# fused projection in the published key -> its parts, in the order of the rows
FUSED = {
    ".attn.qkv.qkv_layer.": (".attn.q.", ".attn.k.", ".attn.v."),
    ".attn.qkv.": (".attn.q.", ".attn.k.", ".attn.v."),
    ".qk.": (".q.", ".k."),
}


@dataclass(frozen=True)
class Published:
    """What was read of a published checkpoint.

    Attributes:
        file: the weights.
        place: key of the file under which they are, `None` for a plain state dict.
        others: keys under which it has more of the same model.
        tensors: by published key.
        config: of timm, if there is one beside the file.
        left_out: names of tensors that are outside the wrapper of the model, such as weights of a loss.
    """

    file: Path
    place: str | None
    others: list[str]
    tensors: dict[str, Tensor]
    config: dict[str, Any] | None
    left_out: list[str]


def read_published(source: str | Path, place: str | None = None) -> Published:
    """Read the weights in the file `source`, or of the folder `source`, and timm's `config.json` beside them.

    Args:
        source: file with timm-style keys, of one of `timm.ENDINGS`, or a folder with one.
        place: key of the file under which they are; `None` for a plain state dict, else the first of `PLACES`.

    Raises:
        ValueError: as `read_content` and `without_prefixes`, or the file has no tensors there.
    """
    file = find_weights(source)
    config = read_timm_config(file)
    content = read_content(file)
    holding = [key for key, value in content.items() if is_state_dict(value)]
    if place is None and not is_state_dict(content):
        place = next((key for key in PLACES if key in holding), None)
    if not is_state_dict(content if place is None else content.get(place)):
        where = f"neither plain nor under {', '.join(map(repr, PLACES))}" if place is None else f"under {place!r}"
        named = [f"; it has tensors under {key!r}: type --weights {key}" for key in holding[:1]]
        raise ValueError(f"{file} holds no state dict, {where}{''.join(named)}.")
    tensors, left_out = without_prefixes(content if place is None else content[place])
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(INTEGERS)}
    weights = {name: v for name, v in tensors.items() if not name.endswith(COUNTERS)}
    unusable = [name for name, v in weights.items() if not v.is_floating_point() or not v.isfinite().all()]
    if unusable:
        raise ValueError(f"{file} has tensors that are not finite floating-point numbers: {', '.join(unusable)}.")
    return Published(file, place, [key for key in holding if key != place], tensors, config, left_out)


def read_state_dict(source: str | Path, place: str | None = None) -> dict[str, Tensor]:
    """Return the tensors that `read_published` reads."""
    return read_published(source, place).tensors


def read_content(path: Path) -> dict[str, Any]:
    """Load the dictionary in a file of weights; an empty one where it holds something else.

    Only tensors, plain containers and `argparse.Namespace` (which the published files hold) are unpickled.

    Raises:
        ValueError: it is damaged, of another kind, or holds anything else.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            with torch.serialization.safe_globals([argparse.Namespace]):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ValueError(f"{path} is not read: it is damaged or of another kind ({error}).") from error
    except Exception as error:  # bytes that are no pickle can lead to any
        # torch's own message goes on to advise loading without the restriction
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it holds {refused[1]}" if refused else "it is damaged or of another kind"
        raise ValueError(
            f"{path} is not read: {reason}. Only tensors, plain containers and argparse.Namespace are unpickled."
        ) from error
    return content if isinstance(content, dict) else {}


def is_state_dict(content: Any) -> bool:
    return isinstance(content, dict) and bool(content) and all(isinstance(v, Tensor) for v in content.values())


def without_prefixes(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Remove what wrappers (data parallel, compiled, averaged, a trainer's) put in front of all names.

    Returns:
        them, and the names of those outside the wrapper, which are no part of the model.

    Raises:
        ValueError: parts of a model are within the wrapper and outside.
    """
    tensors = {name: tensor for name, tensor in tensors.items() if name != "n_averaged"}  # of torch's AveragedModel
    while prefix := next((each for each in PREFIXES if tensors and all(n.startswith(each) for n in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    wrapped = [found[1] for name in tensors if (found := WRAPPED.match(name))]
    if "pos_embed" in tensors or len(wrapped) != 1:
        return tensors, []
    others = [name for name in tensors if not name.startswith(wrapped[0])]
    if parts := [name for name in others if is_published(name)]:
        outside = list_first(parts)
        raise ValueError(f"The model is under {wrapped[0]!r} in the file, but outside of it there is {outside}.")
    within = {name.removeprefix(wrapped[0]): tensor for name, tensor in tensors.items() if name not in others}
    return within, others


def is_published(name: str) -> bool:
    """Return whether a tensor of a published model has the name `name`."""
    return name.startswith(("blocks.", "qks.")) or rename_key(name) != name


def rename_keys(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published (timm-style) keys -> ours; fused projections are split. Unknown keys stay as they are."""
    if is_levit(state_dict):
        return rename_levit_keys(state_dict)
    split: dict[str, Tensor] = {}
    for name, tensor in without_fused_metric(state_dict).items():
        fused = next((fused for fused in FUSED if fused in name and ".metric_layer." not in name), None)
        if fused is not None and tensor.ndim and len(tensor) % len(FUSED[fused]) == 0:
            parts = tensor.chunk(len(FUSED[fused]))
            split |= {name.replace(fused, part): rows.clone() for part, rows in zip(FUSED[fused], parts, strict=True)}
        else:
            split[name] = tensor.reshape(1) if name.endswith(".keep_threshold") and tensor.ndim == 0 else tensor
    renamed = {rename_key(name): tensor for name, tensor in split.items()}
    return {rename_key(name, family_renamings(state_dict)): tensor for name, tensor in renamed.items()}


def family_renamings(state_dict: dict[str, Tensor]) -> list[tuple[str, str]]:
    """Return the patterns by which the keys that `RENAMINGS` gives become those of another family than ViT."""
    if is_distilled(state_dict):
        return DISTILLED
    return STEM if has_stem(state_dict) else []


def without_fused_metric(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out DTEM's copies of its projections and metric in one, which may be older than the layers themselves."""
    copies = {name.replace(".qkv_layer.", ".") for name in state_dict if ".attn.qkv.qkv_layer." in name}
    return {name: tensor for name, tensor in state_dict.items() if name not in copies}


def rename_key(name: str, renamings: list[tuple[str, str]] = RENAMINGS) -> str:
    """Return our key of the published key `name`."""
    for pattern, replacement in renamings:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def is_distilled(state_dict: dict[str, Tensor]) -> bool:
    """Return whether these are tensors, under published keys, of a DeiT with distillation token."""
    return "dist_token" in state_dict


def has_stem(state_dict: dict[str, Tensor]) -> bool:
    """Return whether these are tensors, under published keys, of an LV-ViT, whose stem has convolutions."""
    return "patch_embed.conv1.weight" in state_dict


def read_patch_sizes(state_dict: dict[str, Tensor]) -> tuple[int, int, int]:
    """Return the channels of an image, and height and width of a patch in pixels."""
    _, channels, height, width = state_dict["patch_embed.proj.weight"].shape
    if has_stem(state_dict):  # whose first convolution halves the image
        return state_dict["patch_embed.conv1.weight"].shape[1], 2 * height, 2 * width
    return channels, height, width
