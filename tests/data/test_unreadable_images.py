# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""One image that cannot be read is named and left out by every command that looks at images; all are an error."""

import argparse

import pytest
from class_folders import NAMES, make_image, viewer_of, write_classes

from hf_dynamicvit.commands import benchmark_run
from hf_dynamicvit.data.class_folders import find_files
from hf_dynamicvit.data.samples import read_samples
from hf_dynamicvit.evaluation.data import load_labelled
from hf_dynamicvit.evaluation.evaluate import evaluate
from hf_dynamicvit.hub.push import kept_figure


VIEWER = viewer_of()


def exported(folder, paths):
    return len(read_samples(str(folder / "model"), VIEWER.model.config, paths)[0])


def benchmarked(folder, paths):
    args = argparse.Namespace(model=[str(folder / "model")], images=paths)
    return len(benchmark_run.read(args, benchmark_run.read_sources(args.model), None))


def pushed(folder, paths):
    """Rows of the figure."""
    whole = kept_figure(VIEWER.model, VIEWER.processor, [folder / "fine.png"]).height
    return round(kept_figure(VIEWER.model, VIEWER.processor, paths).height / whole)


@pytest.fixture
def folder(tmp_path):
    VIEWER.model.save_pretrained(tmp_path / "model")
    VIEWER.processor.save_pretrained(tmp_path / "model")
    (tmp_path / "images" / "[1]").mkdir(parents=True)
    (tmp_path / "broken").mkdir()
    make_image(0).save(tmp_path / "fine.png")
    for number in range(3):
        make_image(number).save(tmp_path / "images" / "[1]" / f"{number}.png")
    cut = (tmp_path / "images" / "[1]" / "0.png").read_bytes()[:200]
    (tmp_path / "images" / "cut.png").write_bytes(cut)
    (tmp_path / "broken" / "cut.png").write_bytes(cut)
    (tmp_path / "broken" / "empty.jpg").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize("command", [exported, benchmarked, pushed])
def test_one_is_left_out_and_all_are_an_error(folder, command, warnings_text):
    assert command(folder, [folder / "images"]) == 3
    assert f"Cannot read the image {folder}/images/cut.png" in warnings_text()
    assert warnings_text().count("It is left out.") == 1
    with pytest.raises(ValueError, match=r"None of 2 images can be read\. The first: Cannot read .*cut\.png"):
        command(folder, [folder / "broken"])
    with pytest.raises(ValueError, match=r"There is no file or folder .*nowhere"):
        command(folder, [folder / "nowhere"])


def test_files_are_found_in_folders_of_any_name(folder):
    files = find_files([folder / "images" / "[1]", folder / "fine.png"])
    assert [file.removeprefix(f"{folder}/") for file in files] == [
        *(f"images/[1]/{number}.png" for number in range(3)),
        "fine.png",
    ]


def test_a_folder_of_nothing_but_a_test_set_is_evaluated(tmp_path):
    """Whatever it is called; and the only folder in it that is unlike a class is refused."""
    write_classes(tmp_path / "data [x]" / "my_test", NAMES)
    found = load_labelled(str(tmp_path / "data [x]"), NAMES)
    assert (found.split, found.only_split) == ("my_test", True)
    assert evaluate(VIEWER, found, keep_ratios=[]).sparse.top(1) >= 0
    write_classes(tmp_path / "above" / "data", NAMES)
    with pytest.raises(ValueError, match=r"name \S*/above/data, which holds ant, bee, cat"):
        load_labelled(str(tmp_path / "above"), NAMES)
