# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Encoders that are looked at: what they say is what the native models say."""

import numpy as np
import pytest
import torch
from encoders import WORDS, save_encoder, save_processor, save_two_towers
from native_toys import native_model
from PIL import Image
from torch.testing import assert_close
from transformers import AutoModel, AutoTokenizer

from hf_dynamicvit import reduce_tokens
from hf_dynamicvit.families import FAMILIES
from hf_dynamicvit.look.encoders import TEMPLATE, EncoderViewer


LABELS = ["daisy", "rose", "cat"]
TWO_TOWERS = [key for key, family in FAMILIES.items() if family.two_towers]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoders") / "encoder")


def noise(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8))


@pytest.mark.parametrize("key", TWO_TOWERS)
def test_probabilities_of_texts_are_the_native_ones(key, tmp_path):
    source = save_two_towers(tmp_path, key)
    viewer = EncoderViewer.load_encoder(source, "tome")
    viewer.compare_with_texts(LABELS)
    viewer.set_keep_ratio(0.5, [noise()])
    (view,) = viewer.look([noise()])
    native = AutoModel.from_pretrained(source).eval()
    length = native.config.text_config.max_position_embeddings
    texts = [TEMPLATE.format(label) for label in LABELS]
    inputs = AutoTokenizer.from_pretrained(source)(texts, padding="max_length", max_length=length, return_tensors="pt")
    inputs["pixel_values"] = viewer.pixel_values([noise()])

    def expected(model):
        with torch.no_grad():
            logits = model(**inputs).logits_per_image[0]
        return logits.sigmoid() if key == "dynamicsiglip" else logits.softmax(-1)

    assert_close(view.dense_probabilities, expected(native), atol=1e-5, rtol=1e-4)
    reduced = expected(reduce_tokens(native, "tome", keep_ratio=0.5))
    assert_close(view.probabilities, reduced, atol=1e-5, rtol=1e-4)
    assert not torch.equal(view.probabilities, view.dense_probabilities)
    assert viewer.labels == LABELS and set(LABELS) < set(WORDS)
    assert view.multiply_adds < view.dense_multiply_adds and view.counts[-1] == 32


def test_images_are_compared_by_cosine(encoder):
    viewer = EncoderViewer.load_encoder(encoder, "topk")
    index = torch.stack([viewer.embed_dense(noise(seed)) for seed in range(4)])
    viewer.compare_with_images(index, ["a", "b", "c", "d"])
    viewer.set_keep_ratio(0.5)
    views = viewer.look([noise(seed) for seed in range(4)])
    native = AutoModel.from_pretrained(encoder).eval()
    with torch.no_grad():
        vectors = native(viewer.pixel_values([noise(seed) for seed in range(4)])).pooler_output
    vectors = torch.nn.functional.normalize(vectors, dim=-1)
    assert_close(torch.stack([view.dense_probabilities for view in views]), vectors @ vectors.T, atol=1e-5, rtol=1e-4)
    assert all(view.probabilities[place] < 0.9999 for place, view in enumerate(views))  # of fewer tokens
    assert viewer.labels == ["a", "b", "c", "d"] and views[0].counts == [32, 16, 8]


def test_everything_kept_is_the_dense_model(encoder):
    viewer = EncoderViewer.load_encoder(encoder, "topk")
    viewer.compare_with_images(torch.eye(32)[:5], [*"abcde"])
    viewer.set_keep_ratio(1.0)
    (view,) = viewer.look([noise()])
    assert_close(view.probabilities, view.dense_probabilities, atol=1e-5, rtol=1e-4)


def test_a_sparse_checkpoint_is_compared_with_its_dense_weights(encoder, tmp_path):
    sparse = reduce_tokens(AutoModel.from_pretrained(encoder), "topk", keep_ratio=0.5)
    sparse.save_pretrained(tmp_path)
    save_processor(tmp_path)
    viewer = EncoderViewer.load_encoder(str(tmp_path))
    assert viewer.model.config.reducer == "topk" and not hasattr(viewer.dense, "reducer") and not viewer.untrained
    image = noise()
    assert_close(viewer.embed_dense(image), EncoderViewer.load_encoder(encoder, "tome").embed_dense(image))


def test_what_cannot_be_compared_is_refused(encoder, tmp_path):
    with pytest.raises(ValueError, match="reducer is 'magic'"):
        EncoderViewer.load_encoder(encoder, "magic")
    viewer = EncoderViewer.load_encoder(encoder, "topk")
    with pytest.raises(ValueError, match="has no text tower"):
        viewer.compare_with_texts(LABELS)
    source = save_two_towers(tmp_path / "towers")
    for file in (tmp_path / "towers").glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ValueError, match="has no tokenizer"):
        EncoderViewer.load_encoder(source, "topk")
    native_model("dynamicijepa", "model").save_pretrained(tmp_path / "mean")
    save_processor(tmp_path / "mean")
    viewer = EncoderViewer.load_encoder(str(tmp_path / "mean"), "topk")
    with pytest.raises(ValueError, match="has no pooled output"):
        viewer.embed_dense(noise())
