# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Models of any grid: wherever a dense model stands beside a sparse one, both see the same positions."""

import pytest
import torch
from methods import FEW, usual
from torch.testing import assert_close
from toys import calibrated, reads_class_token, toy_deit, toy_dense, toy_dense_deit, toy_images, toy_model
from transformers import ViTForImageClassification
from transformers.models.deit.modeling_deit import DeiTEmbeddings
from transformers.models.vit.modeling_vit import ViTEmbeddings
from viewers import make_images, processor_of

from hf_dynamicvit.benchmark.measure import Ideal, benchmark
from hf_dynamicvit.checkpoints.checkpoint import read_checkpoint
from hf_dynamicvit.demo.answer import measure_milliseconds
from hf_dynamicvit.look.viewer import Viewer


# Natively 4 x 16 and 2 x 8 patches are taken for a square, 4 x 6 crash, and patches of two sizes are not divided by.
GRIDS = [
    {"image_size": [16, 64]},
    {"image_size": [16, 24]},
    {"image_size": [16, 64], "patch_size": [8, 8]},
    {"image_size": [32, 32], "patch_size": [4, 8]},
    {"image_size": [32, 32], "patch_size": [8, 8]},
]
SIZES = [(16, 64), (32, 32), (48, 40)]


def assert_equal_to_dense(model, dense, size):
    """With everything kept, at the configuration's size with and without interpolation, and at another one."""
    own = tuple(model.config.image_size)
    with torch.no_grad():
        assert_close(model(toy_images(2, *own)).logits, dense(toy_images(2, *own)).logits, atol=1e-5, rtol=1e-5)
        for height, width in (own, size):
            images = toy_images(2, height, width)
            expected = dense(images, interpolate_pos_encoding=True).logits
            assert_close(model(images, interpolate_pos_encoding=True).logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("grid", GRIDS)
def test_dense_copies_are_of_the_same_grid(grid, size):
    for model in (toy_model(keep_ratio=1.0, **grid), toy_deit(keep_ratio=1.0, **grid)):
        assert_equal_to_dense(model, model.to_dense(), size)


@usual(reducer=FEW)
def test_every_method_equals_its_dense_copy(reducer):
    model = calibrated(toy_model(**reads_class_token(reducer), image_size=[16, 64]), 1.0)
    assert_equal_to_dense(model, model.to_dense(), (32, 48))


def test_a_square_dense_copy_is_all_native():
    assert type(toy_model().to_dense().vit.embeddings) is ViTEmbeddings
    assert type(toy_deit().to_dense().deit.embeddings) is DeiTEmbeddings


def test_a_dense_copy_is_saved_as_any_other(tmp_path):
    dense = toy_model(image_size=[16, 64]).to_dense()
    dense.save_pretrained(tmp_path)
    again = ViTForImageClassification.from_pretrained(tmp_path).eval()
    images = toy_images(2, 16, 64)
    assert type(again.vit.embeddings) is ViTEmbeddings
    assert_close(again(images).logits, dense(images).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["vit", "deit"])
@pytest.mark.parametrize("grid", GRIDS[:4])
def test_a_viewer_of_a_dense_checkpoint(tmp_path, family, grid):
    """As `visualize` and `evaluate` have it: probabilities are those of the native model, at its own size."""
    dense = toy_dense(**grid) if family == "vit" else toy_dense_deit(**grid)
    dense.save_pretrained(tmp_path)
    height, width = grid["image_size"]
    processor_of(height, width).save_pretrained(tmp_path)
    viewer = Viewer.load(str(tmp_path), "tome")
    viewer.set_keep_ratio(1.0)
    (image,) = make_images((50, 40))
    with torch.no_grad():
        expected = read_checkpoint(tmp_path).load()(viewer.pixel_values([image])).logits.softmax(-1)[0]
    (view,) = viewer.look([image])
    assert_close(view.dense_probabilities, expected, atol=1e-5, rtol=1e-5)
    assert_close(view.probabilities, expected, atol=1e-5, rtol=1e-5)
    (view,) = viewer.look([image], image_size=(24, 40))
    assert_close(view.probabilities, view.dense_probabilities, atol=1e-5, rtol=1e-5)
    assert measure_milliseconds(viewer, image).keys() == {"sparse", "dense"}


def test_a_viewer_of_a_dense_model_in_memory():
    dense = toy_dense(image_size=[16, 64])
    model = toy_model(keep_ratio=1.0, image_size=[16, 64])
    model.load_state_dict(dense.state_dict(), strict=False)
    viewer = Viewer(model, processor_of(16, 64), dense)
    for size in (None, (32, 24)):
        (view,) = viewer.look(make_images((50, 40)), image_size=size)
        assert_close(view.probabilities, view.dense_probabilities, atol=1e-5, rtol=1e-5)


def test_benchmark_of_another_size():
    model = toy_model(image_size=[16, 64])
    rows = benchmark({"toy": model}, [1], image_size=(24, 40), repeats=1, warmup=0)
    assert [row.kind for row in rows] == ["dense", "ideal", "sparse"]
    dense, images = model.to_dense(), toy_images(2, 24, 40)
    ideal = Ideal(dense, [(61, 61)] * 4)
    expected = dense(images, interpolate_pos_encoding=True).logits
    assert_close(ideal(images, interpolate_pos_encoding=True), expected, atol=1e-5, rtol=1e-5)
