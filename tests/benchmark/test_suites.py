# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Measurements by name: what they run, what is kept of them, and what they refuse."""

import dataclasses
import json

import pytest
import torch

from hf_dynamicvit.benchmark import suites
from hf_dynamicvit.benchmark.measure import Setting
from hf_dynamicvit.benchmark.suites import MODELS, SUITES, build_model, build_suite_table, run_suite
from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.names import SUITES as NAMES


def test_names_are_those_of_the_table():
    assert {*NAMES} == {*SUITES, "accuracy", "export"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SUITES)
def test_every_case_can_be_built_at_its_cost(name):
    built = set()
    for case in SUITES[name]():
        assert case.model in MODELS and case.batches
        for method in case.methods:
            key = case.model, method, case.fraction, case.image_size
            if key in built:
                continue
            built.add(key)
            model = build_model(dataclasses.replace(case, setting=Setting("meta")), method)
            size = case.image_size or model.config.image_size
            images = torch.zeros(1, 3, size, size, device="meta")
            cost = model.multiply_adds(images) / model.dense_multiply_adds(images)
            assert case.fraction - 0.06 < cost <= case.fraction


def test_a_suite_that_was_stopped_goes_on(tmp_path, monkeypatch, capsys):
    real, calls = suites.run_case, []

    def stopped_at_second(case, batch):
        calls.append(batch)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(case, batch)

    monkeypatch.setattr(suites, "run_case", stopped_at_second)
    file = tmp_path / "suite.json"
    with pytest.raises(KeyboardInterrupt):
        run_suite("toy", file, lambda row: None)
    assert [case["batch"] for case in json.loads(file.read_text())] == [1]
    record = run_suite("toy", file, lambda row: None)
    assert calls == [1, 2, 2, 2] and [case["batch"] for case in record] == [1, 2, 2]
    table = build_suite_table(record)
    assert table.count("\n") == 4 and "tome, three-stage" in table
    assert "| toy pyramid | 32 | 2 | eager | 0.9 |" in table and "|  | dynamicvit" in table  # it has no ideal
    for case in record:
        assert {"command", "commit", "machine"} <= case.keys()
        kinds = [row["kind"] for row in case["measurements"]]
        assert kinds.count("dense") == 1 and kinds.count("sparse") == len(case["methods"])


def test_the_command_writes_a_suite_and_refuses_what_it_would_not_heed(tmp_path, capsys):
    folder = tmp_path / "bench"
    main(["benchmark", "--suite", "toy", "--output", str(folder), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["suite"] == "toy" and len(said["results"]) == 3
    assert "| toy | 32 | 1 | eager | 0.7 |" in (folder / "suite.md").read_text()
    refused = {
        (
            "--suite",
            "toy",
            "--output",
            str(folder),
            "--batch-sizes",
            "4",
            "--model",
            "deit-tiny",
        ): "leave --batch-sizes, --model out",
        ("--suite", "toy"): "give --output",
        ("--suite", "toy", "--output", str(folder), "--dataset", "d"): "leave --dataset out",
        ("--suite", "accuracy", "--output", str(folder), "--model", "m"): "needs one --model, a --dataset",
        ("--model", "deit-tiny", "--dataset", "d"): "--dataset is of --suite accuracy",
        (): "give --model",
    }
    for words, message in refused.items():
        assert main(["benchmark", *words])
        assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_suite_is_refused_without_one(tmp_path, capsys):
    assert main(["benchmark", "--suite", "gpu", "--output", str(tmp_path / "bench")])
    assert "needs a CUDA device" in capsys.readouterr().err and not (tmp_path / "bench").exists()
    assert main(["benchmark", "--model", "deit-tiny", "--compile", "cuda-graph"])
    assert "--compile cuda-graph is of CUDA" in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_replayed_graph_gives_what_the_model_gives():
    from hf_dynamicvit.benchmark.measure import capture

    case = dataclasses.replace(next(iter(suites.toy_cases())), setting=Setting("cuda"))
    images = torch.randn(4, 2, 3, 32, 32, device="cuda")
    for method in case.methods:
        model = build_model(case, method)
        replay = capture(model, images[0])
        with torch.inference_mode():
            for batch in images:
                torch.testing.assert_close(replay(batch).logits, model(batch).logits)
