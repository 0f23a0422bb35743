# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Published LeViTs of Evo-ViT: our names of their tensors, and their sizes."""

import re
from typing import Any

from torch import Tensor

from ..model.configuration_dynamiclevit import DynamicLevitConfig


# A key that only these files have.
MARK = "blocks.0.m1.m.qkv.c.weight"

# Every block stands in the files twice, under other names too.
COPIES = "stage_blocks."

# (pattern of the published key, our key), first match wins; blocks have names of their own.
RENAMINGS = [
    (r"^cls_token$", "levit.class_token"),
    (r"^poss$", "levit.position_embeddings"),
    (r"^head\.", "classifier."),
    (r"^head_dist\.", "classifier_distill."),
    (r"^head_cls\.", "levit.reducer.class_heads.0."),
    (r"^head_cls_dist\.", "levit.reducer.class_heads.1."),
]
STEM = re.compile(r"^patch_embed\.(0|2|4|6)\.")

# (pattern of what stands behind the number of a block, ours behind the number of a layer)
PARTS = [
    (r"^m1\.m\.qkv\.", "0.module.queries_keys_values."),
    (r"^m1\.m\.proj\.1\.", "0.module.projection."),
    (r"^m2\.m\.0\.", "1.module.linear_up."),
    (r"^m2\.m\.2\.", "1.module.linear_down."),
    (r"^kv\.", "0.keys_values."),
    (r"^q\.1\.", "0.queries."),
    (r"^proj\.1\.", "0.projection."),
    (r"^poss$", "0.position_embeddings"),
    (r"^m\.0\.", "0.module.linear_up."),
    (r"^m\.2\.", "0.module.linear_down."),
]

# Width of a key, which the files do not tell, by the width of the first stage.
KEY_DIMS = {128: 16, 192: 32, 256: 32, 384: 32}


def is_levit(state_dict: dict[str, Tensor]) -> bool:
    """Return whether these are tensors, under published keys, of a LeViT of Evo-ViT."""
    return MARK in state_dict


def split_stages(state_dict: dict[str, Tensor]) -> list[list[str]]:
    """List what each published block is, `"block"`, `"coarser"` or `"mlp"`, by stage."""
    stages: list[list[str]] = [[]]
    count = 1 + max(int(found[1]) for name in state_dict if (found := re.match(r"blocks\.(\d+)\.", name)))
    for index in range(count):
        if f"blocks.{index}.kv.c.weight" in state_dict:
            stages[-1].append("coarser")
        elif f"blocks.{index}.m.0.c.weight" in state_dict:
            stages[-1].append("mlp")
            stages.append([])
        else:
            stages[-1].append("block")
    return stages


def rename_levit_keys(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename published tensors to ours, and leave the second copy of each block out."""
    places = {}
    for stage, kinds in enumerate(split_stages(state_dict)):
        layer = 0
        for kind in kinds:
            places[len(places)] = stage, layer
            layer += 2 if kind == "block" else 1
    return {
        rename_levit_key(name, places): tensor for name, tensor in state_dict.items() if not name.startswith(COPIES)
    }


def rename_levit_key(name: str, places: dict[int, tuple[int, int]]) -> str:
    """Return our key of a published one; `places` has stage and layer of each block."""
    name = STEM.sub(lambda found: f"levit.patch_embeddings.embedding_layer_{int(found[1]) // 2 + 1}.", name)
    if name.startswith("levit.patch_embeddings."):
        return name.replace(".c.", ".convolution.").replace(".bn.", ".batch_norm.")
    for pattern, replacement in RENAMINGS:
        if re.match(pattern, name):
            name = re.sub(pattern, replacement, name)
            return name.replace(".bn.", ".batch_norm.").replace(".l.", ".linear.")
    found = re.match(r"blocks\.(\d+)\.(.+)", name)
    if found is None:
        return name
    (stage, layer), part = places[int(found[1])], found[2]
    if part.endswith("learn_tradeoff"):
        attentions = [index for index, (_, first) in places.items() if index < int(found[1])]
        return f"levit.reducer.tradeoffs.{len(attentions) - stage}"  # the MLP behind a coarser grid has none
    for pattern, replacement in PARTS:
        if re.match(pattern, part):
            offset, _, rest = replacement.partition(".")
            rest = re.sub(pattern, rest, part) if pattern.endswith("$") else rest + re.sub(pattern, "", part)
            rest = rest.replace("c.weight", "linear.weight").replace("bn.", "batch_norm.")
            return f"levit.encoder.stages.{stage}.layers.{layer + int(offset)}.{rest}"
    return name


def infer_levit_config(
    state_dict: dict[str, Tensor],
    num_attention_heads: int | None,
    image_size: int | tuple[int, int] | None,
    names: list[str],
    **overrides: Any,
) -> DynamicLevitConfig:
    """Infer the configuration whose sizes the published tensors have.

    Args:
        state_dict: tensors under published keys.
        num_attention_heads: of the first stage; `None` means as usual for its width.
        image_size: pixels, which must be those of the file; `None` means these.
        names: of the classes.
        overrides: fields of `DynamicLevitConfig`, such as `keep_ratio`.

    Raises:
        ValueError: the heads do not divide what the file has, or it is of another image size.
    """
    side = 16 * round((state_dict["poss"].shape[1] - 1) ** 0.5)
    if image_size not in (None, side, (side, side)):
        raise ValueError(f"The image size is {image_size}, but the file is of {side} x {side} pixels.")
    stages = split_stages(state_dict)
    firsts = [sum(map(len, stages[:stage])) for stage in range(len(stages))]
    joint = [state_dict[f"blocks.{first}.m1.m.qkv.c.weight"] for first in firsts]  # [4 * heads * key, width]
    widths = [weight.shape[1] for weight in joint]
    key = KEY_DIMS.get(widths[0], 16) if num_attention_heads is None else len(joint[0]) // (4 * num_attention_heads)
    if key < 1 or any(len(weight) % (4 * key) for weight in joint):
        raise ValueError(f"{num_attention_heads} attention heads do not divide the attention of the first stage.")
    hidden = [len(state_dict[f"blocks.{first}.m2.m.0.c.weight"]) for first in firsts]
    return DynamicLevitConfig(
        image_size=side,
        num_channels=state_dict["patch_embed.0.c.weight"].shape[1],
        hidden_sizes=widths,
        num_attention_heads=[len(weight) // (4 * key) for weight in joint],
        depths=[kinds.count("block") for kinds in stages],
        key_dim=[key] * len(stages),
        mlp_ratio=[size // width for size, width in zip(hidden, widths, strict=True)],
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        **{name: value for name, value in overrides.items() if value is not None},
    )
