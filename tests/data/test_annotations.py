# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Images with boxes, masks and depth: columns, forms of the numbers, and what is refused."""

import json

import numpy as np
import pytest
import torch
from annotated import HEIGHT, WIDTH, make_pictures, save_boxes, save_depths, save_masks
from PIL import Image

from hf_dynamicvit.data.annotations import load_annotated, read_boxes, read_pixels
from hf_dynamicvit.evaluation.data import choose_split


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def load(file, kind, **options):
    return load_annotated(str(file), kind, choose_split, **options)


def read(images, index):
    row = images.data[index]
    return images.read_truth(row, images.read_image(row, "RGB").size)


def test_boxes_have_two_forms(tmp_path):
    objects = [{"bbox": [[1, 2, 10, 20], [5, 6, 7, 8]], "category": [2, 0]}, {"bbox": [], "category": []}]
    file = save_boxes(tmp_path / "boxes.parquet", objects)
    images = load(file, "boxes")
    truth = read(images, 0)
    assert truth.boxes.tolist() == [[1, 2, 11, 22], [5, 6, 12, 14]] and truth.classes == ["road", "sky"]
    assert read(images, 1).boxes.shape == (0, 4) and images.names == ["sky", "tree", "road"]
    assert read(load(file, "boxes", corners=True), 0).boxes.tolist() == [[1, 2, 10, 20], [5, 6, 7, 8]]


def test_a_list_of_objects_is_read_too():
    value = [{"bbox": [1, 2, 3, 4], "label": "cat"}, {"bbox": [0, 0, 9, 9], "label": "dog"}]
    truth = read_boxes(value, (20, 20), False, None, "it")
    assert truth.boxes.tolist() == [[1, 2, 4, 6], [0, 0, 9, 9]] and truth.classes == ["cat", "dog"]
    assert len(read_boxes([], (20, 20), False, None, "it").boxes) == 0


@pytest.mark.parametrize("corners, numbers", [(False, [10, 10, 40, 38]), (True, [30, 10, 12, 8])])
def test_boxes_of_the_other_form_are_found_out(corners, numbers):
    other = "sizes" if corners else "corners"
    with pytest.raises(ValueError, match=rf"does not lie in it .* is it --boxes {other}, in pixels"):
        read_boxes({"bbox": [numbers], "category": [0]}, (48, 40), corners, None, "it")


def test_fields_of_other_names_are_refused():
    with pytest.raises(ValueError, match="The objects have the fields place, kind; boxes are called bbox or bboxes"):
        read_boxes({"place": [], "kind": []}, (8, 8), False, None, "it")


def test_masks_and_depth(tmp_path):
    masks = [np.full((40, 48), index, np.uint8) for index in range(2)]
    masks[0] = masks[0].reshape(48, 40)
    images = load(save_masks(tmp_path / "masks.parquet", masks), "masks")
    assert read(images, 1).pixels.dtype == torch.int64 and (read(images, 1).pixels == 1).all()
    depth = np.random.default_rng(0).uniform(1, 9, (HEIGHT, WIDTH)).astype(np.float32)
    images = load(save_depths(tmp_path / "depth.parquet", [depth]), "depth", depth_scale=0.5)
    assert torch.equal(read(images, 0).pixels, torch.tensor(depth) * 0.5)


def test_a_mask_of_another_shape_is_refused(tmp_path):
    images = load(save_masks(tmp_path / "masks.parquet", [np.zeros((40, 48), np.uint8)]), "masks")
    with pytest.raises(ValueError, match="has 48 x 40 pixels, and the image 40 x 48"):
        read(images, 0)


def test_sixteen_bits_and_palettes_are_numbers_and_colours_are_none():
    assert read_pixels(Image.fromarray(np.full((2, 2), 40000, np.uint16)), "it").tolist() == [[40000] * 2] * 2
    palette = Image.fromarray(np.array([[0, 3]], np.uint8), mode="P")
    assert read_pixels(palette, "it").tolist() == [[0, 3]]
    assert read_pixels(Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1"), "it").tolist() == [[0, 1]]
    with pytest.raises(ValueError, match=r"has the shape \(1, 1, 3\); one number a pixel"):
        read_pixels(Image.new("RGB", (1, 1)), "it")


def test_a_folder_with_a_file_of_metadata(tmp_path):
    (tmp_path / "train").mkdir()
    lines = []
    for index, image in enumerate(make_pictures(2)):
        image.save(tmp_path / "train" / f"{index}.png")
        lines.append({"file_name": f"{index}.png", "objects": {"bbox": [[1, 1, 5, 5]], "category": [index]}})
    (tmp_path / "train" / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    images = load(tmp_path, "boxes")
    assert len(images.data) == 2 and read(images, 1).classes == [1] and images.names is None
    assert images.name_row(images.data[0]).endswith("0.png")


def test_columns_that_are_not_there_are_refused(tmp_path):
    file = save_masks(tmp_path / "masks.parquet", [np.zeros((48, 40), np.uint8)])
    with pytest.raises(ValueError, match="No label column was recognised"):
        load(file, "boxes")
    with pytest.raises(ValueError, match="label_column is 'other'"):
        load(file, "masks", truth_column="other")
    with pytest.raises(ValueError, match="a dictionary with bbox and category is wanted"):
        load(file, "boxes", truth_column="mask")
