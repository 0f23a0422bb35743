# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The images of a training: read, in an order of classes that the model knows, and as the models take them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.labels import has_classes
from ..data.augmentation import MixCollator
from ..data.loading import ImageSplits, load_images, readable, reorder_classes
from ..data.samples import COST_IMAGES
from ..data.seeded import SeededImages
from ..data.transforms import ImageTransform
from ..names import UNCHECKED
from ..training.arguments import DynamicViTTrainingArguments
from .train_options import DataArguments


def read_images(args: DataArguments, training: DynamicViTTrainingArguments) -> ImageSplits:
    """Load the data set that was typed, without reading an image."""
    return load_images(
        args.dataset,
        args.dataset_config,
        args.train_split,
        args.validation_split,
        args.image_column,
        args.label_column,
        args.validation_fraction,
        training.seed if training.data_seed is None else training.data_seed,
        UNCHECKED,  # until all that is cheap to check is
        args.max_train_samples,
        args.max_eval_samples,
        revision=args.dataset_revision,
        token=training.hub_token,
    )


def checked(images: ImageSplits, args: DataArguments, training: DynamicViTTrainingArguments) -> ImageSplits:
    """Read every image once, as `--unreadable` says."""
    # the first process of a machine has read them all before the others come here
    done = args.unreadable == "stop" and training.local_process_index > 0
    return images if done or args.unreadable == UNCHECKED else readable(images, args.unreadable)


def in_known_order(images: ImageSplits, checkpoints: Sequence[Checkpoint | None]) -> ImageSplits:
    """Put the classes in the order of the first of `checkpoints` that knows them; `None` knows none."""
    named = [checkpoint for checkpoint in checkpoints if checkpoint is not None]
    names = next((known.labels for known in named if has_classes(known.config, images.names)), None)
    if names is None:
        return images
    parts = [
        reorder_classes(names, data, images.label_column, "the data set") for data in (images.train, images.validation)
    ]
    return dataclasses.replace(images, names=names, train=parts[0], validation=parts[1])


def typical_images(data: Any, seed: int, count: int = COST_IMAGES) -> Any:
    """Choose a few images of all classes: data sets often have one class after the other."""
    return data.shuffle(seed=seed).select(range(min(count, len(data))))


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The images as the models take them.

    Attributes:
        plain: prepares images without chance.
        train, validation: the data sets, `train` with augmentation.
        mix: mixes the images of a batch and their labels, or `None`.
    """

    plain: ImageTransform
    train: Any
    validation: Any
    mix: MixCollator | None


def prepare_inputs(
    images: ImageSplits,
    args: DataArguments,
    processor: Any,
    num_channels: int,
    seed: int,
    grid: tuple[int, int] | None = None,
) -> Inputs:
    """Prepare the images of a training for models of `num_channels`, augmented as `args` say, by `seed`.

    With a `grid`, the patches of an image down and across, CutMix cuts along it.
    """
    columns: dict[str, Any] = {"image_column": images.image_column, "label_column": images.label_column}
    columns["num_channels"] = num_channels
    plain, mixed = ImageTransform(processor, **columns), bool(args.mixup or args.cutmix)
    if args.augmentation == "none":
        train = images.train.with_transform(plain)
    else:
        augmented = ImageTransform(processor, **columns, **augmentation_settings(args))
        train = SeededImages(images.train.with_transform(augmented), seed, tell=mixed)
    mix = MixCollator(len(images.names), args.mixup, args.cutmix, grid=grid) if mixed else None
    return Inputs(plain, train, images.validation.with_transform(plain), mix)


def augmentation_settings(args: DataArguments) -> dict[str, Any]:
    return {
        "augmentation": args.augmentation,
        "scale": args.crop_scale,
        "randaugment_magnitude": args.randaugment_magnitude,
        "random_erasing": args.random_erasing,
        "color_jitter": args.color_jitter,
    }
