# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What an evaluation says is what the models do, one picture at a time; its report tells it, whatever classes are
called; and nothing is written where input is refused."""

import copy
import json
import math
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageFeature
from PIL import Image
from toys import TOY, reads_class_token, toy_dense, toy_images, toy_model
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_dynamicvit import DynamicDeiTConfig, DynamicDeiTForImageClassification
from hf_dynamicvit.cli import command_parser, main
from hf_dynamicvit.evaluate import command_of, evaluate
from hf_dynamicvit.evaluate.data import choose_split, load_labelled, order_of
from hf_dynamicvit.evaluate.report import Table, content, markdown, summary, write_report
from hf_dynamicvit.evaluate.results import (
    Answers,
    ClassResult,
    Confusion,
    answers_of,
    changed_pictures,
    confusions,
    difference_of,
    distances,
    per_class,
    stages_of,
)
from hf_dynamicvit.evaluate.runner import costs
from hf_dynamicvit.export import multiply_adds
from hf_dynamicvit.viewer import Viewer, at_size


NAMES = ["ant", "bee", "cat", "dog", "eel", "fox"]
COUNT = 4  # pictures of each class


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def picture(number: int) -> Image.Image:
    blots = Image.fromarray(np.random.default_rng(number).integers(0, 255, (4, 4, 3), dtype=np.uint8))
    return blots.resize((32, 32), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("pictures"), NAMES)


def write_classes(folder, names):
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(COUNT):
            picture(COUNT * label + number).save(folder / name / f"{number}.png")
    return folder


def with_names(model, names):
    model.config.id2label = dict(enumerate(names))
    return model


def viewer_of(names=NAMES, seed=0, dense=True, **overrides) -> Viewer:
    model = with_names(toy_model(seed, num_labels=len(names), **overrides), names)
    processor = ViTImageProcessorPil(size={"height": 32, "width": 32})
    return Viewer(model, processor, model.to_dense() if dense else None)


def saved(viewer: Viewer, folder) -> str:
    viewer.model.save_pretrained(folder)
    viewer.processor.save_pretrained(folder)
    return str(folder)


def one_by_one(model, viewer):
    """Logits `[N, K]`, and `[N, S, num_patches]` of what is kept, in the order of the class folders."""
    pixels = [viewer.pixel_values([picture(number)]) for number in range(COUNT * len(NAMES))]
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


def test_the_numbers_are_those_of_one_picture_at_a_time(reducer, folder):
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
    some = load_labelled(str(folder), NAMES).typical(64, "RGB")
    other.set_keep_ratio(0.6, viewer.pixel_values(some))
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
    found = difference_of(dense, sparse)
    assert (found.fixed, found.broken, found.other, found.changed) == (3, 1, 2, 6)
    assert found.top1 == pytest.approx(0.2)
    assert found.standard_error == pytest.approx(math.sqrt(4 - 0.4) / 10)
    spread = 1.96 * math.sqrt(5 - 2**2 / 12) / 12
    assert (found.low, found.high) == (pytest.approx(2 / 12 - spread), pytest.approx(2 / 12 + spread))
    same = difference_of(dense, dense)
    assert same.standard_error == same.top1 == 0 and -0.2 < same.low < 0 < same.high < 0.2  # ten pictures prove little


def test_classes_and_changes_by_hand():
    truth = torch.tensor([0, 0, 0, 1, 1, 2])
    labels, names = ["ant", "bee", "cat", "dog"], [f"{number}.png" for number in range(6)]
    dense = said(0, 0, 1, 1, 0, 2, rank=[0, 0, 1, 0, 1, 0])
    sparse = said(0, 1, 2, 1, 1, 1, rank=[0, 1, 1, 0, 0, 2])
    classes = per_class(labels, truth, sparse, dense)
    assert classes == [ClassResult("cat", 1, 0, 1), ClassResult("ant", 3, 1, 2), ClassResult("bee", 2, 2, 1)]
    assert [row.change for row in classes] == [-1, pytest.approx(-1 / 3), 0.5]
    assert per_class(labels, truth, sparse, None)[0] == ClassResult("cat", 1, 0, None)
    assert confusions(labels, truth, sparse, dense) == [
        Confusion("ant", "cat", 0, 1),
        Confusion("bee", "ant", 1, 0),
        Confusion("cat", "bee", 0, 1),
    ]
    changed = changed_pictures(labels, names, truth, sparse, dense)
    assert [(row.kind, row.picture, row.true, row.dense, row.sparse) for row in changed] == [
        ("broken", "5.png", "cat", "cat", "bee"),
        ("broken", "1.png", "ant", "ant", "bee"),
        ("fixed", "4.png", "bee", "ant", "bee"),
        ("other", "2.png", "ant", "bee", "cat"),
    ]
    assert changed[0].index == 5 and changed[0].sparse_probability == pytest.approx(0.9)


def test_equal_logits_have_an_order():
    answers = answers_of(torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]), torch.tensor([0, 1]), [3, 4])
    assert answers.predicted.tolist() == [0, 0] and answers.rank.tolist() == [0, 1]
    assert answers.gmacs == 3.5e-9
    with pytest.raises(FloatingPointError, match="not finite"):
        answers_of(torch.tensor([[1.0, torch.nan]]), torch.tensor([0]), [1])


def test_centre_map_by_hand():
    far = distances((2, 4), (10, 5))  # a picture of 20 x 20 pixels
    corner, inner = math.hypot(5, 7.5) / math.hypot(10, 10), math.hypot(5, 2.5) / math.hypot(10, 10)
    torch.testing.assert_close(far, torch.tensor([[corner, inner, inner, corner]] * 2))
    kept = torch.tensor(
        [
            [[0, 1, 1, 1, 0, 1, 1, 0], [0, 1, 0, 0, 0, 0, 0, 0]],
            [[0, 1, 1, 1, 0, 1, 1, 1], [0, 1, 0, 0, 0, 0, 0, 0]],
        ]
    )
    first, second = stages_of([3, 6], kept.sum(-1), kept.sum(0), far)
    assert (first.layer, first.mean, first.least, first.most) == (3, 5.5 / 8, 5 / 8, 6 / 8)
    assert first.frequency.tolist() == [[0, 1, 1, 1], [0, 1, 1, 0.5]]
    assert first.distance == pytest.approx((4 * inner + 1.5 * corner) / 5.5)
    assert second.frequency.tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]] and second.distance == pytest.approx(inner)
    (none,) = stages_of([1], torch.zeros(2, 1), torch.zeros(1, 8), far)
    assert none.mean == 0 and none.distance is None


def in_file(file, feature, labels, name="label"):
    """A parquet file of the same pictures."""
    features = Features({"image": ImageFeature(), name: feature})
    pictures = [picture(number) for number in range(COUNT * len(NAMES))]
    Dataset.from_dict({"image": pictures, name: labels}, features=features).to_parquet(file)
    return str(file)


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
    with pytest.raises(ValueError, match=r"6 of 6 are not the model's \(ANT, .*and 1 more\).*--same-classes"):
        load_names(others)
    assert torch.equal(load_names(others, same_classes=True), expected.truth)
    numbers = in_file(tmp_path / "d.parquet", Value("int64"), [1 + label // 2 for label in of_indices()])
    assert torch.equal(load_names(numbers, same_classes=True), 1 + expected.truth // 2)
    with pytest.raises(ValueError, match="the model has the classes 0 to 2, the data set also 3"):
        load_labelled(numbers, ["x", "y", "z"], same_classes=True)
    with pytest.raises(ValueError, match="the model has 3 classes, the data set 6"):
        load_labelled(others, ["x", "y", "z"], same_classes=True)
    with pytest.raises(ValueError, match="Several classes of the model are called ant"):
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
    found = evaluate(viewer, str(folder), keep_ratios=())
    assert torch.equal(found.dense.predicted, expected.dense.predicted)
    assert torch.equal(found.dense.rank, expected.dense.rank)
    with_names(viewer.dense, ["x", *NAMES[1:]])
    with pytest.raises(ValueError, match="other classes: x; the sparse one has ant"):
        evaluate(viewer, str(folder), keep_ratios=())
    assert order_of(NAMES, ["x", *NAMES[1:]], same_classes=True) is None


class Page(HTMLParser):
    """Tags that are open, what was seen of them, and all text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.links, self.text = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Classes that are called what would be read as HTML or Markdown, in a data set with a picture that is broken."""
    names = ['<b>&"', "a|b_*c*", *NAMES[:4]]
    folder = write_classes(tmp_path_factory.mktemp("hostile"), names)
    (folder / names[1] / "<i>.png").write_text("no picture")
    return names, folder


def test_report(hostile, tmp_path):
    names, folder = hostile
    viewer = viewer_of(names, reducer="tome", keep_ratio=0.6)
    viewer.dense = with_names(toy_dense(3, num_labels=6), names)  # which says something else
    found = evaluate(viewer, str(folder), keep_ratios=(1.0, 0.05), max_changed=1)
    assert len(found.changed) > 1 and found.difference.changed == len(found.changed)
    assert found.compared == "another dense model in memory"
    write_report(found, tmp_path / "new" / "report")
    files = {path.name for path in (tmp_path / "new" / "report").iterdir()}
    assert files == {"report.html", "report.md", "report.json", "centre_map.png", "accuracy.png", "changed.png"}
    page = Page((tmp_path / "new" / "report" / "report.html").read_text(encoding="utf-8"))
    assert page.open == [] and "b" not in page.seen and "i" not in page.seen
    assert '<b>&"' in page.text and "a|b_*c*" in page.text and "<i>.png" in page.text
    assert all(link.startswith("data:image/") for link in page.links) and len(page.links) == 3
    assert f"1 of {len(found.changed)}: broken ones first" in page.text
    text = (tmp_path / "new" / "report" / "report.md").read_text(encoding="utf-8")
    assert r"a\|b\_\*c\*" in text and "&lt;b&gt;" in text and "<b>" not in text and "<i>" not in text
    for line in text.splitlines():  # every picture is there
        if line.startswith("!["):
            assert (tmp_path / "new" / "report" / line[line.rindex("(") + 1 : -1]).is_file()
    assert "0.05 | not possible" in text and "tome cannot go from" in text  # said, not failed
    assert "tome merges" in text and "1 pictures could not be read" in text
    record = json.loads((tmp_path / "new" / "report" / "report.json").read_text(encoding="utf-8"))
    assert record == json.loads(json.dumps(found.as_dict()))
    assert record["pictures"] == 24 and record["total"] == 25 and len(record["skipped"]) == 1
    assert record["sparse"]["top5"] == found.sparse.top(5) and record["keep_ratios"][1]["problem"]
    assert record["settings"]["machine"]["torch"] == torch.__version__
    with pytest.raises(ValueError, match="exists already"):
        write_report(found, tmp_path / "new" / "report")


def test_unreadable_pictures(hostile, tmp_path):
    names, folder = hostile
    with pytest.raises(ValueError, match=r"Cannot read the picture .*<i>\.png"):
        evaluate(viewer_of(names), str(folder), keep_ratios=(), unreadable="stop")
    for name in NAMES:
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_text("no picture")
    with pytest.raises(ValueError, match="None of 6 pictures can be read"):
        evaluate(viewer_of(reducer="asvit"), str(tmp_path), keep_ratios=())


def test_views_are_of_the_changed_pictures(hostile):
    """Also where a picture before them could not be read."""
    names, folder = hostile
    viewer = viewer_of(names)
    viewer.dense = with_names(toy_dense(3, num_labels=6), names)
    found = evaluate(viewer, str(folder), keep_ratios=(), batch_size=5, max_changed=100)
    assert len(found.views) == len(found.changed) > 5
    for row, view in zip(found.changed, found.views, strict=True):
        name, number = row.picture.split("/")
        shown = at_size(picture(COUNT * names.index(name) + int(number.removesuffix(".png"))))
        assert np.array_equal(np.asarray(view.picture), np.asarray(shown)) and row.true == name
        assert names[view.probabilities.argmax()] == row.sparse
        assert names[view.dense_probabilities.argmax()] == row.dense


def test_without_a_dense_model(folder):
    viewer = viewer_of(reducer="evovit", dense=False)
    found = evaluate(viewer, str(folder), keep_ratios=(0.5,))
    assert found.dense is found.difference is None and found.changed == found.confusions == found.views == []
    text = markdown(content(found))
    assert "| dense |" not in text and "changed" not in text and "there is no dense copy" in text
    assert "| class | pictures | sparse |" in text and "may come back" in text
    counts = [row.sparse / row.count for row in found.classes]
    assert counts == sorted(counts) and found.as_dict()["dense"] is None


def test_five_classes_have_no_top_5(tmp_path):
    folder = write_classes(tmp_path, NAMES[:5])
    found = evaluate(viewer_of(NAMES[:5], reducer="topk", keep_ratio=1.0), str(folder), keep_ratios=(), max_changed=0)
    assert "| model | top-1 | GMACs |" in summary(found) and "no top-5, as the model has 5 classes" in summary(found)
    assert found.difference.changed == 0 and "There are none." in markdown(content(found))
    assert "Accuracy over keep ratio" not in markdown(content(found))


def test_long_tables_are_cut_in_markdown():
    found = markdown([Table(["class"], [[f"class {index}"] for index in range(41)])])
    assert found.count("\n") == 1 + 41 and "| class 19 |" in found and "| class 21 |" in found
    assert "| class 20 |" not in found and "| ... |" in found


def test_what_a_reader_must_know(folder):
    viewer = viewer_of(reducer="asvit", reducer_args={"batch_mode": "mean_topk"})
    untrained = Viewer(viewer.model, viewer.processor, untrained=True)
    notes = evaluate(untrained, str(folder), keep_ratios=(0.5,)).notes
    starts = ("The thresholds of asvit are new", "There is one split", "Each picture decides", "With batch_mode")
    for note, start in zip(notes, starts, strict=True):
        assert note.startswith(start)


def test_new_thresholds_are_set_for_the_budget(folder, tmp_path, capsys):
    saved(viewer_of(), tmp_path / "sparse")
    command = ["evaluate", "--model", str(tmp_path / "sparse"), "--reducer", "asvit", "--dataset", str(folder)]
    assert main([*command, "--no-keep-ratios", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert 0.5 < report["sparse"]["gmacs"] / report["dense"]["gmacs"] < 0.7  # its budget is 0.65
    untrained = Viewer(viewer_of().model, viewer_of().processor, untrained=True)
    assert "what they keep means nothing" in evaluate(untrained, str(folder), keep_ratios=()).notes[0]


def test_command_line(folder, tmp_path, capsys):
    """With a dense model of one's own and another method; standard output is JSON alone."""
    sparse = saved(viewer_of(), tmp_path / "sparse")
    dense = tmp_path / "dense"
    with_names(toy_dense(3, num_labels=6), NAMES).save_pretrained(dense)
    output = tmp_path / "report"
    command = ["evaluate", "--model", sparse, "--dataset", str(folder), "--dense", str(dense), "--reducer", "evit"]
    command += ["--keep-ratios", "0.5", "--max-samples", "9", "--batch-size", "4", "--output", str(output), "--json"]
    assert main([*command, "--device", "cpu", "--dtype", "bfloat16"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((output / "report.json").read_text())
    assert printed["compared"] == str(dense) and printed["reducer"] == "evit" and printed["keep_ratio"] == 0.7
    assert printed["pictures"] == 9 and printed["total"] == 24 and printed["split"] is None
    assert "There is one split only" in printed["notes"][0]
    assert "9 of 24 pictures, taken at random (seed 0)" in printed["notes"][1]
    assert printed["settings"]["dtype"] == "bfloat16" and "--reducer evit" in printed["settings"]["command"]
    parsed = command_parser("evaluate").parse_args(command[1:])
    assert vars(command_parser("evaluate").parse_args(command_of(parsed).split()[2:])) == vars(parsed)
    assert main([*command[:5], "--no-keep-ratios"]) == 0
    printed = capsys.readouterr().out
    assert "On 24 pictures the sparse model (dynamicvit)" in printed and "| sparse to dense |" in printed


@pytest.mark.parametrize(
    "options, message",
    [
        (["--output", "taken"], "exists already"),
        (["--split", "valid"], "split is 'valid'; the splits are train"),
        (["--image-column", "pixels"], "image_column is 'pixels'; the columns are"),
        (["--keep-ratios", "0.5", "1.5"], "keep_ratios has 1.5; each is above 0"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--max-changed", "-1"], "max_changed is -1"),
        (["--max-samples", "0"], "max_samples is 0"),
        (["--device", "tpu"], "device is 'tpu'; this machine has"),
        (["--dataset", "nowhere"], "no data set 'nowhere'"),
        (["--dense", "model"], "holds a sparse model"),
    ],
)
def test_refused_before_anything_is_written(options, message, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    saved(viewer_of(num_hidden_layers=2), tmp_path / "model")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("precious")
    command = ["evaluate", "--model", "model", "--dataset", str(folder), "--output", "new", *options]
    assert main(command) == 1
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "taken"]
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["mine.txt"]


def test_other_problems_than_one_class_each(folder, tmp_path, monkeypatch, capsys):
    viewer = viewer_of(num_hidden_layers=2)
    for problem in ("multi_label_classification", "regression"):
        viewer.model.config.problem_type = problem
        with pytest.raises(ValueError, match=f"problem_type is '{problem}'"):
            evaluate(viewer, str(folder))
    one = Viewer(toy_model(**TOY | {"num_labels": 1}), viewer.processor)
    with pytest.raises(ValueError, match="num_labels is 1"):
        evaluate(one, str(folder))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["evaluate", "--model", "x", "--dataset", "y", "--output", str(tmp_path / "new")]) == 1
    assert 'pip install "hf-dynamicvit[plot]"' in capsys.readouterr().err


def test_costs_with_two_prefix_tokens_and_at_another_size():
    torch.manual_seed(0)
    model = DynamicDeiTForImageClassification(DynamicDeiTConfig(**TOY, reducer="asvit")).eval()
    images = toy_images(3, 48, 32)
    with torch.inference_mode():
        kept = model(images, interpolate_pos_encoding=True).kept
    assert costs(model, kept, (48, 32)) == [model.multiply_adds(image[None]) for image in images]
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
