# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Describe an exported model for `infer.py`: its classes, and what its image processor does, checked on images."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .._version import __version__
from ..checkpoints.cost import multiply_adds
from ..checkpoints.labels import label_names
from ..data.transforms import MODES, channel_values
from ..model.cost import as_pair, image_tower
from .infer import prepare


# The script that goes along, and how far its input may be from the image processor's, as a fraction of what pixels
# vary by: a resize on tensors rounds otherwise than Pillow's.
SCRIPT = Path(__file__).with_name("infer.py")
TOLERANCE = 0.02


def read_size(size: Any) -> dict[str, int]:
    """Read the size of an image processor: a height and a width, or the shortest edge.

    Raises:
        ValueError: it is another kind of size.
    """
    known = {name: size[name] for name in ("height", "width", "shortest_edge") if size.get(name)}
    if known.keys() not in ({"height", "width"}, {"shortest_edge"}):
        raise ValueError(
            f"the size of its image processor is {dict(size)}; infer.py knows height and width, or an edge"
        )
    return known


def describe_preprocessing(processor: Any, num_channels: int) -> dict[str, Any]:
    """Describe what `processor` does to an image, as `infer.prepare` takes it.

    Raises:
        ValueError: it resizes otherwise.
    """
    normalised = processor.do_normalize
    return {
        "mode": MODES[num_channels],
        "size": read_size(processor.size) if processor.do_resize else None,
        "resample": int(processor.resample),
        "crop": read_size(processor.crop_size) if processor.do_center_crop else None,
        "scale": processor.rescale_factor if processor.do_rescale else 1.0,
        "mean": channel_values(processor.image_mean if normalised else 0.0, num_channels),
        "std": channel_values(processor.image_std if normalised else 1.0, num_channels),
    }


def check_preprocessing(about: dict[str, Any], images: Sequence[Image.Image], pixel_values: Tensor) -> None:
    """Refuse a description by which `infer.prepare` gives something else than the image processor.

    Args:
        about: what `describe_preprocessing` returned.
        images: any.
        pixel_values: what the processor made of them, `[N, channels, height, width]`.

    Raises:
        ValueError: that is so.
    """
    for image, expected in zip(images, pixel_values.float(), strict=True):
        found = torch.from_numpy(np.asarray(prepare(image, about)))
        if found.shape != expected.shape or (found - expected).abs().mean() > TOLERANCE * expected.std():
            raise ValueError(
                "infer.py would prepare images otherwise than the model's image processor; write the file alone with "
                "--only-file."
            )


def describe_model(model: Any, preprocessing: dict[str, Any]) -> dict[str, Any]:
    """Describe an exported classifier: what it takes, what it gives, and where it is from."""
    config = model.config
    height, width = as_pair(image_tower(config).image_size)
    several = config.problem_type == "multi_label_classification"
    return {
        "made_by": f"hf_dynamicvit {__version__}",
        "model": Path(config.name_or_path).name,  # a folder is nobody else's business
        "reducer": getattr(config, "reducer", None),
        "multiply_adds": multiply_adds(model),
        "input": {
            "name": "pixel_values",
            "dtype": "float32",
            "shape": ["batch", image_tower(config).num_channels, height, width],
        },
        "output": {"name": "logits", "dtype": "float32", "shape": ["batch", config.num_labels]},
        "probabilities": "sigmoid" if several else "softmax",
        "preprocessing": preprocessing,
        "labels": label_names(config),
    }


def write_companions(
    model: Any, processor: Any, images: Sequence[Image.Image], pixel_values: Tensor, output: Path
) -> dict[str, str]:
    """Write what goes along with the exported file `output`: name of a file -> its text.

    Raises:
        ValueError: as `check_preprocessing`.
    """
    preprocessing = describe_preprocessing(processor, image_tower(model.config).num_channels)
    check_preprocessing(preprocessing, images, pixel_values)
    text = json.dumps(describe_model(model, preprocessing), indent=1, ensure_ascii=False)
    return {output.with_suffix(".json").name: f"{text}\n", SCRIPT.name: SCRIPT.read_text(encoding="utf-8")}
