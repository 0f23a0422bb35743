# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints in and out: dense and sparse, either key layout, other processes, Auto classes, pipelines."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from methods import FEW, usual
from PIL import Image
from programs import run_program
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from toys import (
    assert_same_model,
    assert_same_weights,
    calibrated,
    reads_class_token,
    toy_config,
    toy_dense,
    toy_images,
    toy_model,
)
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    ViTForImageClassification,
    pipeline,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import hf_dynamicvit
from hf_dynamicvit import REDUCERS, DynamicViTConfig, DynamicViTForImageClassification, DynamicViTModel


# today's names -> those of Hub files written before Transformers 5
OLD_NAMES = [
    ("vit.layers.", "vit.encoder.layer."),
    (".attention.q_proj.", ".attention.attention.query."),
    (".attention.k_proj.", ".attention.attention.key."),
    (".attention.v_proj.", ".attention.attention.value."),
    (".attention.o_proj.", ".attention.output.dense."),
    (".mlp.fc1.", ".intermediate.dense."),
    (".mlp.fc2.", ".output.dense."),
]


def write_dense(folder, layout: str) -> ViTForImageClassification:
    """A dense checkpoint whose file has the keys of `layout`, whatever Transformers would write."""
    dense = toy_dense(
        id2label={0: "a", 1: "b", 2: "c", 3: "d", 4: "e"}, label2id=dict(zip("abcde", range(5), strict=True))
    )
    dense.save_pretrained(folder)
    tensors = {}
    for name, tensor in dense.state_dict().items():
        for new, old in OLD_NAMES if layout == "old" else []:
            name = name.replace(new, old)
        tensors[name] = tensor
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return dense


@usual(reducer=["dynamicvit"])
@usual(layout=["old"])
@pytest.mark.parametrize("layout", ["old", "new"])
def test_dense_checkpoint_of_either_layout(tmp_path, layout, reducer, warnings_text):
    dense = write_dense(tmp_path, layout)
    written = set(load_file(tmp_path / "model.safetensors"))
    assert ("vit.encoder.layer.0.attention.attention.query.weight" in written) == (layout == "old")
    model, report = DynamicViTForImageClassification.from_pretrained(
        tmp_path, **reads_class_token(reducer), output_loading_info=True
    )
    calibrated(model, 1.0)
    assert all(name.startswith("vit.reducer.") for name in report["missing_keys"])
    assert not report["unexpected_keys"] and not report["mismatched_keys"]
    assert "model of type" not in warnings_text()
    assert model.config.id2label == dense.config.id2label
    torch.testing.assert_close(model(toy_images()).logits, dense(toy_images()).logits, atol=1e-5, rtol=1e-5)
    for name, tensor in dense.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_fresh_predictors_are_initialised(tmp_path):
    write_dense(tmp_path, "old")
    model = DynamicViTForImageClassification.from_pretrained(tmp_path)
    for predictor in model.vit.reducer.predictors:
        assert torch.equal(predictor.norm.weight, torch.ones(32))
        assert 0.1 < predictor.project.weight.std() < 0.3  # initializer_range of the toy is 0.2


@usual(reducer=[*FEW, "evovit"])
def test_what_a_dense_checkpoint_lacks_starts_as_in_a_new_model(tmp_path, reducer):
    """Loading builds models without memory; what has no initialisation would be whatever was there."""
    write_dense(tmp_path, "old")
    loaded = DynamicViTForImageClassification.from_pretrained(tmp_path, reducer=reducer).vit.reducer
    new = DynamicViTForImageClassification(toy_config(reducer=reducer)).vit.reducer
    for (name, tensor), expected in zip(loaded.state_dict().items(), new.state_dict().values(), strict=True):
        if expected.ndim > 1 and reducer not in ("mstm", "tosa"):  # which start as the identity
            assert 0.1 < tensor.std() < 0.3, name  # initializer_range of the toy is 0.2
        else:
            assert torch.equal(tensor, expected), name


def test_another_reading_of_the_classifier_is_said_aloud(tmp_path, warnings_text):
    write_dense(tmp_path / "dense", "old")
    DynamicViTForImageClassification.from_pretrained(tmp_path / "dense", reducer="evit")
    assert "classifies" not in warnings_text()
    model = DynamicViTForImageClassification.from_pretrained(tmp_path / "dense", reducer="evovit")
    assert "reducer 'evovit' classifies the mean of the patches" in warnings_text()
    model.save_pretrained(tmp_path / "evovit")
    DynamicViTForImageClassification.from_pretrained(tmp_path / "evovit")
    assert warnings_text().count("classifies") == 1
    DynamicViTForImageClassification.from_pretrained(tmp_path / "evovit", reducer="topk")
    assert "reducer 'topk' classifies the class token" in warnings_text()


@pytest.mark.parametrize("layout", ["old", "new"])
def test_base_model_from_a_dense_checkpoint(tmp_path, layout):
    dense = write_dense(tmp_path, layout)
    model = DynamicViTModel.from_pretrained(tmp_path, keep_ratio=1.0, add_pooling_layer=False)
    expected = dense.vit(toy_images()).last_hidden_state
    torch.testing.assert_close(model(toy_images()).last_hidden_state, expected, atol=1e-5, rtol=1e-5)


@usual(reducer=FEW)
def test_dense_to_sparse_to_dense_is_exact(tmp_path, reducer):
    dense = write_dense(tmp_path / "dense", "old")
    sparse = DynamicViTForImageClassification.from_pretrained(tmp_path / "dense", reducer=reducer)
    sparse.save_pretrained(tmp_path / "sparse")
    again, report = ViTForImageClassification.from_pretrained(tmp_path / "sparse", output_loading_info=True)
    assert not report["missing_keys"]
    assert all(name.startswith("vit.reducer.") for name in report["unexpected_keys"])
    assert_same_model(again.eval(), dense)


WITH_PACKAGE = """
import hf_dynamicvit
trust = False
"""
WITHOUT_PACKAGE = """
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_dynamicvit":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
trust = True
"""
LOAD_ALL = """
import torch
from transformers import AutoModel, AutoModelForImageClassification
images = torch.load("images.pt")
for name in sys.argv[1:]:
    model = AutoModelForImageClassification.from_pretrained(name, trust_remote_code=trust).eval()
    base = AutoModel.from_pretrained(name, trust_remote_code=trust, add_pooling_layer=False).eval()
    with torch.no_grad():
        torch.save((model.state_dict(), model(images).logits, base(images).features), name + "/result.pt")
"""


@pytest.mark.parametrize("beginning", [WITH_PACKAGE, WITHOUT_PACKAGE], ids=["with_package", "remote_code"])
@pytest.mark.slow
def test_saved_checkpoints_in_a_fresh_process_are_the_same(tmp_path, beginning):
    """Every method, with the package installed and, from checkpoints that carry their code, without it."""
    remote = beginning is WITHOUT_PACKAGE
    models = {reducer: toy_model(reducer=reducer, keep_ratio=0.6) for reducer in sorted(REDUCERS)}
    for reducer, model in models.items():
        model.save_pretrained(tmp_path / reducer, with_remote_code=remote)
        assert (tmp_path / reducer / "reducer.py").exists() == remote
    torch.save(toy_images(), tmp_path / "images.pt")
    result = run_program("import sys\n" + beginning + LOAD_ALL, *models, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    for reducer, model in models.items():
        weights, logits, features = torch.load(tmp_path / reducer / "result.pt")
        assert_same_weights(weights, model)
        with torch.no_grad():  # as in the other process
            assert_close(logits, model(toy_images()).logits, atol=1e-5, rtol=1e-5, msg=reducer)
            assert_close(features, model.vit(toy_images()).features, atol=1e-5, rtol=1e-5, msg=reducer)


@usual(reducer=FEW)
def test_a_copy_at_another_address_is_the_same_model(tmp_path, reducer, other_rounding):
    """Its outputs are off by rounding; a weight that is off by as little is another model."""
    model = toy_model(reducer=reducer)
    model.save_pretrained(tmp_path)
    again = DynamicViTForImageClassification.from_pretrained(tmp_path).eval()
    assert not torch.equal(again(toy_images()).logits, model(toy_images()).logits)
    assert_same_model(again, model)
    weight = again.vit.layers[2].mlp.fc1.weight.data
    weight[0, 0] = weight[0, 0].nextafter(torch.tensor(torch.inf))
    with pytest.raises(AssertionError, match=r"vit\.layers\.2\.mlp\.fc1\.weight"):
        assert_same_model(again, model)


def test_the_processor_comes_along(tmp_path):
    write_dense(tmp_path / "dense", "old")
    processor = ViTImageProcessorPil(size={"height": 32, "width": 32}, image_mean=(0.1, 0.2, 0.3))
    processor.save_pretrained(tmp_path / "dense")
    model = DynamicViTForImageClassification.from_pretrained(tmp_path / "dense", keep_ratio=0.5)
    model.save_pretrained(tmp_path / "sparse")
    assert tuple(AutoImageProcessor.from_pretrained(tmp_path / "sparse").image_mean) == (0.1, 0.2, 0.3)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "own")
    model.save_pretrained(tmp_path / "own")  # one that is there stays
    assert AutoImageProcessor.from_pretrained(tmp_path / "own").size["height"] == 16
    again = DynamicViTForImageClassification.from_pretrained(tmp_path / "sparse")
    for gone in ("me/not-in-the-cache", str(tmp_path / "gone"), "./gone", "gone"):
        again.config._name_or_path = gone
        again.save_pretrained(tmp_path / "without")
        assert not (tmp_path / "without" / "preprocessor_config.json").exists()
    model.save_pretrained(tmp_path / "other_process", is_main_process=False)
    assert not (tmp_path / "other_process" / "preprocessor_config.json").exists()


def test_the_processor_comes_along_from_a_subfolder_a_revision_and_another_cache(tmp_path):
    processor = ViTImageProcessorPil(size={"height": 32, "width": 32}, image_mean=(0.1, 0.2, 0.3))
    cached = tmp_path / "cache" / "models--me--model"  # as the Hub's client lays it out
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "v2").write_text("0" * 40)
    for folder in (tmp_path / "saved", cached / "snapshots" / ("0" * 40)):
        toy_model().save_pretrained(folder / "m")
        processor.save_pretrained(folder / "m")
    places = {str(tmp_path / "saved"): {}, "me/model": {"revision": "v2", "cache_dir": tmp_path / "cache"}}
    for source, place in places.items():
        for family in (DynamicViTForImageClassification, AutoModelForImageClassification):
            model = family.from_pretrained(source, subfolder="m", **place)
            model.save_pretrained(tmp_path / "again")
            copied = tmp_path / "again" / "preprocessor_config.json"
            assert json.loads(copied.read_text())["image_mean"] == [0.1, 0.2, 0.3]
            copied.unlink()


def reached(modules: set[str]) -> set[str]:
    """Find the modules of `model/` that those import, or that these do."""
    folder, found = Path(hf_dynamicvit.__file__).with_name("model"), set()
    while modules:
        found |= modules
        trees = [ast.parse((folder / f"{name}.py").read_text(encoding="utf-8")) for name in modules]
        nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
        modules = {str(node.module) for node in nodes} - found
    return found


def test_code_travels_only_when_asked(tmp_path):
    model = toy_model()
    model.save_pretrained(tmp_path / "code", with_remote_code=True)
    config = json.loads((tmp_path / "code" / "config.json").read_text())
    assert config["auto_map"] == {
        "AutoConfig": "configuration_dynamicvit.DynamicViTConfig",
        "AutoModel": "modeling_dynamicvit.DynamicViTModel",
        "AutoModelForImageClassification": "modeling_dynamicvit.DynamicViTForImageClassification",
    }
    travelled = {path.stem for path in (tmp_path / "code").glob("*.py")}
    assert travelled == reached({"configuration_dynamicvit", "modeling_dynamicvit"})  # and nothing of other families
    assert {"reducers", "tokens", "reducer_tome"} < travelled and not {"tower", "pyramid", "detection"} & travelled
    model.save_pretrained(tmp_path / "plain")
    assert sorted(path.name for path in (tmp_path / "plain").iterdir()) == ["config.json", "model.safetensors"]
    assert "auto_map" not in json.loads((tmp_path / "plain" / "config.json").read_text())
    assert not hasattr(model.config, "auto_map")
    again = DynamicViTForImageClassification.from_pretrained(tmp_path / "code")  # the package's class, not the file's
    assert type(again) is DynamicViTForImageClassification
    again.save_pretrained(tmp_path / "again")  # and what it saves says nothing of code that is not there
    assert "auto_map" not in json.loads((tmp_path / "again" / "config.json").read_text())
    assert again.config.auto_map


def test_saving_writes_no_code_and_no_pickle(tmp_path):
    toy_model().save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_auto_classes(tmp_path):
    toy_model().save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is DynamicViTConfig
    assert type(AutoModel.from_pretrained(tmp_path)) is DynamicViTModel
    model = AutoModelForImageClassification.from_pretrained(tmp_path, keep_ratio=0.5)
    assert type(model) is DynamicViTForImageClassification and model.config.keep_ratio == 0.5
    assert AutoImageProcessor.from_pretrained(tmp_path).size["height"] == 32


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_pipeline_of_any_batch_size(tmp_path, batch_size):
    model = toy_model()
    model.save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    processor = AutoImageProcessor.from_pretrained(tmp_path)  # as the pipeline: torchvision's where it is installed
    noise = np.random.default_rng(0).integers(0, 255, (5, 40, 40, 3), dtype=np.uint8)
    images = [Image.fromarray(image) for image in noise]
    results = pipeline("image-classification", model=str(tmp_path), batch_size=batch_size)(images, top_k=1)
    expected = model(processor(images, return_tensors="pt")["pixel_values"]).logits.softmax(-1).max(-1)
    for index, [best] in enumerate(results):
        assert best["label"] == f"LABEL_{expected.indices[index]}"
        assert best["score"] == pytest.approx(expected.values[index].item(), abs=1e-5)


def test_raw_state_dict_in_the_saved_layout_loads(tmp_path):
    """What the Trainer does on resume; without the hook every encoder weight would silently stay as it was."""
    model = toy_model(seed=1)
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert any(name.startswith("vit.encoder.layer.") for name in saved)  # else the hook can go
    other = toy_model(seed=2)
    other.load_state_dict(saved, strict=True)
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
