# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A folder to train in: images of three colours, a model that knows them and one that does not."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from toys import toy_dense
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil


COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def save_processor(folder: Path | str, size: int = 32) -> None:
    ViTImageProcessorPil(size={"height": size, "width": size}).save_pretrained(folder)


def write_colours(folder: Path) -> None:
    """Write `images/`, of three colours, `other/`, a model of other classes, and `knows/`, one of these."""
    for name, content in made_once().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@cache
def made_once() -> dict[Path, bytes]:
    """Return the files of `write_colours` by their places."""
    with TemporaryDirectory() as folder:
        make_colours(Path(folder))
        files = [file for file in Path(folder).rglob("*") if file.is_file()]
        return {file.relative_to(folder): file.read_bytes() for file in files}


def make_colours(folder: Path) -> None:
    generator = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 2)):
        for name, colour in COLOURS.items():
            (folder / "images" / split / name).mkdir(parents=True)
            for index in range(count):
                noise = generator.integers(-60, 60, (40, 36, 3))
                pixels = (np.array(colour) * 0.6 + 50 + noise).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / "images" / split / name / f"{index}.png")
    toy_dense().save_pretrained(folder / "other")
    names = ["red", "green", "blue"]  # in another order than the folders
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    toy_dense(num_labels=3, **labels).save_pretrained(folder / "knows")
    for name in ("other", "knows"):
        save_processor(folder / name)
