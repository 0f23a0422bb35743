# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Data sets of pictures: where they can lie, what they must hold, and what is said where they do not."""

import io
from dataclasses import replace

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, concatenate_datasets
from datasets import Image as ImageFeature
from PIL import Image
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_dynamicvit.training.data import SOURCE_COLUMN, ImageTransform
from hf_dynamicvit.training.pictures import load_pictures


CLASSES = ["cat", "dog", "eel"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def picture(label: int, number: int) -> Image.Image:
    return Image.new("RGB", (6, 4), (40 * label, 10 * number, 200))


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def write_classes(folder, count=4, classes=CLASSES, start=0):
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(start, start + count):
            picture(label, number).save(folder / name / f"{number}.png")


def as_dataset(count=4, start=0, names=CLASSES) -> Dataset:
    rows = [(label, number) for label in range(len(names)) for number in range(start, start + count)]
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=names)})
    images = [{"bytes": encoded(picture(*row)), "path": None} for row in rows]
    return Dataset.from_dict({"image": images, "label": [label for label, _ in rows]}, features=features)


def as_splits() -> DatasetDict:
    return DatasetDict(train=as_dataset(), validation=as_dataset(2, start=4))


def table(images=None, **columns) -> Dataset:
    """Pictures with other columns of any kind."""
    count = len(next(iter(columns.values())))
    images = images or [{"bytes": encoded(picture(0, number)), "path": None} for number in range(count)]
    return Dataset.from_dict({"image": images, **columns}).cast_column("image", ImageFeature())


def saved(data, path) -> str:
    data.save_to_disk(str(path))
    return str(path)


def write_flat(folder):
    write_classes(folder)


def write_nested(folder):
    write_classes(folder / "train")
    write_classes(folder / "val", count=2, start=4)


def write_parquet(folder):
    folder.mkdir()
    splits = as_splits()
    splits["train"].to_parquet(folder / "train.parquet")
    splits["validation"].to_parquet(folder / "test.parquet")


def write_disk(folder):
    as_splits().save_to_disk(str(folder))


def contents(pictures, part):
    """Pixels and class of every picture, in the order of both."""
    data = getattr(pictures, part).cast_column(pictures.image_column, ImageFeature())
    rows = zip(data[pictures.image_column], data[pictures.label_column], strict=True)
    return sorted((image.getpixel((0, 0)), label) for image, label in rows)


@pytest.mark.parametrize("write", [write_nested, write_parquet, write_disk])
def test_every_layout_gives_the_same_pictures(tmp_path, write):
    write(tmp_path / "data")
    pictures = load_pictures(str(tmp_path / "data"))
    assert (pictures.names, pictures.image_column, pictures.label_column) == (CLASSES, "image", "label")
    for part, count, start in (("train", 4, 0), ("validation", 2, 4)):
        data = getattr(pictures, part)
        assert set(data.column_names) == {"image", "label", SOURCE_COLUMN}
        assert data.features["image"] == ImageFeature(decode=False)
        assert data.features["label"] == ClassLabel(names=CLASSES)
        numbers = range(start, start + count)
        assert contents(pictures, part) == [((40 * k, 10 * n, 200), k) for k in range(3) for n in numbers]


def test_without_a_validation_split_every_class_gives_its_part(tmp_path):
    """Flat folders, one parquet file and a saved data set: the same split everywhere, and other seeds another."""
    write_flat(tmp_path / "flat")
    as_dataset().to_parquet(tmp_path / "all.parquet")
    as_dataset().save_to_disk(str(tmp_path / "disk"))
    found = {
        source: load_pictures(str(tmp_path / source), validation_fraction=0.25)
        for source in ("flat", "all.parquet", "disk")
    }
    parts = [[contents(pictures, part) for part in ("train", "validation")] for pictures in found.values()]
    assert parts[0] == parts[1] == parts[2]
    train, validation = parts[0]
    assert [label for _, label in validation] == [0, 1, 2] and len(train) == 9
    assert sorted(train + validation) == [((40 * k, 10 * n, 200), k) for k in range(3) for n in range(4)]
    other = load_pictures(str(tmp_path / "flat"), validation_fraction=0.25, seed=3)
    assert contents(other, "validation") != validation


def test_a_small_fraction_still_has_a_picture_for_each_class(tmp_path):
    write_flat(tmp_path / "data")
    assert len(load_pictures(str(tmp_path / "data"), validation_fraction=0.01).validation) == 3
    assert len(load_pictures(str(tmp_path / "data"), validation_fraction=0.99).train) == 3


def test_classes_may_be_called_like_splits(tmp_path):
    """`load_dataset("imagefolder")` takes these for splits and drops the labels."""
    names = ["bus", "test-tube", "train", "valid"]
    write_classes(tmp_path / "data[1]", classes=names)
    assert load_pictures(str(tmp_path / "data[1]")).names == names


def test_what_is_no_picture_is_left_out(tmp_path, warnings_text):
    folder = tmp_path / "data"
    write_flat(folder)
    for name in ("notes.txt", ".hidden.png", "photo.heic"):
        (folder / "cat" / name).write_bytes(b"x")
    for name in (".git", "__MACOSX", "empty"):
        (folder / name).mkdir()
    (folder / "__MACOSX" / "._0.png").write_bytes(b"x")
    picture(0, 0).save(folder / "stray.png")
    (folder / "dog" / "deeper").mkdir()
    picture(1, 9).save(folder / "dog" / "deeper" / "9.PNG")
    pictures = load_pictures(str(folder))
    assert pictures.names == CLASSES and len(pictures.train) + len(pictures.validation) == 13
    text = warnings_text()
    assert ".heic (1)" in text and ".txt (1)" in text and "without pictures are left out: empty" in text
    assert "in no folder of it are left out: 1" in text


@pytest.mark.skipif(datasets.__version__ == "4.0.0", reason="it does not read the tables that pandas 3 makes of CSV")
def test_a_metadata_file_names_the_classes_where_it_has_them(tmp_path):
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    lines = ["file_name,label,caption"]
    for number in range(8):
        picture(number % 2, number).save(folder / "images" / f"{number}.png")
        lines.append(f"images/{number}.png,{'ab'[number % 2]},text")
    (folder / "metadata.csv").write_text("\n".join(lines))
    pictures = load_pictures(str(folder))
    assert pictures.names == ["a", "b"] and len(pictures.train) + len(pictures.validation) == 8
    captions = tmp_path / "captions"
    write_flat(captions)
    (captions / "metadata.csv").write_text("file_name,caption\ncat/0.png,text\n")
    assert load_pictures(str(captions)).names == CLASSES


@pytest.mark.parametrize(
    "labels, names", [([10, 9, 9, 10], ["9", "10"]), (["b", "a", "a", "b"], ["a", "b"]), ([True, False] * 2, None)]
)
def test_numbers_and_texts_become_classes(tmp_path, labels, names):
    pictures = load_pictures(saved(table(target=labels), tmp_path / "data"), validation_fraction=0.5)
    names = names or ["False", "True"]
    assert pictures.names == names and pictures.label_column == "target"
    assert pictures.train.features["target"] == ClassLabel(names=names)
    assert sorted(pictures.train["target"]) == [0, 1]


@pytest.mark.parametrize("nested", [False, True])
def test_bytes_without_a_type_are_pictures_by_their_name(tmp_path, nested):
    images = [encoded(picture(0, number)) for number in range(4)]
    column = [{"bytes": image} for image in images] if nested else images
    path = saved(Dataset.from_dict({"img": column, "label": [0, 1, 0, 1]}), tmp_path / "data")
    pictures = load_pictures(path, validation_fraction=0.5)
    assert pictures.image_column == "img" and pictures.train[0]["img"]["bytes"] in images


@pytest.mark.parametrize(
    "columns, match",
    [
        ({"fine_label": [0, 1], "coarse_label": [0, 1]}, r"fine_label, coarse_label could be the label column.*image"),
        ({"kind": [0, 1]}, r"No label column.*label_column.*kind \(int64\)"),
        ({"label": [0.5, 1.0]}, r"No label column.*label \(float64\)"),
        ({"label": ["a", None]}, r"1 of 2 pictures of split 'train' have no label in column 'label'"),
        ({"label": [-1, -1]}, r"2 of 2 pictures of split 'train' have no label"),
        ({"label": [3, 3]}, r"All 2 pictures of split 'train' are of class '3'"),
    ],
)
def test_labels_that_are_refused(tmp_path, columns, match):
    with pytest.raises(ValueError, match=match):
        load_pictures(saved(table(**columns), tmp_path / "data"))


def test_columns_that_are_named(tmp_path):
    data = table(fine_label=[0, 1] * 2, coarse_label=[0, 1] * 2, many=[[0, 1]] * 4)
    masks = [{"bytes": encoded(image), "path": None} for image in data["image"]]
    path = saved(data.add_column("mask", masks, feature=ImageFeature()), tmp_path / "data")
    with pytest.raises(ValueError, match=r"Any of image, mask could be the image column; name it with image_column"):
        load_pictures(path)
    options = {"image_column": "mask", "label_column": "coarse_label", "validation_fraction": 0.5}
    pictures = load_pictures(path, **options)
    assert (pictures.image_column, pictures.label_column) == ("mask", "coarse_label")
    with pytest.raises(ValueError, match=r"label_column is 'coarse'; the columns are image \(Image\)"):
        load_pictures(path, **(options | {"label_column": "coarse"}))
    with pytest.raises(ValueError, match=r"label_column 'many' holds List"):
        load_pictures(path, **(options | {"label_column": "many"}))
    with pytest.raises(ValueError, match=r"image_column 'fine_label' holds no pictures"):
        load_pictures(path, **(options | {"image_column": "fine_label"}))
    assert data.features["many"] == List(Value("int64"))


def test_columns_without_pictures_are_listed(tmp_path):
    data = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    with pytest.raises(ValueError, match=r"No image column.*image_column.*text \(string\), label \(int64\)"):
        load_pictures(saved(data, tmp_path / "data"))


def test_validation_without_the_columns_is_refused(tmp_path):
    data = DatasetDict(train=as_dataset(), test=as_dataset().remove_columns("label"))
    with pytest.raises(ValueError, match=r"Split 'test' has no column label; its columns are image"):
        load_pictures(saved(data, tmp_path / "data"))


def test_another_order_of_the_classes_is_mapped(tmp_path):
    """Together, the files would be read with the names of the first, and every label be wrong."""
    folder = tmp_path / "data"
    folder.mkdir()
    as_dataset().to_parquet(folder / "train.parquet")
    as_dataset(names=["eel", "cat", "dog"]).to_parquet(folder / "valid.parquet")
    pictures = load_pictures(str(folder))
    assert pictures.validation.features["label"].names == CLASSES
    assert [label for _, label in contents(pictures, "validation")] == [2] * 4 + [0] * 4 + [1] * 4


def test_other_classes_in_validation_are_refused(tmp_path):
    folder = tmp_path / "data"
    write_classes(folder / "train")
    write_classes(folder / "test", classes=["cat", "dog", "emu"])
    with pytest.raises(ValueError, match=r"Only in training: eel; only in validation: emu"):
        load_pictures(str(folder))


def test_numbers_need_not_all_occur_in_validation(tmp_path):
    data = DatasetDict(train=table(label=[0, 1, 2]), validation=table(label=[2, 0]))
    pictures = load_pictures(saved(data, tmp_path / "data"))
    assert pictures.names == ["0", "1", "2"] and pictures.validation["label"] == [2, 0]
    data = DatasetDict(train=table(label=[0, 1]), validation=table(label=[2, 0]))
    with pytest.raises(ValueError, match=r"Only in training: 1; only in validation: 2"):
        load_pictures(saved(data, tmp_path / "other"))


def test_splits_are_found_or_named(tmp_path):
    splits = {name: as_dataset(count) for name, count in (("training", 4), ("dev", 3), ("test", 2))}
    path = saved(DatasetDict(splits), tmp_path / "data")
    assert len(load_pictures(path).validation) == 9
    named = load_pictures(path, train_split="dev", validation_split="test")
    assert (len(named.train), len(named.validation)) == (9, 6)
    within = load_pictures(path, validation_split="training", validation_fraction=0.25)
    assert (len(within.train), len(within.validation)) == (9, 3)
    for option in ("train_split", "validation_split"):
        with pytest.raises(ValueError, match=rf"{option} is 'nope'; the splits are training, dev, test"):
            load_pictures(path, **{option: "nope"})
    path = saved(DatasetDict(a=as_dataset(), b=as_dataset()), tmp_path / "unusual")
    with pytest.raises(ValueError, match=r"train_split; there are a, b"):
        load_pictures(path)
    write_classes(tmp_path / "folders" / "small")
    write_classes(tmp_path / "folders" / "rest")
    named = load_pictures(str(tmp_path / "folders"), train_split="small", validation_split="rest")
    assert named.names == CLASSES


def test_a_clone_of_a_repository_is_read_as_its_card_says(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("first", "second"):
        as_dataset().to_parquet(folder / f"{name}.parquet")
    config = "- config_name: {0}\n  data_files: {0}.parquet\n"
    (folder / "README.md").write_text(f"---\nconfigs:\n{config.format('first')}{config.format('second')}---\n")
    assert load_pictures(str(folder), "second").names == CLASSES
    with pytest.raises(ValueError, match="first"):
        load_pictures(str(folder), "third")


def test_a_class_of_one_picture_cannot_be_split(tmp_path):
    write_flat(tmp_path / "data")
    write_classes(tmp_path / "data", count=1, classes=["yak", "zebra"])
    with pytest.raises(ValueError, match=r"no validation split, and one picture only of class yak, zebra"):
        load_pictures(str(tmp_path / "data"))


@pytest.mark.parametrize(
    "options, match",
    [
        ({"validation_fraction": 1.0}, r"validation_fraction is 1\.0"),
        ({"unreadable": "ignore"}, r"unreadable is 'ignore'; it can be 'stop' or 'skip'"),
        ({"max_train_samples": 0}, r"max_train_samples is 0"),
        ({"max_eval_samples": -1}, r"max_eval_samples is -1"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, options, match):
    write_flat(tmp_path / "data")
    with pytest.raises(ValueError, match=match):
        load_pictures(str(tmp_path / "data"), **options)


def test_only_some_samples_of_all_classes(tmp_path):
    write_classes(tmp_path / "data", count=12)
    pictures = load_pictures(str(tmp_path / "data"), max_train_samples=12, max_eval_samples=2)
    assert (len(pictures.train), len(pictures.validation)) == (12, 2)
    assert set(pictures.train["label"]) == {0, 1, 2}
    again = load_pictures(str(tmp_path / "data"), max_train_samples=12, max_eval_samples=2)
    assert contents(again, "train") == contents(pictures, "train")


def test_nothing_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("nowhere", "some/where", "/no/such/folder", "not a name"):
        with pytest.raises(ValueError, match=r"no folder or file '/.*no data set '.*' on the Hub"):
            load_pictures(name)
    (tmp_path / "cats.zip").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"suffix '\.zip'; a file of pictures is \.parquet"):
        load_pictures("cats.zip")


def test_folders_without_pictures_or_classes(tmp_path):
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    (tmp_path / "empty" / "cat" / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"no pictures in .*empty; it can hold class folders"):
        load_pictures(str(tmp_path / "empty"))
    (tmp_path / "unsorted").mkdir()
    picture(0, 0).save(tmp_path / "unsorted" / "0.png")
    with pytest.raises(ValueError, match=r"pictures in .*unsorted are in no class folders"):
        load_pictures(str(tmp_path / "unsorted"))
    write_classes(tmp_path / "splits", classes=["train", "test"])
    with pytest.raises(ValueError, match=r"pictures in .*splits are in no class folders"):
        load_pictures(str(tmp_path / "splits"))
    with pytest.raises(ValueError, match="no data"):  # of datasets
        as_dataset().select([]).to_parquet(tmp_path / "none.parquet")
        load_pictures(str(tmp_path / "none.parquet"))
    write_classes(tmp_path / "one", classes=["cat"])
    with pytest.raises(ValueError, match=r"All 4 pictures of split 'train' are of class 'cat'"):
        load_pictures(str(tmp_path / "one"))


def test_a_split_folder_without_classes_is_left_out(tmp_path, warnings_text):
    write_classes(tmp_path / "train")
    (tmp_path / "test").mkdir()
    picture(0, 0).save(tmp_path / "test" / "0.png")
    assert len(load_pictures(str(tmp_path)).validation) == 3
    assert "test is left out: it has no class folders" in warnings_text()


def with_broken(kind: str) -> bytes:
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)))
    return {"truncated": whole[: len(whole) // 2], "corrupt": b"no picture", "empty": b""}[kind]


@pytest.mark.parametrize("kind", ["truncated", "corrupt", "empty"])
def test_an_unreadable_file_stops_by_name_or_is_skipped(tmp_path, warnings_text, kind):
    folder = tmp_path / "data"
    write_nested(folder)
    broken = folder / "train" / "dog" / "broken.png"
    broken.write_bytes(with_broken(kind))
    pictures = load_pictures(str(folder))
    train = pictures.train.with_transform(ImageTransform(ViTImageProcessorPil(size={"height": 8, "width": 8})))
    with pytest.raises(ValueError, match=rf"Cannot read the picture {broken}: "):
        train[:]
    skipped = load_pictures(str(folder), unreadable="skip")
    assert len(skipped.train) == len(pictures.train) - 1 and len(skipped.validation) == len(pictures.validation)
    assert f"Cannot read the picture {broken}" in warnings_text() and "left out" in warnings_text()
    assert contents(skipped, "train") == contents(replace(pictures, train=skipped.train), "train")


def test_an_unreadable_picture_in_a_table_has_a_row(tmp_path, warnings_text):
    images = [{"bytes": encoded(picture(0, number)), "path": f"{number}.png"} for number in range(6)]
    images[4] = {"bytes": b"no picture", "path": "4.png"}
    images[2] = None
    table(images, label=[0, 1] * 3).to_parquet(tmp_path / "train.parquet")
    path = str(tmp_path / "train.parquet")
    pictures = load_pictures(path, validation_fraction=0.5)
    transform = ImageTransform(ViTImageProcessorPil(size={"height": 8, "width": 8}))
    everything = concatenate_datasets([pictures.train, pictures.validation]).with_transform(transform)
    rows = [source.split("'")[0] for source in (*pictures.train[SOURCE_COLUMN], *pictures.validation[SOURCE_COLUMN])]
    for row, name in ((4, r"row 4 of split 'train' \(4\.png\): "), (2, "row 2 of split 'train': there is none")):
        with pytest.raises(ValueError, match=rf"Cannot read the picture in {name}"):
            everything[rows.index(f"row {row} of split ")]
    for _ in range(2):  # the second time from the cache of datasets
        before = warnings_text().count("It is left out")
        skipped = load_pictures(path, validation_fraction=0.5, unreadable="skip", num_proc=2)
        assert len(skipped.train) + len(skipped.validation) == 4
        assert warnings_text().count("It is left out") == before + 2
    with pytest.raises(ValueError, match="None of 2 pictures can be read"):
        broken = [{"bytes": b"x", "path": None}] * 4
        load_pictures(saved(table(broken, label=[0, 1] * 2), tmp_path / "broken"), unreadable="skip")
