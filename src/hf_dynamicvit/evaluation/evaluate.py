# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Evaluate a sparse model on a whole data set, beside the dense one, for a report.

```python
evaluation = evaluate("my-dynamicvit", "my_images")
print(evaluation.sparse.top(1), evaluation.difference)
write_report(evaluation, "report")
```
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import torch

from ..data.annotations import AnnotatedImages
from ..data.samples import COST_IMAGES
from ..data.transforms import MODES
from ..look.viewer import Viewer
from ..machine import describe_machine
from ..model.cost import grid_size, patch_pixels
from ..model.pyramid_reducer import SlowFastReducer
from ..names import KEEP_RATIOS, UNREADABLE
from .data import LabelledImages, load_labelled, make_printable, read_held_out
from .results import Evaluation, KeepRatio, join_answers, measure_distances, summarise_stages
from .runner import ReadImages, Runner, copy_at_keep_ratios, read_batches, sample_pixel_values


def evaluate(
    model: str | Viewer,
    pictures: str | LabelledImages,
    *,
    keep_ratios: Sequence[float] = KEEP_RATIOS,
    same_classes: bool = False,
    unreadable: str = "skip",
    max_changed: int = 24,
    batch_size: int = 32,
) -> Evaluation:
    """Run a sparse model, the dense one, and the sparse one at other keep ratios on every image of a data set.

    Args:
        model: folder or Hub name of a classifier, or a `Viewer`, whose models run where they are and stay as they are.
        pictures: data set as for training, of which it takes those that the training of the model in the folder
            `model` held out, where it did; or what `load_labelled` made of one with `Viewer.labels`.
        keep_ratios: others to try, each in (0, 1]; empty for none.
        same_classes: class names that differ are of the same classes in the same order. A `Viewer` has its own for
            the dense model.
        unreadable: `"skip"` images that cannot be read, and name them, or `"stop"` at the first.
        max_changed: of so many images whose prediction changed there are `views`.
        batch_size: images at a time; results do not depend on it, AS-ViT with `batch_mode="mean_topk"` apart.

    Raises:
        ValueError: a setting is out of range, there are no such images or none that can be read, classes differ, or
            the model does not give one class an image; images have different sizes for the model.
        FloatingPointError: logits are not finite.
    """
    check_settings(keep_ratios, batch_size, max_changed, unreadable)
    start = time.perf_counter()
    viewer = Viewer.load(model, same_classes=same_classes) if isinstance(model, str) else model
    check_classifier(viewer.model.config)
    if isinstance(pictures, str):
        held_out = read_held_out(model) if isinstance(model, str) else None
        pictures = load_labelled(pictures, viewer.labels, same_classes=same_classes, held_out=held_out)
    if isinstance(model, str):
        set_new_thresholds(viewer, pictures)
    mode = MODES[viewer.model.config.num_channels]
    others, problems = copy_at_keep_ratios(viewer, keep_ratios, pictures)
    runner, read = Runner(viewer, others), ReadImages()
    for pixels, truth in read_batches(pictures, batch_size, mode, unreadable, read, runner.pixel_values):
        runner.run(pixels, truth)
    found = build_evaluation(runner, pictures, read, problems)
    shown = [read.rows[row.index] for row in found.changed[:max_changed]]
    return dataclasses.replace(
        found,
        notes=collect_notes(viewer, pictures, bool(keep_ratios)),
        settings=describe_settings(viewer, pictures, batch_size, time.perf_counter() - start),
        views=viewer.look(pictures.decode(shown, mode), batch_size) if shown else [],
    )


def set_new_thresholds(viewer: Viewer, images: LabelledImages | AnnotatedImages) -> None:
    """Set thresholds that are new on these weights so that images of the data set meet their budget."""
    reducer = viewer.model.reducer
    if viewer.model.config.is_adaptive and viewer.untrained:
        viewer.model.set_budget(fraction=reducer.budget, pixel_values=sample_pixel_values(viewer, images))


def build_evaluation(
    runner: Runner, images: LabelledImages, read: ReadImages, problems: dict[float, str]
) -> Evaluation:
    """Join the answers of all batches; `problems` are why other keep ratios are not possible."""
    viewer, config = runner.viewer, runner.viewer.model.config
    grid = grid_size(config, runner.size)
    far = measure_distances(grid, patch_pixels(config))
    sweep = [KeepRatio(keep_ratio, join_answers(parts), None) for keep_ratio, parts in runner.sweep.items()]
    sweep += [KeepRatio(keep_ratio, None, problem) for keep_ratio, problem in problems.items()]
    return Evaluation(
        model=make_printable(str(config.name_or_path)) or "a model in memory",
        reducer=config.reducer,
        keep_ratio=config.keep_ratio,
        compared=name_dense(viewer),
        dataset=make_printable(images.name),
        split=None if images.only_split else images.split,
        total=images.total,
        labels=[make_printable(label) for label in viewer.labels],
        names=read.names,
        skipped=read.skipped,
        truth=torch.tensor(read.truth),
        sparse=join_answers(runner.sparse),
        dense=join_answers(runner.dense) if runner.dense else None,
        sweep=sorted(sweep, key=lambda point: -point.keep_ratio),
        dense_gmacs=viewer.model.dense_multiply_adds(runner.size) / 1e9,
        stages=summarise_stages(viewer.model.decision_layers, torch.cat(runner.kept_counts), runner.kept_sums, far),
        all_distance=far.mean().item(),
        notes=[],
        views=[],
        settings={},
        speed=runner.speed,
    )


def name_dense(viewer: Viewer) -> str:
    """Name the model that the sparse one is compared with."""
    if viewer.dense is None:
        return "none: the classifier reads the mean of the patches, so that there is no dense copy of it"
    own = viewer.model.state_dict()
    theirs = viewer.dense.state_dict()
    if all(name in own and torch.equal(value.cpu(), own[name].cpu()) for name, value in theirs.items()):
        return "a dense model of the same weights"
    return make_printable(str(viewer.dense.config.name_or_path)) or "another dense model in memory"


def collect_notes(viewer: Viewer, images: LabelledImages, swept: bool) -> list[str]:
    """List what a reader must know to judge the numbers."""
    config, reducer, notes = viewer.model.config, viewer.model.reducer, []
    if viewer.chooses_at_random:
        notes.append(f"The predictors of {config.reducer} are new on these weights: what they keep means nothing.")
    elif viewer.untrained:
        notes.append(f"The thresholds of {config.reducer} are new on these weights: they were set, not trained.")
    if images.held_out:
        notes.append(f"These are the {images.total} images that the training of the model held out.")
    elif images.only_split:
        notes.append("There is one split only: if the model was trained on these images, the numbers are too good.")
    if len(images.data) < images.total:
        notes.append(f"These are {len(images.data)} of {images.total} images, taken at random (seed {images.seed}).")
    if isinstance(reducer, SlowFastReducer):
        notes.append(f"With {config.reducer} a position that is not kept takes the fast path, and may come back.")
    elif reducer.rest == "idle":
        notes.append(f"With {config.reducer} a patch that is not kept sits out and may come back.")
    elif reducer.rest == "merged":
        gone = ", or is dropped" if reducer.loses_patches else ""
        notes.append(f"{config.reducer} merges: a patch that is not kept lives on in the token of another{gone}.")
    if config.is_adaptive and swept:
        few = min(COST_IMAGES, len(images.data))
        notes.append(f"Each image decides what it keeps. Other keep ratios are the mean over {few} of the images.")
    if config.reducer_args.get("batch_mode") == "mean_topk":
        notes.append("With batch_mode 'mean_topk' what an image keeps depends on its batch, and so on --batch-size.")
    return notes


def describe_settings(viewer: Viewer, images: LabelledImages, batch_size: int, seconds: float) -> dict[str, Any]:
    """Describe how the numbers were measured."""
    model = viewer.model
    return {
        "batch_size": batch_size,
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "seed": images.seed,
        "seconds": round(seconds, 1),
        "machine": describe_machine(),
    }


def check_settings(keep_ratios: Sequence[float], batch_size: int, max_changed: int, unreadable: str) -> None:
    """Refuse what is out of range before anything is loaded."""
    outside = [str(keep_ratio) for keep_ratio in keep_ratios if not 0 < keep_ratio <= 1]
    if outside:
        raise ValueError(f"keep_ratios has {', '.join(outside)}; each is above 0 and at most 1.")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; at least 1.")
    if max_changed < 0:
        raise ValueError(f"max_changed is {max_changed}; 0 or more.")
    if unreadable not in UNREADABLE:
        raise ValueError(f"unreadable is {unreadable!r}; it can be {' or '.join(map(repr, UNREADABLE))}.")


def check_classifier(config: Any) -> None:
    """Refuse models whose logits are not of one class for each image."""
    if config.problem_type not in (None, "single_label_classification"):
        raise ValueError(
            f"config.problem_type is {config.problem_type!r}; evaluate counts images of one class each, which is "
            "'single_label_classification'."
        )
