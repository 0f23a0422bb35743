# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Runs the models that an evaluation compares on every image of a data set."""

import copy
import itertools
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..checkpoints.checkpoint import find_reduced
from ..checkpoints.cost import multiply_adds
from ..data.annotations import AnnotatedImages
from ..data.samples import COST_IMAGES
from ..data.transforms import MODES, describe_source, read_image
from ..look.viewer import Viewer, count_costs
from .data import LabelledImages, make_printable
from .results import Answers, build_answers


class Runner:
    """The models that see each image, and what they said so far.

    Args:
        viewer: the sparse model and the dense one.
        others: the sparse model at other keep ratios.

    Attributes:
        sparse, dense, sweep: answers, a batch each; `sweep` by keep ratio.
        kept_counts: `[B, S]` of each batch, patches kept after each decision.
        kept_sums: `[S, num_patches]`, in how many images each patch was kept.
        size: height and width of the images, as the model takes them.
        seconds: that each of `"sparse"` and `"dense"` took for each batch, with the images in it.
    """

    def __init__(self, viewer: Viewer, others: dict[float, Any]):
        self.viewer, self.others = viewer, others
        self.sparse: list[Answers] = []
        self.dense: list[Answers] = []
        self.sweep: dict[float, list[Answers]] = {keep_ratio: [] for keep_ratio in others}
        self.kept_counts: list[Tensor] = []
        self.kept_sums: Any = 0
        self.size: Any = None
        self.seconds: dict[str, list[tuple[float, int]]] = {"sparse": [], "dense": []}

    def pixel_values(self, image: Image.Image, name: str) -> Tensor:
        """Prepare one image for the models: `[1, channels, height, width]`.

        Raises:
            ValueError: it has not the size of those before.
        """
        pixels = self.viewer.pixel_values([image])
        self.size = self.size or read_size(pixels)
        check_size(name, read_size(pixels), self.size)
        return pixels

    @contextmanager
    def clock(self, name: str, images: int, device: torch.device) -> Generator[None]:
        """Record how long a model takes for a batch, its device's work included."""
        synchronise(device)
        start = time.perf_counter()
        yield
        synchronise(device)
        self.seconds[name].append((time.perf_counter() - start, images))

    @property
    def speed(self) -> dict[str, float]:
        """Images a second of each model that ran more than one batch."""
        found = {name: measure_speed(seconds) for name, seconds in self.seconds.items()}
        return {name: round(value, 2) for name, value in found.items() if value is not None}

    @torch.inference_mode()
    def run(self, pixels: Tensor, truth: Tensor) -> None:
        """Run the models on a batch: `pixels` `[B, channels, height, width]` and their classes `[B]`."""
        model, dense = self.viewer.model, self.viewer.dense
        inputs = pixels.to(model.device, model.dtype)
        size = read_size(pixels)
        with self.clock("sparse", len(truth), inputs.device):
            outputs = model(inputs, interpolate_pos_encoding=True)
        kept = outputs.kept.cpu()  # [B, S, num_patches]
        self.kept_counts.append(kept.sum(dim=-1))
        self.kept_sums = self.kept_sums + kept.sum(dim=0)
        self.sparse.append(build_answers(outputs.logits, truth, count_costs(model, kept, size)))
        if dense is not None:
            moved = pixels.to(dense.device, dense.dtype)
            with self.clock("dense", len(truth), moved.device):
                logits = dense(moved, interpolate_pos_encoding=True).logits
            logits = logits.cpu()
            logits = logits if self.viewer.dense_order is None else logits[:, self.viewer.dense_order]
            self.dense.append(build_answers(logits, truth, [multiply_adds(dense, size)] * len(truth)))
        for keep_ratio, other in self.others.items():
            outputs = other(inputs, interpolate_pos_encoding=True)
            self.sweep[keep_ratio].append(build_answers(outputs.logits, truth, count_costs(other, outputs.kept, size)))


def synchronise(device: torch.device) -> None:
    """Wait until an accelerator has done what it was told; a CPU has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def measure_speed(seconds: list[tuple[float, int]]) -> float | None:
    """Return images a second, without the first batch, in which kernels are chosen; `None` where there is no other."""
    took, images = (sum(values) for values in zip(*seconds[1:], strict=True)) if len(seconds) > 1 else (0.0, 0)
    return images / took if took else None


def read_size(pixels: Tensor) -> tuple[int, int]:
    """Return height and width."""
    return pixels.shape[-2], pixels.shape[-1]


def check_size(name: str, size: tuple[int, int], before: tuple[int, int]) -> None:
    """Refuse images of several sizes: the same patch would be at several places."""
    if size != before:
        raise ValueError(
            f"The image processor makes {name} {size[0]} x {size[1]} pixels and others {before[0]} x {before[1]}; the "
            "centre map and the counts need one size. Give the processor one in preprocessor_config.json: a size of "
            "height and width, or do_center_crop with a crop_size."
        )


def copy_at_keep_ratio(model: Any, keep_ratio: float, typical: Tensor | None) -> Any:
    """Copy `model`, reduced or around what is, with another keep ratio; all weights but the reducer's are shared.

    Raises:
        ValueError: as `model.set_keep_ratio`.
    """
    shared = {id(tensor): tensor for name, tensor in model.named_parameters() if ".reducer." not in name}
    other = copy.deepcopy(model, shared)
    find_reduced(other).set_keep_ratio(keep_ratio, typical)
    return other


def sample_pixel_values(
    viewer: Viewer, images: LabelledImages | AnnotatedImages, count: int = COST_IMAGES
) -> Tensor | None:
    """Prepare `count` images at random, `[N, channels, height, width]`; return `None` where none can be read."""
    pixels = []
    for image in images.sample(count, MODES[viewer.model.config.num_channels]):
        pixels.append(viewer.pixel_values([image]))
        check_size("one of the images", read_size(pixels[-1]), read_size(pixels[0]))
    return torch.cat(pixels).to(viewer.model.device, viewer.model.dtype) if pixels else None


def copy_at_keep_ratios(
    viewer: Viewer, keep_ratios: Sequence[float], images: LabelledImages
) -> tuple[dict[float, Any], dict[float, str]]:
    """Copy the sparse model at each of `keep_ratios`, from the highest down; say why others are not possible."""
    model, typical = viewer.model, None
    if model.config.is_adaptive and keep_ratios:
        typical = sample_pixel_values(viewer, images)
    others, problems = {}, {}
    for keep_ratio in sorted(set(keep_ratios), reverse=True):
        try:
            others[keep_ratio] = copy_at_keep_ratio(model, keep_ratio, typical)
        except ValueError as error:
            problems[keep_ratio] = str(error)
    return others, problems


@dataclass
class ReadImages:
    """The images that could be read, and those that could not.

    Attributes:
        rows: of the data set, those that could be read, in their order.
        names: what these images are called.
        truth: their classes.
        skipped: why each of the others is left out.
    """

    rows: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def read_batches(
    images: LabelledImages,
    batch_size: int,
    mode: str,
    unreadable: str,
    read: ReadImages,
    pixel_values: Callable[[Image.Image, str], Tensor],
) -> Generator[tuple[Tensor, Tensor]]:
    """Yield batches of `[B, channels, height, width]` and classes `[B]`, and record in `read` which images they hold.

    Raises:
        ValueError: an image cannot be read, and `unreadable` is `"stop"`; or none can be.
    """
    with tqdm(total=len(images.data), desc="Evaluating", unit=" images") as bar:
        for start, batch in zip(itertools.count(step=batch_size), images.batches(batch_size), strict=False):
            pixels = []
            for row, (raw, label, source) in enumerate(batch, start):
                try:
                    image = read_image(raw, source, mode)
                except ValueError as error:
                    if unreadable == "stop":
                        raise
                    read.skipped.append(make_printable(str(error)))
                    bar.write(f"{error} It is left out.", file=sys.stderr)
                else:  # at once, as many decoded images at a time would take much memory
                    pixels.append(pixel_values(image, describe_source(raw, source)))
                    read.rows.append(row)
                    read.names.append(images.name_image(raw, source))
                    read.truth.append(label)
            if pixels:
                yield torch.cat(pixels), torch.tensor(read.truth[-len(pixels) :])
            bar.update(len(batch))
    if not read.rows:
        raise ValueError(f"None of {len(images.data)} images can be read. The first: {read.skipped[0]}")
