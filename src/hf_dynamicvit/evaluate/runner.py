# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Every picture of a data set once through the models that an evaluation compares."""

import copy
import itertools
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ..export import multiply_adds
from ..model.cost import vit_multiply_adds
from ..start import COSTED
from ..training.data import read_picture
from ..viewer import Viewer
from .data import LabelledPictures
from .results import Answers, answers_of


class Runner:
    """The models that see each picture, and what they said so far.

    Args:
        viewer: the sparse model and the dense one.
        order: `[K]`, where the sparse model's classes are in the dense one's logits; `None`: in the same order.
        others: the sparse model at other keep ratios.

    Attributes:
        sparse, dense, sweep: answers, a batch each; `sweep` by keep ratio.
        kept_counts: `[B, S]` of each batch, patches kept after each decision.
        kept_sums: `[S, num_patches]`, in how many pictures each patch was kept.
        size: height and width of the last pictures, as the model takes them.
    """

    def __init__(self, viewer: Viewer, order: Tensor | None, others: dict[float, Any]):
        self.viewer, self.order, self.others = viewer, order, others
        self.sparse: list[Answers] = []
        self.dense: list[Answers] = []
        self.sweep: dict[float, list[Answers]] = {keep_ratio: [] for keep_ratio in others}
        self.kept_counts: list[Tensor] = []
        self.kept_sums: Any = 0
        self.size = (0, 0)

    @torch.inference_mode()
    def see(self, pictures: Sequence[Image.Image], truth: Tensor) -> None:
        """One batch: `pictures` and their classes `[B]`."""
        model, dense = self.viewer.model, self.viewer.dense
        pixels = self.viewer.pixel_values(pictures)
        inputs = pixels.to(model.device, model.dtype)
        size = self.size = (pixels.shape[-2], pixels.shape[-1])
        outputs = model(inputs, interpolate_pos_encoding=True)
        kept = outputs.kept.cpu()  # [B, S, num_patches]
        self.kept_counts.append(kept.sum(dim=-1))
        self.kept_sums = self.kept_sums + kept.sum(dim=0)
        self.sparse.append(answers_of(outputs.logits, truth, costs(model, kept, size)))
        if dense is not None:
            logits = dense(pixels.to(dense.device, dense.dtype), interpolate_pos_encoding=True).logits.cpu()
            logits = logits if self.order is None else logits[:, self.order]
            self.dense.append(answers_of(logits, truth, [multiply_adds(dense, size)] * len(truth)))
        for keep_ratio, other in self.others.items():
            outputs = other(inputs, interpolate_pos_encoding=True)
            self.sweep[keep_ratio].append(answers_of(outputs.logits, truth, costs(other, outputs.kept, size)))


def costs(model: Any, kept: Tensor, size: tuple[int, int]) -> list[int]:
    """Multiply-adds of each picture of a batch, from the patches that were kept, `[B, S, num_patches]` bool."""
    config, reducer = model.config, model.encoder.reducer
    if not reducer.adaptive:
        return [model.multiply_adds(size)] * len(kept)
    num_patches, num_outputs = kept.shape[-1], config.num_labels * config.num_classifiers
    found = []
    for image in kept.sum(dim=-1).tolist():
        counts = reducer.token_counts(num_patches, config.num_hidden_layers, image)
        vit = vit_multiply_adds(config, num_patches, counts, config.num_prefix, num_outputs)
        found.append(vit + reducer.multiply_adds(counts, num_patches, config.num_prefix))
    return found


def at_keep_ratio(model: Any, keep_ratio: float, typical: Tensor | None) -> Any:
    """A copy of `model` with another keep ratio; all weights but the reducer's are shared with it.

    Raises:
        ValueError: as `model.set_keep_ratio`.
    """
    shared = {id(tensor): tensor for name, tensor in model.named_parameters() if ".reducer." not in name}
    other = copy.deepcopy(model, shared)
    other.set_keep_ratio(keep_ratio, typical)
    return other


def at_keep_ratios(
    viewer: Viewer, keep_ratios: Sequence[float], pictures: LabelledPictures, mode: str
) -> tuple[dict[float, Any], dict[float, str]]:
    """The sparse model at `keep_ratios`, from the highest down, and why those that are not possible are not."""
    model, typical = viewer.model, None
    if model.encoder.reducer.adaptive and keep_ratios:
        some = pictures.typical(COSTED, mode)
        typical = viewer.pixel_values(some).to(model.device, model.dtype) if some else None
    others, problems = {}, {}
    for keep_ratio in sorted(set(keep_ratios), reverse=True):
        try:
            others[keep_ratio] = at_keep_ratio(model, keep_ratio, typical)
        except ValueError as error:
            problems[keep_ratio] = str(error)
    return others, problems


@dataclass
class Read:
    """What came of reading the pictures.

    Attributes:
        rows: of the data set, those that could be read, in their order.
        names: what these pictures are called.
        truth: their classes.
        skipped: why each of the others is left out.
    """

    rows: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    truth: list[int] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def readable(
    pictures: LabelledPictures, batch_size: int, mode: str, unreadable: str, read: Read
) -> Generator[tuple[list[Image.Image], Tensor]]:
    """Batches of decoded pictures and their classes `[B]`; `read` gets what they are.

    Raises:
        ValueError: a picture cannot be read, and `unreadable` is `"stop"`; or none can be.
    """
    with tqdm(total=len(pictures.data), desc="Evaluating", unit=" pictures") as bar:
        for start, batch in zip(itertools.count(step=batch_size), pictures.batches(batch_size), strict=False):
            images = []
            for row, (picture, label, source) in enumerate(batch, start):
                try:
                    images.append(read_picture(picture, source, mode))
                except ValueError as error:
                    if unreadable == "stop":
                        raise
                    read.skipped.append(str(error))
                    bar.write(f"{error} It is left out.", file=sys.stderr)
                else:
                    read.rows.append(row)
                    read.names.append(pictures.name_of(picture, source))
                    read.truth.append(label)
            if images:
                yield images, torch.tensor(read.truth[-len(images) :])
            bar.update(len(batch))
    if not read.rows:
        raise ValueError(f"None of {len(pictures.data)} pictures can be read. The first: {read.skipped[0]}")
