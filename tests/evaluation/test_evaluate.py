# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What an evaluation says is what the models do, one image at a time."""

import copy
import json
import math
import sys

import numpy as np
import pytest
import torch
from class_folders import COUNT, NAMES, in_file, make_image, viewer_of, with_names, write_classes
from datasets import ClassLabel, Value
from methods import UNLIKE, usual
from toys import TOY, reads_class_token, toy_dense, toy_images
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_dynamicvit import DynamicDeiTConfig, DynamicDeiTForImageClassification
from hf_dynamicvit.checkpoints.cost import multiply_adds
from hf_dynamicvit.checkpoints.labels import find_class_order
from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.evaluation.data import choose_split, load_labelled
from hf_dynamicvit.evaluation.evaluate import evaluate
from hf_dynamicvit.evaluation.results import (
    Answers,
    ClassResult,
    Confusion,
    build_answers,
    compare_answers,
    count_per_class,
    estimate_interval,
    find_changed,
    find_confusions,
    measure_distances,
    summarise_stages,
)
from hf_dynamicvit.look.viewer import Viewer, count_costs, scale_to_show


def one_by_one(model, viewer):
    """Logits `[N, K]`, and `[N, S, num_patches]` of what is kept, in the order of the class folders."""
    pixels = [viewer.pixel_values([make_image(number)]) for number in range(COUNT * len(NAMES))]
    with torch.inference_mode():
        outputs = [model(image) for image in pixels]
    kept = [getattr(output, "kept", None) for output in outputs]
    return torch.cat([output.logits for output in outputs]), kept, pixels


def check_answers(answers, logits, costs):
    truth = torch.arange(len(logits)) // COUNT
    order = logits.argsort(dim=1, descending=True, stable=True)
    assert torch.equal(answers.predicted, order[:, 0])
    assert torch.equal(answers.rank, (order == truth[:, None]).nonzero()[:, 1])
    torch.testing.assert_close(answers.probability, logits.softmax(1).amax(1), atol=1e-5, rtol=1e-4)
    assert answers.top(1) == (order[:, 0] == truth).double().mean()
    assert answers.top(5) == (order[:, :5] == truth[:, None]).any(1).double().mean()
    assert answers.multiply_adds.tolist() == costs


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0), (5, 10, 0.237, 0.763), (81, 263, 0.255, 0.366)],
)
def test_intervals_of_a_proportion(right, count, low, high):
    """Wilson's, as published: 81 of 263 is the example of Newcombe (Statistics in Medicine 1998)."""
    assert estimate_interval(right, count) == pytest.approx((low, high), abs=6e-4)


@usual(reducer=["asvit", *UNLIKE])
def test_the_numbers_are_those_of_one_image_at_a_time(reducer, folder):
    viewer = viewer_of(**reads_class_token(reducer))
    model, before = viewer.model, copy.deepcopy(viewer.model.state_dict())
    keep_ratio = model.config.keep_ratio
    found = evaluate(viewer, str(folder), keep_ratios=(0.6, 1.0), batch_size=5)
    logits, kept, pixels = one_by_one(model, viewer)
    check_answers(found.sparse, logits, [model.multiply_adds(image) for image in pixels])
    check_answers(found.dense, one_by_one(viewer.dense, viewer)[0], [model.dense_multiply_adds()] * len(logits))
    assert found.names == [f"{name}/{number}.png" for name in NAMES for number in range(COUNT)]
    kept = torch.cat(kept).double()
    assert [stage.layer for stage in found.stages] == model.decision_layers
    for stage, taken in zip(found.stages, kept.unbind(1), strict=True):
        fractions = taken.mean(1)
        assert stage.mean == pytest.approx(fractions.mean().item())
        assert (stage.least, stage.most) == (fractions.min().item(), fractions.max().item())
        torch.testing.assert_close(stage.frequency, taken.mean(0).view(8, 8))
    # at other keep ratios, and the model as it was
    assert [point.keep_ratio for point in found.sweep] == [1.0, 0.6]
    other = copy.deepcopy(model)
    some = load_labelled(str(folder), NAMES).sample(64, "RGB")
    other.set_keep_ratio(0.6, viewer.pixel_values([*some]))
    check_answers(
        found.sweep[1].answers, one_by_one(other, viewer)[0], [other.multiply_adds(image) for image in pixels]
    )
    assert model.config.keep_ratio == keep_ratio
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert "NaN" not in json.dumps(found.as_dict())


@pytest.mark.parametrize("method", ["dynamicvit", "asvit", "tome"])
def test_the_batch_size_changes_nothing(method, folder):
    viewer = viewer_of(reducer=method)
    first, second = (evaluate(viewer, str(folder), keep_ratios=(0.6,), batch_size=size) for size in (1, 7))
    assert torch.equal(first.sparse.predicted, second.sparse.predicted)
    one, seven = first.as_dict(), second.as_dict()
    for row, same in zip(one.pop("changed"), seven.pop("changed"), strict=True):
        assert row == {key: pytest.approx(value, abs=2e-4) for key, value in same.items()}
    assert one.pop("settings")["batch_size"] == 1 and seven.pop("settings")["batch_size"] == 7
    assert one == seven


def said(*classes, rank=None) -> Answers:
    """Predictions, each with another probability; the true class is 0 unless `rank` says what else it is."""
    predicted = torch.tensor(classes)
    rank = (predicted != 0).long() if rank is None else torch.tensor(rank)
    return Answers(predicted, torch.linspace(0.5, 0.9, len(predicted)), rank, torch.ones(len(predicted)))


def test_difference_by_hand():
    dense, sparse = said(0, 0, 0, 0, 1, 1, 1, 1, 2, 1), said(0, 0, 0, 1, 0, 0, 0, 2, 1, 1)
    found = compare_answers(dense, sparse)
    assert (found.fixed, found.broken, found.other, found.changed) == (3, 1, 2, 6)
    assert found.top1 == pytest.approx(0.2)
    assert found.standard_error == pytest.approx(math.sqrt(4 - 0.4) / 10)
    spread = 1.96 * math.sqrt(5 - 2**2 / 12) / 12
    assert (found.low, found.high) == (pytest.approx(2 / 12 - spread), pytest.approx(2 / 12 + spread))
    same = compare_answers(dense, dense)
    assert same.standard_error == same.top1 == 0 and -0.2 < same.low < 0 < same.high < 0.2  # ten images prove little


def test_classes_and_changes_by_hand():
    truth = torch.tensor([0, 0, 0, 1, 1, 2])
    labels, names = ["ant", "bee", "cat", "dog"], [f"{number}.png" for number in range(6)]
    dense = said(0, 0, 1, 1, 0, 2, rank=[0, 0, 1, 0, 1, 0])
    sparse = said(0, 1, 2, 1, 1, 1, rank=[0, 1, 1, 0, 0, 2])
    classes = count_per_class(labels, truth, sparse, dense)
    assert classes == [ClassResult("cat", 1, 0, 1), ClassResult("ant", 3, 1, 2), ClassResult("bee", 2, 2, 1)]
    assert [row.change for row in classes] == [-1, pytest.approx(-1 / 3), 0.5]
    assert count_per_class(labels, truth, sparse, None)[0] == ClassResult("cat", 1, 0, None)
    assert find_confusions(labels, truth, sparse, dense) == [
        Confusion("ant", "cat", 0, 1),
        Confusion("bee", "ant", 1, 0),
        Confusion("cat", "bee", 0, 1),
    ]
    changed = find_changed(labels, names, truth, sparse, dense)
    assert [(row.kind, row.picture, row.true, row.dense, row.sparse) for row in changed] == [
        ("broken", "5.png", "cat", "cat", "bee"),
        ("broken", "1.png", "ant", "ant", "bee"),
        ("fixed", "4.png", "bee", "ant", "bee"),
        ("other", "2.png", "ant", "bee", "cat"),
    ]
    assert changed[0].index == 5 and changed[0].sparse_probability == pytest.approx(0.9)


def test_equal_logits_have_an_order():
    answers = build_answers(torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]), torch.tensor([0, 1]), [3, 4])
    assert answers.predicted.tolist() == [0, 0] and answers.rank.tolist() == [0, 1]
    assert answers.gmacs == 3.5e-9
    with pytest.raises(FloatingPointError, match="not finite"):
        build_answers(torch.tensor([[1.0, torch.nan]]), torch.tensor([0]), [1])


def test_centre_map_by_hand():
    far = measure_distances((2, 4), (10, 5))  # an image of 20 x 20 pixels
    corner, inner = math.hypot(5, 7.5) / math.hypot(10, 10), math.hypot(5, 2.5) / math.hypot(10, 10)
    torch.testing.assert_close(far, torch.tensor([[corner, inner, inner, corner]] * 2))
    kept = torch.tensor(
        [
            [[0, 1, 1, 1, 0, 1, 1, 0], [0, 1, 0, 0, 0, 0, 0, 0]],
            [[0, 1, 1, 1, 0, 1, 1, 1], [0, 1, 0, 0, 0, 0, 0, 0]],
        ]
    )
    first, second = summarise_stages([3, 6], kept.sum(-1), kept.sum(0), far)
    assert (first.layer, first.mean, first.least, first.most) == (3, 5.5 / 8, 5 / 8, 6 / 8)
    assert first.frequency.tolist() == [[0, 1, 1, 1], [0, 1, 1, 0.5]]
    assert first.distance == pytest.approx((4 * inner + 1.5 * corner) / 5.5)
    assert second.frequency.tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]] and second.distance == pytest.approx(inner)
    (none,) = summarise_stages([1], torch.zeros(2, 1), torch.zeros(1, 8), far)
    assert none.mean == 0 and none.distance is None


def test_classes_are_found_by_name(folder, tmp_path):
    viewer, shuffled = viewer_of(), ["fox", "bee", "eel", "ant", "dog", "cat"]
    expected = evaluate(viewer, str(folder), keep_ratios=())
    assert 0 < expected.sparse.top(5) < 1  # or this would prove nothing
    of_rows = [name for name in NAMES for _ in range(COUNT)]
    declared = in_file(tmp_path / "a.parquet", ClassLabel(names=shuffled), of_rows)
    text = in_file(tmp_path / "b.parquet", Value("string"), of_rows)
    for file in (declared, text):
        found = evaluate(viewer, file, keep_ratios=())
        assert torch.equal(found.truth, expected.truth) and torch.equal(found.sparse.rank, expected.sparse.rank)
        assert torch.equal(load_names(file, same_classes=True), expected.truth)  # names that fit come first
    others = in_file(tmp_path / "c.parquet", ClassLabel(names=[name.upper() for name in NAMES]), of_indices())
    with pytest.raises(
        ValueError,
        match=r"6 of 6 .*\('ANT', .*and 1 more\).*-dynamicvit train --model .*--same-classes",
    ):
        load_names(others)
    assert torch.equal(load_names(others, same_classes=True), expected.truth)
    numbers = in_file(tmp_path / "d.parquet", Value("int64"), [1 + label // 2 for label in of_indices()])
    assert torch.equal(load_names(numbers, same_classes=True), 1 + expected.truth // 2)
    with pytest.raises(ValueError, match="the model has the classes 0 to 2, the data set also 3"):
        load_labelled(numbers, ["x", "y", "z"], same_classes=True)
    with pytest.raises(ValueError, match="the model has 3 classes, the data set 6"):
        load_labelled(others, ["x", "y", "z"], same_classes=True)
    with pytest.raises(ValueError, match="Several classes of the model are called 'ant'"):
        load_labelled(text, [*NAMES, "ant"])


def of_indices():
    return [label for label in range(len(NAMES)) for _ in range(COUNT)]


def load_names(file, **options):
    return torch.tensor(load_labelled(file, NAMES, **options).data["true_class"])


def test_a_dense_model_with_its_classes_in_another_order(folder):
    viewer = viewer_of()
    expected = evaluate(viewer, str(folder), keep_ratios=())
    order = torch.tensor([5, 3, 0, 1, 4, 2])
    classifier = viewer.dense.classifier
    classifier.weight.data, classifier.bias.data = classifier.weight.data[order], classifier.bias.data[order]
    with_names(viewer.dense, [NAMES[index] for index in order.tolist()])
    viewer = Viewer(viewer.model, viewer.processor, viewer.dense)
    found = evaluate(viewer, str(folder), keep_ratios=())
    assert torch.equal(found.dense.predicted, expected.dense.predicted)
    assert torch.equal(found.dense.rank, expected.dense.rank)
    with_names(viewer.dense, ["x", *NAMES[1:]])
    with pytest.raises(ValueError, match="other classes: 'x'; the sparse one has 'ant'"):
        Viewer(viewer.model, viewer.processor, viewer.dense)
    assert Viewer(viewer.model, viewer.processor, viewer.dense, same_classes=True).dense_order is None
    assert find_class_order(NAMES, ["x", *NAMES[1:]], same_classes=True) is None


def test_unreadable_images(hostile, tmp_path):
    names, folder = hostile
    with pytest.raises(ValueError, match=r"Cannot read the image .*<i>\.png"):
        evaluate(viewer_of(names), str(folder), keep_ratios=(), unreadable="stop")
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_text("no image")
    with pytest.raises(ValueError, match="None of 6 images can be read"):
        evaluate(viewer_of(reducer="asvit"), str(tmp_path), keep_ratios=())


def test_a_line_of_pixels_is_left_out(tmp_path):
    write_classes(tmp_path, NAMES)
    make_image(0).resize((20000, 1)).save(tmp_path / NAMES[0] / "thin.png")
    found = evaluate(viewer_of(NAMES), str(tmp_path), keep_ratios=())
    assert len(found.skipped) == 1 and "thin.png: it has 20000 x 1 pixels" in found.skipped[0]
    assert len(found.truth) == COUNT * len(NAMES)


def test_views_are_of_the_changed_images(hostile):
    """Also where an image before them could not be read."""
    names, folder = hostile
    viewer = viewer_of(names)
    viewer.dense = with_names(toy_dense(3, num_labels=6), names)
    found = evaluate(viewer, str(folder), keep_ratios=(), batch_size=5, max_changed=100)
    assert len(found.views) == len(found.changed) > 5
    for row, view in zip(found.changed, found.views, strict=True):
        name, number = row.picture.split("/")
        shown = scale_to_show(make_image(COUNT * names.index(name) + int(number.removesuffix(".png"))))
        assert np.array_equal(np.asarray(view.picture), np.asarray(shown)) and row.true == name
        assert names[view.probabilities.argmax()] == row.sparse
        assert names[view.dense_probabilities.argmax()] == row.dense


def test_other_problems_than_one_class_each(folder, tmp_path, monkeypatch, capsys):
    viewer = viewer_of(num_hidden_layers=2)
    for problem in ("multi_label_classification", "regression"):
        viewer.model.config.problem_type = problem
        with pytest.raises(ValueError, match=f"problem_type is '{problem}'"):
            evaluate(viewer, str(folder))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["evaluate", "--model", "x", "--dataset", "y", "--output", str(tmp_path / "new")]) == 1
    assert 'pip install "hf-dynamicvit[plot]"' in capsys.readouterr().err


def test_costs_with_two_prefix_tokens_and_at_another_size():
    torch.manual_seed(0)
    model = DynamicDeiTForImageClassification(DynamicDeiTConfig(**TOY, reducer="asvit")).eval()
    images = toy_images(3, 48, 32)
    with torch.inference_mode():
        kept = model(images, interpolate_pos_encoding=True).kept
    assert count_costs(model, kept, (48, 32)) == [model.multiply_adds(image[None]) for image in images]
    assert multiply_adds(model.to_dense(), (48, 32)) == model.dense_multiply_adds((48, 32))


def test_which_split(folder, tmp_path):
    for split in ("train", "Test"):
        write_classes(tmp_path / "both" / split, NAMES[: 2 if split == "Test" else 3])
    found = load_labelled(str(tmp_path / "both"), NAMES)
    assert (found.split, found.only_split, found.total) == ("Test", False, 2 * COUNT)
    assert load_labelled(str(tmp_path / "both"), NAMES, split="train").total == 3 * COUNT
    with pytest.raises(ValueError, match="Name the split to evaluate on with --split; there are train, odd"):
        choose_split(["train", "odd"], None)
    assert choose_split(["train"], None) == "train"


def test_images_are_decoded_one_at_a_time(folder, monkeypatch):
    """A batch of photographs would take gigabytes; and the numbers are those of the processor's batch, to the bit."""
    viewer, seen = viewer_of(), []
    pixel_values = Viewer.pixel_values

    def counted(self, images, *args):
        seen.append(len(images))
        return pixel_values(self, images, *args)

    monkeypatch.setattr(Viewer, "pixel_values", counted)
    found = evaluate(viewer, str(folder), keep_ratios=(), max_changed=0)
    assert seen == [1] * COUNT * len(NAMES)
    images = [make_image(number) for number in range(COUNT * len(NAMES))]
    pixels = viewer.processor(images, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        probability = viewer.model(pixels).logits.softmax(1).amax(1)
    assert torch.equal(found.sparse.probability, probability)


@pytest.mark.parametrize("batch_size", [1, 32])
@pytest.mark.parametrize("method", ["topk", "asvit"])
def test_images_of_several_sizes_are_refused(tmp_path, method, batch_size):
    """Patches of 8 x 16 and 16 x 8 are no one map."""
    write_classes(tmp_path, NAMES)
    make_image(0).resize((64, 32)).save(tmp_path / "dog" / "9.png")
    viewer = viewer_of(reducer=method)
    viewer.processor = ViTImageProcessorPil(size={"shortest_edge": 32})
    keep_ratios = (0.5,) if method == "asvit" else ()
    with pytest.raises(ValueError, match=r"pixels and others 32 x (32|64);") as error:
        evaluate(viewer, str(tmp_path), keep_ratios=keep_ratios, batch_size=batch_size)
    assert "do_center_crop" in str(error.value) and "one size" in str(error.value)
    if method == "topk":
        assert f"the image {tmp_path / 'dog' / '9.png'}" in str(error.value)


def test_weights_are_the_same_in_another_precision(folder):
    viewer = viewer_of()
    viewer.dense = viewer.model.to_dense().to(torch.bfloat16)
    assert evaluate(viewer, str(folder), keep_ratios=()).compared == "another dense model in memory"  # rounded
    viewer.model.to(torch.bfloat16).float()
    assert evaluate(viewer, str(folder), keep_ratios=()).compared == "a dense model of the same weights"
