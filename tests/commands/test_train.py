# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit train`: from a folder of images to a model, and what it refuses."""

import dataclasses
import io
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from colours import COLOURS, save_processor, write_colours
from methods import UNLIKE, all_methods, usual
from paths import EXAMPLES
from PIL import Image
from programs import run_script
from safetensors.torch import load_file, save_file
from toys import toy_dense, toy_images, toy_model
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    DeiTImageProcessorPil,
    ViTForImageClassification,
    pipeline,
)
from transformers.utils import is_torchvision_available

from hf_dynamicvit import DynamicViTForImageClassification
from hf_dynamicvit.checkpoints.results import wilson_interval
from hf_dynamicvit.commands.cli import command_parser, main
from hf_dynamicvit.commands.train_arguments import parse
from hf_dynamicvit.commands.train_checks import check_processes
from hf_dynamicvit.commands.train_next import next_commands
from hf_dynamicvit.commands.train_options import DataArguments, ModelArguments
from hf_dynamicvit.commands.train_report import kept_row
from hf_dynamicvit.commands.train_size import at_size
from hf_dynamicvit.data.loading import HeldOut, ImageSplits
from hf_dynamicvit.data.transforms import target_size
from hf_dynamicvit.evaluation.evaluate import evaluate
from hf_dynamicvit.training import progress
from hf_dynamicvit.training.recipes import RECIPES
from hf_dynamicvit.training.trainer import DynamicViTTrainer


HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with what `write_colours` writes, as the working folder."""
    write_colours(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


QUICK = ["--use-cpu", "--bf16", "false", "--disable-tqdm", "true", "--max-steps", "2", "--batch-size", "6"]


def train(*options, model="knows", output="out"):
    command = ["train", "--model", model, "--dataset", "images", "--output-dir", output]
    return main([*command, *QUICK, *options])


@pytest.mark.slow
def test_from_another_models_classes_to_a_pipeline(place, capsys):
    """Dense fine-tuning first, then sparse: it learns three colours, and others can use it."""
    epochs = ["--max-steps", "-1", "--teacher-epochs", "20", "--num-train-epochs", "4"]
    rates = ["--teacher-learning-rate", "3e-3", "--learning-rate", "1e-3", "--augmentation", "none"]
    assert train(*epochs, *rates, "--keep-ratio", "0.6", model="other") == 0
    results = json.loads((place / "out" / "results.json").read_text())
    assert results["teacher_top1"] == 1.0 and results["top1"] >= 5 / 6
    assert results["gmacs"] < results["dense_gmacs"] and results["patches"] == [38, 23, 13]
    assert "top-1" in capsys.readouterr().out
    teacher = ViTForImageClassification.from_pretrained(place / "out" / "teacher")
    assert list(teacher.config.id2label.values()) == ["blue", "green", "red"]
    classify = pipeline("image-classification", model="out")
    found = [classify(str(place / "images" / "test" / name / "0.png"))[0]["label"] for name in COLOURS]
    assert sum(label == name for label, name in zip(found, COLOURS, strict=True)) >= 2
    AutoImageProcessor.from_pretrained("out")


@pytest.mark.parametrize("method", ["tome", "none"])
def test_labels_follow_the_tokens_of_cut_images(place, method, monkeypatch):
    seen = []
    loss_terms = DynamicViTTrainer.loss_terms

    def see(self, outputs, labels, *taught):
        seen.append((outputs.label_shares, labels))
        return loss_terms(self, outputs, labels, *taught)

    monkeypatch.setattr(DynamicViTTrainer, "loss_terms", see)
    assert train("--reducer", method, "--align-labels", "--cutmix", "1") == 0
    assert seen and all(share is not None and labels.shape[1] == len(COLOURS) for share, labels in seen)


@pytest.mark.slow
@pytest.mark.parametrize("method", all_methods("asvit", *UNLIKE))
def test_every_method_trains(place, method):
    assert train("--reducer", method, "--no-distill") == 0
    results = json.loads((place / "out" / "results.json").read_text())
    assert results["reducer"] == method and results["steps"] == 2 and "teacher_top1" not in results
    assert AutoModelForImageClassification.from_pretrained("out").config.reducer == method


def test_the_models_own_order_of_classes_is_kept(place):
    assert train("--reducer", "evit", "--learning-rate", "0") == 0
    before = ViTForImageClassification.from_pretrained("knows")
    after = DynamicViTForImageClassification.from_pretrained("out")
    assert after.config.id2label == before.config.id2label == {0: "red", 1: "green", 2: "blue"}
    assert torch.equal(after.classifier.weight, before.classifier.weight)
    correct = 0
    processor = AutoImageProcessor.from_pretrained("out")
    for name in COLOURS:
        for file in sorted((place / "images" / "test" / name).iterdir()):
            logits = after.eval()(**processor(Image.open(file), return_tensors="pt")).logits
            correct += after.config.id2label[logits.argmax().item()] == name
    assert json.loads((place / "out" / "results.json").read_text())["top1"] == pytest.approx(correct / 6)


@pytest.mark.slow
@pytest.mark.parametrize("method", all_methods("dynamicvit", "evit"))
def test_who_knows_other_classes_teaches_nobody(place, capsys, method):
    learns_from = any("distill" in name for name in toy_model(reducer=method).vit.reducer.loss_weights)
    assert train("--reducer", method, model="other") == (1 if learns_from else 0)
    assert ("cannot teach them" in capsys.readouterr().err) == learns_from


def test_predictors_of_every_method_learn_at_their_own_rate(place):
    rates = {}
    for method in ("dynamicvit", "tps", "evit"):
        _, _, training = parse(["--model", "knows", "--dataset", "images", "--reducer", method, "--use-cpu"])
        rates[method] = training.learning_rate, training.backbone_lr_scale
    assert rates == {"dynamicvit": (1e-3, 0.05), "tps": (1e-3, 0.05), "evit": (5e-5, None)}


def test_a_teacher_of_these_classes_in_its_own_order(place):
    assert train("--teacher", "knows", model="other") == 0
    config = DynamicViTForImageClassification.from_pretrained("out").config
    assert list(config.id2label.values()) == ["red", "green", "blue"]


def test_the_same_classes_by_other_names(place):
    names = {0: "crane", 1: "crane", 2: "heron"}
    toy_dense(num_labels=3, id2label=names, label2id={"crane": 1, "heron": 2}).save_pretrained("cranes")
    save_processor("cranes")
    assert train("--same-classes", "--reducer", "evit", "--learning-rate", "0", model="cranes") == 0
    weights = [AutoModelForImageClassification.from_pretrained(name).classifier.weight for name in ("cranes", "out")]
    assert torch.equal(*weights)


def test_options_of_a_sparse_model_are_added_to(place):
    labels = {"id2label": dict(enumerate(COLOURS)), "label2id": {name: index for index, name in enumerate(COLOURS)}}
    toy_model(reducer_args={"tau": 0.5}, num_labels=3, **labels).save_pretrained("sparse")
    save_processor("sparse")
    assert train("--reducer-args", '{"start_at_target": true}', model="sparse") == 0
    config = DynamicViTForImageClassification.from_pretrained("out").config
    assert config.reducer_args == {"tau": 0.5, "start_at_target": True}
    assert train("--teacher-epochs", "1", model="sparse", output="again") == 1


@pytest.mark.parametrize("labels", [5, 0])
def test_a_sparse_model_of_other_classes_names_a_way_that_works(place, capsys, labels):
    toy_model(num_labels=labels).save_pretrained("sparse")
    save_processor("sparse")
    for options in ([], ["--teacher-epochs", "1"], ["--teacher", "other"]):
        assert train(*options, model="sparse") == 1
        error = capsys.readouterr().err
        assert "--teacher-epochs 3" not in error and "`--model sparse --reducer none --output FOLDER`" in error
        assert "`--model FOLDER --reducer dynamicvit`" in error
    assert train("--reducer", "none", model="sparse", output="dense") == 0
    assert train("--reducer", "dynamicvit", model="dense") == 0
    config = DynamicViTForImageClassification.from_pretrained("out").config
    assert sorted(config.id2label.values()) == sorted(COLOURS) and config.keep_ratio == toy_model().config.keep_ratio
    assert train("--no-distill", model="sparse", output="without") == 0


def test_a_model_without_classifier_says_how_to_give_it_one(place, capsys):
    toy_model(num_labels=0).save_pretrained("bare")
    save_processor("bare")
    assert main(["evaluate", "--model", "bare", "--dataset", "images"]) == 1
    assert "no classifier" in (error := capsys.readouterr().err) and "train --model FOLDER --reducer none" in error


def test_a_cached_teacher_leaves_evaluation_alone(place):
    options = ["--cache-teacher", "true", "--augmentation", "none", "--dataloader-num-workers", "1"]
    options += ["--dataloader-persistent-workers", "true", "--max-eval-samples", "3"]
    assert train(*options) == 0
    results = json.loads((place / "out" / "results.json").read_text())
    assert results["top1"] * 3 == pytest.approx(round(results["top1"] * 3))


@pytest.mark.slow
def test_a_dense_model_with_an_average(place):
    assert train("--reducer", "none", "--ema-decay", "0.5", "--evaluate-ema", "true") == 0
    last, mean = (ViTForImageClassification.from_pretrained(name).classifier.weight for name in ("out", "out/ema"))
    assert not torch.equal(last, mean)


@pytest.mark.slow
def test_a_run_that_stopped_in_its_teacher_goes_on(place):
    assert train("--teacher-epochs", "1", model="other") == 0
    for path in (place / "out").iterdir():
        if path.name != "teacher":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert train("--teacher-epochs", "1", "--resume-from-checkpoint", "last", model="other") == 0
    assert (place / "out" / "results.json").is_file()


def test_as_many_other_classes_get_a_new_classifier(place):
    toy_dense(num_labels=3).save_pretrained("three")
    save_processor("three")
    assert train("--reducer", "topk", "--learning-rate", "0", model="three") == 0
    weights = [
        AutoModelForImageClassification.from_pretrained(name).state_dict()["classifier.weight"]
        for name in ("three", "out")
    ]
    assert weights[0].shape == weights[1].shape and not torch.equal(*weights)


def test_a_sparse_model_goes_on_with_its_own_method(place):
    labels = {"id2label": dict(enumerate(COLOURS)), "label2id": {name: index for index, name in enumerate(COLOURS)}}
    toy_model(reducer="evit", keep_ratio=[0.8, 0.6, 0.5], num_labels=3, **labels).save_pretrained("sparse")
    save_processor("sparse")
    assert train(model="sparse") == 0
    config = DynamicViTForImageClassification.from_pretrained("out").config
    assert config.reducer == "evit" and config.keep_ratio == [0.8, 0.6, 0.5]


@pytest.mark.parametrize("method", ["dynamicvit", "asvit"])
def test_a_budget_in_place_of_a_keep_ratio(place, method):
    assert train("--reducer", method, "--budget", "0.7") == 0
    results = json.loads((place / "out" / "results.json").read_text())
    assert results["gmacs"] / results["dense_gmacs"] == pytest.approx(0.7, abs=0.08)


def test_everything_at_once(place):
    """The parts of recipes that have options here, together."""
    options = ["--ema-decay", "0.5", "--evaluate-ema", "true", "--drop-path-rate", "0.2", "--frozen", "cls_token"]
    options += ["--keep-ratio-warmup-epochs", "1", "--layer-lr-decay", "0.8", "--teacher-dtype", "bfloat16"]
    options += ["--label-smoothing-factor", "0.1", "--load-best-model-at-end", "true", "--bf16", "true"]
    assert train(*options, "--reducer-args", '{"tau": 0.5}', "--reducer-layers", "1", "3") == 0
    model = DynamicViTForImageClassification.from_pretrained("out")
    assert model.config.reducer_args == {"tau": 0.5} and model.config.reducer_layers == [1, 3]
    assert model.config.drop_path_rate == 0.2
    DynamicViTForImageClassification.from_pretrained("out/ema")
    assert "ema_top1" in json.loads((place / "out" / "results.json").read_text())


def test_evovit_switches_its_grouping(place):
    """Patches are selected in more blocks at first than later."""
    switch = ["--layer-grouping-fraction", "0.5", "--logging-steps", "1"]
    assert train("--reducer", "evovit", "--from-scratch", *switch) == 0
    log = json.loads((place / "out" / "results.json").read_text())["log"]
    counts = [sum(name.startswith("kept_stage") for name in entry) for entry in log if "loss" in entry]
    assert counts[0] > counts[1]


@pytest.mark.slow
def test_it_goes_on_where_it_stopped(place, capsys):
    again = ["--save-strategy", "steps", "--save-steps", "1", "--teacher-epochs", "1", "--keep-checkpoints"]
    assert train(*again, model="other") == 0
    shutil.copytree("out", "whole")
    for name in ("checkpoint-2", "results.json", "model.safetensors"):
        path = place / "out" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    written = (place / "out" / "teacher" / "results.json").stat().st_mtime_ns
    assert train(*again, model="other") == 1
    message = "--output-dir out exists already; name a new or an empty folder, or go on there with "
    assert f"{message}--resume-from-checkpoint last." in capsys.readouterr().err
    assert train(*again, "--resume-from-checkpoint", "last", model="other") == 0
    out, error = capsys.readouterr()
    assert "the dense model, which was fine-tuned before" in out and re.search(r"training \d+ s \(after step 1\)", out)
    assert "2 of 2: training dynamicvit, going on after step 1" in error and "1 of 2" not in error
    assert json.loads((place / "out" / "results.json").read_text())["resumed_after_step"] == 1
    assert (place / "out" / "teacher" / "results.json").stat().st_mtime_ns == written  # not trained again
    weights = [DynamicViTForImageClassification.from_pretrained(name).state_dict() for name in ("out", "whole")]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())


def test_a_training_that_ended_has_nothing_to_go_on_from_and_says_so(place, capsys):
    """Its checkpoints are gone, the dense models' too; what it found is told again."""
    options = ["--teacher-epochs", "1", "--compare-dense"]
    assert train(*options, model="other") == 0
    told = capsys.readouterr().out.split("\nResults on ")[1]
    assert not [path for path in place.glob("out/**/*") if "checkpoint" in path.name or "optimizer" in path.name]
    weights = (place / "out" / "model.safetensors").read_bytes()
    assert train(*options, "--resume-from-checkpoint", "last", model="other") == 0
    assert capsys.readouterr().out.split("\nResults on ")[1] == told
    assert train(*options, "--max-steps", "3", "--resume-from-checkpoint", "last", model="other") == 1
    message = (
        "ended after 2 steps and kept no checkpoint, so that it cannot go on to 3; start from its model (--model out"
    )
    assert message in capsys.readouterr().err
    assert (place / "out" / "model.safetensors").read_bytes() == weights


def test_the_dense_model_is_trained_as_long_to_compare(place, capsys):
    assert train("--teacher-epochs", "1", "--compare-dense", model="other") == 0
    out, error = capsys.readouterr()
    titles = [line for line in error.splitlines() if " of 3: " in line]
    assert [title[:6] for title in titles] == ["1 of 3", "2 of 3", "3 of 3"]
    assert "as long, to compare" in titles[1] and "training dynamicvit" in titles[2]
    results = json.loads((place / "out" / "results.json").read_text())
    teacher, dense = (json.loads((place / "out" / name / "results.json").read_text()) for name in ("teacher", "dense"))
    assert results["dense"] == {name: dense[name] for name in ("top1", "top1_interval", "epochs")}
    assert dense["epochs"] == results["epochs"] and dense["model"] == "out/teacher"
    assert results["teacher_top1"] == teacher["top1"]
    said = out[out.index("Results on ") :]
    for name, epochs in (
        ("dynamicvit", "1 + 0.667 epochs"),
        ("dense, as long", "1 + 0.667 epochs"),
        ("dense teacher", "1 epoch"),
    ):
        assert re.search(rf"^  {name} .*GMACs  {re.escape(epochs)}  ", said, re.MULTILINE), said
    assert [*results["phases"]] == ["images", "teacher", "dense", "predictors", "training", "evaluation"]
    AutoModelForImageClassification.from_pretrained("out/dense")
    assert train("--reducer", "none", "--compare-dense", output="new") == 1
    assert "--compare-dense is typed, but --reducer none trains the dense model itself" in capsys.readouterr().err


def test_the_best_epoch_is_kept(place, capsys, monkeypatch):
    accuracies = iter([0.5, 1.0, 0.25])
    monkeypatch.setattr(
        "hf_dynamicvit.commands.train_once.compute_accuracy", lambda prediction: {"accuracy": next(accuracies)}
    )
    options = ["--max-steps", "-1", "--epochs", "3", "--reducer", "evit", "--keep-checkpoints"]
    assert train(*options) == 0
    results = json.loads((place / "out" / "results.json").read_text())
    assert results["top1"] == 1.0 and results["best_epoch"] == 2  # and none was evaluated again
    assert "the weights after epoch 2, the most accurate on these images" in capsys.readouterr().out
    best = load_file("out/checkpoint-6/model.safetensors")
    kept = load_file("out/model.safetensors")
    assert best.keys() == kept.keys() and all(torch.equal(best[name], value) for name, value in kept.items())
    assert sorted(path.name for path in place.glob("out/checkpoint-*")) == ["checkpoint-6", "checkpoint-9"]


def test_which_epoch_is_kept_by_default():
    typed = ["--model", "knows", "--dataset", "images", "--output-dir", "new", "--use-cpu"]
    for options, wanted in (
        (["--reducer", "dynamicvit"], True),
        (["--reducer", "none"], True),
        (["--reducer", "asvit"], False),
        (["--reducer", "evit", "--eval-strategy", "no"], False),
        (["--reducer", "evit", "--save-strategy", "no"], False),
        (["--reducer", "evit", "--load-best-model-at-end", "false"], False),
    ):
        assert parse(typed + options)[2].load_best_model_at_end == wanted


@pytest.mark.parametrize("faster", [True, False])
def test_bfloat16_where_it_is_faster(monkeypatch, faster):
    monkeypatch.setattr("hf_dynamicvit.commands.train_arguments.bfloat16_is_faster", lambda device: faster)
    typed = ["--model", "knows", "--dataset", "images", "--output-dir", "new", "--reducer", "evit"]
    assert parse(typed)[2].bf16 == faster
    assert parse([*typed, "--bf16"])[2].bf16
    assert not parse([*typed, "--bf16", "false"])[2].bf16
    assert not parse([*typed, "--fp16", "--use-cpu"])[2].bf16
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    assert not parse(typed)[2].bf16


def test_a_new_classifier_has_a_rate_of_its_own(place, capsys):
    """In the training in which it starts anew, and in no other."""
    assert train("--reducer", "evit", model="other") == 0
    assert ", 0.005 (classifier), " in rows_of(capsys.readouterr().out)["rates"]
    assert (
        train("--reducer", "evit", "--teacher-epochs", "1", "--head-learning-rate", "0.01", model="other", output="b")
        == 0
    )
    rows = rows_of(capsys.readouterr().out)
    assert rows["teacher"].endswith("at 0.0002, the classifier at 0.01)") and "classifier" not in rows["rates"]
    assert train("--reducer", "evit", output="c") == 0
    assert "classifier" not in rows_of(capsys.readouterr().out)["rates"]
    assert train("--reducer", "evit", "--head-learning-rate", "0.01", output="d") == 0
    assert ", 0.01 (classifier), " in rows_of(capsys.readouterr().out)["rates"]


def test_new_predictors_start_from_class_attention(place, capsys, monkeypatch):
    """Those of a dense start; not on resume, and not where a sparse model has trained ones."""
    runs = []
    monkeypatch.setattr(
        "hf_dynamicvit.commands.train_once.imitate_class_attention", lambda model, images: runs.append(len(images))
    )
    options = ["--save-strategy", "steps", "--save-steps", "1", "--keep-checkpoints"]
    assert train(*options) == 0
    assert runs == [18] and rows_of(capsys.readouterr().out)["predictors"] == (
        "start from the class attention of the dense model"
    )
    assert [*json.loads((place / "out" / "results.json").read_text())["phases"]][1] == "predictors"
    assert train(*options, "--max-steps", "3", "--resume-from-checkpoint", "last") == 0
    assert train(model="out", output="further") == 0
    assert train("--reducer", "evit", output="evit") == 0
    assert train("--predictor-start", "random", output="random") == 0
    assert train("--from-scratch", "--no-distill", output="scratch") == 0
    assert runs == [18] and "class attention" not in capsys.readouterr().out.split("scratch")[-1]
    assert train("--reducer", "evit", "--predictor-start", "random", output="no") == 1
    assert "--predictor-start is typed, but --reducer evit has no predictors" in capsys.readouterr().err
    given = ["--model", "knows", "--dataset", "images", "--output-dir", "new"]
    assert parse([*given, "--recipe", "dynamicvit-deit-small"])[0].predictor_start == "random"
    assert parse([*given, "--recipe", "dynamicvit-deit-small", "--reducer", "tps"])[0].predictor_start == "attention"


def test_more_kept_in_training_than_at_inference_is_told():
    results = {"kept": [0.81, 0.6, 0.42], "kept_asked": [0.7, 0.49, 0.343]}
    assert "0.81/0.60/0.42" in kept_row(results) and "it has learned with more than it keeps" in kept_row(results)
    assert "learned" not in kept_row(results | {"kept": [0.71, 0.5, 0.3]})
    assert kept_row({"kept": [0.5]}) == "0.50 of the patches in training"


def test_a_run_that_has_all_its_steps_takes_none_more(place):
    options = ["--reducer", "evit", "--lr-scheduler-type", "constant", "--save-strategy", "steps", "--save-steps", "1"]
    options.append("--keep-checkpoints")
    assert train(*options) == 0
    before = DynamicViTForImageClassification.from_pretrained("out").state_dict()
    assert train(*options, "--resume-from-checkpoint", "last") == 0
    assert json.loads((place / "out" / "results.json").read_text())["steps"] == 2
    after = DynamicViTForImageClassification.from_pretrained("out").state_dict()
    assert all(torch.equal(before[name], value) for name, value in after.items())


def test_what_is_cheap_to_check_is_checked_before_any_image_is_read(place, monkeypatch, capsys):
    """Classes, batches, processes and the Hub."""
    monkeypatch.setattr(
        "hf_dynamicvit.commands.train_images.readable", lambda *given: pytest.fail("every image is read")
    )

    def unreachable(api):
        raise ConnectionError("no route to the Hub")

    monkeypatch.setattr("hf_dynamicvit.commands.train_checks.HfApi.whoami", unreachable)
    for options, message in (
        (["--model", "other"], "cannot teach them"),
        (["--dataloader-drop-last", "true", "--batch-size", "400"], "18 images are none of 400"),
        (["--push-to-hub", "--hub-model-id", "me/model"], "no route to the Hub"),
        (["--report-to", "neptune"], "--report-to is neptune, which is not installed; installed: "),
        (["--image-size", "30"], "--image-size is 30; patches are 4 x 4 pixels"),
    ):
        assert train(*options) == 1
        assert message in capsys.readouterr().err and not (place / "out").exists()


def test_processes_that_know_nothing_of_each_other_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were started, but this one would train alone"):
        check_processes(SimpleNamespace(world_size=1))
    check_processes(SimpleNamespace(world_size=2))


@pytest.mark.parametrize(
    "options, message",
    [
        (["--model", "other"], "cannot teach them. --teacher-epochs 3 fine-tunes it"),
        (["--from-scratch"], "random weights cannot teach itself"),
        (["--reducer-args", "{tau"], "which is no JSON"),
        (["--reducer-args", "[1]"], "must be a JSON object"),
        (["--keep-ratio", "1.5"], "--keep-ratio is 1.5"),
        (["--dataset", "nowhere"], "nowhere"),
        (["--dataset", "images/train/red"], "images/train/red"),
        (["--resume-from-checkpoint", "last"], "no checkpoint in out"),
        (["--resume-from-checkpoint", "images"], "images is no checkpoint that was written to its end"),
        (["--teacher", "other"], "--teacher other has 5 classes, the images 3"),
        (["--teacher", "knows", "--reducer", "topk"], "--teacher is knows, but --reducer topk learns from none"),
        (["--teacher", "knows", "--reducer", "none"], "--teacher is typed, but --reducer none learns from no teacher"),
        (["--teacher-epochs", "1", "--reducer", "none"], "--reducer none learns from no teacher"),
        (["--teacher-learning-rate", "1e-4"], "has no effect without --teacher-epochs 3"),
        (["--hub-model-id", "me/it"], "has no effect without --push-to-hub"),
        (["--align-labels"], "--align-labels is typed, but has no effect without CutMix"),
        (["--align-labels", "--cutmix", "1", "--reducer", "evovit"], "cannot follow the tokens of --reducer evovit"),
        (["--random-erasing", "0.1"], "has no effect with --augmentation plain"),
        (["--crop-scale", "0.1", "--augmentation", "none"], "has no effect with --augmentation none"),
        (["--reducer", "asvit", "--keep-ratio", "0.5"], "each image decides; type --budget"),
        (["--reducer", "none", "--budget", "0.5"], "keeps everything"),
        (["--keep-ratio", "0.5", "--budget", "0.5"], "type one"),
        (["--no-distill", "--teacher", "other"], "goes without"),
        (["--remove-unused-columns", "true"], "would remove the images"),
        (["--cache-teacher", "true"], "type --augmentation none"),
        (["--same-classes", "--model", "other"], "other has 5 classes, the images 3"),
        (["--teacher-epochs", "1", "--keep-ratio", "1.5"], "--keep-ratio is 1.5"),
        (["--budget", "0.01"], "the budget is 0.01 of the dense model's multiply-adds; dynamicvit here takes from 0."),
        (["--budget", "70"], "--budget is 70; it must be above 0 and at most 1, a fraction of the dense model's"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(place, capsys, options, message):
    assert train(*options) == 1
    error = capsys.readouterr().err
    line = [line for line in error.splitlines() if line.startswith("hf-dynamicvit train: ")][-1]
    assert message in line, error
    assert not (place / "out" / "model.safetensors").exists() and not (place / "out" / "teacher").exists()


def test_half_precision_checkpoints_are_trained_in_float32(place, monkeypatch):
    """Transformers loads the type of the file, in which most small steps would round to none."""
    for name in ("knows", "taught"):
        model = ViTForImageClassification.from_pretrained("knows", dtype=torch.bfloat16)
        model.save_pretrained(name if name == "taught" else "half")
        save_processor(name if name == "taught" else "half")
    seen = []
    of_the_trainer = DynamicViTTrainer.__init__

    def watching(self, model, *args, **kwargs):
        of_the_trainer(self, model, *args, **kwargs)
        taught = [] if self.teacher is None else [self.teacher]
        seen.extend({parameter.dtype for parameter in each.parameters()} for each in [model, *taught])

    monkeypatch.setattr(DynamicViTTrainer, "__init__", watching)
    assert train("--teacher", "taught", model="half") == 0
    assert train("--teacher-epochs", "1", model="half", output="both") == 0
    assert seen == [{torch.float32}] * 5  # student, teacher; the dense model; student, its copy
    for folder in ("out", "both", "both/teacher"):
        weights = load_file(place / folder / "model.safetensors")
        assert {weight.dtype for weight in weights.values()} == {torch.float32}
        assert json.loads((place / folder / "config.json").read_text())["dtype"] == "float32"


def test_a_teacher_of_other_images_is_refused(place, capsys):
    """Where it was normalised otherwise, or is of another size; what is cut off at the edges differs in training."""
    for folder, options in (
        ("mean", {"image_mean": [0.1, 0.2, 0.3]}),
        ("large", {"size": {"height": 64, "width": 64}}),
        ("cropped", {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": 32}),
    ):
        shutil.copytree("knows", folder)
        DeiTImageProcessorPil(
            **({"size": {"height": 32, "width": 32}, "do_center_crop": False} | HALF | options)
        ).save_pretrained(folder)
    assert train("--teacher", "mean") == 1
    assert "mean takes images prepared otherwise than knows: image_mean is [0.1, 0.2" in capsys.readouterr().err
    assert train("--teacher", "large") == 1
    assert "large takes images prepared otherwise than knows: size is (64, 64) and" in capsys.readouterr().err
    assert not (place / "out").exists() and train("--teacher", "cropped") == 0


@pytest.mark.parametrize("how", ["typed", "processor", "teacher"])
def test_another_image_size_than_the_models(place, how, warnings_text):
    """Positions are interpolated, and what is saved fits together, whichever way the size came."""
    options = ["--learning-rate", "0", "--reducer", "evit"]
    if how == "processor":
        save_processor("knows", 48)
    else:
        options += ["--image-size", "48"]
    options += ["--teacher-epochs", "1", "--teacher-learning-rate", "0"] if how == "teacher" else []
    before = ViTForImageClassification.from_pretrained("knows").eval()
    assert train(*options) == 0
    assert warnings_text().count("trained on images of 32 x 32 pixels; here they are 48 x 48") == 1
    model = AutoModelForImageClassification.from_pretrained("out", keep_ratio=1.0).eval()
    assert model.config.image_size == 48 and AutoImageProcessor.from_pretrained("out").size["height"] == 48
    images = toy_images(2, 48, 48)
    with torch.no_grad():
        expected = before(images, interpolate_pos_encoding=True).logits
        torch.testing.assert_close(model(images).logits, expected, atol=1e-4, rtol=1e-4)
    assert json.loads((place / "out" / "results.json").read_text())["patches"][0] < 144
    assert pipeline("image-classification", model="out")(str(place / "images" / "test" / "red" / "0.png"))


@pytest.mark.parametrize(
    ("options", "size", "expected"),
    [
        ({"size": {"height": 32, "width": 32}}, (48, 64), ({"height": 48, "width": 64}, None)),
        ({"size": {"shortest_edge": 32}}, (48, 48), ({"height": 48, "width": 48}, None)),
        ({"size": {"shortest_edge": 40}, "crop_size": 32}, (48, 48), ({"shortest_edge": 60}, 48)),
        ({"size": {"height": 40, "width": 40}, "crop_size": 32}, (64, 64), ({"height": 80, "width": 80}, 64)),
        ({"do_resize": False}, (48, 48), ({"height": 48, "width": 48}, None)),
    ],
)
def test_an_image_processor_of_another_size_crops_as_large_a_part(options, size, expected):
    processor = at_size(DeiTImageProcessorPil(**({"do_center_crop": "crop_size" in options} | options)), size)
    assert {name: value for name, value in dict(processor.size).items() if value} == expected[0]
    assert target_size(processor) == size and processor.do_resize
    assert expected[1] is None or dict(processor.crop_size) == {"height": expected[1], "width": expected[1]}
    pixels = processor(Image.new("RGB", (100, 90)), return_tensors="pt")["pixel_values"]
    assert tuple(pixels.shape[2:]) == size


def test_an_image_size_that_is_none(place, capsys):
    for typed, message in (
        (["0"], "--image-size is 0"),
        (["32", "32", "32"], "--image-size is 32 32 32"),
        (["3"], "patches are 4 x 4 pixels"),
    ):
        assert train("--image-size", *typed) == 1
        assert message in capsys.readouterr().err and not (place / "out").exists()


def test_as_many_classes_of_other_names_may_be_the_same(place, capsys, warnings_text):
    toy_dense(num_labels=3).save_pretrained("three")
    save_processor("three")
    same = (
        "If its classes are these in this order, 'blue', 'green', 'red', only called otherwise, type --same-classes."
    )
    assert train(model="three") == 1
    assert same in capsys.readouterr().err
    assert train("--reducer", "topk", model="three") == 0
    assert same in warnings_text() and "LOAD REPORT" not in warnings_text()
    capsys.readouterr()
    assert train(model="other", output="none") == 1
    assert "--same-classes" not in capsys.readouterr().err


def test_a_model_without_classifier_gets_one(place, warnings_text):
    toy_dense(num_labels=0).save_pretrained("headless")
    save_processor("headless")
    assert train("--no-distill", model="headless") == 0
    assert "LOAD REPORT" not in warnings_text()
    assert DynamicViTForImageClassification.from_pretrained("out").classifier.weight.shape == (3, 32)


def test_weights_that_are_missing_are_named(place, capsys):
    weights = load_file("knows/model.safetensors")
    del weights[next(name for name in weights if name.endswith("layernorm.bias"))]
    save_file(weights, "knows/model.safetensors", {"format": "pt"})
    assert train() == 1
    assert "knows lacks weights, which would be random: vit.layernorm.bias." in capsys.readouterr().err


def test_an_unreadable_image_is_named_or_left_out(place, capsys):
    broken = place / "images" / "train" / "red" / "5.png"
    broken.write_bytes(broken.read_bytes()[:100])
    assert train("--teacher-epochs", "1", model="other") == 1
    error = capsys.readouterr().err
    assert re.search(r"1 of 24 images cannot be read.*red/5\.png.* leave them out with --unreadable skip", error)
    assert not (place / "out").exists()  # it was found before anything was written
    assert train("--unreadable", "unchecked") == 1
    assert re.search(r"Cannot read the image \S*red/5\.png", capsys.readouterr().err)
    assert train("--unreadable", "skip") == 0  # with the same output folder, in which nothing is


def test_a_single_class_is_refused(place, capsys):
    for split in ("train", "test"):
        for name in ("red", "blue"):
            shutil.rmtree(place / "images" / split / name)
    assert train("--no-distill", model="other") == 1
    assert "are of class 'green'" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_fills_what_is_not_typed(place, name, capsys):
    typed = ["--weight-decay", "0.5", "--per-device-train-batch-size", "8", "--gradient-accumulation-steps", "2"]
    options = ["--model", "knows", "--dataset", "images", "--output-dir", "out", "--recipe", name, "--use-cpu"]
    model, data, training = parse([*options, *typed])
    recipe = RECIPES[name]
    assert training.learning_rate == pytest.approx(recipe.settings["learning_rate"] * 16 / recipe.batch)
    assert training.weight_decay == 0.5 and training.num_train_epochs == recipe.settings["num_train_epochs"]
    assert model.reducer == recipe.settings["reducer"] and data.mixup == recipe.settings.get("mixup", 0.0)
    assert data.augmentation == recipe.settings.get("augmentation", "plain")
    out = capsys.readouterr().out
    assert recipe.source in out
    assert ("weight_decay" in out and "-> 0.5, as typed" in out) == ("weight_decay" in recipe.settings)
    assert set(recipe.settings) <= {field for part in (model, data, training) for field in vars(part)}
    model, _, training = parse([*options, "--learning-rate", "0.3"])
    assert training.learning_rate == 0.3


@usual(name=["asvit", "dynamicvit-deit-small", "evit-finetune", "idlevit"])
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_runs(place, name):
    """As it is where torchvision is installed, else without what needs it."""
    without = [] if is_torchvision_available() else ["--augmentation", "auto", "--mixup", "0", "--cutmix", "0"]
    assert train("--recipe", name, *without, "--logging-steps", "1") == 0
    config = DynamicViTForImageClassification.from_pretrained("out").config
    settings = RECIPES[name].settings
    assert config.reducer == settings["reducer"] and config.drop_path_rate == settings.get("drop_path_rate", 0)
    arguments = torch.load("out/training_args.bin", weights_only=False)
    assert arguments.ema_decay == settings.get("ema_decay") and arguments.loss_weights == settings.get("loss_weights")
    rates = [e["learning_rate"] for e in json.loads(Path("out/results.json").read_text())["log"] if "loss" in e]
    assert max(rates) <= arguments.learning_rate


def test_a_recipe_in_a_few_epochs_trains_the_backbone(place):
    options = ["--augmentation", "plain", "--mixup", "0", "--cutmix", "0", "--learning-rate", "1e-2"]
    assert train("--recipe", "dynamicvit-deit-small", *options, "--max-steps", "-1", "--num-train-epochs", "2") == 0
    before = ViTForImageClassification.from_pretrained("knows").state_dict()
    after = ViTForImageClassification.from_pretrained("out").state_dict()
    frozen = ("cls_token", "position_embeddings")
    assert all(torch.equal(after[name], value) == name.endswith(frozen) for name, value in before.items())


def test_for_a_machine_to_read(place, capsys):
    """One object on standard output: neither the recipe nor the log."""
    without_torchvision = ["--augmentation", "plain", "--mixup", "0", "--cutmix", "0"]
    assert train("--json", "--recipe", "evit-finetune", *without_torchvision) == 0
    out, err = capsys.readouterr()
    results = json.loads((place / "out" / "results.json").read_text())
    assert results.pop("log") and json.loads(out) == results
    assert "Recipe evit-finetune" in err


def test_a_recipe_for_another_method_leaves_out_what_is_its_own(place, capsys):
    options = ["--model", "knows", "--dataset", "images", "--recipe", "idlevit", "--use-cpu", "--reducer", "evit"]
    model, _, training = parse(options)
    assert model.reducer == "evit" and model.reducer_args is None and model.keep_ratio is None
    assert training.loss_weights is None and training.weight_decay == 0.05
    assert "loss_weights: {'cut': 20.0, 'class_distill': 10.0, 'feature_distill': 1000.0} -> left out" in (
        capsys.readouterr().out
    )


def test_another_schedule_than_the_recipes(place):
    options = ["--augmentation", "none", "--mixup", "0", "--cutmix", "0", "--lr-scheduler-type", "linear"]
    assert train("--recipe", "evit-finetune", *options) == 0


def test_mixed_images_train_and_are_evaluated(place):
    pytest.importorskip("torchvision")
    assert train("--augmentation", "full", "--mixup", "0.8", "--cutmix", "1.0", "--label-smoothing-factor", "0.1") == 0


@pytest.mark.slow
def test_the_example_is_the_command(place):
    script = EXAMPLES / "train_image_classification.py"
    options = ["--model", "knows", "--dataset", "images", "--output-dir", "out", *QUICK]
    result = run_script(script, *options, folder=place)
    assert result.returncode == 0, result.stderr
    assert "top-1" in result.stdout and (place / "out" / "model.safetensors").is_file()


def test_held_out_images_are_found_again(place, capsys):
    """`evaluate` takes the images of the only split that training held out, and gives the accuracy of training."""
    shutil.move(place / "images" / "train", place / "all")
    shutil.rmtree(place / "images")
    shutil.move(place / "all", place / "images")
    assert train("--validation-fraction", "0.34", "--json") == 0
    trained = json.loads(capsys.readouterr().out)
    assert len(trained["held_out"].pop("fingerprint")) == 64
    assert trained["held_out"] == {"fraction": 0.34, "seed": 42, "total": 18}
    command = ["evaluate", "--model", "out", "--dataset", "images", "--no-keep-ratios", "--json"]
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["total"] == 6 and report["sparse"]["top1"] == trained["top1"]
    assert "the 6 images that the training of the model held out" in report["notes"][0]
    in_python = evaluate("out", "images", keep_ratios=()).as_dict()
    assert {**in_python, "settings": None} == {**report, "settings": None}
    assert main([*command, "--all-images"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["total"] == 18 and "the numbers are too good" in report["notes"][0]
    shutil.move("images", "moved")
    assert main([word.replace("images", "moved") for word in command]) == 0
    assert json.loads(capsys.readouterr().out)["total"] == 6
    shutil.move("moved", "images")
    (place / "images" / "red" / "0.png").rename(place / "images" / "blue" / "a.png")  # another data set now
    assert main(command) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["total"] == 18 and "There is one split only" in report["notes"][0]


def test_no_pinned_memory_without_an_accelerator(place, recwarn):
    assert train("--keep-ratio", "0.6") == 0
    assert not [str(warning.message) for warning in recwarn if "pin_memory" in str(warning.message)]
    given = ["--model", "knows", "--dataset", "images", "--output-dir", "new"]
    assert parse(given)[2].dataloader_pin_memory == torch.accelerator.is_available()


def rows_of(text: str) -> dict[str, str]:
    """The summary, row by row."""
    lines = [line for line in text.splitlines() if line.startswith("  ")]
    rows = {}
    for line in lines:
        name = line[2:16].strip() or next(reversed(rows))
        rows[name] = f"{rows.get(name, '')} {line[16:]}".strip()
    return rows


def test_it_begins_with_what_it_will_do(place, capsys):
    """Numbers as the training then has them, ahead of it, and the options that were left as they are."""
    options = ["--max-steps", "-1", "--epochs", "2", "--lr", "1e-3", "--teacher-epochs", "1", "--teacher", "knows"]
    assert train(*options, "--validation-split", "train", "--gradient-accumulation-steps", "2", model="other") == 0
    out = capsys.readouterr().out
    summary, results = out.split("\nResults on ")[0], json.loads((place / "out" / "results.json").read_text())
    assert 8 <= len(summary.splitlines()) <= 15 and all(len(line) <= 100 for line in summary.splitlines())
    rows = rows_of(summary)
    assert rows["model"] == "other, trained into out"
    assert rows["images"] == "images: 15 to train on, 3 for validation (0.15 of each class, held out)"
    assert (results["train_images"], results["images"]) == (15, 3)
    assert rows["classes"] == "3 (red, green, blue); new to the model: its classifier starts anew"
    assert results["classes"] == 3
    assert rows["method"] == "dynamicvit, keep ratio 0.7: 44, 31, 21 of 64 patches from blocks 1, 2, 3 on"
    assert results["patches"] == [44, 31, 21]
    sparse, dense = results["gmacs"], results["dense_gmacs"]
    assert rows["cost"] == f"{sparse:#.4g} of the dense model's {dense:#.4g} GMACs an image ({sparse / dense:.2f})"
    assert rows["teacher"] == (
        "knows; the dense start is fine-tuned first (1 epoch, 2 steps at 0.0002, the classifier at 0.005)"
    )
    assert rows["training"] == "2 epochs, 4 steps of 12 images (6 a batch x 2 batches)" and results["steps"] == 4
    assert rows["rates"] == (
        "learning rate 0.001 (reducer) and 5e-05 (all else, which stands still for 0.333 epochs), cosine, warm-up 1 "
        "step, weight decay 0.05"
    )
    assert rows["augmentation"] == "plain: flips, crops of 0.7 of the area or more"
    assert rows["machine"].startswith("cpu, torch threads ") and rows["machine"].endswith(", float32")
    assert rows["by default"] == "--reducer dynamicvit --keep-ratio 0.7 --augmentation plain (all others: --help)"


@pytest.mark.parametrize(
    "options, wanted",
    [
        (["--reducer", "none"], {"method": "none: a dense model", "cost": "0.003310 GMACs", "teacher": "none"}),
        (["--budget", "0.8"], {"method": "dynamicvit, budget 0.8: 5", "teacher": "a frozen dense copy of knows"}),
        (["--reducer", "asvit"], {"method": "asvit: each image decides", "cost": "about 0.65 of", "by": "--budget"}),
        (["--reducer", "asvit", "--budget", "0.7"], {"cost": "about 0.7 of the dense model's 0.003310 GMACs"}),
        (["--reducer", "tome", "--reducer-args", '{"r": 4}'], {"method": "tome, r 4: 60, 56, 52, 48 of 64 patches"}),
        (["--keep-ratio", "0.8", "0.6", "0.5"], {"method": "dynamicvit, keep ratios 0.80/0.60/0.50: 51, 38, 32 of"}),
        (["--teacher-epochs", "1", "--reducer", "topk"], {"teacher": "none; the dense start is fine-tuned first"}),
        (["--from-scratch", "--no-distill"], {"model": "shape of knows", "classes": "3 (red, green, blue); as good"}),
        (["--recipe", "evit-finetune", "--augmentation", "none", "--mixup", "0", "--cutmix", "0"], {"rates": "learn"}),
    ],
)
def test_what_it_begins_with_says_all_that_there_is(place, capsys, options, wanted):
    assert train(*options, "--logging-steps", "1") == 0
    out, err = capsys.readouterr()
    results = json.loads((place / "out" / "results.json").read_text())
    rows = rows_of(out[out.index("  model  ") :].split("\nResults on ")[0])
    for name, text in wanted.items():
        row = next(text for known, text in rows.items() if known.startswith(name))
        assert text in row, row
    if "method" in rows and " of 64 patches" in rows["method"]:
        assert ", ".join(map(str, results["patches"])) in rows["method"]
    dense = options == ["--reducer", "none"]
    assert ("kept" in results) == (not dense) == ("  kept  " in out)
    assert ("kept_asked" in results) == (not dense and "asvit" not in options and "tome" not in options)
    assert ("  kept " in err) == (not dense)


def test_it_ends_with_how_sure_it_is_and_what_to_type_next(place, capsys):
    assert train("--ema-decay", "0.5", "--evaluate-ema", "true", "--teacher-epochs", "1", "--logging-steps", "1") == 0
    out = capsys.readouterr().out
    results = json.loads((place / "out" / "results.json").read_text())
    said = out[out.index("Results on ") :]
    assert said.startswith("Results on 6 validation images, with 95 % intervals:\n")
    for name, key in (("dynamicvit", "top1"), ("averaged weights", "ema_top1"), ("dense teacher", "teacher_top1")):
        low, high = results[f"{key}_interval"]
        assert [low, high] == [*wilson_interval(results[key], 6)] and low <= results[key] <= high
        line = next(line for line in said.splitlines() if line.startswith(f"  {name} "))
        assert f"top-1 {100 * results[key]:.1f} % ({100 * low:.1f} to {100 * high:.1f})" in line
        assert f"{results['dense_gmacs' if 'teacher' in name else 'gmacs']:#.4g} GMACs" in line
    assert results["teacher"] == "out/teacher" and results["teacher_is_dense_copy"]
    assert results["kept_asked"] == pytest.approx([0.7, 0.49, 0.343]) and len(results["kept"]) == 3
    assert "of the patches in training, asked for 0.70/0.49/0.34" in said
    assert [*results["phases"]] == ["images", "teacher", "predictors", "training", "evaluation"]
    assert results["seconds"] == results["phases"]["training"]
    assert all(f"{name} " in said[said.index("  time ") :].splitlines()[0] for name in results["phases"])
    assert results["next"] == [
        "hf-dynamicvit evaluate --model out --dense out/teacher --dataset images --output out-report",
        "hf-dynamicvit visualize --model out --images images --limit 20 --output out-seen",
        "hf-dynamicvit push out USER/out",
    ]
    assert all(command in said for command in results["next"])
    assert main([*results["next"][0].split()[1:], "--no-keep-ratios", "--json"]) == 0


def test_what_to_type_next_has_what_the_images_are_read_with():
    """As it was typed for a dense model, and so that the same images are for validation."""
    options = DataArguments(
        "me/pets", "big", "v2", "a", "b", image_column="img", label_column="kind", unreadable="skip"
    )
    columns = "--dataset-config big --dataset-revision v2 --image-column img --label-column kind"
    training = SimpleNamespace(output_dir="out", push_to_hub=True)
    images = ImageSplits(cast(Any, None), cast(Any, [{"img": {"path": None}}]), [], "img", "kind")
    apart = dataclasses.replace(images, held_out=HeldOut(0.3, 7, 90, ""))

    def told(reducer, data, found):
        return next_commands(ModelArguments("m", reducer=reducer), data, cast(Any, training), found)

    train, evaluate = "hf-dynamicvit train --model out --dataset me/pets", "hf-dynamicvit evaluate --model out"
    splits = "--train-split a --validation-split b"
    assert told("none", options, images) == [f"{train} {columns} {splits} --unreadable skip --output out-sparse"]
    words = f"--dataset me/pets --split b {columns} --unreadable skip --output out-report"
    assert told("tome", options, images) == [f"{evaluate} {words}"]
    held = DataArguments("me/pets", validation_fraction=0.3, unreadable="unchecked")
    words = "--validation-fraction 0.3 --data-seed 7 --unreadable unchecked --output out-sparse"
    assert told("none", held, apart) == [f"{train} {words}"]
    assert told("tome", held, apart) == [f"{evaluate} --dataset me/pets --output out-report"]
    for reducer, data, found in (("none", options, images), ("none", held, apart), ("tome", options, images)):
        command, *typed = told(reducer, data, found)[0].split()[1:]
        assert command_parser(command).parse_args(typed).unreadable == data.unreadable


class Screen(io.StringIO):
    """Standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


TWO_EPOCHS = ["--max-steps", "-1", "--epochs", "2", "--teacher-epochs", "1", "--save-strategy", "no"]
LINES = [
    "1 of 2: training the dense model, which becomes the start and the teacher",
    "  epoch 1/1  step 3/3  loss #  top-1 # % of 6",
    "2 of 2: training dynamicvit",
    "  epoch 1/2  step 3/6  loss #  top-1 # % of 6  kept #/#/#",
    "  epoch 2/2  step 6/6  loss #  top-1 # % of 6  kept #/#/#",
]


def without_numbers(line: str) -> str:
    return re.sub(r"(?<=loss )[\d.e-]+|(?<=top-1 )[\d.]+|(?<=[ /])\d\.\d\d", "#", line.rstrip())


def test_while_it_runs_a_line_an_evaluation(place, capsys):
    """Where no bar can be drawn; nothing else, but what is said of weights that are new."""
    assert train(*TWO_EPOCHS, "--disable-tqdm", "false") == 0
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith(("  epoch", "1 of", "2 of"))]
    assert [*map(without_numbers, lines)] == LINES
    assert not {"\r", "{", "\x1b[A", "Writing", "it/s", "UserWarning"} & {*re.split(r"(?<=[^\w])|(?=[^\w])", error)}
    assert "Writing" not in error and "{'" not in error and "%|" not in error


def test_while_it_runs_one_bar_on_a_terminal(place, monkeypatch):
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    assert train(*TWO_EPOCHS, "--disable-tqdm", "false") == 0
    text = screen.getvalue()
    assert "epoch 2.00/2: 100%|" in text and "6/6 [" in text and "loss " in text and "rate " in text
    assert "\x1b[A" not in text and "Writing" not in text and "{'" not in text
    shown = [line.split("\r")[-1] for line in text.split("\n")]
    assert [without_numbers(line) for line in shown if line.startswith(("  epoch", "1 of", "2 of"))] == LINES
    assert text.endswith("\r")  # the last bar is gone


def test_no_bar_is_drawn_where_none_is_wanted(place, monkeypatch):
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    assert train("--disable-tqdm", "true") == 0
    assert "%|" not in screen.getvalue() and "top-1" in screen.getvalue()


def test_without_evaluations_there_is_a_line_now_and_then(place, capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    assert train("--eval-strategy", "no", "--logging-steps", "1", "--lr", "0.001") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("  epoch")]
    assert len(lines) == 2 and re.fullmatch(r"  epoch 0.67/0.67  step 2/2  loss [\d.]+  rate [\d.e-]+", lines[1])


def test_a_folder_with_nothing_in_it_is_no_obstacle(place, capsys):
    """What a run leaves that stopped as its teacher began."""
    (place / "out" / "teacher").mkdir(parents=True)
    assert train() == 0
    assert train() == 1
    assert "exists already" in capsys.readouterr().err


def test_nothing_is_written_before_all_is_known_to_fit(place):
    for options in (["--budget", "0.01"], ["--teacher", "other"], ["--dataset", "nowhere"], ["--reducer-layers", "9"]):
        assert train(*options) == 1
        assert not (place / "out").exists(), options
    assert train("--resume-from-checkpoint", "last") == 1
    assert not (place / "out").exists()
