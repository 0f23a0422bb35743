# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""List what the demo's page offers: models, methods, keep ratios.

It is read without importing torch, so that the page is there in a few seconds; `demo/answer.py` runs the models.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..families import MODEL_TYPES, add_installed_families
from ..names import METHODS


# The method of the checkpoint itself, as the page names it.
OWN = "as trained"

# Files that hold an image processor.
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")

# The ends of the keep-ratio slider, and its step.
SLIDER = (0.3, 1.0, 0.05)

# Where the checkpoint has no single keep ratio the slider starts here.
USUAL = 0.7

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
    """

    name: str
    place: str
    reducer: str | None
    keep_ratio: float
    shows_digits: bool

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

    Raises:
        ValueError: the model has no name, there is no such method, or `keep_ratio` is off the slider.
    """

    model: str
    method: str
    keep_ratio: float

    def __post_init__(self):
        if not isinstance(self.model, str):
            raise ValueError(f"There is no model {self.model!r}.")
        if self.method not in (OWN, *METHODS):
            raise ValueError(f"There is no method {self.method!r}.")
        low, high, _ = SLIDER
        number = isinstance(self.keep_ratio, int | float) and not isinstance(self.keep_ratio, bool)
        if not number or not low <= self.keep_ratio <= high:
            raise ValueError(f"The keep ratio is {self.keep_ratio!r}; it can be {low} to {high}.")


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
        if config["model_type"] not in MODEL_TYPES:
            from ..model.refused import refusal  # with torch

            raise ValueError(refusal(place, config["model_type"], f"the demo shows {', '.join(MODEL_TYPES)}"))
        check_processor(place)
        labels = config.get("id2label")
        named = {str(index): name for index, name in labels.items()} if isinstance(labels, dict) else {}
        shows_digits = named == DIGIT_LABELS
        tower = config.get("vision_config", config)
        sources.append(Source(name, place, tower.get("reducer"), on_slider(tower.get("keep_ratio")), shows_digits))
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
