# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Data sets of images: where they can lie, what they must hold, and what is said where they do not."""

import io
import zipfile
from dataclasses import replace

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, concatenate_datasets
from datasets import Image as ImageFeature
from PIL import Image
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_dynamicvit.data.class_folders import find_split_kind
from hf_dynamicvit.data.columns import with_labels
from hf_dynamicvit.data.loading import load_images
from hf_dynamicvit.data.sources import load_splits
from hf_dynamicvit.data.transforms import SOURCE_COLUMN, ImageTransform, explain_unreadable, read_image


CLASSES = ["cat", "dog", "eel"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def make_image(label: int, number: int) -> Image.Image:
    return Image.new("RGB", (6, 4), (40 * label, 10 * number, 200))


def encoded(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def write_classes(folder, count=4, classes=CLASSES, start=0):
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(start, start + count):
            make_image(label, number).save(folder / name / f"{number}.png")


def as_dataset(count=4, start=0, names=CLASSES) -> Dataset:
    rows = [(label, number) for label in range(len(names)) for number in range(start, start + count)]
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=names)})
    images = [{"bytes": encoded(make_image(*row)), "path": None} for row in rows]
    return Dataset.from_dict({"image": images, "label": [label for label, _ in rows]}, features=features)


def as_splits() -> DatasetDict:
    return DatasetDict(train=as_dataset(), validation=as_dataset(2, start=4))


def table(images=None, **columns) -> Dataset:
    """Images with other columns of any kind."""
    count = len(next(iter(columns.values())))
    images = images or [{"bytes": encoded(make_image(0, number)), "path": None} for number in range(count)]
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


def contents(images, part):
    """Pixels and class of every image, in the order of both."""
    data = getattr(images, part).cast_column(images.image_column, ImageFeature())
    rows = zip(data[images.image_column], data[images.label_column], strict=True)
    return sorted((image.getpixel((0, 0)), label) for image, label in rows)


@pytest.mark.parametrize("write", [write_nested, write_parquet, write_disk])
def test_every_layout_gives_the_same_images(tmp_path, write):
    write(tmp_path / "data")
    images = load_images(str(tmp_path / "data"))
    assert (images.names, images.image_column, images.label_column) == (CLASSES, "image", "label")
    for part, count, start in (("train", 4, 0), ("validation", 2, 4)):
        data = getattr(images, part)
        assert set(data.column_names) == {"image", "label", SOURCE_COLUMN}
        assert data.features["image"] == ImageFeature(decode=False)
        assert data.features["label"] == ClassLabel(names=CLASSES)
        numbers = range(start, start + count)
        assert contents(images, part) == [((40 * k, 10 * n, 200), k) for k in range(3) for n in numbers]


def test_without_a_validation_split_every_class_gives_its_part(tmp_path):
    """Flat folders, one parquet file and a saved data set: the same split everywhere, and other seeds another."""
    write_flat(tmp_path / "flat")
    as_dataset().to_parquet(tmp_path / "all.parquet")
    as_dataset().save_to_disk(str(tmp_path / "disk"))
    found = {
        source: load_images(str(tmp_path / source), validation_fraction=0.25)
        for source in ("flat", "all.parquet", "disk")
    }
    parts = [[contents(images, part) for part in ("train", "validation")] for images in found.values()]
    assert parts[0] == parts[1] == parts[2]
    train, validation = parts[0]
    assert [label for _, label in validation] == [0, 1, 2] and len(train) == 9
    assert sorted(train + validation) == [((40 * k, 10 * n, 200), k) for k in range(3) for n in range(4)]
    other = load_images(str(tmp_path / "flat"), validation_fraction=0.25, seed=3)
    assert contents(other, "validation") != validation


def test_a_small_fraction_still_has_a_image_for_each_class(tmp_path):
    write_flat(tmp_path / "data")
    assert len(load_images(str(tmp_path / "data"), validation_fraction=0.01).validation) == 3
    assert len(load_images(str(tmp_path / "data"), validation_fraction=0.99).train) == 3


def test_classes_may_be_called_like_splits(tmp_path):
    """`load_dataset("imagefolder")` takes these for splits and drops the labels."""
    names = ["bus", "test-tube", "train", "valid"]
    write_classes(tmp_path / "data[1]", classes=names)
    assert load_images(str(tmp_path / "data[1]")).names == names


def test_what_is_no_image_is_left_out(tmp_path, warnings_text):
    folder = tmp_path / "data"
    write_flat(folder)
    for name in ("notes.txt", ".hidden.png", "photo.heic"):
        (folder / "cat" / name).write_bytes(b"x")
    for name in (".git", "__MACOSX", "empty"):
        (folder / name).mkdir()
    (folder / "__MACOSX" / "._0.png").write_bytes(b"x")
    make_image(0, 0).save(folder / "stray.png")
    (folder / "dog" / "deeper").mkdir()
    make_image(1, 9).save(folder / "dog" / "deeper" / "9.PNG")
    images = load_images(str(folder))
    assert images.names == CLASSES and len(images.train) + len(images.validation) == 13
    text = warnings_text()
    assert ".heic (1)" in text and ".txt (1)" in text and "without images are left out: empty" in text
    assert "in no folder of it are left out: 1" in text


@pytest.mark.skipif(datasets.__version__ == "4.0.0", reason="it does not read the tables that pandas 3 makes of CSV")
def test_a_metadata_file_names_the_classes_where_it_has_them(tmp_path):
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    lines = ["file_name,label,caption"]
    for number in range(8):
        make_image(number % 2, number).save(folder / "images" / f"{number}.png")
        lines.append(f"images/{number}.png,{'ab'[number % 2]},text")
    (folder / "metadata.csv").write_text("\n".join(lines))
    images = load_images(str(folder))
    assert images.names == ["a", "b"] and len(images.train) + len(images.validation) == 8
    captions = tmp_path / "captions"
    write_flat(captions)
    (captions / "metadata.csv").write_text("file_name,caption\ncat/0.png,text\n")
    assert load_images(str(captions)).names == CLASSES


@pytest.mark.parametrize(
    "labels, names", [([10, 9, 9, 10], ["9", "10"]), (["b", "a", "a", "b"], ["a", "b"]), ([True, False] * 2, None)]
)
def test_numbers_and_texts_become_classes(tmp_path, labels, names):
    images = load_images(saved(table(target=labels), tmp_path / "data"), validation_fraction=0.5)
    names = names or ["False", "True"]
    assert images.names == names and images.label_column == "target"
    assert images.train.features["target"] == ClassLabel(names=names)
    assert sorted(images.train["target"]) == [0, 1]


@pytest.mark.parametrize("nested", [False, True])
def test_bytes_without_a_type_are_images_by_their_name(tmp_path, nested):
    images = [encoded(make_image(0, number)) for number in range(4)]
    column = [{"bytes": image} for image in images] if nested else images
    path = saved(Dataset.from_dict({"img": column, "label": [0, 1, 0, 1]}), tmp_path / "data")
    splits = load_images(path, validation_fraction=0.5)
    assert splits.image_column == "img" and splits.train[0]["img"]["bytes"] in images


@pytest.mark.parametrize(
    "columns, match",
    [
        ({"fine_label": [0, 1], "coarse_label": [0, 1]}, r"fine_label, coarse_label could be the label column.*image"),
        ({"kind": [0, 1]}, r"No label column.*label_column.*kind \(int64\)"),
        ({"label": [0.5, 1.0]}, r"No label column.*label \(float64\)"),
        ({"label": ["a", None]}, r"1 of 2 images of split 'train' have no label in column 'label'"),
        ({"label": [-1, -1]}, r"2 of 2 images of split 'train' have no label"),
        ({"label": [3, 3]}, r"All 2 images of split 'train' are of class '3'"),
    ],
)
def test_labels_that_are_refused(tmp_path, columns, match):
    with pytest.raises(ValueError, match=match):
        load_images(saved(table(**columns), tmp_path / "data"))


def test_columns_that_are_named(tmp_path):
    data = table(fine_label=[0, 1] * 2, coarse_label=[0, 1] * 2, many=[[0, 1]] * 4)
    masks = [{"bytes": encoded(image), "path": None} for image in data["image"]]
    path = saved(data.add_column("mask", masks, feature=ImageFeature()), tmp_path / "data")
    with pytest.raises(ValueError, match=r"Any of image, mask could be the image column; name it with image_column"):
        load_images(path)
    options = {"image_column": "mask", "label_column": "coarse_label", "validation_fraction": 0.5}
    images = load_images(path, **options)
    assert (images.image_column, images.label_column) == ("mask", "coarse_label")
    with pytest.raises(ValueError, match=r"label_column is 'coarse'; the columns are image \(Image\)"):
        load_images(path, **(options | {"label_column": "coarse"}))
    with pytest.raises(ValueError, match=r"label_column 'many' holds List"):
        load_images(path, **(options | {"label_column": "many"}))
    with pytest.raises(ValueError, match=r"image_column 'fine_label' holds no images"):
        load_images(path, **(options | {"image_column": "fine_label"}))
    assert data.features["many"] == List(Value("int64"))


def test_columns_without_images_are_listed(tmp_path):
    data = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    with pytest.raises(ValueError, match=r"No image column.*image_column.*text \(string\), label \(int64\)"):
        load_images(saved(data, tmp_path / "data"))


def test_validation_without_the_columns_is_refused(tmp_path):
    data = DatasetDict(train=as_dataset(), test=as_dataset().remove_columns("label"))
    with pytest.raises(ValueError, match=r"Split 'test' has no column label; its columns are image"):
        load_images(saved(data, tmp_path / "data"))


def test_another_order_of_the_classes_is_mapped(tmp_path):
    """Together, the files would be read with the names of the first, and every label be wrong."""
    folder = tmp_path / "data"
    folder.mkdir()
    as_dataset().to_parquet(folder / "train.parquet")
    as_dataset(names=["eel", "cat", "dog"]).to_parquet(folder / "valid.parquet")
    images = load_images(str(folder))
    assert images.validation.features["label"].names == CLASSES
    assert [label for _, label in contents(images, "validation")] == [2] * 4 + [0] * 4 + [1] * 4


def test_other_classes_in_validation_are_refused(tmp_path):
    folder = tmp_path / "data"
    write_classes(folder / "train")
    write_classes(folder / "test", classes=["cat", "dog", "emu"])
    with pytest.raises(ValueError, match=r"Only in training: eel; only in validation: emu"):
        load_images(str(folder))


def test_numbers_need_not_all_occur_in_validation(tmp_path):
    data = DatasetDict(train=table(label=[0, 1, 2]), validation=table(label=[2, 0]))
    images = load_images(saved(data, tmp_path / "data"))
    assert images.names == ["0", "1", "2"] and images.validation["label"] == [2, 0]
    data = DatasetDict(train=table(label=[0, 1]), validation=table(label=[2, 0]))
    with pytest.raises(ValueError, match=r"Only in training: 1; only in validation: 2"):
        load_images(saved(data, tmp_path / "other"))


def test_splits_are_found_or_named(tmp_path):
    splits = {name: as_dataset(count) for name, count in (("training", 4), ("dev", 3), ("test", 2))}
    path = saved(DatasetDict(splits), tmp_path / "data")
    assert len(load_images(path).validation) == 9
    named = load_images(path, train_split="dev", validation_split="test")
    assert (len(named.train), len(named.validation)) == (9, 6)
    within = load_images(path, validation_split="training", validation_fraction=0.25)
    assert (len(within.train), len(within.validation)) == (9, 3)
    for option in ("train_split", "validation_split"):
        with pytest.raises(ValueError, match=rf"{option} is 'nope'; the splits are training, dev, test"):
            load_images(path, **{option: "nope"})
    path = saved(DatasetDict(a=as_dataset(), b=as_dataset()), tmp_path / "unusual")
    with pytest.raises(ValueError, match=r"train_split; there are a, b"):
        load_images(path)
    write_classes(tmp_path / "folders" / "small")
    write_classes(tmp_path / "folders" / "rest")
    named = load_images(str(tmp_path / "folders"), train_split="small", validation_split="rest")
    assert named.names == CLASSES


def test_a_clone_of_a_repository_is_read_as_its_card_says(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("first", "second"):
        as_dataset().to_parquet(folder / f"{name}.parquet")
    config = "- config_name: {0}\n  data_files: {0}.parquet\n"
    (folder / "README.md").write_text(f"---\nconfigs:\n{config.format('first')}{config.format('second')}---\n")
    assert load_images(str(folder), "second").names == CLASSES
    with pytest.raises(ValueError, match="first"):
        load_images(str(folder), "third")


def test_a_class_of_one_image_cannot_be_split(tmp_path):
    write_flat(tmp_path / "data")
    write_classes(tmp_path / "data", count=1, classes=["yak", "zebra"])
    with pytest.raises(ValueError, match=r"no validation split, and one image only of class yak, zebra"):
        load_images(str(tmp_path / "data"))


@pytest.mark.parametrize(
    "options, match",
    [
        ({"validation_fraction": 1.0}, r"validation_fraction is 1\.0"),
        ({"unreadable": "ignore"}, r"unreadable is 'ignore'; it can be 'stop', 'skip', 'unchecked'"),
        ({"max_train_samples": 0}, r"max_train_samples is 0"),
        ({"max_eval_samples": -1}, r"max_eval_samples is -1"),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, options, match):
    write_flat(tmp_path / "data")
    with pytest.raises(ValueError, match=match):
        load_images(str(tmp_path / "data"), **options)


def test_only_some_samples_of_all_classes(tmp_path):
    write_classes(tmp_path / "data", count=12)
    images = load_images(str(tmp_path / "data"), max_train_samples=12, max_eval_samples=2)
    assert (len(images.train), len(images.validation)) == (12, 2)
    assert set(images.train["label"]) == {0, 1, 2}
    again = load_images(str(tmp_path / "data"), max_train_samples=12, max_eval_samples=2)
    assert contents(again, "train") == contents(images, "train")


def test_nothing_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("nowhere", "some/where", "/no/such/folder", "not a name"):
        with pytest.raises(ValueError, match=r"no folder or file '/.*no data set '.*' on the Hub"):
            load_images(name)
    (tmp_path / "cats.zip").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"suffix '\.zip'; a file of images is \.parquet"):
        load_images("cats.zip")


def test_folders_without_images_or_classes(tmp_path):
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    (tmp_path / "empty" / "cat" / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"no images in .*empty; it can hold class folders"):
        load_images(str(tmp_path / "empty"))
    (tmp_path / "unsorted").mkdir()
    make_image(0, 0).save(tmp_path / "unsorted" / "0.png")
    with pytest.raises(ValueError, match=r"images in .*unsorted are in no class folders"):
        load_images(str(tmp_path / "unsorted"))
    write_classes(tmp_path / "splits", classes=["train", "test"])
    with pytest.raises(ValueError, match=r"images in .*splits are in no class folders"):
        load_images(str(tmp_path / "splits"))
    with pytest.raises(ValueError, match="no data"):  # of datasets
        as_dataset().select([]).to_parquet(tmp_path / "none.parquet")
        load_images(str(tmp_path / "none.parquet"))
    write_classes(tmp_path / "one", classes=["cat"])
    with pytest.raises(ValueError, match=r"All 4 images .* are of class 'cat'; two classes are needed"):
        load_images(str(tmp_path / "one"))


def test_a_split_folder_without_classes_is_left_out(tmp_path, warnings_text):
    write_classes(tmp_path / "train")
    (tmp_path / "test").mkdir()
    make_image(0, 0).save(tmp_path / "test" / "0.png")
    assert len(load_images(str(tmp_path)).validation) == 3
    assert "test is left out: it has no class folders" in warnings_text()


def with_broken(kind: str) -> bytes:
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)))
    return {"truncated": whole[: len(whole) // 2], "corrupt": b"no image", "empty": b""}[kind]


@pytest.mark.parametrize("kind", ["truncated", "corrupt", "empty"])
def test_an_unreadable_file_stops_by_name_or_is_skipped(tmp_path, warnings_text, kind):
    folder = tmp_path / "data"
    write_nested(folder)
    broken = folder / "train" / "dog" / "broken.png"
    broken.write_bytes(with_broken(kind))
    with pytest.raises(ValueError, match=rf"^1 of 19 .*Cannot read the image {broken}: .*--unreadable skip"):
        load_images(str(folder))
    images = load_images(str(folder), unreadable="unchecked")
    train = images.train.with_transform(ImageTransform(ViTImageProcessorPil(size={"height": 8, "width": 8})))
    with pytest.raises(ValueError, match=rf"Cannot read the image {broken}: "):
        train[:]
    skipped = load_images(str(folder), unreadable="skip")
    assert len(skipped.train) == len(images.train) - 1 and len(skipped.validation) == len(images.validation)
    assert f"Cannot read the image {broken}" in warnings_text() and "left out" in warnings_text()
    assert contents(skipped, "train") == contents(replace(images, train=skipped.train), "train")


def test_an_unreadable_image_in_a_table_has_a_row(tmp_path, warnings_text):
    images = [{"bytes": encoded(make_image(0, number)), "path": f"{number}.png"} for number in range(6)]
    images[4] = {"bytes": b"no image", "path": "4.png"}
    images[2] = None
    table(images, label=[0, 1] * 3).to_parquet(tmp_path / "train.parquet")
    path = str(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="2 of 6 images cannot be read"):
        load_images(path, validation_fraction=0.5)
    splits = load_images(path, validation_fraction=0.5, unreadable="unchecked")
    transform = ImageTransform(ViTImageProcessorPil(size={"height": 8, "width": 8}))
    everything = concatenate_datasets([splits.train, splits.validation]).with_transform(transform)
    rows = [source.split("'")[0] for source in (*splits.train[SOURCE_COLUMN], *splits.validation[SOURCE_COLUMN])]
    for row, name in ((4, r"row 4 of split 'train' \(4\.png\): "), (2, "row 2 of split 'train': there is none")):
        with pytest.raises(ValueError, match=rf"Cannot read the image in {name}"):
            everything[rows.index(f"row {row} of split ")]
    for _ in range(2):  # the second time from the cache of datasets
        before = warnings_text().count("It is left out")
        skipped = load_images(path, validation_fraction=0.5, unreadable="skip", num_proc=2)
        assert len(skipped.train) + len(skipped.validation) == 4
        assert warnings_text().count("It is left out") == before + 2
    with pytest.raises(ValueError, match="None of 2 images can be read"):
        broken = [{"bytes": b"x", "path": None}] * 4
        load_images(saved(table(broken, label=[0, 1] * 2), tmp_path / "broken"), unreadable="skip")


def test_every_kind_of_broken_file_is_found_before_training(tmp_path):
    """Those that a training would meet, whatever the format: a JPEG is not decoded in full for it."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        whole = io.BytesIO()
        noise.save(whole, kind)
        for part in (1.0, 0.9, 0.5, 0.1, 0.0):
            data = whole.getvalue()[: int(len(whole.getvalue()) * part)]
            (tmp_path / "image").write_bytes(data)
            for row in ({"bytes": data, "path": None}, {"bytes": None, "path": str(tmp_path / "image")}):
                try:
                    read_image(row)
                except ValueError as error:
                    assert explain_unreadable(row) == str(error) and part < 1
                else:
                    assert explain_unreadable(row) is None
    deep = io.BytesIO()
    Image.fromarray(np.full((8, 8), 3000, dtype=np.uint16)).save(deep, "PNG")
    assert "8 bits" in str(explain_unreadable({"bytes": deep.getvalue(), "path": None}))
    assert "there is none" in str(explain_unreadable(None, "row 3"))


@pytest.mark.parametrize("size, refused", [((65, 1), True), ((1, 20000), True), ((64, 1), False), ((2, 128), False)])
def test_a_line_of_pixels_is_no_image(size, refused, tmp_path):
    """An image processor that scales the shorter edge to 256 would make 4 GB of 20,000 x 1 pixels."""
    file = tmp_path / "thin.png"
    Image.new("RGB", size).save(file)
    row = {"bytes": None, "path": str(file)}
    if not refused:
        assert read_image(row).size == size and explain_unreadable(row) is None
        return
    with pytest.raises(
        ValueError, match=f"Cannot read the image .*thin.png: it has {size[0]} x {size[1]} pixels"
    ) as e:
        read_image(row)
    assert explain_unreadable(row) == str(e.value) and "64 times the other, at most" in str(e.value)


def test_of_many_broken_files_the_first_are_named(tmp_path):
    write_nested(tmp_path / "data")
    for number in range(5):
        (tmp_path / "data" / "val" / "eel" / f"broken{number}.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"^5 of 23 .*broken0.*broken1.*broken2.* and 2 more\. Mend") as told:
        load_images(str(tmp_path / "data"))
    assert "broken3" not in str(told.value)
    assert len(load_images(str(tmp_path / "data"), max_eval_samples=1, seed=2).validation) == 1  # it alone is read


SPELLINGS = [
    ("training_set", "test_set"),
    ("seg_train", "seg_test"),
    ("train_images", "val_images"),
    ("train2017", "val2017"),
    ("my-training data", "my-evaluation data"),
    ("training", "dev"),
]


@pytest.mark.parametrize("names", [*SPELLINGS, ("Train", "Test"), ("TRAIN_IMAGES", "Valid"), ("trainset", "testset")])
def test_split_folders_by_any_usual_name(tmp_path, names):
    """Those that `load_dataset("imagefolder")` knows; and what it makes one split of, training and test images."""
    write_classes(tmp_path / "data" / names[0])
    write_classes(tmp_path / "data" / names[1], count=2, start=4)
    images = load_images(str(tmp_path / "data"))
    assert images.names == CLASSES and (len(images.train), len(images.validation)) == (12, 6)
    assert contents(images, "validation") == [((40 * k, 10 * n, 200), k) for k in range(3) for n in (4, 5)]
    named = load_images(str(tmp_path / "data"), train_split=names[1], validation_split=names[0])
    assert (len(named.train), len(named.validation)) == (6, 12)
    if names in SPELLINGS:
        theirs = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "data"))
        assert sorted(map(len, theirs.values())) == [6, 12] and theirs["train"].features["label"].names == CLASSES


def test_words_in_names():
    kinds = {"train": "train", "pretrained": None, "train_test": None, "tester": None, "x.val": "validation"}
    kinds |= {"testing 1": "test", "latest": None, "evaluation": "test", "devset": "validation", "invalid": None}
    assert {name: find_split_kind(name) for name in kinds} == kinds


def test_folders_twice_in_one_another_as_archives_unpack(tmp_path, warnings_text):
    for name in ("seg_train", "seg_test"):
        write_classes(tmp_path / name / name)
    unlabelled = tmp_path / "seg_pred" / "seg_pred"
    unlabelled.mkdir(parents=True)
    make_image(0, 0).save(unlabelled / "0.png")
    images = load_images(str(tmp_path))
    assert images.names == CLASSES and (len(images.train), len(images.validation)) == (12, 12)
    assert "seg_pred is left out: it has no class folders (1 images)" in warnings_text()


def test_what_is_beside_split_folders_is_named(tmp_path, warnings_text):
    write_nested(tmp_path)
    write_classes(tmp_path / "holdout")
    make_image(0, 0).save(tmp_path / "stray.png")
    (tmp_path / "empty").mkdir()
    assert len(load_images(str(tmp_path)).train) == 12
    text = warnings_text()
    assert "holdout is left out: it is not named like a split (12 images)" in text
    assert "in no folder of it are left out: 1" in text and "without images are left out: empty" in text
    assert len(load_images(str(tmp_path), validation_split="holdout").validation) == 12


@pytest.mark.parametrize("others", [("second",), ("part 1", "part 2"), ("second", "seg_train")])
def test_folders_that_may_be_splits_are_no_classes(tmp_path, others):
    """A model would tell training from test images, which is easy."""
    for name in ("first", *others):
        write_classes(tmp_path / name)
    with pytest.raises(
        ValueError, match=r"split folders have one of the words train, training, validation, .*, eval"
    ) as told:
        load_images(str(tmp_path))
    assert "--train-split and --validation-split of train, or --split of evaluate" in str(told.value)
    named = load_images(str(tmp_path), train_split="first", validation_split=others[0])
    assert named.names == CLASSES and len(named.validation) == 12


def test_splits_in_class_folders_are_no_images_of_the_class(tmp_path):
    for name in CLASSES:
        write_classes(tmp_path / name, classes=["train", "test"])
    with pytest.raises(
        ValueError, match=r"cat, dog, eel in .* hold folders of the same names \(test, train\)"
    ) as told:
        load_images(str(tmp_path))
    assert "--train-split and --validation-split of train, or --split of evaluate" in str(told.value)


def test_images_in_split_folders_without_classes_are_refused(tmp_path):
    write_classes(tmp_path, classes=["train_images", "test_images"])
    with pytest.raises(ValueError, match=r"are in no class folders; it can hold class folders"):
        load_images(str(tmp_path))


def test_classes_with_folders_of_their_own_are_said(tmp_path, warnings_text):
    write_classes(tmp_path / "cat", classes=["siamese", "manx"])
    write_classes(tmp_path / "dog", classes=["poodle", "pug"])
    assert load_images(str(tmp_path)).names == ["cat", "dog"]
    assert "all images in the folders of cat, dog are of that class" in warnings_text()
    write_classes(tmp_path / "tiny" / "cat", classes=["images"])
    write_classes(tmp_path / "tiny" / "dog", classes=["images"])
    assert load_images(str(tmp_path / "tiny")).names == ["cat", "dog"]


def test_classes_named_like_splits_are_said(tmp_path, warnings_text):
    write_classes(tmp_path, classes=["bus", "test", "train"])
    write_classes(tmp_path / "test", classes=["a", "b"])
    assert load_images(str(tmp_path)).names == ["bus", "test", "train"]
    assert "named like splits are classes here: test, train" in warnings_text()


def test_one_folder_too_many(tmp_path):
    write_classes(tmp_path / "w" / "dataset")
    with pytest.raises(ValueError, match=r"the only class; name \S*/w/dataset, which holds cat, dog, eel"):
        load_images(str(tmp_path / "w"))
    make_image(0, 0).save(tmp_path / "w" / "cover.png")
    with pytest.raises(ValueError, match=r"name \S*/w/dataset, which"):
        load_images(str(tmp_path / "w"))
    write_nested(tmp_path / "x" / "y" / "z")
    with pytest.raises(ValueError, match=r"name \S*/x/y/z, which holds train, val"):
        load_images(str(tmp_path / "x"))


def test_a_test_set_is_not_trained_on_unless_named(tmp_path):
    for name in ("val", "test"):
        write_classes(tmp_path / name)
        with pytest.raises(ValueError, match="Name the split to train on with train_split; there are"):
            load_images(str(tmp_path))
    assert len(load_images(str(tmp_path), train_split="val").validation) == 12
    for name in ("train_a", "train_b"):
        write_classes(tmp_path / name)
    with pytest.raises(ValueError, match="Any of train_a, train_b could be meant; name one with train_split"):
        load_images(str(tmp_path))


def write_metadata(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["file_name,label"]
    for number in range(8):
        make_image(number % 2, number).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{names[number % 2]}")
    (folder / "metadata.csv").write_text("\n".join(lines))


def test_capital_letters_name_splits_of_every_layout(tmp_path, warnings_text):
    """`load_dataset` makes one training set of all these files."""
    parquet = tmp_path / "parquet"
    parquet.mkdir()
    splits = as_splits()
    splits["train"].to_parquet(parquet / "Train.parquet")
    splits["validation"].to_parquet(parquet / "TEST-00000-of-00001.parquet")
    splits["validation"].to_parquet(parquet / "more.parquet")
    images = load_images(str(parquet))
    assert (len(images.train), len(images.validation)) == (12, 6)
    assert "names say no split are left out" in warnings_text() and "more.parquet" in warnings_text()


@pytest.mark.skipif(datasets.__version__ == "4.0.0", reason="it does not read the tables that pandas 3 makes of CSV")
def test_metadata_in_split_folders(tmp_path, warnings_text):
    for name in ("Train", "Test"):
        write_metadata(tmp_path / name, "ab")
    make_image(0, 0).save(tmp_path / "Test" / "forgotten.png")
    images = load_images(str(tmp_path))
    assert images.names == ["a", "b"] and (len(images.train), len(images.validation)) == (8, 8)
    assert "no metadata file names are left out: 1" in warnings_text()


@pytest.mark.parametrize("write", [write_flat, write_nested, write_parquet, write_disk, write_metadata])
@pytest.mark.parametrize("name", ["a[1]", "a*", "a?"])
def test_a_path_is_no_pattern(tmp_path, write, name):
    if write is write_metadata and datasets.__version__ == "4.0.0":
        pytest.skip("it does not read the tables that pandas 3 makes of CSV")
    options = {"names": "ab"} if write is write_metadata else {}
    write(tmp_path / name, **options)
    write_classes(tmp_path / "a1", classes=["x", "y"])  # what the patterns are of
    images = load_images(str(tmp_path / name))
    assert images.names == (["a", "b"] if write is write_metadata else CLASSES)
    assert len(images.train) + len(images.validation) in (8, 12, 18)


def test_a_file_of_any_name_is_no_pattern(tmp_path):
    as_dataset().to_parquet(tmp_path / "a[1]*.parquet")
    as_dataset(names=["x", "y"]).to_parquet(tmp_path / "a1.parquet")
    assert load_images(str(tmp_path / "a[1]*.parquet")).names == CLASSES
    (tmp_path / "b[1]").mkdir()
    (tmp_path / "b[1]" / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"b\[1\] as a pattern; rename the folder"):
        load_images(str(tmp_path / "b[1]"))


def test_a_path_that_datasets_takes_for_an_address(tmp_path):
    write_flat(tmp_path / "a::b")
    assert load_images(str(tmp_path / "a::b")).names == CLASSES
    write_parquet(tmp_path / "parquet")
    (tmp_path / "parquet").rename(tmp_path / "c::d")
    with pytest.raises(ValueError, match=r"datasets reads the :: in \S*c::d as an address; rename the folder"):
        load_images(str(tmp_path / "c::d"))


def test_archives_work_or_are_to_be_unpacked(tmp_path):
    """Some releases of datasets give every image in an archive the name of the archive's folder as its class."""
    write_nested(tmp_path / "data")
    (tmp_path / "zips").mkdir()
    for name in ("train", "val"):
        with zipfile.ZipFile(tmp_path / "zips" / f"{name}.zip", "w") as archive:
            for file in sorted((tmp_path / "data" / name).rglob("*.png")):
                archive.write(file, file.relative_to(tmp_path / "data" / name))
    try:
        found = load_splits(str(tmp_path / "zips"))
    except ValueError as error:
        assert "Unpack train.zip, val.zip, each into a folder of its name." in str(error) and "\n" not in str(error)
    else:
        assert {name: len(data) for name, data in found.items()} == {"train": 12, "validation": 6}


def test_no_bar_of_datasets_for_classes_in_another_order(capsys):
    data = Dataset.from_dict({"image": ["a", "b", "c"], "label": ["x", "y", "x"]}).shuffle(seed=0)
    labelled = with_labels(data, "label", ["y", "x"], data["label"])
    assert [labelled.features["label"].int2str(label) for label in labelled["label"]] == data["label"][:]
    assert capsys.readouterr().err == "" and not datasets.are_progress_bars_disabled()
