# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Images of what is kept, checked pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
import torch
from methods import FEW, usual
from PIL import Image
from toys import toy_model
from viewers import make_images, processor_of, view_of

from hf_dynamicvit import demo
from hf_dynamicvit.fonts import measure_line
from hf_dynamicvit.look.drawing import (
    LINES,
    RAMP,
    add_scale,
    captioned,
    card,
    chosen,
    contact_sheet,
    cover_dropped,
    drop_map,
    drop_names,
    group_maps,
    overview,
    patch_of_pixel,
    prediction_text,
    save_figure,
    save_gif,
    score_maps,
    score_ranges,
    share_colours,
    stage_frames,
    stage_images,
    stage_names,
    stages_row,
    top_classes,
    wrapped,
)
from hf_dynamicvit.look.viewer import Viewer
from hf_dynamicvit.names import COVERS


def test_dropped_patches_are_covered_and_kept_ones_untouched():
    image = Image.new("RGB", (60, 40), (100, 0, 0))
    kept = torch.tensor([True, False, True, True, True, False])  # 2 down, 3 across
    full, dark, white = (100, 0, 0), (9, 9, 9), (224, 204, 204)  # 0.3 of its grey; 0.2 of the pixel, 0.8 of white
    for options, covered, line in (
        ({}, dark, LINES["dark"]),
        ({"cover": "light"}, white, LINES["light"]),
        ({"colour": "white"}, white, white),
    ):
        result = cover_dropped(image, kept, (2, 3), **options)
        colours = [[result.getpixel((20 * across + 10, 20 * down + 10)) for across in range(3)] for down in range(2)]
        assert colours == [[full, covered, full], [full, full, covered]]
        assert result.getpixel((19, 0)) == full and result.getpixel((20, 0)) == line  # the line lies outside
        assert result.getpixel((21, 0)) == covered and result.getpixel((59, 30)) == covered


def test_nothing_is_outlined_where_all_is_kept_and_other_covers_are_refused():
    image, kept = Image.new("RGB", (4, 4), (9, 9, 9)), torch.ones(4, dtype=torch.bool)
    for cover in COVERS:
        assert cover_dropped(image, kept, (2, 2), cover=cover).tobytes() == image.tobytes()
    with pytest.raises(ValueError, match="cover is 'blue'; it must be one of dark, light"):
        cover_dropped(image, kept, (2, 2), cover="blue")


def test_a_grid_of_another_size_is_refused():
    with pytest.raises(ValueError, match="6 patches, a grid of 2 x 2 has 4"):
        cover_dropped(Image.new("RGB", (4, 4)), torch.ones(6, dtype=torch.bool), (2, 2))


def test_sheet_has_a_row_a_image_and_a_column_a_stage():
    image = Image.new("L", (8, 8), 0)
    row = stages_row(image, torch.zeros(3, 4, dtype=torch.bool), (2, 2))
    assert len(row) == 4 and row[0].getpixel((0, 0)) == (0, 0, 0) and row[3].getpixel((0, 0)) == (0, 0, 0)
    veiled = stages_row(image, torch.zeros(3, 4, dtype=torch.bool), (2, 2), cover="light")
    assert veiled[0].getpixel((0, 0)) == (0, 0, 0) and veiled[3].getpixel((0, 0)) == (204, 204, 204)
    sheet = contact_sheet([row, row], gap=2)
    assert sheet.size == (4 * 10 + 2, 2 * 10 + 2)
    assert sheet.getpixel((0, 0)) == (255, 255, 255) and sheet.getpixel((2, 12)) == (0, 0, 0)


def at(image: Image.Image, patch: int, across: int = 2, size: int = 20) -> tuple[int, int, int]:
    """The pixel in the middle of a patch."""
    return image.getpixel((patch % across * size + size // 2, patch // across * size + size // 2))


RED, BLUE_LINE = (255, 0, 0), (30, 110, 255)


def test_returned_patches_are_outlined():
    view = view_of([[1, 1, 0, 0], [1, 0, 1, 0]])
    first, second = stage_images(view)[1:]
    assert [at(first, patch) == RED for patch in range(4)] == [True, True, False, False]
    assert [at(second, patch) == RED for patch in range(4)] == [True, False, True, False]
    assert second.getpixel((0, 20)) == BLUE_LINE and second.getpixel((19, 39)) == BLUE_LINE
    assert BLUE_LINE not in {pixel for _, pixel in first.getcolors()}
    assert stage_names(view) == ["block 1: 2 of 4", "block 2: 2 of 4, 1 back"]


def test_scores_from_blue_to_yellow():
    scores = torch.tensor([[0.0, 1.0, 2.0, 3.0], [torch.nan, 5.0, torch.nan, torch.nan]])
    first, second = score_maps(
        view_of([[0, 1, 0, 0], [0, 1, 0, 0]], scores=scores, picture=Image.new("RGB", (40, 40)))
    )
    light = [sum(at(first, patch)) for patch in range(4)]
    assert light == sorted(light) and len(set(light)) == 4
    assert at(first, 0) == tuple(round(0.65 * value) for value in RAMP[0])
    assert at(first, 3) == tuple(round(0.65 * value) for value in RAMP[-1])
    assert at(second, 0) == at(second, 3) == (217, 217, 217) and at(second, 1) == at(first, 0)
    assert score_maps(view_of([[1, 1, 1, 1]])) == []


def test_groups_have_a_colour_and_an_outline():
    owner = torch.tensor([[0, 1, 0, 2], [0, 0, 0, -1]])
    view = view_of([[1, 1, 0, 1], [1, 0, 0, 0]], owner=owner, merging=True)
    first, second = group_maps(view)
    assert at(first, 0) == at(first, 2) != RED and at(first, 1) == at(first, 3) == RED
    assert at(second, 0) == at(second, 1) == at(second, 2) == at(first, 0) and at(second, 3) == RED
    assert first.getpixel((0, 10)) != at(first, 0) and first.getpixel((30, 0)) == RED
    assert first.getpixel((10, 20)) == at(first, 0)  # no line inside a group
    assert group_maps(view_of([[1, 1, 1, 1]])) == []


def test_merged_patches_are_tinted_by_their_group_and_only_lost_ones_covered():
    owner = torch.tensor([[0, 1, 0, -1]])
    view = view_of([[1, 1, 0, 0]], owner=owner, merging=True)
    (merged,), (groups,) = stage_images(view)[1:], group_maps(view)
    assert at(merged, 0) == at(merged, 2) == at(groups, 0) != RED and at(merged, 1) == RED
    assert at(merged, 3) == (23, 23, 23)  # dropped
    assert drop_names(view)[0][0] == "merged at block 1"


def test_scores_have_a_scale():
    scores = torch.tensor([[0.0, 1.0, 2.0, 3.0], [torch.nan] * 4])
    view = view_of([[0, 1, 0, 0], [0, 1, 0, 0]], scores=scores, picture=Image.new("RGB", (140, 140)))
    first, second = score_ranges(view)
    assert first == pytest.approx((0.06, 2.94)) and np.isnan(second).all() and score_ranges(view_of([[1] * 4])) == []
    image = score_maps(view)[0]
    scaled = add_scale(image, *first)
    assert scaled.width == image.width and scaled.height > image.height
    colours = {pixel for _, pixel in scaled.crop((0, 140, 140, scaled.height)).getcolors(10_000)}
    assert {tuple(map(int, RAMP[0])), tuple(map(int, RAMP[-1]))} <= colours
    assert add_scale(image, *second) is image


def test_when_each_patch_went():
    view = view_of([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]])
    image, names = drop_map(view), drop_names(view)
    assert at(image, 0) == RED
    assert [name for name, _ in names] == ["gone at block 1", "gone at block 2", "gone at block 3"]
    for patch, (_, colour) in zip((3, 2, 1), names, strict=True):
        expected = [0.75 * value + 0.25 * red for value, red in zip(colour, RED, strict=True)]
        assert at(image, patch) == pytest.approx(expected, abs=1)


def test_stages_chosen_for_a_card():
    assert chosen(3) == [0, 1, 2] and chosen(12) == [2, 5, 8, 11] and chosen(9) == [1, 3, 5, 8]


def test_classes_and_captions():
    labels = ["cat", "a class with a very long name that does not fit in one line"]
    view = view_of([[1, 1, 1, 1]], dense_probabilities=torch.tensor([0.6, 0.4]))
    assert top_classes(view.probabilities, labels) == [(labels[1], 0.75), (labels[0], 0.25)]
    text = prediction_text(view, labels)
    assert f"sparse: {labels[1]} 75.0%" in text and "dense: cat 60.0%" in text and "1 of 2 GMACs" in text
    short, long = captioned(view.picture, "cat"), captioned(view.picture, labels[1])
    assert short.width == long.width == 140 and long.height > short.height > 40
    assert len(short.crop((0, 40, 140, short.height)).getcolors()) > 1  # something is written
    for text in ("W" * 60, "many short words in one line of text", "a " * 40):
        assert all(measure_line(line) <= 100 for line in wrapped(text, 100))
        assert "".join("".join(wrapped(text, 100)).split()) == "".join(text.split())


@usual(reducer=FEW)
def test_cards_overviews_and_frames_of_every_method(reducer, tmp_path):
    viewer = Viewer(toy_model(reducer=reducer), processor_of())
    views = viewer.look(make_images((50, 40), (20, 70)))
    sheet = card(views[0], viewer.labels, "cat.jpg")
    across = 1 + min(4, len(views[0].layers))
    assert sheet.width == across * (224 + 4) + 4
    assert overview(views, viewer.labels, ["cat.jpg", "dog.jpg"]).width == sheet.width
    frames = stage_frames(views[1])
    save_gif(frames, tmp_path / "stages.gif", seconds=0.5)
    with Image.open(tmp_path / "stages.gif") as gif:
        assert gif.size == frames[0].size and gif.info["duration"] == 500 and gif.info["loop"] == 0
        assert gif.n_frames == len({frame.tobytes() for frame in frames}) == 1 + len(views[1].layers)
        gif.seek(gif.n_frames - 1)
        assert gif.info["duration"] == 1000
    for seconds in (0, 1000, float("nan")):
        with pytest.raises(ValueError, match=f"seconds is {seconds}; from 0.02 to 60"):
            save_gif(frames, tmp_path / "none.gif", seconds=seconds)


def test_lines_and_covers_meet_where_patches_are_no_whole_pixels():
    """A dropped patch is covered to where the next one begins, as outlines and colours see it."""
    image, grid = Image.new("RGB", (37, 23), RED), (5, 7)
    for patch in range(35):
        kept = torch.ones(35, dtype=torch.bool)
        kept[patch] = False
        covered = np.asarray(cover_dropped(image, kept, grid))[..., 1] > 0
        assert (covered == (patch_of_pixel(image.size, grid) == patch)).all()


def test_figures_are_small_and_look_alike(tmp_path):
    viewer, photograph = Viewer(toy_model(), processor_of()), Path(demo.__file__).parent / "images" / "daisy.jpg"
    sheet = card(viewer.look([photograph])[0], viewer.labels, "daisy.jpg")
    for kind in ("png", "webp"):
        save_figure(sheet, tmp_path / f"card.{kind}")
    png, webp = (np.asarray(Image.open(tmp_path / f"card.{kind}").convert("RGB"), float) for kind in ("png", "webp"))
    assert np.array_equal(png, np.asarray(sheet)) and 0 < np.abs(png - webp).mean() < 3
    assert (tmp_path / "card.webp").stat().st_size < 0.7 * (tmp_path / "card.png").stat().st_size


def test_a_figure_too_long_for_its_format_is_scaled(tmp_path):
    save_figure(Image.new("RGB", (2, 20000)), tmp_path / "long.webp")
    with Image.open(tmp_path / "long.webp") as image:
        assert image.height == 16383


def test_what_stays_has_the_same_colour_in_every_frame():
    """So that it is not written again; colours of its own in each frame would flicker."""
    first = make_images((60, 60))[0]
    second = first.copy()
    second.paste((255, 0, 0), (0, 0, 20, 20))
    frames = [frame.convert("RGB") for frame in share_colours([first, second])]
    before, after = (np.asarray(frame) for frame in frames)
    assert np.array_equal(before[20:], after[20:]) and (after[5, 5] == (255, 0, 0)).all()
