# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A classifier names the classes of images, whatever its family, its sizes and its kind of probabilities."""

import pytest
import torch
from methods import usual
from native_toys import CLASSIFIERS, native_class, native_config, our_class
from toys import toy_dense, toy_images, toy_model
from viewers import make_images, processor_of

from hf_dynamicvit.families import FAMILIES
from hf_dynamicvit.prediction import Classifier


def test_inputs_of_several_sizes_are_answered_in_their_order():
    classifier = Classifier(toy_model(), processor_of())
    inputs = [*toy_images(2), *toy_images(1, 40, 32), *toy_images(1, seed=1)]
    found = classifier.classify(inputs, 5)
    for pixels, classes in zip(inputs, found, strict=True):
        (alone,) = classifier.classify([pixels], 5)
        assert [named.label for named in classes] == [named.label for named in alone]
        assert sum(named.probability for named in classes) == pytest.approx(1, abs=1e-5)
    assert classifier.classify([]) == []


def test_an_image_of_several_classes_has_a_probability_for_each():
    model = toy_dense(problem_type="multi_label_classification")
    classifier = Classifier(model, processor_of())
    (pixels,) = [classifier.prepare(image) for image in make_images((20, 30))]
    (classes,) = classifier.classify([pixels], 5)
    expected = model(pixels[None]).logits.sigmoid()[0].sort(descending=True).values
    assert [named.probability for named in classes] == pytest.approx(expected.tolist(), abs=1e-5)


@usual(sparse=[True])
@usual(key=["dynamicvit"])
@pytest.mark.parametrize("key", CLASSIFIERS)
@pytest.mark.parametrize("sparse", [False, True])
def test_classifiers_of_every_family(key, sparse, tmp_path):
    torch.manual_seed(0)
    kind = our_class(key, "classifier") if sparse else native_class(key, "classifier")
    config = native_config(FAMILIES[key], "classifier")
    model = kind(kind.config_class.from_dict(config.to_dict()) if sparse else config).eval()
    model.save_pretrained(tmp_path)
    processor_of().save_pretrained(tmp_path)
    classifier = Classifier.load(str(tmp_path), "cpu")
    pixels = toy_images(2)
    with torch.no_grad():
        expected = model(pixels).logits.softmax(dim=-1).sort(descending=True).values
    found = classifier.classify([*pixels], 5)
    assert [named.probability for named in found[1]] == pytest.approx(expected[1].tolist(), abs=1e-4)
    assert classifier.gmacs > 0


def test_logits_that_are_not_finite():
    model = toy_model()
    torch.nn.init.constant_(model.classifier.bias, torch.nan)
    with pytest.raises(FloatingPointError, match="logits are not finite"):
        Classifier(model, processor_of()).classify([*toy_images(1)])
