# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Make a model card: what a model is and what was measured of it. What was not measured is left out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import HFValidationError

from ..checkpoints.results import wilson_interval
from ..model.classification import WithBaseModel


TEMPLATE = Path(__file__).with_name("card_template.md")
# A README without this line is somebody's own and is never overwritten.
MARKER = "<!-- Written by hf_dynamicvit. Remove this line to keep your own changes. -->"
# What goes to the Hub: no optimizer state, no pickles, no logs, nothing of a folder below.
UPLOADED = ["*.safetensors", "*.safetensors.index.json", "config.json", "preprocessor_config.json", "README.md"]
UPLOADED += ["*.py", "kept.png"]
# So many classes are named.
CLASSES = 20
TAGS = ["dynamicvit", "token-pruning", "vision"]


@dataclass(frozen=True)
class Measurements:
    """What is known about a model beyond its files; every field may be missing.

    Attributes:
        top1: accuracy on the evaluation split, 0 to 1.
        dense_top1: that of the dense model it came from.
        teacher_top1: that of its teacher on the same images, which stands there where `dense_top1` is not known.
        num_pictures: that `top1` is of, for its 95 % interval.
        dataset: name of the data set on the Hub.
        dataset_name: of the same, or of one that is elsewhere, as people say it.
        multiply_adds: of one image, where the images decide (AS-ViT) the mean over those of `multiply_adds_of`.
        images_per_second: batch size -> (dense, this model), both measured in one run on `device`.
        device: the machine in words.
        recipe: how it was trained, in Markdown.
        figure: file name of an image beside the card.
    """

    top1: float | None = None
    dense_top1: float | None = None
    teacher_top1: float | None = None
    num_pictures: int | None = None
    dataset: str | None = None
    dataset_name: str | None = None
    multiply_adds: int | None = None
    multiply_adds_of: str | None = None
    images_per_second: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    device: str | None = None
    recipe: str | None = None
    figure: str | None = None


def model_card(
    model: WithBaseModel,
    repo_id: str,
    measured: Measurements,
    base_model: str | None = None,
    license: str | None = None,
    remote_code: bool = True,
    language: str | None = None,
    tags: list[str] | None = None,
) -> ModelCard:
    """Make the card of `model` in `repo_id`, metadata and body.

    Args:
        model: the model.
        repo_id: `user/name`, or a name.
        measured: what was measured.
        base_model: repository of the dense checkpoint; `None` where there is none on the Hub.
        license: identifier, as of the base; `None` leaves it out.
        remote_code: whether the repository carries the code.
        language, tags: metadata; the tags besides our own.

    Raises:
        ValueError: an accuracy is not from 0 to 1, or of no image.
    """
    check_measurements(measured)
    title = repo_id.split("/")[-1]
    tags = [*dict.fromkeys([*TAGS, model.config.reducer, *(tags or [])])]
    return ModelCard.from_template(
        build_metadata(
            title,
            measured,
            pipeline_tag=model.task,
            base_model=base_model,
            license=license,
            language=language,
            tags=tags,
        ),
        template_path=str(TEMPLATE),
        title=title,
        task=model.task,
        repo_id=repo_id,
        base_model=base_model,
        summary=describe_reduction(model),
        classes=describe_classes(model.config),
        rows=table_rows(model, measured),
        marker=MARKER,
        adaptive=model.config.is_adaptive,
        measured_on=None
        if measured.device is None
        else f"Speed on {measured.device}; the models took turns, medians.",
        recipe=measured.recipe,
        figure=measured.figure,
        remote_code=remote_code,
        limits=describe_limits(measured),
    )


def check_measurements(measured: Measurements) -> None:
    """Refuse accuracies that are not from 0 to 1, or of no image."""
    if measured.num_pictures is not None and measured.num_pictures < 1:
        raise ValueError(f"num_pictures is {measured.num_pictures}; at least 1.")
    for name in ("top1", "dense_top1", "teacher_top1"):
        value = getattr(measured, name)
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; it must be from 0 to 1.")


def build_metadata(title: str, measured: Measurements, *, base_model: str | None, **fields: Any) -> ModelCardData:
    """Return what the Hub reads of a card; `fields` are those that are taken as they are."""
    return ModelCardData(
        model_name=title,
        library_name="transformers",
        base_model=base_model,
        base_model_relation=None if base_model is None else "finetune",
        datasets=None if measured.dataset is None else [measured.dataset],
        metrics=None if measured.top1 is None else ["accuracy"],
        eval_results=build_eval_results(measured),
        **fields,
    )


def build_eval_results(measured: Measurements) -> list[EvalResult] | None:
    """Return the accuracy as the Hub reads it; `None` where that or the data set is not known."""
    if measured.top1 is None or measured.dataset is None:
        return None
    return [
        EvalResult(
            task_type="image-classification",
            dataset_type=measured.dataset,
            dataset_name=measured.dataset_name or measured.dataset,
            metric_type="accuracy",
            metric_value=round(measured.top1, 4),
        )
    ]


def tell_stages(model: WithBaseModel) -> str:
    """Say what stages with a grid of their own keep of it."""
    reducer, num_patches = model.reducer, model.config.num_patches
    pairs = zip(reducer.stage_counts(num_patches), reducer.entered_patches(num_patches), strict=True)
    return ", ".join(f"{kept} of {patches}" for kept, patches in pairs)


def describe_reduction(model: WithBaseModel) -> str:
    """Say in one sentence what the model does with its tokens."""
    config = model.config
    if model.config.is_adaptive:
        kept = "what each image needs"
    elif config.fixed_stages:
        kept = f"{tell_stages(model)} patches"
    else:
        what = "positions" if hasattr(config, "reduced_stage") else "patch tokens"
        kept = f"{', '.join(map(str, dict.fromkeys(model.token_counts())))} of {config.num_patches} {what}"
    if hasattr(config, "reduced_stage"):
        return (
            f"A {config.dense_model_type} in whose stage {config.reduced_stage + 1} positions are chosen by "
            f"`{config.reducer}` at blocks {', '.join(map(str, model.decision_layers))} of {config.depth}; {kept} "
            f"take the block's own MLP for images of {config.image_size} pixels."
        )
    return (
        f"A vision transformer with token reduction by `{config.reducer}` at blocks "
        f"{', '.join(map(str, model.decision_layers))} of {config.num_hidden_layers}; it keeps {kept} for images of "
        f"{config.image_size} pixels."
    )


def describe_classes(config: Any) -> str:
    """Tell how many classes there are, and the first of their names."""
    names = [config.id2label[index] for index in range(config.num_labels)]
    if names == [f"LABEL_{index}" for index in range(len(names))]:
        return f"{len(names)} classes, whose names config.json does not have."
    more = f" and {len(names) - CLASSES} more, all in config.json" if len(names) > CLASSES else ""
    return f"{len(names)} classes: {', '.join(map(escape_markdown, names[:CLASSES]))}{more}."


def escape_markdown(text: str) -> str:
    """Escape `text` for one line of Markdown or a cell of a table."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def accuracy_row(measured: Measurements, top1: float) -> tuple[str, str, str]:
    """Return a row of the table: where it was measured, the other model's accuracy, this one's with its interval."""
    dense = "not measured"
    if measured.dense_top1 is not None:
        dense = f"{100 * measured.dense_top1:.2f} %"
    elif measured.teacher_top1 is not None:
        dense = f"{100 * measured.teacher_top1:.2f} % (its teacher)"
    name = measured.dataset_name or measured.dataset
    where = f" on {escape_markdown(name)}" if name else " on the evaluation split"
    own = f"{100 * top1:.2f} %"
    if measured.num_pictures is not None:
        where += f", {measured.num_pictures} images"
        low, high = wilson_interval(top1, measured.num_pictures)
        own += f" (95 % interval {100 * low:.1f} to {100 * high:.1f})"
    return f"top-1{where}", dense, own


def table_rows(model: WithBaseModel, measured: Measurements) -> list[tuple[str, str, str]]:
    """Return the rows of the table: what, the dense model's, this model's."""
    dense_cost = f"{model.dense_multiply_adds() / 1e9:.3f} G"
    cost = measured.multiply_adds
    if cost is None and not model.config.is_adaptive:
        cost = model.multiply_adds()
    rows: list[tuple[str, str, str]] = []
    if measured.top1 is not None:
        rows.append(accuracy_row(measured, measured.top1))
    if cost is not None:
        of = f", mean of {measured.multiply_adds_of}" if measured.multiply_adds_of else ""
        rows.append((f"multiply-adds of one image{of}", dense_cost, f"{cost / 1e9:.3f} G"))
    for batch, (dense_speed, speed) in sorted(measured.images_per_second.items()):
        ratio = f"{speed:.1f} ({speed / dense_speed:.2f}x)"
        rows.append((f"images/s, batch {batch}", f"{dense_speed:.1f}", ratio))
    if not rows:
        rows.append(("multiply-adds of one image", dense_cost, "depends on the image; not measured"))
    return rows


def describe_limits(measured: Measurements) -> str:
    """Say what was not measured, and what to beware of."""
    missing = []
    if measured.top1 is None:
        missing.append("accuracy")
    if not measured.images_per_second:
        missing.append("speed")
    said = f"Not measured: {' and '.join(missing)}. " if missing else ""
    return said + "It knows the classes it was trained on only. Dropped patches may matter for images unlike those."


def inherited_license(base_model: str | None) -> str | None:
    """Read the licence in the card of a folder or a Hub repository; `None` where none is, or none within reach."""
    if base_model is None:
        return None
    path = Path(base_model)
    try:
        if path.is_dir():
            card = ModelCard.load(path / "README.md") if (path / "README.md").is_file() else None
        else:
            card = ModelCard.load(base_model)
    except (EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled, HFValidationError, OSError):
        return None
    data: Any = None if card is None else card.data
    return None if data is None else data.get("license")
