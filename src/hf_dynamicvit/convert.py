# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit convert`: a published checkpoint with timm-style keys -> a saved DynamicViT model and processor."""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import DeiTImageProcessorPil
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from .command_line import only_json, print_json
from .folders import check_folder, whole_folder
from .model.configuration_dynamicvit import DynamicViTConfig
from .model.cost import as_pair
from .model.modeling_dynamicvit import DynamicViTForImageClassification


# Families whose files are recognised by a key of theirs and refused by name.
REFUSED = {
    "LV-ViT": r"^(aux_head\.|patch_embed\.conv1\.)",
    "Swin": r"(relative_position_bias_table$|^layers\.\d+\.blocks\.)",
    "ConvNeXt": r"^(downsample_layers\.|stages\.\d+\.\d+\.dwconv\.)",
    "DeiT with distillation token": r"^(dist_token|head_dist\.)",
}

# Key of a method -> the reducers that it is for. Evo-ViT's classifier reads the mean of the patches.
MADE_FOR = {
    r"^(qks|norms)\.": ("evovit",),
    r"^score_predictor\.\d+\.keep_threshold$": ("asvit",),
    r"^score_predictor\.\d+\.in_conv\.": ("dynamicvit", "tps"),
}

# (pattern of the published key, our key), first match wins; fused projections are split beforehand.
RENAMINGS = [
    (r"^cls_token$", "vit.embeddings.cls_token"),
    (r"^pos_embed$", "vit.embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "vit.embeddings.patch_embeddings.projection."),
    (r"^blocks\.(\d+)\.norm1\.", r"vit.layers.\1.layernorm_before."),
    (r"^blocks\.(\d+)\.norm2\.", r"vit.layers.\1.layernorm_after."),
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
    (r"^score_predictor\.(\d+)\.in_conv\.0\.", r"vit.reducer.predictors.\1.norm."),
    (r"^score_predictor\.(\d+)\.in_conv\.1\.", r"vit.reducer.predictors.\1.project."),
    (r"^score_predictor\.(\d+)\.out_conv\.(0|2|4)\.", r"vit.reducer.predictors.\1.score.\2."),
    (r"^score_predictor\.(\d+)\.keep_threshold$", r"vit.reducer.thresholds.\1"),
]

# fused projection in the published key -> its parts, in the order of the rows
FUSED = {".attn.qkv.": (".attn.q.", ".attn.k.", ".attn.v."), ".qk.": (".q.", ".k.")}


def read_state_dict(source: str | Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors`, `.pth`, `.pt` or `.tar` file, plain or under `model`.

    Only tensors, plain containers and `argparse.Namespace` (which the published files hold) are unpickled.

    Raises:
        ValueError: the file is missing, of another kind, holds anything else, or has no tensors.
    """
    path = Path(source)
    if not path.is_file():
        raise ValueError(
            f"{path} is not a file. convert reads one .safetensors or .pth file; a Hugging Face ViT checkpoint needs "
            "no conversion: DynamicViTForImageClassification.from_pretrained(...) reads it."
        )
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
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"{path} holds no state dict, neither plain nor under 'model'.")
    unusable = [name for name, v in content.items() if not v.is_floating_point() or not v.isfinite().all()]
    if unusable:
        raise ValueError(f"{path} has tensors that are not finite floating-point numbers: {', '.join(unusable)}.")
    return content


def rename_keys(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published (timm-style) keys -> ours; fused projections are split. Unknown keys stay as they are."""
    split: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        fused = next((fused for fused in FUSED if fused in name), None)
        if fused is not None and tensor.ndim and len(tensor) % len(FUSED[fused]) == 0:
            parts = tensor.chunk(len(FUSED[fused]))
            split |= {name.replace(fused, part): rows.clone() for part, rows in zip(FUSED[fused], parts, strict=True)}
        else:
            split[name] = tensor.reshape(1) if name.endswith(".keep_threshold") and tensor.ndim == 0 else tensor
    return {rename_key(name): tensor for name, tensor in split.items()}


def rename_key(name: str) -> str:
    for pattern, replacement in RENAMINGS:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def check_kind(state_dict: dict[str, Tensor], reducer: str) -> None:
    """Refuse, by name, checkpoints of other families, of other methods than `reducer`, and those of Transformers.

    Raises:
        ValueError: it is one of them.
    """
    if any(name.startswith(("vit.", "deit.")) for name in state_dict):
        raise ValueError(
            "This is a checkpoint of Transformers, which needs no conversion: type its folder where a model is wanted."
        )
    for family, pattern in REFUSED.items():
        if any(re.search(pattern, name) for name in state_dict):
            raise ValueError(f"This is a {family} checkpoint, which hf_dynamicvit does not support; ViT and DeiT are.")
    for pattern, methods in MADE_FOR.items():
        if reducer not in methods and any(re.search(pattern, name) for name in state_dict):
            raise ValueError(
                f"This checkpoint was made for reducer {' or '.join(map(repr, methods))}, not {reducer!r}: it has "
                f"{next(name for name in state_dict if re.search(pattern, name))}."
            )


def infer_config(
    state_dict: dict[str, Tensor],
    num_attention_heads: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    label_names: list[str] | None = None,
    **overrides: Any,
) -> DynamicViTConfig:
    """The configuration whose sizes the published tensors have; `layer_norm_eps` is 1e-6, as they were trained with.

    Args:
        state_dict: tensors under published keys.
        num_attention_heads: `None` means heads 64 wide.
        image_size: pixels; `None` means square.
        label_names: names of the classes, in order.
        overrides: fields of `DynamicViTConfig`, such as `reducer`.

    Raises:
        ValueError: a family that is not supported, tensors missing, or sizes that do not fit.
    """
    check_kind(state_dict, overrides.get("reducer", "dynamicvit"))
    needed = {"pos_embed": 3, "patch_embed.proj.weight": 4, "blocks.0.mlp.fc1.weight": 2, "head.weight": 2}
    wrong = [name for name, ndim in needed.items() if name not in state_dict or state_dict[name].ndim != ndim]
    blocks = [re.match(r"blocks\.(\d+)\.", name) for name in state_dict if name.startswith("blocks.")]
    if wrong or not all(blocks):
        raise ValueError(
            f"Not a timm-style ViT checkpoint: {', '.join(wrong) or 'a block without a number'} missing or mis-shaped."
        )
    width, channels, patch_height, patch_width = state_dict["patch_embed.proj.weight"].shape
    num_patches = state_dict["pos_embed"].shape[1] - 1
    if image_size is None:
        side = round(num_patches**0.5)
        if side * side != num_patches:
            raise ValueError(f"{num_patches} positions are not a square grid; give the image size, height and width.")
        image_size = (side * patch_height, side * patch_width)
    if num_attention_heads is None:
        num_attention_heads = max(1, width // 64)
    if num_attention_heads < 1 or width % num_attention_heads:
        raise ValueError(f"{num_attention_heads} attention heads do not divide the width {width}; give their number.")
    num_labels = state_dict["head.weight"].shape[0]
    if label_names is not None and len(label_names) != num_labels:
        raise ValueError(f"{len(label_names)} label names for {num_labels} classes.")
    names = label_names or [f"LABEL_{index}" for index in range(num_labels)]
    config = DynamicViTConfig(
        hidden_size=width,
        num_hidden_layers=1 + max(int(block[1]) for block in blocks if block),
        num_attention_heads=num_attention_heads,
        intermediate_size=state_dict["blocks.0.mlp.fc1.weight"].shape[0],
        num_channels=channels,
        patch_size=patch_height if patch_height == patch_width else (patch_height, patch_width),
        image_size=image_size[0] if isinstance(image_size, tuple) and image_size[0] == image_size[1] else image_size,
        qkv_bias="blocks.0.attn.qkv.bias" in state_dict or "qks.0.qk.bias" in state_dict,
        layer_norm_eps=1e-6,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        **overrides,
    )
    if config.reads_class_token and any(name.startswith("qks.") for name in state_dict):
        raise ValueError(
            "This Evo-ViT checkpoint classifies the mean of the patches; reducer_args has 'pooling': 'class'."
        )
    return config


def convert_state_dict(state_dict: dict[str, Tensor], config: DynamicViTConfig) -> DynamicViTForImageClassification:
    """A model in eval mode with the published tensors. Predictors that a dense file lacks are freshly initialised.

    Raises:
        ValueError: lists the tensors that are missing, left over or mis-shaped.
    """
    tensors = rename_keys(state_dict)
    model = DynamicViTForImageClassification(config).eval()
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    dense = not any(name.startswith("vit.reducer.") for name in tensors)
    missing = [name for name in expected if name not in tensors and not (dense and name.startswith("vit.reducer."))]
    left_over = [name for name in tensors if name not in expected]
    mis_shaped = [
        f"{name} is {list(tensor.shape)}, expected {list(expected[name])}"
        for name, tensor in tensors.items()
        if name in expected and tensor.shape != expected[name]
    ]
    problems = {"missing": missing, "left over": left_over, "mis-shaped": mis_shaped}
    if any(problems.values()):
        lines = [f"{kind}: {', '.join(names)}" for kind, names in problems.items() if names]
        raise ValueError("The checkpoint does not fit. " + "; ".join(lines))
    model.load_state_dict(tensors, strict=not dense)
    return model


def save_whole(model: DynamicViTForImageClassification, processor: Any, output: Path, overwrite: bool = False) -> None:
    """Write model and processor to `output`, completely or not at all.

    Raises:
        ValueError: as `folders.check_folder`.
    """
    with whole_folder(output, overwrite) as folder:
        model.save_pretrained(folder)
        processor.save_pretrained(folder)


def read_label_names(path: str | Path) -> list[str]:
    """Class names from a file: a JSON list, a JSON object from index to name, or one name a line."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as label names: {error}") from error
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        content = None
    if isinstance(content, dict):
        if set(content) != {str(index) for index in range(len(content))}:
            raise ValueError(f"{path} has the keys {', '.join(content)}; they must be 0 to {len(content) - 1}.")
        content = [content[str(index)] for index in range(len(content))]
    if isinstance(content, list):
        return [str(name) for name in content]
    return [line.strip() for line in text.splitlines() if line.strip()]


def published_processor(height: int, width: int) -> DeiTImageProcessorPil:
    """The published evaluation: resize to 8/7, crop the centre; from 384 pixels on straight to size. ImageNet mean."""
    straight = min(height, width) >= 384
    larger = {"height": round(height * 8 / 7), "width": round(width * 8 / 7)}
    size = {"shortest_edge": larger["height"]} if height == width else larger
    return DeiTImageProcessorPil(
        size={"height": height, "width": width} if straight else size,
        do_center_crop=not straight,
        crop_size={"height": height, "width": width},
        image_mean=IMAGENET_DEFAULT_MEAN,
        image_std=IMAGENET_DEFAULT_STD,
    )


def main(args: argparse.Namespace) -> None:
    with only_json(args.json):
        check_folder(args.output, args.overwrite)
        state_dict = read_state_dict(args.source)
        config = infer_config(
            state_dict,
            num_attention_heads=args.num_attention_heads,
            image_size=tuple(args.image_size) if args.image_size else None,
            label_names=read_label_names(args.label_names) if args.label_names else None,
            reducer=args.reducer,
            reducer_layers=args.reducer_layers,
            reducer_args=args.reducer_args,
            keep_ratio=args.keep_ratio[0] if args.keep_ratio and len(args.keep_ratio) == 1 else args.keep_ratio,
        )
        model = convert_state_dict(state_dict, config)
        save_whole(model, published_processor(*as_pair(config.image_size)), args.output, args.overwrite)
    written, notes = what_was_done(model), notes_on(model, state_dict)
    if args.json:
        assumed = args.num_attention_heads is None
        print_json({"output": str(args.output)} | written | {"heads_assumed": assumed, "notes": notes})
        return
    heads = (
        "given" if args.num_attention_heads else "assumed: 64 wide, or 1; set --num-attention-heads if they are not"
    )
    kept = "what each image needs" if written["patches"] is None else f"{written['patches']} patches"
    print(f"Wrote {args.output}: {config.num_hidden_layers} blocks of width {config.hidden_size},")
    print(f"{config.num_attention_heads} attention heads ({heads}), {config.num_labels} classes,")
    print(f"reducer {config.reducer} at blocks {model.decision_layers} keeping {kept}.")
    for note in notes:
        print(note)


def what_was_done(model: DynamicViTForImageClassification) -> dict[str, Any]:
    """Sizes and method of what was written."""
    config = model.config
    return {
        "blocks": config.num_hidden_layers,
        "width": config.hidden_size,
        "attention_heads": config.num_attention_heads,
        "classes": config.num_labels,
        "reducer": config.reducer,
        "decision_layers": model.decision_layers,
        "patches": None if model.encoder.reducer.adaptive else model.token_counts(),
    }


def notes_on(model: DynamicViTForImageClassification, state_dict: dict[str, Tensor]) -> list[str]:
    """What to know before it is used."""
    notes, config = [], model.config
    if not config.reads_class_token and not any(name.startswith("qks.") for name in state_dict):
        notes.append("The classifier reads the mean of the patches, but was trained on the class token: fine-tune it.")
    learned = any(name.startswith("vit.reducer.") for name in rename_keys(state_dict))
    if not learned and any(True for _ in model.encoder.reducer.parameters()):
        why = "it serves in training only" if config.reducer == "evovit" else "they need training"
        notes.append(f"The file has none of the reducer's parameters: they are freshly initialised; {why}.")
    return notes
