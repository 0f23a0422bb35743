# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""List what the demo's page offers: models, methods, keep ratios.

It is read without importing torch, so that the page is there in a few seconds; `demo/answer.py` runs the models.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..families import ALL_FAMILIES, MODEL_TYPES, add_installed_families
from ..names import METHODS


# The method of the checkpoint itself, as the page names it.
OWN = "as trained"

# Files that hold an image processor.
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")

# The ends of the keep-ratio slider, and its step.
SLIDER = (0.3, 1.0, 0.05)

# Where the checkpoint has no single keep ratio the slider starts here.
USUAL = 0.7

# What is asked of an image, each a tab of the page where there is a model for it, and its title.
TASKS = {"classify": "Classify", "zero-shot": "Zero-shot", "retrieval": "Retrieval"}

# Model types with an image and a text tower, and those of encoders without a text tower, dense and sparse.
TWO_TOWER_TYPES = tuple(
    name for key, family in ALL_FAMILIES.items() if family.two_towers for name in (family.dense, key)
)
ENCODER_TYPES = tuple(
    f"{name}{end}"
    for key, family in ALL_FAMILIES.items()
    for name in (family.dense, key)
    for end in (["_vision_model"] if family.two_towers else [""])
)

SHOWN_TYPES = (*MODEL_TYPES, *(name for name in TWO_TOWER_TYPES + ENCODER_TYPES if name not in MODEL_TYPES))

# Labels that a visitor may type for an image, and the characters of one.
MOST_LABELS, LONGEST_LABEL = 20, 60

DIGIT_LABELS = {str(digit): str(digit) for digit in range(10)}


@dataclass(frozen=True)
class Source:
    """A checkpoint that the page offers.

    Attributes:
        name: what the page calls it.
        place: its folder, or its name on the Hub.
        reducer: the method that it was trained with, `None` for a dense one.
        keep_ratio: where the slider starts.
        shows_digits: its classes are handwritten digits, as in the quickstart.
        tasks: what can be asked of it, keys of `TASKS`.
    """

    name: str
    place: str
    reducer: str | None
    keep_ratio: float
    shows_digits: bool
    tasks: tuple[str, ...] = ("classify",)

    @property
    def first_method(self) -> str:
        """The method that the page begins with: of a dense checkpoint one that needs no training."""
        return "tome" if self.reducer is None else OWN

    @property
    def other_method(self) -> str:
        """The method that it is compared with at first, never the same one."""
        return "topk" if self.reducer in (None, "tome") else "tome"


@dataclass(frozen=True)
class Choice:
    """What a visitor asks for.

    Attributes:
        model, method, keep_ratio: as the page names them.
        task: a key of `TASKS`.
        labels: as they were typed, between commas; for `"zero-shot"`.

    Raises:
        ValueError: the model has no name, there is no such method or task, `keep_ratio` is off the slider, or labels
            are missing, too many or too long.
    """

    model: str
    method: str
    keep_ratio: float
    task: str = "classify"
    labels: str = ""

    def __post_init__(self):
        if not isinstance(self.model, str):
            raise ValueError(f"There is no model {self.model!r}.")
        if self.method not in (OWN, *METHODS):
            raise ValueError(f"There is no method {self.method!r}.")
        low, high, _ = SLIDER
        number = isinstance(self.keep_ratio, int | float) and not isinstance(self.keep_ratio, bool)
        if not number or not low <= self.keep_ratio <= high:
            raise ValueError(f"The keep ratio is {self.keep_ratio!r}; it can be {low} to {high}.")
        if self.task not in TASKS:
            raise ValueError(f"There is no task {self.task!r}.")
        if self.task == "zero-shot":
            split_labels(self.labels)


def split_labels(typed: str) -> list[str]:
    """Split labels that were typed between commas.

    Raises:
        ValueError: there are fewer than two, too many, or one is too long.
    """
    labels = [*dict.fromkeys(part.strip() for part in str(typed).split(",") if part.strip())]
    if not 2 <= len(labels) <= MOST_LABELS:
        raise ValueError(f"There are {len(labels)} labels; type 2 to {MOST_LABELS}, with commas between them.")
    if max(map(len, labels)) > LONGEST_LABEL:
        raise ValueError(f"A label has {max(map(len, labels))} characters; it can have {LONGEST_LABEL}.")
    return labels


def find_tasks(config: dict[str, Any]) -> tuple[str, ...]:
    """Find what can be asked of a checkpoint with that `config.json`, keys of `TASKS`; nothing of other families."""
    kind, names = config["model_type"], config.get("architectures") or ()
    if any("ForImageClassification" in name for name in names):
        return ("classify",) if kind in MODEL_TYPES else ()
    if kind in TWO_TOWER_TYPES and "text_config" in config:
        return ("zero-shot", "retrieval")
    if kind in ENCODER_TYPES and any(name.endswith("Model") for name in names):
        return ("retrieval",)
    return ("classify",) if kind in MODEL_TYPES else ()


def read_sources(places: Sequence[str]) -> list[Source]:
    """Read the checkpoints in `places`, folders or Hub names.

    Raises:
        ValueError: there is none, one is named twice, cannot be read, or is of another family.
    """
    if not places:
        raise ValueError("No model is named.")
    add_installed_families()
    sources = []
    for name, place in zip(short_names(places), places, strict=True):
        config = read_configuration(place)
        tasks = find_tasks(config)
        if not tasks:
            from ..model.refused import refusal  # with torch

            raise ValueError(refusal(place, config["model_type"], f"the demo shows {', '.join(SHOWN_TYPES)}"))
        check_processor(place)
        labels = config.get("id2label")
        named = {str(index): name for index, name in labels.items()} if isinstance(labels, dict) else {}
        shows_digits = named == DIGIT_LABELS
        tower = config.get("vision_config", config)
        method, keep_ratio = tower.get("reducer"), on_slider(tower.get("keep_ratio"))
        sources.append(Source(name, place, method, keep_ratio, shows_digits, tasks))
    return sources


def check_processor(place: str) -> None:
    """Refuse a folder without image processor before the page is there; of a name on the Hub the answer tells.

    Raises:
        ValueError: it has none.
    """
    if Path(place).is_dir() and not any(Path(place, name).is_file() for name in PROCESSOR_FILES):
        from ..checkpoints.source import read_processor  # which has words for it

        read_processor(place)


def read_configuration(place: str) -> dict[str, Any]:
    """Read the configuration of a checkpoint, as it is written.

    Raises:
        ValueError: there is none.
    """
    file = Path(place, "config.json")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = {}
    if "model_type" in config:
        return config
    from ..checkpoints.source import read_config  # a name on the Hub, or a mistake that it has words for

    return read_config(place).to_dict()


def short_names(places: Sequence[str]) -> list[str]:
    """Name each model for the page: by the end of its folder, as short as tells it apart, or by the Hub's name."""
    parts = [Path(place).resolve().parts if Path(place).is_dir() else (place,) for place in places]
    names = []
    for index, own in enumerate(parts):
        others = parts[:index] + parts[index + 1 :]
        lengths = (
            length for length in range(1, len(own) + 1) if all(own[-length:] != other[-length:] for other in others)
        )
        names.append("/".join(own[-next(lengths, len(own)) :]))
    if len(set(names)) < len(names):
        raise ValueError(f"a model is named twice: {', '.join(places)}.")
    return names


def on_slider(keep_ratio: Any) -> float:
    """Return the position on the slider next to a checkpoint's own keep ratio, if that is one number."""
    low, high, step = SLIDER
    if not isinstance(keep_ratio, int | float):
        return USUAL
    return min(high, max(low, round(round(keep_ratio / step) * step, 2)))
