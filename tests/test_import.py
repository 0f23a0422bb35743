# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Importing the package imports next to nothing, and yet the Auto classes find its models."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from programs import run_program
from toys import toy_model
from transformers import CONFIG_MAPPING, AutoConfig
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import hf_dynamicvit
from hf_dynamicvit import DynamicDeiTConfig, DynamicViTConfig, auto
from hf_dynamicvit.families import HOMES


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A sparse checkpoint whose image processor is known by the type of the model only."""
    folder = tmp_path_factory.mktemp("sparse")
    toy_model().save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    file = folder / "preprocessor_config.json"
    processor = json.loads(file.read_text())
    del processor["image_processor_type"]
    file.write_text(json.dumps(processor))
    return folder


def run(program: str, folder: Path) -> None:
    """In another process, in which nothing is imported yet; `folder` is its working directory."""
    result = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def run_forked(program: str, folder: Path) -> None:
    """In another process, in which Transformers is imported and nothing of this package."""
    result = run_program(program, folder=folder)
    assert result.returncode == 0, result.stderr


def test_the_package_then_auto_classes(folder):
    """Nothing heavy before it is asked for, and the Trainer and datasets not for a model."""
    program = """
import contextlib, sys
import hf_dynamicvit
from hf_dynamicvit.commands.cli import main
with contextlib.suppress(SystemExit):
    main(["--help"])
assert "DynamicViTTrainer" in dir(hf_dynamicvit) and not hasattr(hf_dynamicvit, "DynamicViTTrainers")
import transformers
assert "torch" not in sys.modules
from transformers import AutoConfig, AutoImageProcessor
assert type(AutoConfig.for_model("dynamicdeit")).__name__ == "DynamicDeiTConfig"
assert "ViT" in type(AutoImageProcessor.from_pretrained(".")).__name__
assert type(transformers.AutoModelForImageClassification.from_pretrained(".")).__name__ in hf_dynamicvit.__all__
assert hf_dynamicvit.DynamicViTForImageClassification
assert "transformers.trainer" not in sys.modules and "datasets" not in sys.modules
assert hf_dynamicvit.training.callbacks.KeepRatioWarmup
"""
    run(program, folder)


@pytest.mark.slow
def test_auto_classes_then_the_package(folder):
    program = """
import sys
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification, pipeline
import hf_dynamicvit
assert "hf_dynamicvit.model" not in sys.modules
assert "ViT" in type(AutoImageProcessor.from_pretrained(".")).__name__
assert type(AutoConfig.from_pretrained(".")) is hf_dynamicvit.DynamicViTConfig
assert type(pipeline("image-classification", model=".").model) is hf_dynamicvit.DynamicViTForImageClassification
"""
    run_forked(program, folder)


@pytest.mark.slow
def test_a_module_of_the_model_registers_them_all(folder):
    program = """
from hf_dynamicvit.model.configuration_dynamicdeit import DynamicDeiTConfig
from transformers import AutoModel, AutoModelForImageClassification
sizes = dict(hidden_size=8, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8, drop_layers=[1])
for auto_class in (AutoModel, AutoModelForImageClassification):
    assert type(auto_class.from_config(DynamicDeiTConfig(**sizes))).__module__.startswith("hf_dynamicvit.model.")
"""
    run_forked(program, folder)


def test_every_name_is_there():
    for name in hf_dynamicvit.__all__:
        assert getattr(hf_dynamicvit, name) is not None and name in dir(hf_dynamicvit)
    everything = {}
    exec("from hf_dynamicvit import *", everything)
    assert set(hf_dynamicvit.__all__) <= set(everything)
    with pytest.raises(AttributeError, match="has no attribute 'DynamicViTTrainers'"):
        hf_dynamicvit.DynamicViTTrainers  # noqa: B018


def test_literal_names_are_those_of_the_table():
    """Type checkers and documentation read no table: what families make public is named by hand too."""
    assert HOMES.keys() <= set(hf_dynamicvit.__all__)
    text = Path(hf_dynamicvit.__file__).read_text(encoding="utf-8")
    (block,) = re.findall(r"if TYPE_CHECKING:.*\n((?:    .*\n)+)", text)
    lines = re.findall(r"from (\S+) import (\([^)]+\)|.+)", block)
    named = {name: module for module, names in lines for name in re.findall(r"\w+", names)}
    assert HOMES.items() <= named.items()


def test_configurations_are_found_by_name():
    for config in (DynamicDeiTConfig, DynamicViTConfig):
        assert auto.CONFIGS[config.model_type] == config.__name__
        assert CONFIG_MAPPING[config.model_type] is config
        assert type(AutoConfig.for_model(config.model_type)) is config
        AutoConfig.register(config.model_type, config, exist_ok=True)


def test_another_version_of_transformers_is_served_too(monkeypatch):
    assert auto.holds()
    imported = []
    monkeypatch.setattr(auto, "import_module", imported.append)
    for relied_on in (("auto_mappings.py", "names that are elsewhere"), ("a_file_that_is_gone.py", "")):
        monkeypatch.setattr(auto, "RELIED_ON", [relied_on])
        auto.announce_models()
    assert imported == ["hf_dynamicvit.registration"] * 2
