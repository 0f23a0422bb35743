# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Pictures of what a model keeps."""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor


def cover_dropped(image: Image.Image, kept: Tensor, grid: tuple[int, int], colour: str = "white") -> Image.Image:
    """`image` with its dropped patches covered: 0.2 of the pixel, 0.8 of `colour`.

    Args:
        image: the picture as the model saw it (resized and cropped), at any scale.
        kept: `[num_patches]` bool, one slice of `outputs.kept`.
        grid: patches down and across; their product is `num_patches`.

    Raises:
        ValueError: `kept` does not fill the grid.
    """
    if kept.numel() != grid[0] * grid[1]:
        raise ValueError(f"kept has {kept.numel()} patches, a grid of {grid[0]} x {grid[1]} has {grid[0] * grid[1]}.")
    mask = Image.fromarray(kept.reshape(grid).cpu().numpy().astype(np.uint8) * 255)
    mask = mask.resize(image.size, Image.Resampling.NEAREST)
    image = image.convert("RGB")
    return Image.composite(image, Image.blend(image, Image.new("RGB", image.size, colour), 0.8), mask)


def stages_row(image: Image.Image, kept: Tensor, grid: tuple[int, int], colour: str = "white") -> list[Image.Image]:
    """The picture, then one copy a stage with its dropped patches covered; `kept` is `[S, num_patches]` bool."""
    return [image.convert("RGB"), *(cover_dropped(image, stage, grid, colour) for stage in kept)]


def contact_sheet(rows: Sequence[Sequence[Image.Image]], gap: int = 4) -> Image.Image:
    """Rows of pictures of one size on a white sheet, `gap` pixels apart."""
    width, height = rows[0][0].size
    columns = max(len(row) for row in rows)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, len(rows) * (height + gap) + gap), "white")
    for down, row in enumerate(rows):
        for across, picture in enumerate(row):
            sheet.paste(picture, (gap + across * (width + gap), gap + down * (height + gap)))
    return sheet
