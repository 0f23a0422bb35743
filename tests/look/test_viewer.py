# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A `Viewer` says of an image what the models say of its pixels."""

import numpy as np
import pytest
import torch
from methods import FEW, usual
from PIL import Image
from toys import calibrated, reads_class_token, toy_config, toy_dense, toy_model
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from viewers import make_images, processor_of, view_of

from hf_dynamicvit import REDUCERS, DynamicViTForImageClassification
from hf_dynamicvit.look.viewer import Viewer
from hf_dynamicvit.machine import list_devices
from hf_dynamicvit.model.reducers import is_adaptive


def test_what_is_derived():
    view = view_of([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]])
    assert view.counts == [3, 1, 2]
    assert view.returned.tolist() == [[False] * 4, [False] * 4, [False, True, False, False]]
    assert view.last_kept.tolist() == [2, 2, 0, -1]


@usual(reducer=FEW)
def test_it_says_what_the_models_say(reducer, tmp_path):
    toy_model(**reads_class_token(reducer)).save_pretrained(tmp_path)
    processor_of().save_pretrained(tmp_path)
    viewer = Viewer.load(str(tmp_path))
    assert not viewer.untrained and viewer.labels == [f"LABEL_{index}" for index in range(5)]
    seen = make_images((50, 40), (32, 64), (7, 9))
    views = viewer.look(seen, batch_size=2)
    model = DynamicViTForImageClassification.from_pretrained(tmp_path).eval()
    for image, view in zip(seen, views, strict=True):
        pixels = viewer.processor(image, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            outputs, dense = model(pixels), model.to_dense()(pixels)
        assert torch.equal(view.kept, outputs.kept[0]) and torch.equal(view.owner, outputs.owner[0])
        torch.testing.assert_close(view.probabilities, outputs.logits[0].softmax(-1), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(view.dense_probabilities, dense.logits[0].softmax(-1), atol=1e-5, rtol=1e-4)
        assert view.layers == model.decision_layers and view.grid == (8, 8)
        assert view.multiply_adds == model.multiply_adds(pixels)
        assert view.dense_multiply_adds == model.dense_multiply_adds()
        assert view.merging == (REDUCERS[reducer].rest == "merged")
        assert (view.scores is not None) == REDUCERS[reducer].scores_patches
        assert view.picture.width / view.picture.height == pytest.approx(image.width / image.height, rel=0.01)
    assert views[2].counts == viewer.look(seen[2:])[0].counts


@usual(reducer=FEW)
def test_a_dense_checkpoint_with_any_method(reducer, tmp_path, warnings_text):
    dense = toy_dense()
    dense.save_pretrained(tmp_path)
    processor_of().save_pretrained(tmp_path)
    viewer = Viewer.load(str(tmp_path), reducer)
    assert "LOAD REPORT" not in warnings_text() and "not sharded" not in warnings_text()
    assert viewer.model.config.reducer == reducer
    assert viewer.untrained == any("reducer." in name for name in viewer.model.state_dict())
    (image,) = make_images((32, 32))
    viewer.set_keep_ratio(0.5, [image])
    counts = viewer.look([image])[0].counts  # half at one of the stages: the first, or where it falls to it, the last
    # an adaptive one may miss it by a window of four
    assert min(abs(count - 32) for count in counts) <= (2 if is_adaptive(reducer) else 1)
    with torch.inference_mode():
        expected = dense(viewer.pixel_values([image])).logits.softmax(-1)[0]
    torch.testing.assert_close(viewer.look([image])[0].dense_probabilities, expected)
    viewer.set_budget(0.8, [image])
    assert viewer.model.multiply_adds(viewer.pixel_values([image])) <= 0.8 * viewer.model.dense_multiply_adds()


def test_another_dense_model_and_none(tmp_path, warnings_text):
    toy_model().save_pretrained(tmp_path / "sparse")
    processor_of().save_pretrained(tmp_path / "sparse")
    toy_dense(seed=5).save_pretrained(tmp_path / "dense")
    viewer = Viewer.load(str(tmp_path / "sparse"), dense=str(tmp_path / "dense"))
    assert "dense has no image processor: it is shown images as" in warnings_text()
    (image,) = make_images((32, 32))
    with torch.inference_mode():
        expected = toy_dense(seed=5)(viewer.pixel_values([image])).logits.softmax(-1)[0]
    torch.testing.assert_close(viewer.look([image])[0].dense_probabilities, expected)
    toy_model(reducer="evovit").save_pretrained(tmp_path / "evovit")
    processor_of().save_pretrained(tmp_path / "evovit")
    alone = Viewer.load(str(tmp_path / "evovit"))
    assert alone.dense is None and alone.look([image])[0].dense_probabilities is None


@pytest.mark.parametrize("shape", [{"image_size": (24, 40)}, {"image_size": 30, "patch_size": (10, 6)}])
def test_any_grid(shape):
    model = toy_model(**shape)
    height, width = model.config.image_size if isinstance(model.config.image_size, list | tuple) else (30, 30)
    viewer = Viewer(model, processor_of(height, width))
    (view,) = viewer.look(make_images((50, 40)))
    assert view.grid == ((6, 10) if "patch_size" not in shape else (3, 5))
    assert view.kept.shape[1] == view.grid[0] * view.grid[1]


def test_another_size_than_the_processors():
    model = toy_model()
    viewer = Viewer(model, processor_of())
    (view,) = viewer.look(make_images((50, 40)), image_size=(40, 64))
    assert view.grid == (10, 16) and view.multiply_adds == model.multiply_adds((40, 64))
    with pytest.raises(ValueError, match=r"image_size is \(3, 64\); patches are of 4 pixels"):
        viewer.look(make_images((50, 40)), image_size=(3, 64))


def test_the_crop_that_the_model_saw_is_shown():
    """Middle square of a wide image: the processor crops it, so nothing else is shown."""
    image = Image.new("RGB", (128, 64), "blue")
    image.paste("red", (32, 0, 96, 64))

    class Cropping(ViTImageProcessorPil):
        size, crop_size = {"height": 64, "width": 128}, {"height": 64, "width": 64}
        do_center_crop = True

    shown = Viewer(toy_model(image_size=64), Cropping()).look([image])[0].picture
    assert shown.size == (224, 224) and np.asarray(shown).reshape(-1, 3).tolist() == [[255, 0, 0]] * 224**2


def test_grey_and_multi_label():
    model = toy_model(num_channels=1, problem_type="multi_label_classification")
    viewer = Viewer(model, processor_of(image_mean=[0.5], image_std=[0.5]))
    (view,) = viewer.look(make_images((40, 40)))
    with torch.inference_mode():
        expected = model(viewer.pixel_values(make_images((40, 40)))).logits[0].sigmoid()
    torch.testing.assert_close(view.probabilities, expected)


def test_refusals(tmp_path):
    with pytest.raises(ValueError, match="a ViTForImageClassification; a sparse model is wanted"):
        Viewer(toy_dense(), processor_of())
    with pytest.raises(ValueError, match="'regression'"):
        Viewer(toy_model(problem_type="regression"), processor_of())
    with pytest.raises(ValueError, match="The dense model has 3 classes, the sparse one 5"):
        Viewer(toy_model(), processor_of(), toy_dense(num_labels=3))
    viewer = Viewer(toy_model(), processor_of())
    with pytest.raises(ValueError, match="no images"):
        viewer.look([])
    with pytest.raises(ValueError, match="batch_size is 0"):
        viewer.look(make_images((9, 9)), batch_size=0)
    if "cuda" not in list_devices():
        build = "; this PyTorch is built without CUDA" if torch.version.cuda is None else ""
        with pytest.raises(ValueError, match=f"device is 'cuda'; this machine has cpu{build}"):
            viewer.to("cuda")
    with pytest.raises(ValueError, match="device is 'tpu'; this machine has cpu"):
        viewer.to("tpu")
    toy_model(reducer="evovit").save_pretrained(tmp_path)
    processor_of().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="does not read the class token, which topk needs"):
        Viewer.load(str(tmp_path), "topk")
    with pytest.raises(ValueError, match="reducer is 'magic'; it can be algm, asvit"):
        Viewer.load(str(tmp_path), "magic")
    with pytest.raises(ValueError, match="holds a sparse model; name a dense one"):
        Viewer.load(str(tmp_path), dense=str(tmp_path))
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"has no image processor, such as preprocessor_config\.json"):
        Viewer.load(str(tmp_path))


def test_asvit_counts_differ_between_images(tmp_path):
    model = calibrated(DynamicViTForImageClassification(toy_config(reducer="asvit")).eval(), 0.5)
    views = Viewer(model, processor_of()).look(make_images((32, 32), (20, 60), (60, 20), seed=3))
    assert len({tuple(view.counts) for view in views}) > 1
    assert len({view.multiply_adds for view in views}) > 1


def test_only_patches_are_shown():
    """What a size that is no multiple of the patch leaves over is in no patch, and so not in the image."""
    image = Image.new("RGB", (70, 70), "red")
    image.paste("blue", (60, 0, 70, 70))  # 70 pixels become 7, of which one patch of 4 is seen
    viewer = Viewer(toy_model(), processor_of())
    (view,) = viewer.look([image], image_size=(7, 7))
    assert view.grid == (1, 1) and {colour for _, colour in view.picture.getcolors()} == {(255, 0, 0)}


def test_turned_images_are_turned_before_they_are_stretched(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    make_images((40, 20))[0].save(tmp_path / "turned.jpg", exif=exif)
    viewer = Viewer(toy_model(), processor_of())
    with Image.open(tmp_path / "turned.jpg") as turned:
        (view,) = viewer.look([turned], image_size=(32, 64))
        assert view.grid == (8, 16) and view.picture.height > view.picture.width


def test_images_of_different_sizes_for_the_model():
    """Where the processor keeps the aspect ratio, each size is a batch; one tensor cannot hold two."""

    class Keeping(ViTImageProcessorPil):
        size = {"shortest_edge": 32}

    viewer = Viewer(toy_model(), Keeping())
    views = viewer.look(make_images((64, 32), (32, 64), (32, 32)))
    assert [view.grid for view in views] == [(8, 16), (16, 8), (8, 8)]
    with pytest.raises(ValueError, match=r"different sizes \(32 x 64, 64 x 32\)"):
        viewer.pixel_values(make_images((64, 32), (32, 64)))


def test_asvit_costs_are_of_what_was_kept():
    """Also where a batch decides together."""
    options = {"batch_mode": "mean_topk"}
    model = DynamicViTForImageClassification(toy_config(reducer="asvit", reducer_args=options)).eval()
    views = Viewer(calibrated(model, 0.5), processor_of()).look(make_images((32, 32), (20, 60), (60, 20), seed=3))
    assert len({tuple(view.counts) for view in views}) == len({view.multiply_adds for view in views}) == 1


def test_half_precision_checkpoints_are_compared_in_full(tmp_path):
    toy_dense().to(torch.bfloat16).save_pretrained(tmp_path)
    processor_of().save_pretrained(tmp_path)
    viewer = Viewer.load(str(tmp_path), "topk")
    viewer.set_keep_ratio(1.0)
    (view,) = viewer.look(make_images((32, 32)))
    torch.testing.assert_close(view.probabilities, view.dense_probabilities, atol=1e-6, rtol=1e-5)


def test_long_images_have_room_for_their_patches():
    (view,) = Viewer(toy_model(), processor_of()).look(make_images((600, 10)))
    assert view.picture.size == (224, 56)


def test_paths_of_images(tmp_path):
    (image,) = make_images((50, 40))
    file = tmp_path / "a[1].png"
    image.save(file)
    viewer = Viewer(toy_model(), processor_of())
    views = viewer.look([image, str(file), file])
    for view in views[1:]:
        assert torch.equal(view.kept, views[0].kept) and torch.equal(view.probabilities, views[0].probabilities)
        assert np.array_equal(np.asarray(view.picture), np.asarray(views[0].picture))
    Viewer(toy_model(reducer="asvit"), processor_of()).set_keep_ratio(0.5, [file, str(file), image])
    for one in (str(file), file, image):
        with pytest.raises(ValueError, match=r"pictures is one \w+; a list of images is wanted"):
            viewer.look(one)
    with pytest.raises(ValueError, match="PIL image or the path of a file, and this is a ndarray"):
        viewer.look([np.asarray(image)])
    with pytest.raises(ValueError, match=r"Cannot read the image cat\.jpg: "):
        viewer.look(["cat.jpg"])


def test_one_mean_for_all_channels_is_undone():
    class Cropping(ViTImageProcessorPil):
        size = {"height": 40, "width": 40}
        crop_size = {"height": 32, "width": 32}
        do_center_crop = True

    shown = [
        Viewer(toy_model(), Cropping(image_mean=mean, image_std=std)).look(make_images((50, 40)))[0].picture
        for mean, std in ((0.5, 0.25), ([0.5] * 3, [0.25] * 3))
    ]
    assert np.array_equal(*map(np.asarray, shown))
