# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Pictures of what is kept, checked pixel by pixel."""

import pytest
import torch
from PIL import Image

from hf_dynamicvit.visualize import contact_sheet, cover_dropped, stages_row


def test_dropped_patches_are_covered_and_kept_ones_untouched():
    picture = Image.new("RGB", (60, 40), (100, 0, 0))
    kept = torch.tensor([True, False, True, True, True, False])  # 2 down, 3 across
    result = cover_dropped(picture, kept, (2, 3))
    colours = [[result.getpixel((20 * across + 10, 20 * down + 10)) for across in range(3)] for down in range(2)]
    full, white = (100, 0, 0), (224, 204, 204)  # 0.2 of the pixel, 0.8 of white
    assert colours == [[full, white, full], [full, full, white]]
    assert result.getpixel((19, 0)) == full and result.getpixel((20, 0)) == white


def test_a_grid_of_another_size_is_refused():
    with pytest.raises(ValueError, match="6 patches, a grid of 2 x 2 has 4"):
        cover_dropped(Image.new("RGB", (4, 4)), torch.ones(6, dtype=torch.bool), (2, 2))


def test_sheet_has_a_row_a_picture_and_a_column_a_stage():
    picture = Image.new("L", (8, 8), 0)
    row = stages_row(picture, torch.zeros(3, 4, dtype=torch.bool), (2, 2))
    assert len(row) == 4 and row[0].getpixel((0, 0)) == (0, 0, 0) and row[3].getpixel((0, 0)) == (204, 204, 204)
    sheet = contact_sheet([row, row], gap=2)
    assert sheet.size == (4 * 10 + 2, 2 * 10 + 2)
    assert sheet.getpixel((0, 0)) == (255, 255, 255) and sheet.getpixel((2, 12)) == (0, 0, 0)
