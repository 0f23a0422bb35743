# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Modules are found under the names that they had before, too."""

import re
import warnings
from importlib import import_module
from importlib.util import find_spec

import pytest
from paths import ROOT
from programs import run_program

from hf_dynamicvit._moved import MOVED, RENAMED


PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.*")]


def public(module) -> list[str]:
    """The names that are defined in `module`, where that can be told."""
    found = {name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
    return sorted(name for name in found if not name.startswith("_"))


@pytest.mark.parametrize(("old", "new"), [(old, new) for old, modules in MOVED.items() for new in modules])
def test_an_old_name_is_the_new_one_and_warns_once(old, new):
    now, before = import_module(f"hf_dynamicvit.{new}"), import_module(f"hf_dynamicvit.{old}")
    assert public(now)
    for name in public(now):
        vars(before).pop(name, None)  # of another test
        message = f"hf_dynamicvit.{old}.{name} is now hf_dynamicvit.{new}.{name}"
        with pytest.warns(DeprecationWarning, match=f"^{re.escape(message)}$"):
            assert getattr(before, name) is getattr(now, name)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert getattr(before, name) is getattr(now, name)


@pytest.mark.slow
def test_the_warning_is_of_the_line_that_imports(tmp_path):
    program = """
from hf_dynamicvit import visualize
from hf_dynamicvit.evaluate.results import Evaluation
from hf_dynamicvit.training.data import ImageTransform
visualize.card
"""
    run = run_program(program, folder=tmp_path)
    assert run.returncode == 0, run.stderr
    told = re.findall(r"^-c:(\d): DeprecationWarning: (\S+)", run.stderr, flags=re.MULTILINE)
    names = ["evaluate.results.Evaluation", "training.data.ImageTransform", "visualize.card"]
    assert told == [(str(line), f"hf_dynamicvit.{name}") for line, name in zip((3, 4, 5), names, strict=True)]


def test_what_was_nowhere_is_not_found():
    with pytest.raises(AttributeError, match=r"module 'hf_dynamicvit.viewer' has no attribute 'Viewers'"):
        import_module("hf_dynamicvit.viewer").Viewers  # noqa: B018
    assert find_spec("hf_dynamicvit.viewers") is None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_an_old_name(page):
    if page.suffix in (".md", ".py", ".ipynb"):
        names = "|".join(map(re.escape, MOVED))
        new = r"(?!\.(?:measure|report)\b)"  # of `benchmark`, which is the name of a package now
        assert not re.findall(rf"\bhf_dynamicvit[./](?:{names})\b{new}", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("module", "old"), [(module, old) for module, names in RENAMED.items() for old in names])
def test_an_old_name_in_a_module_is_the_new_one_and_warns(module, old):
    home, new = f"hf_dynamicvit.{module}", RENAMED[module][old]
    with pytest.warns(DeprecationWarning, match=f"^{re.escape(f'{home}.{old} is now {home}.{new}')}$"):
        assert getattr(import_module(home), old) is getattr(import_module(home), new)
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing_like_it'"):
        import_module(home).nothing_like_it  # noqa: B018


def test_a_module_and_a_name_that_moved_warn_once():
    before = import_module("hf_dynamicvit.training.pictures")
    vars(before).pop("load_pictures", None)  # of another test
    with pytest.warns(DeprecationWarning) as told:
        assert before.load_pictures is import_module("hf_dynamicvit.data.loading").load_images
    assert [str(each.message) for each in told] == [
        "hf_dynamicvit.training.pictures.load_pictures is now hf_dynamicvit.data.loading.load_images"
    ]
