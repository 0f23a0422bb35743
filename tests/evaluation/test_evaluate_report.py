# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The report of an evaluation and its command: it tells what was found, whatever classes are called, and nothing is
written where input is refused."""

import dataclasses
import json
import os
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from class_folders import NAMES, saved, viewer_of, with_names, write_classes
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image
from toys import toy_dense

from hf_dynamicvit.commands.cli import command_parser, main
from hf_dynamicvit.commands.evaluate import write_command
from hf_dynamicvit.evaluation import report as report_module
from hf_dynamicvit.evaluation.data import LabelledImages, make_printable
from hf_dynamicvit.evaluation.evaluate import evaluate
from hf_dynamicvit.evaluation.pages import MOST_IMAGES, Table, build_markdown
from hf_dynamicvit.evaluation.report import (
    build_confusion_part,
    build_report,
    build_summary,
    build_title,
    write_report,
    write_verdict,
)
from hf_dynamicvit.evaluation.results import Answers
from hf_dynamicvit.evaluation.runner import measure_speed
from hf_dynamicvit.look.viewer import Viewer


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


def test_report(hostile, tmp_path):
    names, folder = hostile
    viewer = viewer_of(names, reducer="tome", keep_ratio=0.6)
    viewer.dense = with_names(toy_dense(3, num_labels=6), names)  # which says something else
    found = evaluate(viewer, str(folder), keep_ratios=(1.0, 0.05), max_changed=1)
    assert len(found.changed) > 1 and found.difference.changed == len(found.changed)
    assert found.compared == "another dense model in memory"
    write_report(found, tmp_path / "new" / "report")
    files = {path.name for path in (tmp_path / "new" / "report").iterdir()}
    assert files == {"report.html", "report.md", "report.json", "centre_map.png", "accuracy.png", "changed.png"} | {
        "confusion.png"
    }
    page = Page((tmp_path / "new" / "report" / "report.html").read_text(encoding="utf-8"))
    assert page.open == [] and "b" not in page.seen and "i" not in page.seen
    assert '<b>&"' in page.text and "a|b_*c*" in page.text and "<i>.png" in page.text
    assert all(link.startswith("data:image/") for link in page.links) and len(page.links) == 4
    assert f"1 of {len(found.changed)}: broken ones first" in page.text
    text = (tmp_path / "new" / "report" / "report.md").read_text(encoding="utf-8")
    assert r"a\|b\_\*c\*" in text and "&lt;b&gt;" in text and "<b>" not in text and "<i>" not in text
    for line in text.splitlines():  # every image is there
        if line.startswith("!["):
            assert (tmp_path / "new" / "report" / line[line.rindex("(") + 1 : -1]).is_file()
    assert "0.05 | not possible" in text and "tome cannot go from" in text  # said, not failed
    assert "tome merges" in text and "1 images could not be read" in text
    record = json.loads((tmp_path / "new" / "report" / "report.json").read_text(encoding="utf-8"))
    assert record == json.loads(json.dumps(found.as_dict()))
    assert record["pictures"] == 24 and record["total"] == 25 and len(record["skipped"]) == 1
    assert record["sparse"]["top5"] == found.sparse.top(5) and record["keep_ratios"][1]["problem"]
    assert record["settings"]["machine"]["torch"] == torch.__version__
    with pytest.raises(ValueError, match="exists already"):
        write_report(found, tmp_path / "new" / "report")
    (tmp_path / "new" / "report" / "report.html").write_text("old")
    write_report(found, tmp_path / "new" / "report", overwrite=True)
    assert "<b>" not in (tmp_path / "new" / "report" / "report.html").read_text(encoding="utf-8")[:400] != "old"


def test_without_a_dense_model(folder):
    viewer = viewer_of(reducer="evovit", dense=False)
    found = evaluate(viewer, str(folder), keep_ratios=(0.5,))
    assert found.dense is found.difference is None and found.changed == found.confusions == found.views == []
    text = build_markdown(build_report(found))
    assert "| dense |" not in text and "changed" not in text and "there is no dense copy" in text
    assert "| class | images | sparse |" in text and "may come back" in text
    counts = [row.sparse / row.count for row in found.classes]
    assert counts == sorted(counts) and found.as_dict()["dense"] is None


def test_five_classes_have_no_top_5(tmp_path):
    folder = write_classes(tmp_path, NAMES[:5])
    found = evaluate(viewer_of(NAMES[:5], reducer="topk", keep_ratio=1.0), str(folder), keep_ratios=(), max_changed=0)
    summary = build_summary(found)
    assert "| model | top-1 | 95% interval | GMACs |" in summary and "no top-5, as the model has 5 classes" in summary
    assert found.difference.changed == 0 and "There are none." in build_markdown(build_report(found))
    assert "Accuracy over keep ratio" not in build_markdown(build_report(found))


def with_right(found, sparse: int, dense: int, count: int, **changes):
    """An evaluation of two classes in which the models have the first so many images right."""
    truth = torch.zeros(count, dtype=torch.int64)

    def answers(right):
        rank = (torch.arange(count) >= right).long()
        return Answers(
            rank, torch.full((count,), 0.9), rank, torch.full((count,), 10**9 * (2 if right == dense else 1))
        )

    return dataclasses.replace(
        found, truth=truth, sparse=answers(sparse), dense=answers(dense), labels=["a", "b"], dense_gmacs=2.0, **changes
    )


@pytest.fixture(scope="module")
def batches(folder):
    return evaluate(viewer_of(reducer="topk"), str(folder), keep_ratios=(), max_changed=0, batch_size=9)


def test_the_verdict_comes_first(batches):
    worse = with_right(batches, 60, 90, 100, speed={"sparse": 30.0, "dense": 20.0})
    text = build_summary(worse)
    assert text.startswith("Verdict: less accurate than the dense model, by -38")
    assert "for 50% fewer multiply-adds, 1.50x the images a second here." in text.splitlines()[0]
    assert "| sparse | 60.0% | 50.2% to 69.1% | 1.000 | 30.0 |" in text and text.count("1.50x") == 2
    same = with_right(batches, 91, 90, 100, speed={})
    assert "no difference in accuracy is shown, for 50% fewer" in write_verdict(same)
    assert "On these 100 images it could be anything from -1.7 to +3.7 points" in write_verdict(same)
    assert write_verdict(with_right(batches, 90, 60, 100)).startswith(
        "Verdict: more accurate than the dense model, by +"
    )
    assert write_verdict(dataclasses.replace(batches, dense=None)) == ""


def test_speed_is_of_all_batches_but_the_first(batches):
    assert batches.speed.keys() == {"sparse", "dense"} and min(batches.speed.values()) > 0
    assert batches.as_dict()["settings"]["images_per_second"] == batches.speed
    assert measure_speed([(9.0, 1), (2.0, 8), (2.0, 4)]) == 3.0 and measure_speed([(9.0, 8)]) is None
    assert "| images/s |" in build_summary(batches)
    assert "images/s" not in build_summary(dataclasses.replace(batches, speed={}))


def test_confusion_matrices(batches):
    matrix = with_right(batches, 60, 90, 100).confusion_matrix
    assert matrix == {"labels": ["a", "b"], "sparse": [[60, 40], [0, 0]], "dense": [[90, 10], [0, 0]]}
    counts = torch.tensor(batches.confusion_matrix["dense"])
    assert counts.sum(dim=1).tolist() == batches.truth.bincount(minlength=len(batches.labels)).tolist()
    assert counts.diagonal().sum() == batches.dense.right.sum()
    many = dataclasses.replace(batches, labels=[str(index) for index in range(101)])
    assert many.confusion_matrix is None
    assert "There is none, as the model has more than 100 classes" in build_markdown(build_confusion_part(many))


def test_long_tables_are_cut_in_markdown():
    found = build_markdown([Table(["class"], [[f"class {index}"] for index in range(41)])])
    assert found.count("\n") == 1 + 41 and "| class 19 |" in found and "| class 21 |" in found
    assert "| class 20 |" not in found and "| ... |" in found


def test_what_a_reader_must_know(folder):
    viewer = viewer_of(reducer="asvit", reducer_args={"batch_mode": "mean_topk"})
    untrained = Viewer(viewer.model, viewer.processor, untrained=True)
    notes = evaluate(untrained, str(folder), keep_ratios=(0.5,)).notes
    starts = ("The thresholds of asvit are new", "There is one split", "Each image decides", "With batch_mode")
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


@pytest.mark.parametrize("reducer", ["topk", "asvit"])
def test_what_is_kept_is_what_was_typed(reducer, folder, tmp_path, capsys):
    """--keep-ratio is no abbreviation of --keep-ratios, which leaves the model itself as it is."""
    saved(viewer_of(reducer=reducer), tmp_path / "model")
    command = ["evaluate", "--model", str(tmp_path / "model"), "--dataset", str(folder), "--json"]
    found = {}
    for words in ("--keep-ratios 0.5", "--keep-ratio 0.5 --no-keep-ratios", "--budget 0.8 --no-keep-ratios"):
        assert main([*command, *words.split()]) == 0
        found[words.split()[0]] = json.loads(capsys.readouterr().out)
    assert found["--keep-ratio"]["sparse"]["gmacs"] == found["--keep-ratios"]["keep_ratios"][0]["gmacs"]
    assert found["--keep-ratio"]["sparse"]["gmacs"] < found["--keep-ratios"]["sparse"]["gmacs"]
    assert found["--budget"]["sparse"]["gmacs"] <= 0.801 * found["--budget"]["dense_gmacs"]
    if reducer == "topk":
        assert found["--keep-ratio"]["keep_ratio"] == 0.5


def test_command_line(folder, tmp_path, capsys, monkeypatch):
    """With a dense model of one's own and another method; standard output is JSON alone."""
    sparse = saved(viewer_of(), tmp_path / "sparse")
    dense = tmp_path / "dense"
    with_names(toy_dense(3, num_labels=6), NAMES).save_pretrained(dense)
    output = tmp_path / "report"
    command = ["evaluate", "--model", sparse, "--dataset", str(folder), "--dense", str(dense), "--reducer", "evit"]
    command += ["--keep-ratios", "0.5", "--limit", "9", "--batch-size", "4", "--output", str(output), "--json"]
    covers, draw = set(), report_module.draw_strip
    monkeypatch.setattr(report_module, "draw_strip", lambda view, cover: covers.add(cover) or draw(view, cover))
    assert main([*command, "--device", "cpu", "--dtype", "bfloat16", "--cover", "light"]) == 0
    assert covers == {"light"}
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((output / "report.json").read_text())
    assert printed["compared"] == str(dense) and printed["reducer"] == "evit" and printed["keep_ratio"] == 0.7
    assert printed["pictures"] == 9 and printed["total"] == 24 and printed["split"] is None
    assert "There is one split only" in printed["notes"][0]
    assert "9 of 24 images, taken at random (seed 0)" in printed["notes"][1]
    assert printed["settings"]["dtype"] == "bfloat16" and "--reducer evit" in printed["settings"]["command"]
    parsed = command_parser("evaluate").parse_args(command[1:])
    assert vars(command_parser("evaluate").parse_args(write_command(parsed).split()[2:])) == vars(parsed)
    assert main([*command[:5], "--no-keep-ratios"]) == 0
    printed = capsys.readouterr().out
    assert "On 24 images the sparse model (dynamicvit)" in printed and "| sparse to dense |" in printed


@pytest.mark.parametrize(
    "options, message",
    [
        (["--output", "taken"], "taken exists already; name a new or an empty folder, or type --overwrite"),
        (["--output", "taken/mine.txt"], "mine.txt exists already and is no folder"),
        (["--output", "/proc/nope"], "/proc/nope cannot be written"),
        (["--budget", "70"], "--budget is 70; a budget is a fraction of the dense model's multiply-adds"),
        (["--split", "valid"], "split is 'valid'; the splits are train"),
        (["--image-column", "pixels"], "image_column is 'pixels'; the columns are"),
        (["--keep-ratios", "0.5", "1.5"], "--keep-ratios is 1.5; it must be above 0 and at most 1."),
        (["--keep-ratio", "0.9", "0.8"], "--keep-ratio 0.9 0.8: keep_ratio has 2 values"),
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


@pytest.fixture(scope="module")
def found(folder):
    """An evaluation with changed images."""
    viewer = viewer_of(reducer="topk")
    viewer.dense = with_names(toy_dense(3, num_labels=6), NAMES)
    return evaluate(viewer, str(folder), keep_ratios=(), max_changed=100)


@pytest.mark.parametrize("kind", ["new", "empty", "link", "dangling"])
def test_where_a_report_goes(found, kind, tmp_path):
    """An empty folder stays the folder that it is: it may be a mount point, which nothing can take the place of."""
    place, real = tmp_path / "place", tmp_path / "real"
    if kind == "empty":
        place.mkdir()
    elif kind != "new":
        place.symlink_to(real)
        real.mkdir() if kind == "link" else None
    before = place.stat().st_ino if place.exists() else None
    write_report(found, place)
    assert (place / "report.html").is_file() and before in (None, place.stat().st_ino)
    assert not list(tmp_path.rglob(".evaluate-*")) and place.is_symlink() == (kind in ("link", "dangling"))


def test_a_failed_report_leaves_nothing(found, tmp_path):
    with pytest.raises(TypeError, match="JSON"):
        write_report(dataclasses.replace(found, settings={"device": object()}), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["closed", "closed/new/report"])
def test_a_place_that_cannot_be_written_is_refused_first(place, tmp_path, monkeypatch, capsys):
    (tmp_path / "closed").mkdir()

    def refuse(folder, *_):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("os.mkdir", refuse)  # the mode of a folder stops no root
    monkeypatch.setattr("hf_dynamicvit.commands.evaluate_run.run", lambda args, command: pytest.fail("it evaluates"))
    assert main(["evaluate", "--model", "x", "--dataset", "y", "--output", str(tmp_path / place)]) == 1
    assert f"cannot be written: Permission denied in {tmp_path / 'closed'}" in capsys.readouterr().err


def test_names_that_are_no_utf8(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"\xff")
    try:
        (tmp_path / name).mkdir()
    except OSError:
        pytest.skip("this file system has UTF-8 names alone")
    saved(viewer_of(), "model")
    file = tmp_path / name / "images.parquet"
    images = [{"image": str(path), "label": path.parent.name} for path in sorted(folder.glob("*/*.png"))]
    Dataset.from_list(images).cast_column("image", ImageFeature()).to_parquet("images.parquet")
    Path("images.parquet").rename(file)
    command = ["evaluate", "--model", "model", "--dataset", str(file), "--no-keep-ratios"]
    assert main([*command, "--output", f"{name}/report", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(Path(name, "report", "report.json").read_text())
    assert printed["dataset"] == f"{tmp_path}/\\udcff/images.parquet"
    assert printed["dataset"] in Path(name, "report", "report.html").read_text(encoding="utf-8")
    json.dumps(printed, ensure_ascii=False).encode("utf-8")
    assert main([*command, "--output", f"{name}/again"]) == 0
    assert "Wrote \\udcff/again" in capsys.readouterr().out


def test_names_of_an_evaluation_can_be_written(found):
    bad = "\udcff.png"
    odd = dataclasses.replace(found, model=f"here/{bad}", dataset=bad)
    assert make_printable(bad) == "\\udcff.png"
    images = LabelledImages(Dataset.from_dict({}), "image", "data", "train", True, 0, 0)
    assert images.name_image({"path": f"/x/{bad}"}, "row 0") == "/x/\\udcff.png"
    assert build_title(odd) == "\\udcff.png on \\udcff.png"


def test_what_begins_with_a_dash_can_be_typed_again():
    typed = ["--model", "m", "--dataset=-x", "--seed=-1", "--keep-ratios", "0.5", "0.2", "--output=-new one", "--json"]
    parsed = command_parser("evaluate").parse_args(typed)
    words = shlex.split(write_command(parsed))
    assert "--dataset=-x" in words and vars(command_parser("evaluate").parse_args(words[2:])) == vars(parsed)


def test_many_changed_images_are_on_several_sheets(found, tmp_path):
    many = MOST_IMAGES + 3
    copies = [found.changed[0]] * many
    evaluation = dataclasses.replace(found, views=[found.views[0]] * many)
    evaluation.__dict__["changed"] = copies
    write_report(evaluation, tmp_path)
    first, second = (Image.open(tmp_path / name) for name in ("changed.png", "changed_2.png"))
    assert first.height > 5 * second.height
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert f"(changed_2.png)\n\n{MOST_IMAGES + 1}. " in text and f"\n{many}. " in text
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert len(page.links) == 2 + many
