# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Folders of classes that the tests of evaluation share, and a cache of data sets of their own."""

import pytest
from class_folders import NAMES, write_classes


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("images"), NAMES)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Classes that are called what would be read as HTML or Markdown, in a data set with an image that is broken."""
    names = ['<b>&"', "a|b_*c*", *NAMES[:4]]
    folder = write_classes(tmp_path_factory.mktemp("hostile"), names)
    (folder / names[1] / "<i>.png").write_text("no image")
    return names, folder
