# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Images that training held out are found again in the same data set, wherever it is, and in no other."""

import json
import shutil

import pytest
from class_folders import COUNT, NAMES, in_file, make_image
from datasets import Value

from hf_dynamicvit.data.loading import HeldOut, load_images
from hf_dynamicvit.evaluation.data import load_labelled, read_held_out


HELD_OUT = {"fraction": 0.5, "seed": 1, "total": 24, "fingerprint": "f"}


@pytest.mark.parametrize(
    "record",
    ["[]", "{", "3", '{"held_out": null}', '{"held_out": [1, 2]}', '{"held_out": {"fraction": 0.5}}', b"\xff"]
    + [json.dumps({"held_out": HELD_OUT | other}) for other in ({"fraction": 2.0}, {"seed": "a"}, {"more": 1})],
)
def test_a_record_of_another_program_is_none(tmp_path, record):
    (tmp_path / "results.json").write_bytes(record if isinstance(record, bytes) else record.encode())
    assert read_held_out(str(tmp_path)) is None and read_held_out("some/name") is None
    (tmp_path / "results.json").write_text(json.dumps({"held_out": HELD_OUT}))
    assert read_held_out(str(tmp_path)) == HeldOut(**HELD_OUT)


def how_held_out(dataset) -> HeldOut:
    return load_images(str(dataset), validation_fraction=0.5).held_out


def test_held_out_images_of_this_data_set_only(folder, tmp_path):
    """It may be moved; as many images of other names, classes or sizes are another."""
    held_out = how_held_out(folder)
    moved = shutil.copytree(folder, tmp_path / "moved" / "here")
    assert len(load_labelled(str(moved), NAMES, held_out=held_out).data) == 12

    def is_whole(change):
        other = shutil.copytree(folder, tmp_path / change.__name__)
        change(other)
        found = load_labelled(str(other), NAMES, held_out=held_out)
        return len(found.data) == found.total == 24 and not found.held_out

    def other_name(other):
        (other / "ant" / "0.png").rename(other / "ant" / "00.png")

    def other_class(other):
        (other / "ant" / "0.png").rename(other / "bee" / "9.png")

    def other_image(other):
        make_image(99).resize((40, 40)).save(other / "ant" / "0.png")

    def alone(other):  # too few of a class to hold some out
        for number in range(1, 4):
            (other / "ant" / f"{number}.png").rename(other / "bee" / f"{number + 5}.png")

    assert all(map(is_whole, (other_name, other_class, other_image, alone)))


def test_held_out_rows_of_a_file(tmp_path):
    labels = [name for name in NAMES for _ in range(COUNT)]
    first = in_file(tmp_path / "first.parquet", Value("string"), labels)
    held_out = how_held_out(first)
    moved = shutil.copy(first, tmp_path / "moved.parquet")
    assert load_labelled(moved, NAMES, held_out=held_out).held_out
    second = in_file(tmp_path / "second.parquet", Value("string"), labels[::-1])
    assert not load_labelled(second, NAMES, held_out=held_out).held_out
