# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Families of other packages: registered by hand, or found by the entry points of a package that is installed."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from paths import ROOT
from programs import run_program
from shelf import LABELS, save_processor
from toys import TOY

from hf_dynamicvit import families, register_family
from hf_dynamicvit.families import Family


PAGE = (ROOT / "docs" / "add_a_method.md").read_text(encoding="utf-8")
ROW = re.findall(r"```python\n(from hf_dynamicvit.families.*?)```", PAGE, re.DOTALL)[0]

DENSE_CONFIG = """
from transformers import ViTConfig

class PlainViTConfig(ViTConfig):
    model_type = "plainvit"
"""
DENSE = """
from transformers import ViTForImageClassification, ViTModel
from .configuration_plainvit import PlainViTConfig

class PlainViTModel(ViTModel):
    config_class = PlainViTConfig

class PlainViTForImageClassification(ViTForImageClassification):
    config_class = PlainViTConfig

    def __init__(self, config):
        super().__init__(config)
        self.vit = PlainViTModel(config, add_pooling_layer=False)
        self.post_init()
"""
CONFIG = """
from huggingface_hub.dataclasses import strict
from hf_dynamicvit.model.reduction_config import ReductionConfig
from .configuration_plainvit import PlainViTConfig

@strict
class DynamicPlainViTConfig(ReductionConfig, PlainViTConfig):
    model_type, dense_model_type = "dynamicplainvit", "plainvit"
"""
OURS = """
from transformers.models.vit.modeling_vit import ViTPreTrainedModel
from hf_dynamicvit.model import modeling_dynamicvit as vit
from hf_dynamicvit.model.classification import ReducedForImageClassification
from hf_dynamicvit.model.pretrained import ReducedPreTrainedModel
from hf_dynamicvit.model.reduction import ReducedModel
from .configuration_dynamicplainvit import DynamicPlainViTConfig
from .modeling_plainvit import PlainViTForImageClassification, PlainViTModel

class DynamicPlainViTPreTrainedModel(ReducedPreTrainedModel, ViTPreTrainedModel):
    config: DynamicPlainViTConfig
    config_class = DynamicPlainViTConfig
    embeddings_class, layer_class = vit.DynamicViTEmbeddings, vit.DynamicViTLayer
    attention_class, mlp_class = vit.DynamicViTAttention, vit.DynamicViTMLP

class DynamicPlainViTModel(DynamicPlainViTPreTrainedModel, ReducedModel, PlainViTModel):
    pass

class DynamicPlainViTForImageClassification(
    DynamicPlainViTPreTrainedModel, ReducedForImageClassification, PlainViTForImageClassification
):
    vit: DynamicPlainViTModel
    model_class, dense_class = DynamicPlainViTModel, PlainViTForImageClassification
"""
FILES = {
    "__init__": ROW,
    "model/__init__": "import hf_dynamicvit.model\n",
    "model/configuration_plainvit": DENSE_CONFIG,
    "model/modeling_plainvit": DENSE,
    "model/configuration_dynamicplainvit": CONFIG,
    "model/modeling_dynamicplainvit": OURS,
}

# What a program does in whose environment the package is installed: the Auto classes, a command, `reduce_tokens`.
PROGRAM = """
import sys
import hf_dynamicvit
assert "torch" not in sys.modules and "plain_package" not in sys.modules
from transformers import AutoConfig, AutoModelForImageClassification
assert type(AutoConfig.for_model("dynamicplainvit")).__module__ == "plain_package.model.configuration_dynamicplainvit"
import torch
from hf_dynamicvit import reduce_tokens, restore
from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.demo.models import read_sources

model = AutoModelForImageClassification.from_pretrained("dense").eval()
assert type(model).__name__ == "PlainViTForImageClassification"
images = torch.rand(2, 3, 32, 32)
with torch.no_grad():
    dense = model(images).logits
    reduce_tokens(model, "tome", keep_ratio=1.0)
    torch.testing.assert_close(model(images).logits, dense, atol=1e-5, rtol=1e-5)
    model.set_keep_ratio(0.5)
    sparse = model(images)
assert type(model).__name__ == "DynamicPlainViTForImageClassification" and (sparse.owner >= 0).all()
model.save_pretrained("sparse")
again = AutoModelForImageClassification.from_pretrained("sparse").eval()
with torch.no_grad():
    torch.testing.assert_close(again(images).logits, sparse.logits, atol=1e-5, rtol=1e-5)
assert type(restore(model)).__name__ == "PlainViTForImageClassification"
assert [source.reducer for source in read_sources(["sparse"])] == ["tome"]
assert main(["predict", "cat.jpg", "--model", "sparse", "--json"]) == 0
try:
    again.save_pretrained("code", with_remote_code=True)
except ValueError as error:
    print(error)
"""

# The same of one that imports the package by itself, first of all, and registers nothing.
DIRECT = """
from plain_package.model.modeling_dynamicplainvit import DynamicPlainViTForImageClassification
from hf_dynamicvit.registration import CLASSIFIERS
assert CLASSIFIERS["plainvit"] is CLASSIFIERS["dynamicplainvit"] is DynamicPlainViTForImageClassification
"""


@dataclass
class Installed:
    """A folder in which packages lie as pip would install them."""

    folder: Path

    def run(self, program: str) -> subprocess.CompletedProcess:
        paths = os.pathsep.join([str(self.folder), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": paths}
        command = [sys.executable, "-c", program]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)

    def fork(self, program: str) -> subprocess.CompletedProcess:
        """Run `program` where torch and Transformers are imported already, but nothing of these packages or ours."""
        return run_program(program, folder=self.folder)


@pytest.fixture
def installed(tmp_path) -> Installed:
    """`plain_package`, and entry points of it that cannot be used; a dense checkpoint, and an image."""
    for name, code in FILES.items():
        file = tmp_path / "plain_package" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
    points = {"plainvit": "plain_package:FAMILY", "lost": "plain_package:NOTHING", "broken": "broken_package:FAMILY"}
    (tmp_path / "broken_package.py").write_text(ROW.replace("plain", "broken").replace("PlainViT", "BrokenViT"))
    info = tmp_path / "plain_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plain-package\nVersion: 1.0\n")
    lines = "".join(f"{name} = {place}\n" for name, place in points.items())
    (info / "entry_points.txt").write_text(f"[hf_dynamicvit.families]\n{lines}")
    return Installed(tmp_path)


MAKE = f"""
import sys
from PIL import Image
from plain_package.model.configuration_plainvit import PlainViTConfig
from plain_package.model.modeling_plainvit import PlainViTForImageClassification
PlainViTForImageClassification(PlainViTConfig(**{TOY | LABELS | {"image_size": 32}!r})).save_pretrained("dense")
Image.new("RGB", (40, 48)).save("cat.jpg")
"""


@pytest.mark.slow
def test_an_installed_family_is_found(installed):
    made = installed.fork(MAKE)
    assert made.returncode == 0, made.stderr
    for name in ("dense", "sparse"):
        (installed.folder / name).mkdir(exist_ok=True)
        save_processor(installed.folder / name, 32)
    run = installed.run(PROGRAM)
    assert run.returncode == 0, run.stderr
    assert "DynamicPlainViTConfig is of plain_package" in run.stdout and "does not travel along" in run.stdout
    assert "cat.jpg" in run.stdout
    assert "The family lost of the package plain-package cannot be used: " in run.stderr
    assert "The family dynamicbrokenvit of broken_package.model cannot be used: " in run.stderr


@pytest.mark.long
def test_a_package_that_is_imported_by_itself_registers_its_family(installed):
    direct = installed.run(DIRECT)
    assert direct.returncode == 0, direct.stderr


@pytest.fixture
def own_tables():
    """What a test adds is gone after it."""
    yield
    for family in [each for each in families.ALL_FAMILIES.values() if each.package != families.OWN]:
        families.drop_family(family)


def test_a_family_without_files_is_not_in_the_table(own_tables):
    family = Family("nowhere", "DynamicNowhere", "Nowhere", "ViT", package="no_such_package")
    before = [*families.MODEL_TYPES]
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        register_family(family)
    assert "dynamicnowhere" not in families.ALL_FAMILIES and [*families.MODEL_TYPES] == before
    assert "DynamicNowhereModel" not in families.HOMES and "dynamicnowhere" not in families.CONFIGS


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Family("vit", "DynamicOther", "ViT", "ViT", package="p"), "dynamicvit, vit is of another family already"),
        (
            Family("other", "DynamicViT", "Other", "ViT", package="p"),
            "DynamicViTConfig.* is of another family already",
        ),
        (Family("Other-1", "DynamicOther", "Other", "ViT", package="p"), "dense is 'Other-1'; a model type has"),
        (Family("other", "Other", "Other", "ViT", package="p"), "prefix is 'Other'; it must begin with Dynamic"),
        (Family("other", "DynamicOther", "Other", "ViT"), "name the one that has the files of dynamicother"),
        ("other", r"must be a hf_dynamicvit\.families\.Family"),
    ],
)
def test_what_is_no_family_is_refused(row, message):
    before = {**families.ALL_FAMILIES}
    with pytest.raises(ValueError, match=message):
        families.add_family(row)
    assert before == families.ALL_FAMILIES
