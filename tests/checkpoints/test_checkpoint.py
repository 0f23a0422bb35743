# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A checkpoint that is named is read once, by whichever command, and handed on."""

import argparse
import dataclasses
import os
from collections import Counter

import pytest
import torch
from class_folders import NAMES, saved, viewer_of, write_classes
from toys import assert_same_outputs, toy_images
from transformers import PreTrainedConfig, ResNetConfig

from hf_dynamicvit import DynamicViTConfig, DynamicViTForImageClassification
from hf_dynamicvit.checkpoints.checkpoint import read_checkpoint
from hf_dynamicvit.commands.cli import main


QUICK = ["--use-cpu", "--bf16", "false", "--disable-tqdm", "true", "--max-steps", "1", "--batch-size", "6"]
TRAIN = ["train", "--dataset", "images", "--output-dir", "out", *QUICK]
EVALUATE = ["evaluate", "--dataset", "images", "--no-keep-ratios"]
VISUALIZE = ["visualize", "--images", "images/ant", "--limit", "1", "--output", "out"]
BENCHMARK = ["benchmark", "--repeats", "1", "--warmup", "0", "--batch-sizes", "1"]
EXPORT = ["export", "--format", "torch-export", "--output", "out.pt2"]

# What is typed -> the checkpoints that it names, besides one that training made.
COMMANDS = [
    ([*TRAIN, "--model", "dense"], {"dense"}),
    ([*TRAIN, "--model", "sparse", "--reducer", "evit"], {"sparse"}),
    ([*TRAIN, "--model", "sparse", "--teacher", "dense"], {"sparse", "dense"}),
    ([*TRAIN, "--model", "dense", "--teacher-epochs", "1", "--compare-dense"], {"dense", "out/teacher"}),
    ([*EVALUATE, "--model", "dense", "--reducer", "tome"], {"dense"}),
    ([*EVALUATE, "--model", "sparse", "--dense", "dense", "--keep-ratio", "0.5"], {"sparse", "dense"}),
    ([*VISUALIZE, "--model", "sparse", "--keep-ratio", "0.5"], {"sparse"}),
    ([*VISUALIZE, "--model", "dense"], {"dense"}),
    (["predict", "images", "--model", "sparse"], {"sparse"}),
    ([*BENCHMARK, "--model", "dense", "sparse", "--reducer", "topk", "evit"], {"dense", "sparse"}),
    ([*BENCHMARK, "--model", "sparse", "--images", "images/ant/0.png"], {"sparse"}),
    ([*EXPORT, "--model", "sparse", "--images", "images/ant/0.png"], {"sparse"}),
    (["push", "sparse", "me/m", "--dry-run", "--images", "images/ant/0.png"], {"sparse"}),
]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """`images/`, a model `sparse/`, and its dense copy `dense/`."""
    folder = tmp_path_factory.mktemp("checkpoints")
    viewer = viewer_of(num_hidden_layers=2)
    saved(viewer, folder / "sparse")
    viewer.dense.save_pretrained(folder / "dense")
    viewer.processor.save_pretrained(folder / "dense")
    write_classes(folder / "images", NAMES)
    return folder


@pytest.fixture
def place(shelf, tmp_path, monkeypatch):
    for name in ("images", "sparse", "dense"):
        (tmp_path / name).symlink_to(shelf / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def reads(monkeypatch) -> Counter:
    """How often the configuration of each checkpoint has been read."""
    found: Counter = Counter()
    read = PreTrainedConfig.get_config_dict.__func__

    def counted(cls, source, **options):
        found[os.fspath(source)] += 1
        return read(cls, source, **options)

    monkeypatch.setattr(PreTrainedConfig, "get_config_dict", classmethod(counted))
    return found


@pytest.mark.usefixtures("exports_run_here")
@pytest.mark.parametrize("words, named", COMMANDS, ids=lambda value: value[0] if isinstance(value, list) else "")
def test_a_configuration_is_read_once(words, named, place, reads):
    assert main(words) == 0
    assert reads == dict.fromkeys(named, 1)


def test_a_command_line_of_training_is_parsed_twice(place, monkeypatch):
    """Once without torch, where mistakes are found at once, and once with the types of `TrainingArguments`."""
    parsed = []
    parse = argparse.ArgumentParser.parse_known_args

    def counted(self, args=None, namespace=None):
        parsed.append(type(self).__module__.rpartition(".")[2])
        return parse(self, args, namespace)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", counted)
    assert main([*TRAIN, "--model", "dense"]) == 0
    assert parsed == ["train", "train_arguments"]


def test_what_a_checkpoint_says_of_itself(place):
    sparse, dense = read_checkpoint("sparse"), read_checkpoint("dense")
    assert (sparse.source, sparse.reducer, sparse.is_sparse) == ("sparse", "dynamicvit", True)
    assert (dense.config.model_type, dense.reducer, dense.is_sparse) == ("vit", None, False)
    assert sparse.labels == dense.labels == NAMES
    assert sparse.family is dense.family is DynamicViTForImageClassification
    assert sparse.processor is sparse.processor and sparse.processor.size["height"] == 32
    with pytest.raises(dataclasses.FrozenInstanceError):
        sparse.source = "dense"  # ty: ignore[invalid-assignment]


def test_its_configuration_with_changes_is_as_from_pretrained(place):
    for source in ("sparse", "dense"):
        checkpoint = read_checkpoint(source)
        for changes in ({}, {"reducer": "evit", "keep_ratio": 0.5}, {"image_size": 64, "id2label": {0: "a", 1: "b"}}):
            expected = DynamicViTConfig.from_pretrained(source, **changes)
            assert checkpoint.configured(**changes).to_dict() == expected.to_dict()
        assert read_checkpoint(source).content == checkpoint.content  # nothing was written back


def test_its_weights_are_those_of_from_pretrained(place):
    images = toy_images()
    for source in ("sparse", "dense"):
        loaded, untrained = read_checkpoint(source).load_sparse("topk")
        expected = DynamicViTForImageClassification.from_pretrained(source, reducer="topk").eval()
        assert not untrained and loaded.config.to_dict() == expected.config.to_dict()
        with torch.no_grad():
            assert_same_outputs(loaded(images), expected(images))
    assert read_checkpoint("dense").load_sparse()[1]  # its predictors are new
    with pytest.raises(ValueError, match="sparse holds a sparse model; name a dense one"):
        read_checkpoint("sparse").load_dense()


def test_another_family_is_refused_by_name(place):
    ResNetConfig(num_labels=2).save_pretrained("resnet")
    checkpoint = read_checkpoint("resnet")
    for use in (checkpoint.load, checkpoint.load_sparse, checkpoint.configured):
        with pytest.raises(ValueError, match="resnet is of model type 'resnet'; this takes vit, dynamicvit"):
            use()
