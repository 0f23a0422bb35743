# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Zero-shot classification through the pipeline of Transformers, and configurations of two towers."""

import numpy as np
import pytest
import torch
import transformers
from native_toys import native_model, reduced_model
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from toys import toy_images
from transformers import PreTrainedTokenizerFast, pipeline

from hf_dynamicvit import (
    DynamicCLIPConfig,
    DynamicCLIPModel,
    DynamicCLIPVisionModel,
    DynamicSiglipModel,
    reduce_tokens,
    restore,
)
from hf_dynamicvit.families import FAMILIES


ZERO_SHOT = ["dynamicclip", "dynamicmetaclip_2", "dynamicsiglip"]
SIZES = {"CLIP": {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}}
SIZES |= {"Siglip": {"size": {"height": 32, "width": 32}}}


def toy_tokenizer() -> PreTrainedTokenizerFast:
    words = ["<unk>", "<pad>", "<s>", "</s>", "This", "is", "a", "photo", "of", "cat", "dog", "."]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


@pytest.fixture(params=ZERO_SHOT)
def key(request):
    return request.param


def toy_parts(key) -> dict:
    """What a pipeline needs beside the model."""
    processor = getattr(transformers, f"{FAMILIES[key].processor}ImageProcessorPil")
    return {"tokenizer": toy_tokenizer(), "image_processor": processor(**SIZES[FAMILIES[key].processor])}


def scores(model, **parts) -> torch.Tensor:
    return ask(pipeline("zero-shot-image-classification", model=model, **parts))


def ask(classify) -> torch.Tensor:
    """The scores that a pipeline gives two images for two labels, by label."""
    pixels = np.random.default_rng(0).integers(0, 255, (2, 40, 50, 3), dtype=np.uint8)
    found = classify([Image.fromarray(each) for each in pixels], candidate_labels=["cat", "dog"])
    return torch.tensor([[each["score"] for each in sorted(row, key=lambda each: each["label"])] for row in found])


def test_the_pipeline(key, tmp_path):
    native, parts = native_model(key, "zero_shot"), toy_parts(key)
    full, reduced = (reduced_model(native, key, "zero_shot", "tome", keep_ratio=ratio) for ratio in (1.0, 0.6))
    dense = scores(native, **parts)
    torch.testing.assert_close(scores(full, **parts), dense, atol=1e-6, rtol=1e-6)
    assert not torch.equal(scores(reduced, **parts), dense)
    for each in (reduced, *parts.values()):
        each.save_pretrained(tmp_path)
    parts["image_processor"] = transformers.AutoImageProcessor.from_pretrained(tmp_path)  # with torchvision, another
    torch.testing.assert_close(scores(str(tmp_path)), scores(reduced, **parts), atol=1e-6, rtol=1e-6)


def test_the_pipeline_of_a_model_that_is_reduced_in_place(key, tmp_path):
    """The pipeline that holds it runs reduced from then on, and one of the saved folder does too."""
    native, parts = native_model(key, "zero_shot"), toy_parts(key)
    expected = scores(reduced_model(native, key, "zero_shot", "tome", keep_ratio=0.6), **parts)
    classify = pipeline("zero-shot-image-classification", model=native, **parts)
    dense = ask(classify)
    assert reduce_tokens(classify.model, "tome", keep_ratio=0.6) is native
    found = ask(classify)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    assert not torch.allclose(found, dense, atol=1e-4)
    for each in (native, *parts.values()):
        each.save_pretrained(tmp_path)
    parts["image_processor"] = transformers.AutoImageProcessor.from_pretrained(tmp_path)  # with torchvision, another
    torch.testing.assert_close(scores(str(tmp_path)), scores(native, **parts), atol=1e-6, rtol=1e-6)
    restore(classify.model)
    assert torch.equal(ask(classify), dense)


def test_what_the_tower_decided_is_in_the_outputs(key):
    model = reduced_model(native_model(key, "zero_shot"), key, "zero_shot", "tome", keep_ratio=0.6)
    outputs = model(pixel_values=toy_images(2), input_ids=torch.tensor([[2, 9, 3]]))
    assert outputs.vision_model_output.kept.shape == (2, len(model.decision_layers), 64)
    assert model.multiply_adds() < model.dense_multiply_adds()


def test_the_tower_alone_from_a_checkpoint_of_both(tmp_path):
    native_model("dynamicclip", "zero_shot").save_pretrained(tmp_path)
    tower, report = DynamicCLIPVisionModel.from_pretrained(tmp_path, reducer="tome", output_loading_info=True)
    assert tower.config.reducer == "tome" and not report["missing_keys"]
    both = DynamicCLIPModel.from_pretrained(tmp_path, reducer="tome")
    for name, tensor in both.vision_model.state_dict().items():
        assert torch.equal(tensor, tower.state_dict()[name])


def test_a_configuration_of_two_towers_speaks_for_its_image_tower():
    config = DynamicCLIPConfig(reducer="tome", keep_ratio=0.5, vision_config={"image_size": 32, "patch_size": 4})
    assert config.vision_config.reducer == config.reducer == "tome"
    assert config.num_patches == 64 and config.vision_config.keep_ratio == 0.5
    config.keep_ratio = 0.6
    assert config.vision_config.keep_ratio == 0.6
    with pytest.raises(AttributeError, match="no attribute 'initializer_range'"):
        config.initializer_range  # noqa: B018
    with pytest.raises(ValueError, match="keep_ratio is 2"):
        DynamicCLIPConfig(keep_ratio=2)
    with pytest.raises(ValueError, match="takes one number"):
        DynamicCLIPConfig(vision_config={"image_size": [32, 48], "patch_size": 4})


def test_a_pooling_head_weighs_merged_patches(tmp_path):
    """A patch that is there twice weighs as a merged one of size 2 does."""
    head = native_model("dynamicsiglip", "zero_shot").vision_model
    states = torch.randn(2, 6, 32)
    twice = head.head(torch.cat((states, states[:, :2]), dim=1))
    model = reduced_model(native_model("dynamicsiglip", "zero_shot"), "dynamicsiglip", "zero_shot", "tome")
    weights = torch.tensor([[2.0, 2, 1, 1, 1, 1]]).expand(2, -1)
    torch.testing.assert_close(model.vision_model.pool(states, weights), twice, atol=1e-5, rtol=1e-5)
    padded = torch.cat((states, torch.randn(2, 2, 32)), dim=1), torch.tensor([[1.0] * 6 + [0.0] * 2]).expand(2, -1)
    torch.testing.assert_close(model.vision_model.pool(*padded), head.head(states), atol=1e-5, rtol=1e-5)
    assert isinstance(model, DynamicSiglipModel)
