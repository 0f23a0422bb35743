# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Detectors, segmenters and depth models that an evaluation compares: what each says of an image, and its cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..checkpoints.checkpoint import Checkpoint, find_reduced, read_checkpoint
from ..checkpoints.labels import label_names, list_first
from ..data.annotations import IGNORED, AnnotatedImages, Truth
from ..data.preparation import check_same_input
from ..look.map_viewer import MapViewer
from ..look.viewer import Viewer
from ..model.backbone import recorded_outputs
from .data import check_in_range


@dataclass(frozen=True)
class Contender:
    """One of the models that are compared.

    Attributes:
        name: `"sparse"`, `"dense"`, or a keep ratio.
        model: the whole model, in eval mode.
        order: `[K]` int64, where classes of the sparse model are among those of this one; `None` where as there.
    """

    name: str
    model: Any
    order: Tensor | None = None


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a kind of task, and the models that do it.

    Attributes:
        kind: `"boxes"`, `"masks"` or `"depth"`.
        viewer: the models and their image processor.
        whole: the reduced model, head included.
        dense: that to compare with.
        compared: what it is.
    """

    kind: str
    viewer: Viewer
    whole: Any
    dense: Any
    compared: str

    @property
    def labels(self) -> list[str]:
        """Names of the classes, in the order of the model."""
        return self.viewer.labels

    @property
    def around_backbone(self) -> bool:
        """Return whether the tokens of a backbone are reduced, under a head that stays as it is."""
        return self.whole is not self.viewer.model


def find_kind(checkpoint: Checkpoint) -> str | None:
    """Find what is true of images for a checkpoint: boxes, masks or depth; `None` for a classifier of images.

    Raises:
        ValueError: it estimates depth up to a scale and shift that no data set can tell.
    """
    if checkpoint.detects:
        return "boxes"
    if not checkpoint.maps:
        return None
    if not any("DepthEstimation" in name for name in checkpoint.config.architectures or ()):
        return "masks"
    if getattr(checkpoint.config, "depth_estimation_type", None) == "relative":
        raise ValueError(
            f"{checkpoint.source} estimates relative depth (depth_estimation_type in config.json), which has neither "
            "scale nor shift, so that it cannot be compared with depth in metres; evaluate takes a metric depth "
            "model. `hf-dynamicvit visualize` says how far it is from the dense one."
        )
    return "depth"


def load_subject(checkpoint: Checkpoint, kind: str, reducer: str | None, dense: str | None) -> Subject:
    """Load the reduced model of `checkpoint`, and the one to compare with.

    Raises:
        ValueError: as `Viewer.load` and `MapViewer.load_maps`; the image processor cuts or pads images, so that what
            is true of them would not be where they are; `dense` is sparse or has other classes.
    """
    check_processor(checkpoint.processor, checkpoint.source, kind)
    if kind == "boxes":
        viewer = Viewer.load(checkpoint, reducer, dense)
        return Subject(kind, viewer, viewer.model, viewer.dense, dense or "a dense model of the same weights")
    viewer = MapViewer.load_maps(checkpoint, reducer)
    if dense is not None:
        check_same_input(checkpoint.source, checkpoint.processor, dense)
        viewer.both = (viewer.host, load_other(dense, viewer.labels))
    return Subject(kind, viewer, *viewer.both, dense or "a dense model of the same weights")


def load_other(source: str, labels: Sequence[str]) -> Any:
    """Load another dense model around a backbone, whose classes are `labels`.

    Raises:
        ValueError: it is sparse, or has other classes.
    """
    checkpoint = read_checkpoint(source, may_map=True)
    if checkpoint.is_sparse or not checkpoint.maps:
        raise ValueError(f"--dense {source} is no dense model around a backbone; name one to compare with.")
    model = checkpoint.load_around_backbone()
    if label_names(model.config) != list(labels):
        raise ValueError(f"--dense {source} has other classes than the model, or in another order.")
    return model


def check_processor(processor: Any, source: str, kind: str) -> None:
    """Refuse an image processor after which what is true of an image is not where it was."""
    for name in ("do_center_crop", "pad_size", "size_divisor") if kind != "boxes" else ("do_center_crop", "pad_size"):
        if getattr(processor, name, None):
            raise ValueError(
                f"The image processor of {source} has {name}, which cuts or pads images, so that {kind} would not "
                "lie where they are in them; evaluate takes one that only resizes."
            )


def run_whole(contender: Contender, pixels: Tensor) -> tuple[Any, Any]:
    """Run a model on `pixels` `[B, channels, height, width]`; return its outputs, and those that say what is kept."""
    model = contender.model
    inputs = pixels.to(model.device, model.dtype)
    if contender.name == "dense":
        return model(inputs), None
    reduced = find_reduced(model)
    if reduced is model:
        outputs = model(inputs)
        return outputs, outputs
    with recorded_outputs(reduced) as recorded:
        outputs = model(inputs)
    return outputs, recorded[0]


def read_predictions(
    kind: str, processor: Any, outputs: Any, truths: Sequence[Truth], sizes: Sequence[tuple[int, int]]
) -> list[Any]:
    """Read what a model says of each image, as large as what is true of it; `sizes` are height and width.

    Raises:
        FloatingPointError: logits or depths are not finite.
        ValueError: the image processor cannot do it.
    """
    for values in (getattr(outputs, name, None) for name in ("logits", "predicted_depth")):
        if values is not None and not values.isfinite().all():
            raise FloatingPointError("the model gave what is not finite; float16 can overflow, float32 does not.")
    name = {"boxes": "object_detection", "masks": "semantic_segmentation", "depth": "depth_estimation"}[kind]
    read: Callable[..., Any] | None = getattr(processor, f"post_process_{name}", None)
    if read is None:
        raise ValueError(f"{type(processor).__name__} has no post_process_{name}; evaluate needs one that has.")
    if kind == "boxes":
        found = read(outputs, threshold=0.0, target_sizes=list(sizes))
        return [{part: values.cpu() for part, values in each.items()} for each in found]
    shapes = [tuple(truth.pixels.shape) for truth in truths if truth.pixels is not None]
    found = read(outputs, target_sizes=shapes)
    return [each.cpu() if kind == "masks" else each["predicted_depth"].float().cpu() for each in found]


def in_order(predictions: list[Any], kind: str, order: Tensor | None) -> list[Any]:
    """Call the classes of boxes as the sparse model does, whose classes are at `order` of this one."""
    if kind != "boxes" or order is None:
        return predictions
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
    return [each | {"labels": back[each["labels"]]} for each in predictions]


class TruthReader:
    """Makes of what is true of an image what the scores take.

    Args:
        subject: whose classes are meant.
        images: of the data set.
        same_classes: classes of other names are the model's, in the same order.
    """

    def __init__(self, subject: Subject, images: AnnotatedImages, same_classes: bool):
        self.subject = subject
        theirs = images.names or subject.labels
        self.names = theirs if same_classes and not {*theirs} <= {*subject.labels} else subject.labels

    def read(self, truth: Truth, source: str) -> Any:
        """Return the boxes and classes, the class of each pixel, or its depth.

        Raises:
            ValueError: a class is none of the model's.
        """
        if truth.boxes is not None:
            return {"boxes": truth.boxes, "labels": torch.tensor(self.find_classes(truth.classes), dtype=torch.long)}
        assert truth.pixels is not None
        return self.find_pixels(truth.pixels, source) if self.subject.kind == "masks" else truth.pixels

    def find_classes(self, classes: Sequence[Any]) -> list[int]:
        """Find the index of each class of boxes among the model's: by name, or by number where there are no names."""
        numbers = [int(each) for each in classes if isinstance(each, int | float)]
        if len(numbers) == len(classes):
            return check_in_range(numbers, len(self.subject.labels))
        unknown = [each for each in dict.fromkeys(classes) if each not in self.names]
        if unknown:
            raise ValueError(
                f"Objects are of the class {', '.join(map(repr, unknown))}, which the model lacks; its classes are "
                f"{list_first(self.subject.labels)}. If they are the same under other names, --same-classes takes "
                "them by their order."
            )
        return check_in_range([self.names.index(each) for each in classes], len(self.subject.labels))

    def find_pixels(self, pixels: Tensor, source: str) -> Tensor:
        """Return the class of each pixel as the model counts, `IGNORED` where none counts."""
        if getattr(self.subject.viewer.processor, "do_reduce_labels", False):  # 0 is none, others count from 1
            pixels = torch.where((pixels == 0) | (pixels == IGNORED), IGNORED, pixels - 1)
        count = len(self.subject.labels)
        outside = pixels[(pixels != IGNORED) & ((pixels < 0) | (pixels >= count))].unique().tolist()
        if outside:
            raise ValueError(
                f"The mask of {source} has {', '.join(map(str, outside[:5]))}; the model has the classes 0 to "
                f"{count - 1}, and {IGNORED} is what does not count."
            )
        return pixels
