# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What commands write is refused ahead of all work, and is there whole or not at all."""

from pathlib import Path

import pytest

from hf_dynamicvit.folders import check_file, check_folder, whole_folder


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A working folder with a file, an empty folder, and a folder with something in it."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    Path("empty").mkdir()
    Path("full").mkdir()
    Path("full", "mine.txt").write_text("mine")
    return tmp_path


def everything(folder: Path) -> dict[str, str]:
    files = {path for path in folder.rglob("*") if path.is_file()}
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


@pytest.mark.parametrize("folder", ["new", "new/deep", "empty", "empty/new"])
def test_folders_that_can_be_written(place, folder):
    assert check_folder(folder) == place / folder
    assert sorted(path.name for path in place.iterdir()) == ["empty", "file", "full"]  # nothing is left of the attempt
    assert not [*Path("empty").iterdir()]


@pytest.mark.parametrize(
    "folder, message",
    [
        (".", "^. is the working folder; name a new or an empty one.$"),
        ("file", "^file exists already and is no folder"),
        ("file/deep/er", "^file/deep/er cannot be written: .*file is a file.$"),
        ("full", "^full exists already; name a new or an empty folder, or type --overwrite.$"),
        ("/proc/nope", "^/proc/nope cannot be written: .* in /proc.$"),
        ("x" * 300, "^x+ cannot be a folder: File name too long.$"),
        ("circle", "^circle cannot be a folder: "),
    ],
)
def test_folders_that_cannot(place, folder, message):
    Path("circle").symlink_to("circle")
    before = everything(place)
    with pytest.raises(ValueError, match=message):
        check_folder(folder)
    assert everything(place) == before


def test_another_way_out(place):
    with pytest.raises(ValueError, match=r"empty folder, or go on there with --resume\.$"):
        check_folder("full", otherwise="or go on there with --resume")
    assert check_folder("full", overwrite=True) == place / "full"


def test_files(place):
    assert check_file("new.onnx") == place / "new.onnx" and not Path("new.onnx").exists()
    assert check_file("file", overwrite=True) == place / "file"
    for file, message in (
        ("file", "^file exists already; give another name, or type --overwrite.$"),
        ("full", "^full exists already and is a folder"),
        ("nowhere/new.onnx", "^nowhere is no folder; make it, or name another.$"),
        ("/proc/new.onnx", "^/proc/new.onnx cannot be written: .* in /proc.$"),
        ("x" * 300, "cannot be a file: File name too long"),
    ):
        with pytest.raises(ValueError, match=message):
            check_file(file)


@pytest.mark.parametrize("folder", ["new/deep", "empty"])
def test_a_folder_is_written_whole(place, folder):
    with whole_folder(folder) as filled:
        (filled / "a").write_text("a")
        assert not (place / folder / "a").exists()
    assert everything(place / folder) == {"a": "a"}


@pytest.mark.parametrize("folder", ["new", "empty", "full"])
def test_or_not_at_all(place, folder):
    before = everything(place)
    with pytest.raises(RuntimeError), whole_folder(folder, overwrite=True) as filled:
        (filled / "mine.txt").write_text("other")
        raise RuntimeError
    assert everything(place) == before


def test_overwriting_replaces_files_of_the_same_names_alone(place):
    Path("full", "old.txt").write_text("old")
    with whole_folder("full", overwrite=True) as filled:
        (filled / "old.txt").write_text("new")
    assert everything(place / "full") == {"mine.txt": "mine", "old.txt": "new"}
