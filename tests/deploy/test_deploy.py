# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What goes along with an exported file prepares images as the image processor does, and says when it does not."""

import json

import numpy as np
import pytest
import torch
from toys import toy_dense
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from viewers import make_images

from hf_dynamicvit.data.samples import prepare_samples
from hf_dynamicvit.deploy import infer
from hf_dynamicvit.deploy.description import check_preprocessing, describe_preprocessing, write_companions
from hf_dynamicvit.deploy.products import add_by_product


PROCESSORS = {
    "vit": ViTImageProcessorPil(size={"height": 32, "width": 48}),
    "clip": CLIPImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}),
    "dinov2": BitImageProcessorPil(size={"shortest_edge": 36}, crop_size={"height": 48, "width": 32}),
    "grey": ViTImageProcessorPil(size={"height": 32, "width": 32}, image_mean=[0.5], image_std=[0.25]),
    "raw": ViTImageProcessorPil(size={"height": 32, "width": 32}, do_normalize=False, do_rescale=False),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_images_are_prepared_as_by_the_processor(name):
    processor, channels = PROCESSORS[name], 1 if name == "grey" else 3
    images = [image.convert("L" if channels == 1 else "RGB") for image in make_images((50, 40), (41, 90), (33, 35))]
    config = toy_dense(num_channels=channels).config
    expected = prepare_samples(images, processor, config)
    about = json.loads(json.dumps(describe_preprocessing(processor, channels)))
    for image, pixels in zip(images, expected, strict=True):
        found = infer.prepare(image, about)
        assert found.dtype == np.float32
        torch.testing.assert_close(torch.from_numpy(found), pixels.float(), rtol=1e-5, atol=1e-5)
    check_preprocessing(about, images, expected)


def test_a_processor_that_does_something_else_is_told():
    images = make_images((50, 40))
    about = describe_preprocessing(PROCESSORS["vit"], 3)
    expected = prepare_samples(images, PROCESSORS["vit"], toy_dense().config)
    for other in (expected * 1.1, expected[..., :40], expected.flip(3)):
        with pytest.raises(ValueError, match=r"would prepare images otherwise .* --only-file"):
            check_preprocessing(about, images, other)
    with pytest.raises(ValueError, match="'longest_edge': 40"):
        describe_preprocessing(CLIPImageProcessorPil(size={"longest_edge": 40}), 3)


def test_probabilities_of_one_class_or_of_several(tmp_path):
    logits = np.float32([[1, 2, 300], [0, 0, 0]])
    expected = torch.from_numpy(logits)
    np.testing.assert_allclose(infer.probabilities(logits, "softmax"), expected.softmax(dim=1), rtol=1e-6)
    np.testing.assert_allclose(infer.probabilities(logits, "sigmoid"), expected.sigmoid(), rtol=1e-6)
    model = toy_dense(problem_type="multi_label_classification")
    images = make_images((50, 40))
    processor = PROCESSORS["clip"]
    texts = write_companions(
        model, processor, images, prepare_samples(images, processor, model.config), tmp_path / "m.xml"
    )
    assert {*texts} == {"m.json", "infer.py"} and json.loads(texts["m.json"])["probabilities"] == "sigmoid"


def test_a_torch_export_file_runs_by_the_script(tmp_path, capsys):
    model = toy_dense(num_hidden_layers=1)
    images, processor = make_images((50, 40)), ViTImageProcessorPil(size={"height": 32, "width": 32})
    pixels = prepare_samples(images, processor, model.config)

    class Logits(torch.nn.Module):
        def forward(self, pixel_values):
            return pixel_values.mean(dim=(2, 3)) @ (torch.arange(15.0).view(3, 5) + 1)

    program = torch.export.export(Logits(), (pixels,))
    torch.export.save(program, tmp_path / "m.pt2")
    for name, text in write_companions(model, processor, images, pixels, tmp_path / "m.pt2").items():
        (tmp_path / name).write_text(text)
    images[0].save(tmp_path / "a.png")
    infer.main([str(tmp_path / "m.pt2"), str(tmp_path / "a.png"), "--top-k", "2"])
    expected = Logits()(pixels).softmax(dim=1)[0].topk(2)
    named = ", ".join(f"LABEL_{index} {value:.1%}" for value, index in zip(*expected, strict=True))
    assert capsys.readouterr().out == f"{tmp_path / 'a.png'}: {named}\n"
    with pytest.raises(ValueError, match=r"is no exported file; its name ends in \.onnx, \.xml, \.pt2"):
        infer.Model("m.pth")


@pytest.mark.parametrize("width", [None, 1, 3])
def test_products_are_scatters_that_sum(width):
    values, source = torch.randn(2, 4), torch.randn(2, 6)
    index = torch.randint(4, (2, 6))
    if width is not None:
        values, source = torch.randn(2, 4, width), torch.randn(2, 6, width)
        index = index[..., None].expand(-1, -1, width)
    torch.testing.assert_close(add_by_product(values, 1, index, source), values.scatter_add(1, index, source))


def test_other_scatters_are_refused():
    with pytest.raises(ValueError, match="cannot be written as products"):
        add_by_product(torch.zeros(2, 4, 3), 1, torch.randint(4, (2, 6, 3)), torch.zeros(2, 6, 3))
    with pytest.raises(ValueError, match="cannot be written as products"):
        add_by_product(torch.zeros(2, 4), 0, torch.randint(2, (2, 4)), torch.zeros(2, 4))
