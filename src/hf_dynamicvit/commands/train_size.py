# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The size of the images to train at, and a model and an image processor of that size."""

import copy
from typing import Any

from ..checkpoints.checkpoint import Checkpoint
from ..data.transforms import target_size
from ..model.classification import ReducedForImageClassification
from ..model.cost import as_pair
from ..model.logger import logger
from ..model.pyramid_config import PyramidConfig
from .train_options import ModelArguments


def choose_size(args: ModelArguments, start: Checkpoint) -> tuple[int, int]:
    """Choose height and width in pixels to train at: as typed, else as the image processor prepares images.

    Raises:
        ValueError: `--image-size` is no size.
    """
    typed = args.image_size
    if typed is not None and (len(typed) > 2 or min(typed) < 1):
        raise ValueError(f"--image-size is {' '.join(map(str, typed))}; one number of pixels, or height and width.")
    if typed is not None:
        size, patch = (typed[0], typed[-1]), as_pair(start.image_config.patch_size)
        if any(pixels % side for pixels, side in zip(size, patch, strict=True)):
            raise ValueError(
                f"--image-size is {' '.join(map(str, typed))}; patches are {patch[0]} x {patch[1]} pixels, and what "
                "is left over would not be seen: take multiples of that."
            )
        return size
    return target_size(start.processor) or as_pair(start.image_config.image_size)


def tell_of_size(args: ModelArguments, start: Checkpoint, size: tuple[int, int]) -> None:
    """Say that the position embeddings are interpolated, where they are."""
    before = as_pair(start.image_config.image_size)
    if size != before and not args.from_scratch:
        told = [f"{height} x {width}" for height, width in (before, size)]
        pyramid = issubclass(start.family.config_class, PyramidConfig)
        positions = not pyramid or getattr(start.config, "use_absolute_embeddings", False)
        logger.warning(
            f"{start.source} was trained on images of {told[0]} pixels; here they are {told[1]}"
            f"{': its position embeddings are interpolated' if positions else ''}."
        )


def at_size(processor: Any, size: tuple[int, int]) -> Any:
    """Return `processor` for images of `size`, height and width, with as large a part cropped as before.

    Raises:
        ValueError: it makes squares only, as ConvNeXt's, and `size` is none.
    """
    before, (height, width) = target_size(processor), size
    if before == size:
        return processor
    if hasattr(processor, "crop_pct"):
        if height != width:
            raise ValueError(f"--image-size is {height} {width}; a {type(processor).__name__} makes squares only.")
        return type(processor).from_dict(processor.to_dict() | {"size": {"shortest_edge": height}})
    changes: dict[str, Any] = {"do_resize": True, "size": {"height": height, "width": width}}
    if processor.do_center_crop:
        changes["crop_size"] = {"height": height, "width": width}
    if processor.do_center_crop and processor.do_resize and before is not None:
        edges = processor.size["height"], processor.size["width"]
        edges = edges if edges[0] else (processor.size["shortest_edge"],) * 2
        down, across = (round(new * edge / old) for new, edge, old in zip(size, edges, before, strict=True))
        by_edge = processor.size["shortest_edge"] and down == across
        changes["size"] = {"shortest_edge": down} if by_edge else {"height": down, "width": across}
    return type(processor).from_dict(processor.to_dict() | changes)


def model_at_size(model: ReducedForImageClassification, size: tuple[int, int]) -> ReducedForImageClassification:
    """Copy `model` for images of `size`, height and width, with interpolated position embeddings."""
    config = copy.deepcopy(model.config)
    config.image_size = size[0] if size[0] == size[1] else list(size)
    resized = type(model)(config)
    at_new_size = model.backbone.weights_at(*size).items()
    resized.load_state_dict(
        model.state_dict() | {f"{model.base_model_prefix}.{name}": tensor for name, tensor in at_new_size}
    )
    return resized
