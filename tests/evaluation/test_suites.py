# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The suites that need more than models: accuracies on a data set, and exported files."""

import dataclasses
import json

import pytest
import torch
from class_folders import NAMES, with_names, write_classes
from toys import toy_dense
from viewers import processor_of

from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.evaluation import accuracy_suite, export_suite
from hf_dynamicvit.evaluation.accuracy_suite import build_matched_table, find_fraction
from hf_dynamicvit.evaluation.export_suite import CASE, build_export_table, check_runtimes, run_export
from hf_dynamicvit.evaluation.without_training import vote


@pytest.mark.parametrize(
    "points, loss, expected",
    [
        ({0.9: 0.78, 0.5: 0.70}, 0.01, 0.85),  # a line from 0.78 at 0.9 to 0.70 at 0.5: 0.77 at an eighth of it
        ({0.8: 0.76}, 0.01, 0.9),  # from the dense model on
        ({0.9: 0.76, 0.8: 0.79, 0.7: 0.5}, 0.005, 0.975),  # better again by chance does not count
        ({0.9: 0.79, 0.7: 0.775}, 0.005, 0.7),  # never below: the lowest that was measured
        ({0.9: 0.0}, 0.0, 1.0),
    ],
)
def test_a_cost_is_found_where_so_much_is_lost(points, loss, expected):
    assert find_fraction(points, 0.78, loss) == pytest.approx(expected)


def test_a_matched_table_says_what_was_not_reached():
    speeds = [{"kind": "dense", "batch": 1, "over_dense": 1.0}, {"kind": "sparse", "batch": 1, "over_dense": 1.5}]
    found = {"method": "tome", "fraction": 0.5, "lowest": True, "measurements": speeds}
    none = {"method": "tome", "fraction": 1.0, "lowest": False, "measurements": []}
    record = {"matched": [found | {"loss": 0.005}, none | {"loss": 0.01}]}
    head, _, row = build_matched_table(record).splitlines()
    assert head == "| method | cost at -0.5 | batch 1 at -0.5 | cost at -1 | batch 1 at -1 |"
    assert row == "| tome | at most 0.50 | 1.50x | 1.00 | 1.00x |"


def test_neighbours_vote_by_their_likeness():
    bank, labels = torch.eye(3)[[0, 1, 1]] * torch.tensor([[1.0], [5.0], [9.0]]), torch.tensor([2, 0, 0])
    queries = torch.tensor([[1.0, 0.9, 0.0], [1.0, 0.5, 0.0], [0.0, 1.0, 0.0]])
    # two of class 0 outweigh a nearer one of class 2 while exp(difference of the cosines / 0.07) is under 2
    assert vote(queries, bank, labels).tolist() == [2, 2, 0]
    near = torch.tensor([[1.0, 0.97, 0.0]])
    assert vote(near, bank, labels).tolist() == [0]


@pytest.fixture
def folders(tmp_path):
    """A dense toy in `model/` and labelled images in `images/`."""
    write_classes(tmp_path / "images", NAMES)
    with_names(toy_dense(num_labels=len(NAMES)), NAMES).save_pretrained(tmp_path / "model")
    processor_of().save_pretrained(tmp_path / "model")
    return tmp_path


def test_accuracies_and_the_speed_at_a_loss_are_measured_and_kept(folders, monkeypatch, capsys):
    few = {name: accuracy_suite.METHODS[name] for name in ("evit", "tome")}
    monkeypatch.setattr(accuracy_suite, "METHODS", few)
    monkeypatch.setattr(accuracy_suite, "REPEATS", 1)
    words = ["--model", str(folders / "model"), "--dataset", str(folders / "images")]
    command = ["benchmark", "--suite", "accuracy", *words, "--output", str(folders / "bench")]
    assert not main(command)
    record = json.loads((folders / "bench" / "suite.json").read_text())
    assert {row["method"] for row in record["results"]} == {*few} and {"command", "commit", "machine"} <= record.keys()
    assert [(row["method"], row["loss"]) for row in record["matched"]] == [
        (method, loss) for method in few for loss in accuracy_suite.LOSSES
    ]
    for row in record["matched"]:
        cheaper = [each for each in row["measurements"] if each["kind"] == "sparse"]
        assert len(cheaper) == (len(accuracy_suite.BATCHES) if row["fraction"] < 1 else 0)
        for each in cheaper:
            assert each["multiply_adds"] <= row["fraction"] * each["dense_multiply_adds"]
    told = (folders / "bench" / "suite.md").read_text()
    assert "| method | 0.9 of dense | 0.8 of dense | 0.7 of dense | 0.5 of dense |" in told and "cost at -0.5" in told
    record["results"][0]["mark"] = record["matched"][0]["mark"] = 1
    (folders / "bench" / "suite.json").write_text(json.dumps(record))
    assert not main(command)
    again = json.loads((folders / "bench" / "suite.json").read_text())
    assert again["results"] == record["results"] and again["matched"] == record["matched"]


def test_an_encoder_has_no_accuracy(folders, capsys):
    toy_dense().vit.save_pretrained(folders / "encoder")
    processor_of().save_pretrained(folders / "encoder")
    words = ["--model", str(folders / "encoder"), "--dataset", str(folders / "images")]
    assert main(["benchmark", "--suite", "accuracy", *words, "--output", str(folders / "bench")])
    assert "has no classifier" in capsys.readouterr().err


@pytest.mark.slow
def test_exported_files_are_timed_and_equal_their_models(tmp_path):
    pytest.importorskip("onnxruntime")
    case = dataclasses.replace(CASE, model="toy", methods=("evit", "tome"), repeats=2, warmup=1)
    said = []
    record = run_export(tmp_path / "suite.json", said.append, case)
    formats = check_runtimes()
    assert [(each["format"], each["batch"]) for each in record] == [
        (name, n) for name in formats for n in case.batches
    ]
    assert said == record == json.loads((tmp_path / "suite.json").read_text())
    for each in record:
        assert [row["model"] for row in each["measurements"]] == ["dense", "evit", "tome"]
        assert each["measurements"][0]["over_dense"] == 1 and each["machine"]["torch"]
        assert all(row["difference"] < 1e-4 and row["milliseconds"] > 0 for row in each["measurements"])
    assert build_export_table(record).count("\n") == 1 + 3 * len(record)
    assert run_export(tmp_path / "suite.json", said.append, case) == record and len(said) == len(record)


def test_files_need_something_that_runs_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(export_suite, "find_spec", lambda name: None)
    assert main(["benchmark", "--suite", "export", "--output", str(tmp_path / "bench")])
    assert "ONNX Runtime or OpenVINO" in capsys.readouterr().err and not (tmp_path / "bench").exists()
