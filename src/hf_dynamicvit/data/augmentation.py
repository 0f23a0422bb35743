# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The augmentation that DeiT and DynamicViT were trained with, by torchvision.

Published, in the words of timm: `rand-m9-mstd0.5-inc1`, bicubic random resized crop, flip, random erasing of pixels at
0.25, mixup 0.8 and cutmix 1.0 https://github.com/facebookresearch/deit. torchvision has no `mstd` (the magnitude is
the same every time), posterises less, and its RandAugment has the identity in place of Invert and SolarizeAdd.
Repeated augmentation is a sampler and not here.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from transformers import default_data_collator
from transformers.utils import is_torchvision_available

from ..extras import build_install_command
from ..model.flags import refuse_flags
from ..model.logger import logger
from ..names import AUGMENTATIONS
from .seeded import DRAW, seeded_draws


FULL = "augmentation 'full'", "augmentation 'plain' works without."


def has_torchvision() -> bool:
    return is_torchvision_available()


def transforms_for(what: str, instead: str) -> Any:
    """Import `torchvision.transforms.v2`; where it is missing, refuse `what` and say what works `instead`."""
    if not has_torchvision():
        raise ValueError(f"{what} needs torchvision: {build_install_command('vision')}. {instead}")
    return import_module("torchvision.transforms.v2")


def resolve_augmentation(level: str, num_channels: int) -> str:
    """Return the level to use, `"none"`, `"plain"` or `"full"`; `"auto"` is the best of these that works here."""
    if level not in AUGMENTATIONS:
        raise ValueError(f"augmentation is {level!r}; it can be {', '.join(map(repr, AUGMENTATIONS))}.")
    if level == "auto" and num_channels == 4:
        logger.warning("augmentation is 'plain': RandAugment of 'full' takes 1 or 3 channels, not 4.")
        return "plain"
    if level == "auto" and not has_torchvision():
        command = build_install_command("vision")
        logger.warning(f"augmentation is 'plain', as torchvision is not installed; for 'full': {command}")
        return "plain"
    if level == "full" and num_channels == 4:
        raise ValueError("augmentation 'full' takes 1 or 3 channels, num_channels is 4; 'plain' takes any.")
    return "full" if level == "auto" else level


def build_augmentation(
    size: tuple[int, int] | None, scale: float, randaugment_magnitude: int, color_jitter: float, fill: list[int] | int
) -> Callable[[Any], Any]:
    """Return what makes a PIL image one of `size` `(height, width)`: crop, flip, RandAugment, colour jitter.

    Args:
        scale: least fraction of the area that the crop keeps.
        randaugment_magnitude: 0 (no RandAugment) to 10.
        color_jitter: 0 for none.
        fill: the colour of what a shifted or turned image uncovers, a value per channel or one for all.
    """
    if size is None:
        raise ValueError("augmentation 'full' crops to the processor's size; its do_resize is off. Turn it on.")
    if randaugment_magnitude not in range(11):
        raise ValueError(f"randaugment_magnitude is {randaugment_magnitude}; it is a whole number from 0 to 10.")
    if color_jitter < 0:
        raise ValueError(f"color_jitter is {color_jitter}; it is 0 or more.")
    v2 = transforms_for(*FULL)
    bicubic = v2.InterpolationMode.BICUBIC
    steps = [v2.RandomResizedCrop(size, scale=(scale, 1.0), interpolation=bicubic), v2.RandomHorizontalFlip()]
    if randaugment_magnitude > 0:
        # timm counts magnitudes from 0 to 10, not to 30, and applies each of its two operations every other time
        operation = v2.RandAugment(1, randaugment_magnitude, num_magnitude_bins=11, interpolation=bicubic, fill=fill)
        steps += [v2.RandomApply([operation]), v2.RandomApply([operation])]
    if color_jitter > 0:
        steps.append(v2.ColorJitter(brightness=color_jitter, contrast=color_jitter, saturation=color_jitter))
    return v2.Compose(steps)


def build_erasing(probability: float) -> Callable[[Tensor], Tensor] | None:
    """Return what puts, at `probability`, random noise into a part of a normalised image `[C, H, W]`."""
    refuse_flags(random_erasing=probability)
    if not 0 <= probability <= 1:
        raise ValueError(f"random_erasing is {probability}; it is a probability, from 0 to 1.")
    if probability == 0:
        return None
    return transforms_for(*FULL).RandomErasing(probability, value="random")


def draw_box(grid: tuple[int, int], alpha: float) -> Tensor:
    """Draw which patches of a `grid` another image gives: `[down, across]` bool, a box of CutMix.

    Its area is 1 - lam of the grid, lam of a Beta distribution of `alpha` twice, less what its random place cuts off.
    """
    lam = torch.distributions.Beta(alpha, alpha).sample()
    inside = []
    for side in grid:
        length, centre = int(side * (1 - lam).sqrt()), int(torch.randint(side, ()))
        place = torch.arange(side)
        inside.append((place >= centre - length // 2) & (place < centre - length // 2 + length))
    return inside[0][:, None] & inside[1]


def cut_along_patches(
    images: Tensor, labels: Tensor, grid: tuple[int, int], alpha: float, num_classes: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Put into each of `images` `[B, C, H, W]` a box of patches of the image as far from the other end of the batch.

    Returns:
        the images; their labels `[B, K]`, mixed by area; `[B, patches]` float, 1 for each patch of the image itself;
        `[B, 2, K]`, the labels of the image and of the other.
    """
    down, across = grid
    height, width = images.shape[2:]
    box = draw_box(grid, alpha)
    pixels = box.repeat_interleave(height // down, 0).repeat_interleave(width // across, 1)
    # pixels that are in no patch
    pixels = torch.nn.functional.pad(pixels, (0, width - pixels.shape[1], 0, height - pixels.shape[0]))
    own = labels if labels.ndim > 1 else torch.nn.functional.one_hot(labels, num_classes)
    both = torch.stack((own, own.flip(0)), dim=1).float()
    shares = (~box).float().flatten()
    mixed = shares.mean() * both[:, 0] + (1 - shares.mean()) * both[:, 1]
    return torch.where(pixels, images.flip(0), images), mixed, shares.expand(len(images), -1), both


class MixCollator:
    """A collator for training that mixes the images of a batch by mixup or cutmix; `labels` become float `[B, K]`.

    For `DynamicViTTrainer(train_collator=...)`, so that evaluation stays unmixed. With `SeededImages` the same
    batch is mixed in the same way again. The model needs `problem_type`
    `"single_label_classification"`. Label smoothing is the Trainer's: its loss smooths mixed labels once.

    Args:
        num_classes: K.
        mixup, cutmix: the alpha of each; 0 turns it off.
        probability: to mix a batch at all.
        switch_probability: to take cutmix, where both are on.
        grid: patches of an image `(down, across)`, along which CutMix then cuts (TL-Align); a batch that it mixed also
            has `patch_shares` `[B, patches]`, 1 for each patch of the image itself and 0 for one of the other, and
            `mixed_labels` `[B, 2, K]`, of both.

    Raises:
        ValueError: torchvision is missing, which CutMix along patches alone can do without, or a value out of range.
    """

    def __init__(
        self,
        num_classes: int,
        mixup: float = 0.8,
        cutmix: float = 1.0,
        probability: float = 1.0,
        switch_probability: float = 0.5,
        grid: tuple[int, int] | None = None,
    ):
        refuse_flags(mixup=mixup, cutmix=cutmix, probability=probability, switch_probability=switch_probability)
        if min(mixup, cutmix) < 0 or mixup == cutmix == 0:
            raise ValueError(f"mixup is {mixup} and cutmix {cutmix}; neither is below 0, and one is above.")
        for name, value in (("probability", probability), ("switch_probability", switch_probability)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it is a probability, from 0 to 1.")
        v2: Any = None
        if mixup or grid is None:
            v2 = transforms_for("MixCollator", "Training works without it: mixup 0 and cutmix 0.")
        self.num_classes = num_classes
        self.probability = probability
        self.mixup: Any = v2.MixUp(alpha=mixup, num_classes=num_classes) if mixup else None
        self.grid = grid
        self.cutmix: Any = None
        if cutmix and grid is None:
            self.cutmix = v2.CutMix(alpha=cutmix, num_classes=num_classes)
        elif cutmix and grid is not None:
            self.cutmix = partial(cut_along_patches, grid=grid, alpha=cutmix, num_classes=num_classes)
        self.switch_probability = switch_probability if mixup and cutmix else float(cutmix > 0)

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, Tensor]:
        if DRAW not in items[0]:
            return self.mix(default_data_collator(items))
        seed = items[0][DRAW]
        with seeded_draws(seed):
            return self.mix(
                default_data_collator(
                    [{name: value for name, value in item.items() if name != DRAW} for item in items]
                )
            )

    def mix(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Mix `batch`, whose labels become `[B, K]`."""
        if "labels" not in batch:
            raise ValueError(f"Mixing images needs 'labels'; the batch has {', '.join(sorted(batch))}.")
        mix = self.cutmix if torch.rand(()) < self.switch_probability else self.mixup
        if torch.rand(()) < self.probability:
            mixed = mix(batch["pixel_values"], batch["labels"])
            names = ("pixel_values", "labels", "patch_shares", "mixed_labels")
            batch |= dict(zip(names[: len(mixed)], mixed, strict=True))
        elif batch["labels"].ndim == 1:
            batch["labels"] = torch.nn.functional.one_hot(batch["labels"], self.num_classes).float()
        return batch
