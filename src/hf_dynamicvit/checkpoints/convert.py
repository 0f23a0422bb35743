# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A published checkpoint with timm-style keys -> a saved DynamicViT model and processor."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..folders import check_folder, whole_folder
from ..model.classification import ReducedForImageClassification
from ..registration import CLASSIFIERS
from .convert_checks import check_head
from .convert_config import heads_beside, image_size_beside, infer_config, label_names_beside
from .convert_processor import choose_processor
from .published import Published, read_published, rename_keys
from .pyramids import RENAMINGS, rename_pyramid_keys


def convert_state_dict(state_dict: dict[str, Tensor], config: Any) -> ReducedForImageClassification:
    """Make a model in eval mode of the published tensors. Predictors that a dense file lacks are freshly initialised.

    Raises:
        ValueError: lists the tensors that are missing, left over or mis-shaped.
    """
    pyramid = config.model_type in RENAMINGS
    tensors = rename_pyramid_keys(state_dict, config.model_type) if pyramid else rename_keys(state_dict)
    family: Any = CLASSIFIERS[config.model_type]
    model = family(config).eval()
    dense = not any(".reducer." in name for name in tensors)
    check_fit(tensors, {name: tensor.shape for name, tensor in model.state_dict().items()}, dense)
    model.load_state_dict(tensors, strict=not dense)
    return model


def check_fit(tensors: dict[str, Tensor], expected: dict[str, Any], dense: bool) -> None:
    """Refuse tensors that are not those of a model.

    Args:
        tensors: by the model's names.
        expected: the shapes of the model's.
        dense: those of the reducer may be missing.

    Raises:
        ValueError: lists the tensors that are missing, left over or mis-shaped.
    """
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


def save_whole(model: ReducedForImageClassification, processor: Any, output: Path, overwrite: bool = False) -> None:
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


@dataclass(frozen=True)
class Converted:
    """What `convert` wrote.

    Attributes:
        model: in eval mode.
        published: what was read.
        processor: the image processor.
        preparation: one line on where its numbers are from.
    """

    model: ReducedForImageClassification
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
