# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The page that adds a method: its code, in the table and nowhere else, does everything that the others do."""

import re

import pytest
import torch
from paths import ROOT
from toys import assert_same_model, toy_config, toy_dense, toy_images, toy_model
from trainers import trainer_for

from hf_dynamicvit import REDUCERS, DynamicViTForImageClassification


PAGE = ROOT / "docs" / "add_a_method.md"


@pytest.fixture
def norm(monkeypatch):
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)[0]
    assert len(code.splitlines()) < 40
    namespace: dict = {}
    exec(compile(code, str(PAGE), "exec"), namespace)
    monkeypatch.setitem(REDUCERS, "norm", namespace["NormReducer"])
    return namespace["NormReducer"]


def test_it_reduces_trains_and_reloads(norm, tmp_path):
    model = toy_model(reducer="norm", keep_ratio=0.6)
    images = toy_images()
    kept = model(images).kept
    assert kept.sum(-1).tolist() == [model.token_counts()] * 3 == [[38, 23, 13]] * 3
    trainer_for(tmp_path / "run", model).train()
    model.eval().save_pretrained(tmp_path / "saved")
    again = DynamicViTForImageClassification.from_pretrained(tmp_path / "saved").eval()
    assert_same_model(again, model, images)
    assert again.set_budget(fraction=0.7) <= 0.7 * again.dense_multiply_adds()


def test_it_keeps_the_longest(norm):
    model = toy_model(reducer="norm", keep_ratio=0.5)
    outputs = model(toy_images(), output_hidden_states=True)
    norms = outputs.hidden_states[1][:, 1:].norm(dim=-1)
    first = outputs.kept[:, 0]
    for image in range(3):
        assert norms[image][first[image]].min() >= norms[image][~first[image]].max()


def test_everything_kept_is_the_dense_model(norm):
    model = toy_model(reducer="norm", keep_ratio=1.0)
    model.load_state_dict(toy_dense().state_dict())
    torch.testing.assert_close(model(toy_images()).logits, toy_dense()(toy_images()).logits, atol=1e-5, rtol=1e-5)


def test_its_options_are_checked(norm):
    with pytest.raises(ValueError, match=r"order is 0\.5, it must be a number of 1 or more"):
        toy_config(reducer="norm", reducer_args={"order": 0.5})
    with pytest.raises(ValueError, match="it takes order"):
        toy_config(reducer="norm", reducer_args={"p": 2})
