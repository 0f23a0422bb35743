# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Folders of small images by class, and viewers of toy models with these classes."""

import numpy as np
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from toys import toy_model
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_dynamicvit.look.viewer import Viewer


NAMES = ["ant", "bee", "cat", "dog", "eel", "fox"]
COUNT = 4  # images of each class


def make_image(number: int) -> Image.Image:
    blots = Image.fromarray(np.random.default_rng(number).integers(0, 255, (4, 4, 3), dtype=np.uint8))
    return blots.resize((32, 32), Image.Resampling.BICUBIC)


def write_classes(folder, names):
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(COUNT):
            make_image(COUNT * label + number).save(folder / name / f"{number}.png")
    return folder


def with_names(model, names):
    model.config.id2label = dict(enumerate(names))
    return model


def viewer_of(names=NAMES, seed=0, dense=True, **overrides) -> Viewer:
    model = with_names(toy_model(seed, num_labels=len(names), **overrides), names)
    processor = ViTImageProcessorPil(size={"height": 32, "width": 32})
    return Viewer(model, processor, model.to_dense() if dense else None)


def saved(viewer: Viewer, folder) -> str:
    viewer.model.save_pretrained(folder)
    viewer.processor.save_pretrained(folder)
    return str(folder)


def in_file(file, feature, labels, name="label"):
    """A parquet file of the same images."""
    features = Features({"image": ImageFeature(), name: feature})
    images = [make_image(number) for number in range(COUNT * len(NAMES))]
    Dataset.from_dict({"image": images, name: labels}, features=features).to_parquet(file)
    return str(file)
