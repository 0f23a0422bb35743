# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What a result says of how it was made."""

import subprocess
import sys

import pytest
import torch

from hf_dynamicvit import machine


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Make a repository of one file, which stands for the package's."""
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "machine.py"))
    (tmp_path / "machine.py").write_text("1")

    def git(*words):
        who = ("-c", "user.name=me", "-c", "user.email=me@example.com", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    return git


def test_a_commit_is_told_with_what_differs_from_it(checkout, tmp_path):
    assert machine.read_commit() is None  # the package is not of this repository
    checkout("add", "machine.py")
    checkout("commit", "-q", "-m", "one")
    commit = checkout("rev-parse", "--short", "HEAD").strip()
    assert machine.read_commit() == commit
    (tmp_path / "machine.py").write_text("2")
    assert machine.read_commit() == f"{commit}-dirty"


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert machine.read_commit() is None


@pytest.mark.parametrize(
    "argv, command",
    [
        (["/here/benchmarks/speed.py", "--model", "a b"], "python benchmarks/speed.py --model 'a b'"),
        (["/here/bin/hf-dynamicvit", "tune", "m"], "hf-dynamicvit tune m"),
        (["/here/hf_dynamicvit/__main__.py", "tune"], "hf-dynamicvit tune"),
        (["/here/other/__main__.py", "-q"], "python other/__main__.py -q"),
        (["/here/bin/pytest", "tests"], "pytest tests"),
        ([""], "python"),
    ],
)
def test_a_command_can_be_typed_elsewhere(argv, command, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    about = machine.describe_run()
    assert about["command"] == command and about["machine"]["torch"] == torch.__version__ and "commit" in about
