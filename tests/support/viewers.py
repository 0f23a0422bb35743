# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Image processors, images of noise and views, for tests of what is shown."""

import numpy as np
import torch
from PIL import Image
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_dynamicvit.look.viewer import View


def processor_of(height=32, width=32, **options):
    return ViTImageProcessorPil(size={"height": height, "width": width}, **options)


def make_images(*sizes: tuple[int, int], seed: int = 0) -> list[Image.Image]:
    generator = np.random.default_rng(seed)
    return [Image.fromarray(generator.integers(0, 255, (h, w, 3), dtype=np.uint8)) for w, h in sizes]


def view_of(kept: list[list[int]], **changes) -> View:
    """A view of a 2 x 2 grid, made by hand."""
    taken = torch.tensor(kept, dtype=torch.bool)
    owner = torch.arange(4).expand(len(kept), 4)
    fields = {"picture": Image.new("RGB", (40, 40), "red"), "grid": (2, 2), "layers": [*range(1, len(kept) + 1)]}
    fields |= {"kept": taken, "owner": owner, "scores": None, "merging": False}
    fields |= {"probabilities": torch.tensor([0.25, 0.75]), "dense_probabilities": None}
    return View(**(fields | {"multiply_adds": 10**9, "dense_multiply_adds": 2 * 10**9} | changes))
