# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Detectors, segmenters and depth models beside their dense ones on a data set: what is said is what models do."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from annotated import COUNT, HEIGHT, NAMES, WIDTH, make_pictures, save_boxes, save_depths, save_masks, save_models
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from hf_dynamicvit.checkpoints.checkpoint import find_reduced, read_checkpoint
from hf_dynamicvit.checkpoints.cost import count_head
from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.data.annotations import Truth
from hf_dynamicvit.evaluation.runner import copy_at_keep_ratio
from hf_dynamicvit.evaluation.scores import Change, check_metrics, compare_tallies, make_tally
from hf_dynamicvit.evaluation.task_evaluate import Point, TaskEvaluation, measure_apart
from hf_dynamicvit.evaluation.task_models import (
    TruthReader,
    check_processor,
    find_kind,
    in_order,
    load_subject,
    read_predictions,
)
from hf_dynamicvit.evaluation.task_report import build_task_summary, write_task_report, write_task_verdict


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_models(folder)
    return folder


def load(models: Path, name: str, reducer: str = "tome") -> Any:
    checkpoint = read_checkpoint(models / name, may_detect=True, may_map=True)
    kind = find_kind(checkpoint)
    assert kind is not None
    return load_subject(checkpoint, kind, reducer, None)


def predict(subject: Any, image: Any, truth: Truth, whole: bool = True) -> Any:
    """What the sparse model, or the dense one, says of one image by itself."""
    model = subject.whole if whole else subject.dense
    with torch.inference_mode():
        outputs = model(subject.viewer.pixel_values([image]))
    sizes = [(image.height, image.width)]
    return read_predictions(subject.kind, subject.viewer.processor, outputs, [truth], sizes)[0]


# ----- without torchmetrics


def test_the_kind_follows_from_the_model(models):
    kinds = {"detector": "boxes", "segmenter": "masks", "depth": "depth"}
    for name, kind in kinds.items():
        assert find_kind(read_checkpoint(models / name, may_detect=True, may_map=True)) == kind
    with pytest.raises(ValueError, match=r"estimates relative depth .* it cannot be compared with depth in metres"):
        find_kind(read_checkpoint(models / "relative", may_map=True))


@pytest.mark.parametrize("name", ["segmenter", "depth", "detector"])
def test_packages_that_are_missing_are_named_before_any_work(models, name, tmp_path, monkeypatch, capsys):
    def refuse(module: str) -> None:
        raise ImportError(module)

    monkeypatch.setattr("hf_dynamicvit.extras.import_module", refuse)
    monkeypatch.setattr("hf_dynamicvit.commands.evaluate_run.load_task", None)
    command = ["evaluate", "--model", str(models / name), "--dataset", str(tmp_path / "none")]
    assert main(command) == 1
    assert 'needs torchmetrics: pip install "hf-dynamicvit[metrics]"' in capsys.readouterr().err


@pytest.mark.parametrize("name", ["segmenter", "depth", "detector"])
def test_a_copy_at_another_keep_ratio_shares_the_weights(models, name):
    subject = load(models, name)
    other = copy_at_keep_ratio(subject.whole, 0.6, None)
    assert find_reduced(other).config.keep_ratio == 0.6 != find_reduced(subject.whole).config.keep_ratio
    assert all(own is theirs for own, theirs in zip(subject.whole.parameters(), other.parameters(), strict=True))
    image = make_pictures(1)[0]
    truth = Truth(pixels=torch.zeros(20, 16))
    whole = copy_at_keep_ratio(subject.whole, 1.0, None)
    found, dense = predict(replace(subject, whole=whole), image, truth), predict(subject, image, truth, False)
    if subject.kind == "boxes":
        assert torch.equal(found["labels"], dense["labels"]) and found["boxes"].amax() <= 60
        torch.testing.assert_close(found["boxes"], dense["boxes"], atol=1e-3, rtol=1e-4)
    else:
        assert found.shape == (20, 16)
        torch.testing.assert_close(found, dense, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["segmenter", "depth"])
def test_the_head_is_counted(models, name):
    """As its modules are when they are handed the feature maps."""
    subject, pixels = load(models, name), torch.zeros(2, 3, 32, 32)
    model = subject.dense
    with torch.inference_mode():
        maps = model.backbone(pixels[:1]).feature_maps
        with FlopCounterMode(display=False) as counter:
            if name == "segmenter":
                model.decode_head(maps)
            else:
                model.head(model.neck(maps, 8, 8), 8, 8)
    assert count_head(subject.whole, model, pixels) == counter.get_total_flops() // 2 > 0


def test_classes_of_masks_are_those_of_the_model(models):
    subject = load(models, "segmenter")
    images: Any = SimpleNamespace(names=None)
    reader = TruthReader(subject, images, False)
    pixels = torch.tensor([[0, 1, 2, 255]])
    assert torch.equal(reader.read(Truth(pixels=pixels), "it"), pixels)
    with pytest.raises(ValueError, match="The mask of it has 3, 7; the model has the classes 0 to 2, and 255 is what"):
        reader.read(Truth(pixels=torch.tensor([[3, 7, 1]])), "it")
    subject.viewer.processor.do_reduce_labels = True
    assert reader.read(Truth(pixels=torch.tensor([[0, 1, 3, 255]])), "it").tolist() == [[255, 0, 2, 255]]


def test_classes_of_boxes_are_found_by_name_or_number(models):
    subject = load(models, "detector")

    def read(classes: Any, names: list[str] | None, same: bool = False) -> Any:
        images: Any = SimpleNamespace(names=names)
        truth = Truth(torch.zeros(len(classes), 4), classes)
        return TruthReader(subject, images, same).read(truth, "it")["labels"].tolist()

    assert read(["road", "sky"], ["sky", "road"]) == [2, 0] and read([1, 0], None) == [1, 0]
    assert read([], None) == []
    assert read(["b", "a"], ["a", "b", "c"], True) == [1, 0]
    with pytest.raises(ValueError, match="Objects are of the class 'b', which the model lacks; its classes are 'sky'"):
        read(["b"], ["a", "b"])
    with pytest.raises(ValueError, match="the model has the classes 0 to 2, the data set also 3"):
        read([3], None)


def test_classes_of_a_dense_model_in_another_order():
    boxes = [{"labels": torch.tensor([0, 2, 1])}]
    assert in_order(boxes, "boxes", torch.tensor([1, 2, 0]))[0]["labels"].tolist() == [2, 1, 0]
    assert in_order(boxes, "boxes", None) is boxes and in_order([5], "masks", torch.tensor([0])) == [5]


def test_processors_that_move_what_is_in_an_image_are_refused():
    with pytest.raises(ValueError, match="The image processor of me has do_center_crop, which cuts or pads images"):
        check_processor(SimpleNamespace(do_center_crop=True), "me", "masks")
    check_processor(SimpleNamespace(do_center_crop=False, size_divisor=32), "me", "boxes")
    with pytest.raises(ValueError, match="has size_divisor"):
        check_processor(SimpleNamespace(size_divisor=32), "me", "depth")


def test_how_far_two_models_are_apart():
    boxes = [{"scores": torch.tensor(scores)} for scores in ([0.9, 0.5, 0.1], [0.4, 0.2, 0.1])]
    assert measure_apart("boxes", *boxes) == 2
    classes = torch.tensor([[0, 1], [2, 2]])
    assert measure_apart("masks", classes, torch.tensor([[0, 1], [2, 0]])) == 0.25
    assert measure_apart("depth", torch.tensor([1.0, 3.0]), torch.tensor([2.0, 2.0])) == 0.5


def make_evaluation(kind: str = "masks", **changes: Any) -> TaskEvaluation:
    names = {"masks": ("miou", "pixel_accuracy"), "depth": ("abs_rel", "rmse", "delta1")}[kind]
    scores = dict.fromkeys(names, 0.5)
    fields: dict[str, Any] = {
        "kind": kind,
        "model": "my-segmenter",
        "architecture": "UperNetForSemanticSegmentation",
        "reducer": "tome",
        "keep_ratio": 0.7,
        "compared": "a dense model of the same weights",
        "dataset": "scenes",
        "split": "test",
        "total": 20,
        "images": 10,
        "skipped": ["Cannot read it."],
        "sparse": scores,
        "dense": scores,
        "sparse_gmacs": 2.0,
        "dense_gmacs": 3.0,
        "head_gmacs": 1.0,
        "changes": {name: Change(-0.02, 0.005) for name in names},
        "resamples": 100,
        "sweep": [Point(1.0, scores, 3.0, None), Point(0.5, None, None, "too few")],
        "layers": [1, 2],
        "kept": [(0.7, 0.7, 0.7), (0.5, 0.4, 0.6)],
        "notes": ["A note."],
        "views": [],
        "apart": [(0.5, "a.png")],
        "settings": {"batch_size": 4, "machine": {"cpu": "none"}},
        "speed": {"sparse": 6.0, "dense": 5.0},
    }
    return TaskEvaluation(**(fields | changes))


def test_the_verdict_says_what_follows():
    verdict = write_task_verdict(make_evaluation())
    assert verdict == (
        "Verdict: worse than the dense model, by -3.0 to -1.0 points of mIoU, for 25% fewer multiply-adds, 1.20x the "
        "images a second here."
    )
    changes = {"miou": Change(0.02, 0.005)}
    assert write_task_verdict(make_evaluation(changes=changes)).startswith(
        "Verdict: better than the dense model, by +1.0"
    )
    changes = {"miou": Change(0.0, 0.01)}
    told = write_task_verdict(make_evaluation(changes=changes))
    assert told.startswith("Verdict: no difference in mIoU is shown") and "-2.0 to +2.0 points; more images" in told
    changes = {"miou": Change(-0.02, None)}
    told = write_task_verdict(make_evaluation(changes=changes, speed={}))
    assert told == "Verdict: -2.0 points of mIoU, for 25% fewer multiply-adds. How sure that is was not measured."
    assert write_task_verdict(make_evaluation(changes={})) == "Verdict: there is no mIoU on these images."


def test_less_of_an_error_is_better():
    changes = {"abs_rel": Change(-0.02, 0.005), "rmse": Change(-0.5, 0.1), "delta1": Change(0.02, 0.005)}
    assert "better than the dense model" in write_task_verdict(make_evaluation("depth", changes=changes))
    assert "| -0.5 | +2.0 |" in build_task_summary(make_evaluation("depth", changes=changes))


def test_the_report_has_the_same_files_as_of_classes(tmp_path):
    pytest.importorskip("matplotlib")
    write_task_report(make_evaluation(), tmp_path / "report")
    folder = tmp_path / "report"
    assert {each.name for each in folder.iterdir()} == {"report.html", "report.md", "report.json", "accuracy.png"}
    text = (folder / "report.md").read_text()
    assert "# my-segmenter on scenes" in text and "| sparse to dense | -2.0 | -2.0 | 0.75x | 1.20x |" in text
    assert "| 0.5 | not possible |" in text and "0.5: too few" in text and "| 2 | 50.0% | 40.0% | 60.0% |" in text
    assert "the head, which stays as it is, 1.000, 25% of the dense model" in text and "Cannot read it." in text
    record = json.loads((folder / "report.json").read_text())
    assert record["difference"]["miou"]["interval"] == pytest.approx([-0.0298, -0.0102])
    assert record["stages"][1] == {"layer": 2, "mean": 0.5, "least": 0.4, "most": 0.6}
    assert record["settings"]["images_per_second"] == {"sparse": 6.0, "dense": 5.0}


# ----- with torchmetrics


def count_iou(found: torch.Tensor, truth: torch.Tensor) -> float:
    """Mean over the classes of intersection over union, of the pixels that count."""
    known = truth != 255
    pairs = [((found == each) & known, (truth == each) & known) for each in range(3)]
    return float(torch.stack([(one & other).sum() / (one | other).sum() for one, other in pairs]).mean())


def evaluate(models: Path, name: str, data: str, *options: str) -> dict[str, Any]:
    how = ["--model", str(models / name), "--dataset", data, "--output", "report", "--overwrite", *options]
    assert main(["evaluate", *how]) == 0
    return json.loads(Path("report/report.json").read_text())


def test_masks_are_measured(models, tmp_path, monkeypatch, capsys):
    pytest.importorskip("torchmetrics")
    monkeypatch.chdir(tmp_path)
    random, subject = np.random.default_rng(1), load(models, "segmenter")
    subject.viewer.set_keep_ratio(0.5)
    images = make_pictures()
    masks = [random.integers(0, 3, image.size[::-1], dtype=np.uint8) for image in images]
    masks[0][:5] = 255
    data = save_masks(tmp_path / "masks.parquet", masks)
    options = ["--reducer", "tome", "--keep-ratio", "0.5", "--keep-ratios", "1", "0.5", "--limit", "100"]
    found = evaluate(models, "segmenter", data, *options, "--batch-size", "2")
    truths = [Truth(pixels=torch.tensor(mask).long()) for mask in masks]
    flat = torch.cat([truth.pixels.flatten() for truth in truths])
    for name, whole in (("sparse", True), ("dense", False)):
        said = [predict(subject, image, truth, whole).flatten() for image, truth in zip(images, truths, strict=True)]
        assert found[name]["miou"] == pytest.approx(count_iou(torch.cat(said), flat), abs=1e-4)
        right = (torch.cat(said) == flat)[flat != 255].double().mean().item()
        assert found[name]["pixel_accuracy"] == pytest.approx(right, abs=1e-4)
    assert [point["keep_ratio"] for point in found["keep_ratios"]] == [1.0, 0.5]
    assert found["keep_ratios"][0]["scores"] == pytest.approx(found["dense"], abs=1e-3)
    assert found["keep_ratios"][1]["scores"] == pytest.approx(found["sparse"], abs=1e-6)
    assert found["sparse_gmacs"] == pytest.approx(subject.viewer.model.multiply_adds() / 1e9)
    assert found["dense_gmacs"] == pytest.approx(subject.viewer.model.dense_multiply_adds() / 1e9)
    value = found["difference"]["miou"]
    assert value["value"] == pytest.approx(found["sparse"]["miou"] - found["dense"]["miou"])
    assert value["standard_error"] > 0 and value["interval"][0] < value["value"] < value["interval"][1]
    assert len(found["apart"]) == COUNT and found["apart"][0]["apart"] >= found["apart"][-1]["apart"]
    said = capsys.readouterr().out
    assert said.startswith("Verdict:") and Path("report/changed.png").is_file()
    assert found["settings"]["command"].startswith("hf-dynamicvit evaluate --model")


def test_depth_is_measured(models, tmp_path, monkeypatch):
    """The dense model's own depth is without error; what is not known does not count."""
    pytest.importorskip("torchmetrics")
    monkeypatch.chdir(tmp_path)
    subject, known = load(models, "depth"), np.zeros((HEIGHT, WIDTH), np.float32)
    images = [np.zeros((HEIGHT, WIDTH, 3), np.uint8) + 40 * index for index in range(4)]
    truth = Truth(pixels=torch.tensor(known))
    depths = [predict(subject, Image.fromarray(image), truth, False).numpy() * 2 for image in images]
    for depth in depths:
        depth[3:7] = 0
    data = save_depths(tmp_path / "depth.parquet", depths)
    options = ["--reducer", "tome", "--keep-ratio", "0.4", "--no-keep-ratios", "--resamples", "5"]
    found = evaluate(models, "depth", data, *options, "--depth-scale", "0.5")
    assert found["dense"] == pytest.approx({"abs_rel": 0, "rmse": 0, "delta1": 1}, abs=1e-3)
    assert found["sparse"]["abs_rel"] > 0.001 and found["keep_ratios"] == []
    twice = evaluate(models, "depth", data, *options)
    assert twice["dense"]["abs_rel"] == pytest.approx(0.5, abs=1e-3)


def test_an_image_that_cannot_be_read_is_left_out(models, tmp_path, monkeypatch, capsys):
    pytest.importorskip("torchmetrics")
    monkeypatch.chdir(tmp_path)
    lines = []
    Path("data/train").mkdir(parents=True)
    for index, image in enumerate(make_pictures(3)):
        image.save(f"data/train/{index}.png")
        image.getchannel(0).point(lambda value: value // 90).save(f"data/train/m{index}.png")
        lines.append({"file_name": f"{index}.png", "mask_file_name": f"m{index}.png"})
    Path("data/train/metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    Path("data/train/1.png").write_text("none")
    found = evaluate(models, "segmenter", "data", "--no-keep-ratios", "--resamples", "0")
    assert found["images"] == 2 and len(found["skipped"]) == 1 and "1.png" in found["skipped"][0]
    assert found["difference"]["miou"]["interval"] is None
    assert "It is left out." in capsys.readouterr().err


def test_a_budget_is_met_at_the_size_of_the_images(models, tmp_path, monkeypatch):
    """Which the image processor makes, and not the configuration of the backbone."""
    pytest.importorskip("torchmetrics")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(models / "segmenter", "large")
    file = Path("large/preprocessor_config.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"size": {"height": 64, "width": 96}}))
    masks = [np.zeros(image.size[::-1], np.uint8) for image in make_pictures(2)]
    data = save_masks(tmp_path / "masks.parquet", masks)
    found = evaluate(tmp_path, "large", data, "--reducer", "tome", "--budget", "0.7", "--no-keep-ratios")
    assert 0.69 < found["sparse_gmacs"] / found["dense_gmacs"] <= 0.7
    assert found["dense_gmacs"] > 5 * load(models, "segmenter").viewer.model.dense_multiply_adds() / 1e9


@pytest.mark.parametrize("reducer", ["evit", "svit", "dynamicvit"])
def test_other_methods(models, tmp_path, monkeypatch, reducer):
    pytest.importorskip("torchmetrics")
    monkeypatch.chdir(tmp_path)
    masks = [np.zeros(image.size[::-1], np.uint8) for image in make_pictures(3)]
    data = save_masks(tmp_path / "masks.parquet", masks)
    found = evaluate(models, "segmenter", data, "--reducer", reducer, "--budget", "0.8", "--no-keep-ratios")
    assert 0.6 < found["sparse_gmacs"] / found["dense_gmacs"] < 0.85
    assert ("are new on these weights" in " ".join(found["notes"])) == (reducer != "evit")


def test_resampled_images_are_the_same_for_both_models():
    """Paired: two models that err on the same pixels differ by nothing, however images are drawn."""
    pytest.importorskip("torchmetrics")
    random = torch.Generator().manual_seed(0)
    tallies = [make_tally("masks", 3) for _ in range(3)]
    for _ in range(8):
        truth = torch.randint(3, (6, 6), generator=random)
        found = torch.randint(3, (6, 6), generator=random)
        for tally, said in zip(tallies, (found, found, truth), strict=True):
            tally.add(said, truth)
    same = compare_tallies(*tallies[:2], 8, 20, 0)["miou"]
    assert same.value == 0 and same.standard_error == 0
    other = compare_tallies(tallies[0], tallies[2], 8, 20, 0)["miou"]
    assert other.value > 0.3 and other.standard_error > 0
    counts = torch.tensor([2, 0, 0, 0, 0, 0, 0, 1])
    assert tallies[2].compute(counts) == {"miou": 1.0, "pixel_accuracy": 1.0}
    assert compare_tallies(*tallies[:2], 8, 0, 0)["miou"].interval is None


def check_boxes_can_be_measured() -> None:
    for module in ("torchmetrics", "torchvision", "faster_coco_eval"):
        pytest.importorskip(module)
    check_metrics("boxes")


def test_found_boxes_have_a_precision_of_one():
    check_boxes_can_be_measured()
    dense, sparse = make_tally("boxes", 3), make_tally("boxes", 3)
    for index in range(4):
        boxes = torch.tensor([[1.0, 2, 20, 30], [25, 5, 40 + index, 20]])
        truth = {"boxes": boxes, "labels": torch.tensor([0, 2])}
        dense.add(truth | {"scores": torch.tensor([0.9, 0.8])}, truth)
        moved = torch.tensor([[0.0, 0, 4, 3], [0, 0, 0, 0]])
        sparse.add({"boxes": boxes + moved, "labels": truth["labels"], "scores": torch.tensor([0.9, 0.8])}, truth)
    assert dense.compute() == pytest.approx({"map": 1.0, "map_50": 1.0, "map_75": 1.0})
    found = compare_tallies(dense, sparse, 4, 5, 0)
    assert -0.5 < found["map"].value < -0.05 and found["map_50"].value == pytest.approx(0)


def test_boxes_are_measured(models, tmp_path, monkeypatch):
    """Images of two shapes; the dense model's own best box is true."""
    check_boxes_can_be_measured()
    monkeypatch.chdir(tmp_path)
    subject, objects = load(models, "detector"), []
    for image in make_pictures():
        found = predict(subject, image, Truth(), False)
        best = int(found["scores"].argmax())
        left, top, right, bottom = found["boxes"][best].tolist()
        objects.append({"bbox": [[left, top, right, bottom]], "category": [int(found["labels"][best])]})
    data = save_boxes(tmp_path / "boxes.parquet", objects, NAMES)
    found = evaluate(models, "detector", data, "--boxes", "corners", "--keep-ratios", "1", "--resamples", "3")
    assert found["dense"]["map_50"] > 0.5 and found["keep_ratios"][0]["scores"] == pytest.approx(
        found["dense"], abs=0.02
    )
    assert found["sparse"]["map"] <= found["dense"]["map"] and found["head_gmacs"] == 0
    assert found["images"] == COUNT and found["sparse_gmacs"] < found["dense_gmacs"]
