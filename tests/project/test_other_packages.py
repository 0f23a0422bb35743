# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Methods of other packages: registered by hand, or found by the entry points of a package that is installed."""

import os
import re
import subprocess
import sys

import pytest
import torch
from paths import ROOT
from toys import toy_images, toy_model

from hf_dynamicvit import REDUCERS, DynamicViTForImageClassification, register_reducer
from hf_dynamicvit.model.reducer import TokenReducer


CODE = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "add_a_method.md").read_text(encoding="utf-8"), re.DOTALL)[
    0
]

# What a program does in whose environment the package is installed.
PROGRAM = """
import sys
from hf_dynamicvit.commands.cli import command_parser
assert "norm" in command_parser("tune").format_help() and "torch" not in sys.modules
import torch
from transformers import AutoModelForImageClassification
model = AutoModelForImageClassification.from_pretrained(sys.argv[1]).eval()
assert type(model.reducer).__module__ == "norm_package.norm", type(model.reducer)
with torch.no_grad():
    torch.save(model(torch.load(sys.argv[2])).logits, sys.argv[3])
try:
    model.save_pretrained(sys.argv[1] + "-code", with_remote_code=True)
except ValueError as error:
    print(error)
"""


class FarReducer(TokenReducer):
    """A method that is of another module than the others."""


@pytest.fixture(autouse=True)
def own_table():
    """What a test registers is gone after it."""
    before = dict(REDUCERS)
    yield
    REDUCERS.clear()
    REDUCERS.update(before)


@pytest.fixture
def package(tmp_path):
    """`norm_package`, as pip would install it, and one that is broken."""
    (tmp_path / "norm_package").mkdir()
    (tmp_path / "norm_package" / "__init__.py").write_text("")
    (tmp_path / "norm_package" / "norm.py").write_text(CODE)
    points = {"norm": "norm_package.norm:NormReducer", "lost": "norm_package.nowhere:Reducer"}
    points |= {"tome": "norm_package.norm:NormReducer"}  # which is taken
    lines = "".join(f"{name} = {place}\n" for name, place in points.items())
    info = tmp_path / "norm_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: norm-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[hf_dynamicvit.reducers]\n{lines}")
    return tmp_path


def norm_reducer():
    namespace: dict = {"__name__": "norm_package.norm"}
    exec(compile(CODE, "add_a_method.md", "exec"), namespace)
    return namespace["NormReducer"]


@pytest.mark.slow
def test_an_installed_package_is_found(package):
    register_reducer("norm", norm_reducer())
    model, images = toy_model(reducer="norm", keep_ratio=0.6), toy_images()
    model.save_pretrained(package / "model")
    torch.save(images, package / "images")
    paths = os.pathsep.join([str(package), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    names = [str(package / name) for name in ("model", "images", "logits")]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    with torch.no_grad():
        torch.testing.assert_close(torch.load(package / "logits"), model(images).logits, rtol=1e-5, atol=1e-5)
    assert "The method lost of the package norm-package cannot be used: No module named 'norm_package" in run.stderr
    assert "The method tome of the package norm-package cannot be used: there is a method tome already" in run.stderr
    assert "NormReducer is of norm_package.norm, whose code does not travel along" in run.stdout


def test_a_registered_method_is_one_of_the_table(tmp_path):
    reducer = norm_reducer()
    register_reducer("norm", reducer)
    register_reducer("norm", reducer)  # once more is no mistake
    model = toy_model(reducer="norm", keep_ratio=0.5)
    assert model(toy_images()).kept.sum(-1).tolist() == [model.token_counts()] * 3
    model.save_pretrained(tmp_path)
    again = DynamicViTForImageClassification.from_pretrained(tmp_path)
    assert type(again.reducer) is reducer
    with pytest.raises(ValueError, match="with_remote_code=False"):
        model.save_pretrained(tmp_path / "code", with_remote_code=True)
    with pytest.raises(ValueError, match="with_remote_code=False"):
        model.push_to_hub("me/norm")


@pytest.mark.parametrize(
    ("name", "reducer", "message"),
    [
        ("tome", FarReducer, "there is a method tome already, ToMeReducer"),
        ("My-Method", FarReducer, "'My-Method'; it has lower-case letters"),
        ("far", torch.nn.Linear, "must be a class that derives from TokenReducer"),
        ("far", "FarReducer", "must be a class that derives from TokenReducer"),
    ],
)
def test_what_is_no_method_is_refused(name, reducer, message):
    with pytest.raises(ValueError, match=message):
        register_reducer(name, reducer)
    assert "far" not in REDUCERS and "My-Method" not in REDUCERS
