# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A published checkpoint with timm-style keys -> a saved DynamicViT model and processor."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import DeiTImageProcessorPil
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ..folders import check_folder, whole_folder
from ..model.configuration_dynamicdeit import DynamicDeiTConfig
from ..model.configuration_dynamicvit import DynamicViTConfig
from ..model.cost import as_pair
from ..model.modeling_dynamicdeit import DynamicDeiTForImageClassification
from ..model.modeling_dynamicvit import DynamicViTForImageClassification
from .published import Published, is_distilled, read_published, rename_keys
from .timm import image_size_of, model_args_of, timm_processor


# Families whose files are recognised by a key of theirs and refused by name.
REFUSED = {
    "LV-ViT": r"^(aux_head\.|patch_embed\.conv1\.)",
    "Swin": r"(relative_position_bias_table$|^layers\.\d+\.blocks\.)",
    "ConvNeXt": r"^(downsample_layers\.|stages\.\d+\.\d+\.dwconv\.)",
}

# Key of a method -> the reducers that it is for. Evo-ViT's classifier reads the mean of the patches.
MADE_FOR = {
    r"^(qks|norms)\.": ("evovit",),
    r"^score_predictor\.\d+\.keep_threshold$": ("asvit",),
    r"^score_predictor\.\d+\.in_conv\.": ("dynamicvit", "tps"),
}

# Heads of published ViTs that are not 64 wide (So400m, H, g, G), by the width of the model.
HEADS = {1152: 16, 1280: 16, 1408: 16, 1664: 16}


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


def infer_config(
    state_dict: dict[str, Tensor],
    num_attention_heads: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    label_names: list[str] | None = None,
    **overrides: Any,
) -> DynamicViTConfig:
    """The configuration whose sizes the published tensors have; `layer_norm_eps` is 1e-6, as they were trained with.

    That of DynamicDeiT where there is a distillation token. Without a classifier in the file it has no classes.

    Args:
        state_dict: tensors under published keys.
        num_attention_heads: `None` means those usual for the width, in most 64 wide.
        image_size: pixels; `None` means square.
        label_names: names of the classes, in order.
        overrides: fields of `DynamicViTConfig`, such as `reducer`.

    Raises:
        ValueError: a family that is not supported, tensors missing, or sizes that do not fit.
    """
    check_kind(state_dict, overrides.get("reducer", "dynamicvit"))
    needed = {"pos_embed": 3, "patch_embed.proj.weight": 4, "blocks.0.mlp.fc1.weight": 2}
    if any(name.startswith("head.") for name in state_dict):
        needed["head.weight"] = 2
    wrong = [name for name, ndim in needed.items() if name not in state_dict or state_dict[name].ndim != ndim]
    blocks = [re.match(r"blocks\.(\d+)\.", name) for name in state_dict if name.startswith("blocks.")]
    if wrong or not all(blocks):
        raise ValueError(
            f"Not a timm-style ViT checkpoint: {', '.join(wrong) or 'a block without a number'} missing or mis-shaped."
        )
    width, channels, patch_height, patch_width = state_dict["patch_embed.proj.weight"].shape
    distilled = is_distilled(state_dict)
    num_patches = state_dict["pos_embed"].shape[1] - (2 if distilled else 1)
    if image_size is None:
        side = side_of_square(num_patches)
        image_size = (side * patch_height, side * patch_width)
    num_attention_heads = check_heads(width, num_attention_heads)
    num_labels = state_dict["head.weight"].shape[0] if "head.weight" in state_dict else 0
    if label_names is not None and len(label_names) != num_labels:
        raise ValueError(f"{len(label_names)} label names for {num_labels} classes.")
    names = label_names or [f"LABEL_{index}" for index in range(num_labels)]
    config = (DynamicDeiTConfig if distilled else DynamicViTConfig)(
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
    distilled = isinstance(config, DynamicDeiTConfig)
    family: Any = DynamicDeiTForImageClassification if distilled else DynamicViTForImageClassification
    model = family(config).eval()
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    dense = not any(".reducer." in name for name in tensors)
    missing = [name for name in expected if name not in tensors and not (dense and ".reducer." in name)]
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


def published_processor(
    height: int,
    width: int,
    mean: Sequence[float] = IMAGENET_DEFAULT_MEAN,
    std: Sequence[float] = IMAGENET_DEFAULT_STD,
) -> DeiTImageProcessorPil:
    """Prepare images as in the published evaluation: resize to 8/7 and crop, or from 384 pixels on resize alone."""
    straight = min(height, width) >= 384
    larger = {"height": round(height * 8 / 7), "width": round(width * 8 / 7)}
    size = {"shortest_edge": larger["height"]} if height == width else larger
    return DeiTImageProcessorPil(
        size={"height": height, "width": width} if straight else size,
        do_center_crop=not straight,
        crop_size={"height": height, "width": width},
        image_mean=list(mean),
        image_std=list(std),
    )


def choose_processor(
    config: DynamicViTConfig,
    published: Published,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> tuple[DeiTImageProcessorPil, str]:
    """Choose the image processor of the model, and say in one line where its numbers are from.

    Args:
        config: of the model.
        published: what was read; timm's `config.json` says how images are prepared.
        mean, std: one number or one a channel, in place of what that says, or of ImageNet's.

    Raises:
        ValueError: one of `mean` and `std` alone, numbers that do not fit the channels, or nothing is known of them.
    """
    height, width = as_pair(config.image_size)
    if (mean is None) != (std is None):
        raise ValueError("--image-mean and --image-std go together; give both.")
    if published.config is None:
        processor = published_processor(height, width)
    else:
        processor = timm_processor(published.config, height, width)
    if mean is not None and std is not None:
        each = config.num_channels if len(mean) == len(std) == 1 else 1
        processor.image_mean, processor.image_std = list(mean) * each, list(std) * each
        if not all(value > 0 for value in processor.image_std):
            raise ValueError(f"--image-std is {' '.join(map(str, std))}; each is above 0.")
    counts = {len(processor.image_mean), len(processor.image_std)}
    if counts != {config.num_channels}:
        raise ValueError(
            f"The model takes images of {config.num_channels} channels: give --image-mean and --image-std, each one "
            f"number or {config.num_channels}."
        )
    return processor, f"Images are normalised with {normalisation(processor)}{origin(published, mean is not None)}"


def normalisation(processor: Any) -> str:
    mean, std = (", ".join(f"{v:.4g}" for v in each) for each in (processor.image_mean, processor.image_std))
    return f"mean {mean} and std {std}"


def origin(published: Published, given: bool) -> str:
    """Return the end of a sentence: where mean and std are from."""
    if given:
        return ", as given."
    if published.config is not None:
        return f", as {published.file.with_name('config.json')} says."
    return (
        " of ImageNet: assumed, as there is no config.json of timm beside the file. Many ViTs of timm (AugReg) take "
        "--image-mean 0.5 --image-std 0.5."
    )


def image_size_beside(published: Published) -> tuple[int, int] | None:
    """Return height and width by timm's `config.json`, if the tensors are of a model of that size.

    Raises:
        ValueError: they are not, and its `model_args` say so.
    """
    patches, positions = (published.tensors.get(name) for name in ("patch_embed.proj.weight", "pos_embed"))
    if published.config is None or patches is None or positions is None or patches.ndim != 4 or positions.ndim != 3:
        return None
    height, width = image_size_of(published.config)
    num_patches = (height // patches.shape[2]) * (width // patches.shape[3])
    num_prefix = 2 if is_distilled(published.tensors) else 1
    if positions.shape[1] == num_prefix + num_patches:
        return height, width
    if "img_size" in model_args_of(published.config):
        raise ValueError(
            f"config.json has img_size {height} x {width} in its model_args, of {num_patches} patches, but the file "
            f"has {positions.shape[1] - num_prefix}: type --image-size, height and width."
        )
    return None


def heads_beside(published: Published) -> int | None:
    """Return the number of attention heads in timm's `config.json`, if it changes the architecture's."""
    return model_args_of(published.config or {}).get("num_heads")


def label_names_beside(published: Published) -> list[str] | None:
    """Names of the classes in timm's `config.json`, where it has one for each."""
    names, head = (published.config or {}).get("label_names"), published.tensors.get("head.weight")
    if not isinstance(names, list) or head is None or len(names) != len(head):
        return None
    return [str(name) for name in names]


def check_head(config: dict[str, Any] | None) -> None:
    """Refuse a timm model whose classifier reads another thing than the class token.

    Raises:
        ValueError: it does, or as `model_args_of`.
    """
    config = config or {}
    pool = model_args_of(config).get("global_pool", config.get("global_pool", "token"))
    if pool not in ("token", "", None):
        raise ValueError(f"config.json has global_pool {pool!r}; convert takes models that classify the class token.")


@dataclass(frozen=True)
class Converted:
    """What `convert` wrote.

    Attributes:
        model: in eval mode.
        published: what was read.
        processor: the image processor.
        preparation: one line on where its numbers are from.
    """

    model: DynamicViTForImageClassification
    published: Published
    processor: Any
    preparation: str


def convert(
    source: str | Path,
    output: Path,
    *,
    overwrite: bool = False,
    place: str | None = None,
    num_attention_heads: int | None = None,
    image_size: tuple[int, int] | None = None,
    label_names: list[str] | None = None,
    image_mean: Sequence[float] | None = None,
    image_std: Sequence[float] | None = None,
    **overrides: Any,
) -> Converted:
    """Write the published checkpoint `source`, a file or a folder, as a model and processor to the folder `output`.

    Args:
        source, place: as for `read_published`.
        output, overwrite: as for `folders.check_folder`.
        num_attention_heads: `None` means as timm's `config.json` says, or those usual for the width.
        image_size: height and width in pixels; `None` means as timm's `config.json` says, or square.
        label_names: names of the classes, in order; `None` means as timm's `config.json` says, if it does.
        image_mean, image_std: as for `choose_processor`.
        overrides: fields of `DynamicViTConfig`, such as `reducer`.

    Raises:
        ValueError: what is wrong with any of them; nothing is written.
    """
    check_folder(output, overwrite)
    published = read_published(source, place)
    tensors = published.tensors
    check_head(published.config)
    config = infer_config(
        tensors,
        num_attention_heads=heads_beside(published) if num_attention_heads is None else num_attention_heads,
        image_size=image_size or image_size_beside(published),
        label_names=label_names or label_names_beside(published),
        **overrides,
    )
    processor, preparation = choose_processor(config, published, image_mean, image_std)
    model = convert_state_dict(tensors, config)
    save_whole(model, processor, output, overwrite)
    return Converted(model, published, processor, preparation)
