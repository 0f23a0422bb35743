# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The images of a training: read, in an order of classes that the model knows, and as the models take them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.labels import has_classes
from ..data.augmentation import MixCollator
from ..data.loading import Pictures, load_pictures, readable, reorder_classes
from ..data.samples import COST_IMAGES
from ..data.seeded import DrawnPictures
from ..data.transforms import ImageTransform
from ..names import UNCHECKED
from ..training.arguments import DynamicViTTrainingArguments
from .train_options import DataArguments


def read_images(args: DataArguments, training: DynamicViTTrainingArguments) -> Pictures:
    """Load the data set that was typed, without reading an image."""
    return load_pictures(
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


def checked(pictures: Pictures, args: DataArguments, training: DynamicViTTrainingArguments) -> Pictures:
    """Read every image once, as `--unreadable` says."""
    # the first process of a machine has read them all before the others come here
    done = args.unreadable == "stop" and training.local_process_index > 0
    return pictures if done or args.unreadable == UNCHECKED else readable(pictures, args.unreadable)


def in_known_order(pictures: Pictures, checkpoints: Sequence[Checkpoint | None]) -> Pictures:
    """Put the classes in the order of the first of `checkpoints` that knows them; `None` knows none."""
    named = [checkpoint for checkpoint in checkpoints if checkpoint is not None]
    names = next((known.labels for known in named if has_classes(known.config, pictures.names)), None)
    if names is None:
        return pictures
    parts = [
        reorder_classes(names, data, pictures.label_column, "the data set")
        for data in (pictures.train, pictures.validation)
    ]
    return dataclasses.replace(pictures, names=names, train=parts[0], validation=parts[1])


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


def prepare_inputs(pictures: Pictures, args: DataArguments, processor: Any, num_channels: int, seed: int) -> Inputs:
    """Prepare the images of a training for models of `num_channels`, augmented as `args` say, by `seed`."""
    columns: dict[str, Any] = {"image_column": pictures.image_column, "label_column": pictures.label_column}
    columns["num_channels"] = num_channels
    plain, mixed = ImageTransform(processor, **columns), bool(args.mixup or args.cutmix)
    if args.augmentation == "none":
        train = pictures.train.with_transform(plain)
    else:
        augmented = ImageTransform(processor, **columns, **augmentation_of(args))
        train = DrawnPictures(pictures.train.with_transform(augmented), seed, tell=mixed)
    mix = MixCollator(len(pictures.names), args.mixup, args.cutmix) if mixed else None
    return Inputs(plain, train, pictures.validation.with_transform(plain), mix)


def augmentation_of(args: DataArguments) -> dict[str, Any]:
    return {
        "augmentation": args.augmentation,
        "scale": args.crop_scale,
        "randaugment_magnitude": args.randaugment_magnitude,
        "random_erasing": args.random_erasing,
        "color_jitter": args.color_jitter,
    }
