# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What is said of weights that are not the checkpoint's: nothing where it is meant to be so, all elsewhere."""

import logging

import pytest
from safetensors.torch import load_file, save_file
from toys import toy_dense, toy_model

from hf_dynamicvit import DynamicViTForImageClassification
from hf_dynamicvit.checkpoints.load_report import CLASSIFIER, REDUCER, check_weights, expect_in_report
from hf_dynamicvit.model.logger import logger


def test_a_new_reducer_is_no_news(tmp_path, warnings_text):
    toy_dense().save_pretrained(tmp_path)
    with expect_in_report(REDUCER):
        DynamicViTForImageClassification.from_pretrained(tmp_path)
    assert warnings_text() == ""  # no report, and no plan of tensor parallelism
    DynamicViTForImageClassification.from_pretrained(tmp_path)
    assert "LOAD REPORT" in warnings_text()


def test_a_reducer_of_another_method_and_a_new_classifier_are_no_news(tmp_path, warnings_text):
    toy_model().save_pretrained(tmp_path)
    options = {"reducer": "topk", "num_labels": 3, "ignore_mismatched_sizes": True}
    with expect_in_report(REDUCER, CLASSIFIER):
        DynamicViTForImageClassification.from_pretrained(tmp_path, **options)
    assert "LOAD REPORT" not in warnings_text()
    with expect_in_report(REDUCER):
        DynamicViTForImageClassification.from_pretrained(tmp_path, **options)
    assert "LOAD REPORT" in warnings_text() and "classifier.weight" in warnings_text()


@pytest.mark.parametrize("change", ["missing", "left over"])
def test_what_is_really_missing_or_left_over_is_reported(tmp_path, change, warnings_text):
    toy_dense().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    if change == "missing":
        del weights[next(name for name in weights if name.endswith("layernorm.weight"))]
    else:
        weights["something.weight"] = weights["classifier.weight"].clone()
    save_file(weights, file, {"format": "pt"})
    with expect_in_report(REDUCER):
        _, found = DynamicViTForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert "LOAD REPORT" in warnings_text()
    assert ("vit.layernorm.weight" if change == "missing" else "something.weight") in warnings_text()
    if change == "missing":
        with pytest.raises(ValueError, match=r"lacks weights, which would be random: vit\.layernorm\.weight\."):
            check_weights("it", found, [REDUCER])


def test_notes_are_signed_by_this_package_and_as_quiet_as_transformers(capsys):
    logger.warning("something to know")
    assert capsys.readouterr().err == "[hf_dynamicvit] something to know\n"
    above = logging.getLogger("transformers")
    level = above.level
    above.setLevel(logging.ERROR)
    try:
        logger.warning("something to know")
    finally:
        above.setLevel(level)
    assert capsys.readouterr().err == ""
