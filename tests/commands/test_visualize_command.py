# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit visualize` over files and folders."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from toys import toy_dense, toy_model
from viewers import make_images, processor_of

from hf_dynamicvit import DynamicViTForImageClassification
from hf_dynamicvit.commands import visualize_run
from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.commands.visualize_run import name_outputs
from hf_dynamicvit.data.class_folders import evenly_spaced


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A model in `model`, images in `images`, one of them broken."""
    monkeypatch.chdir(tmp_path)
    toy_model().save_pretrained("model")
    processor_of().save_pretrained("model")
    toy_dense().save_pretrained("dense")
    processor_of().save_pretrained("dense")
    toy_dense().save_pretrained("large")
    processor_of(64, 64).save_pretrained("large")
    toy_dense(id2label=dict(enumerate(("ant", "bee", "cat", "dog", "eel")))).save_pretrained("others")
    for name, image in zip(("a.png", "b/a.jpg", "c.png"), make_images((50, 40), (20, 60), (9, 9)), strict=True):
        Path("images", name).parent.mkdir(parents=True, exist_ok=True)
        image.save(Path("images", name))
    Path("images", "broken.jpg").write_bytes(Path("images", "b", "a.jpg").read_bytes()[:300])
    return tmp_path


def visualize(*arguments: str) -> int:
    return main(["visualize", "--output", "seen", *arguments])


def test_a_folder(folder, capsys):
    assert visualize("--model", "model", "--images", "images", "--batch-size", "2") == 0
    captured = capsys.readouterr()
    assert "images: 3." in captured.out and "broken.jpg" in captured.out
    assert "skipped: Cannot read the image" in captured.err
    written = {path.name for path in Path("seen").iterdir()}
    names = ("a", "b-a", "c")
    assert written == {
        "index.html",
        "overview_001.webp",
        "views.json",
        *(f"{n}.{kind}" for n in names for kind in ("webp", "gif")),
    }
    record = json.loads(Path("seen", "views.json").read_text())
    model = DynamicViTForImageClassification.from_pretrained("model").eval()
    for entry in record["pictures"]:
        pixels = processor_of()(Image.open(entry["file"]).convert("RGB"), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            outputs, dense = model(pixels), model.to_dense()(pixels)
        assert entry["kept"] == outputs.kept[0].sum(-1).tolist()
        assert entry["sparse"][0][0] == f"LABEL_{outputs.logits.argmax()}"
        assert entry["dense"][0][0] == f"LABEL_{dense.logits.argmax()}" and len(entry["dense"]) == 5
    assert record["skipped"] == ["images/broken.jpg"] and not record["untrained"]
    page = Path("seen", "index.html").read_text()
    assert page.count("<article") == 3
    assert (f"{record['changed']} of 3 predictions changed" in page) == (record["changed"] > 0)


def test_the_cover_is_that_of_every_drawing(folder):
    model = ("--model", "model", "--images", "images/a.png")
    assert visualize(*model) == 0
    names = ("a.webp", "a.gif", "overview_001.webp", "index.html", "views.json")
    dark = {name: Path("seen", name).read_bytes() for name in names}
    assert visualize(*model, "--cover", "light", "--overwrite") == 0
    changed = {name for name in names if Path("seen", name).read_bytes() != dark[name]}
    assert changed == {*names} - {"views.json"}


def test_json_alone_on_standard_output(folder, capsys):
    given = ("--model", "dense", "--reducer", "tome", "--keep-ratio", "0.5", "--images", "images/a.png", "--json")
    assert visualize(*given) == 0
    record = json.loads(capsys.readouterr().out)
    (entry,) = record["pictures"]
    assert record["reducer"] == "tome" and entry["kept"][-1] == 32
    assert record == json.loads(Path("seen", "views.json").read_text())


def test_budget_size_and_overviews_alone(folder, monkeypatch):
    monkeypatch.setattr(visualize_run, "ROWS", 2)
    given = ("--model", "model", "--budget", "0.7", "--image-size", "40", "64", "--only-overview")
    assert visualize(*given, "--images", "images", "images/a.png") == 0
    assert {path.name for path in Path("seen").iterdir()} == {
        *("index.html", "overview_001.webp", "overview_002.webp", "views.json")
    }
    record = json.loads(Path("seen", "views.json").read_text())
    assert [entry["patches"] for entry in record["pictures"]] == [[10, 16]] * 3  # a.png is looked at once
    model = DynamicViTForImageClassification.from_pretrained("model")
    model.set_budget(fraction=0.7)
    assert record["pictures"][0]["multiply_adds"] == model.multiply_adds((40, 64))


def test_untrained_predictors_are_named(folder, capsys):
    assert visualize("--model", "dense", "--images", "images", "--limit", "1", "--only-overview") == 0
    assert "dense was not trained with dynamicvit" in capsys.readouterr().err
    assert len(json.loads(Path("seen", "views.json").read_text())["pictures"]) == 1


def test_asvit_sets_its_thresholds_on_the_images(folder, capsys):
    assert visualize("--model", "dense", "--reducer", "asvit", "--images", "images", "--only-overview") == 0
    entries = json.loads(Path("seen", "views.json").read_text())["pictures"]
    mean = sum(entry["multiply_adds"] for entry in entries) / len(entries)
    assert 0.5 < mean / entries[0]["dense_multiply_adds"] <= 0.65
    assert "was not trained" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--images", "nowhere"], "--images nowhere: there is no such file or folder"),
        (["--images", "model"], "The folder model has no images"),
        (["--images", "images/broken.jpg"], "None of the images can be read"),
        (["--images", "images", "--batch-size", "0"], "--batch-size is 0; it must be 1 or more."),
        (["--images", "images", "--seconds", "0"], "seconds is 0.0; from 0.02 to 60"),
        (["--images", "images", "--image-size", "1", "2", "3"], "--image-size is 1 2 3; one number of pixels, or two"),
        (["--images", "images", "--keep-ratio", "2"], "--keep-ratio is 2; it must be above 0 and at most 1."),
        (["--images", "images", "--keep-ratio", "0.9", "0.8"], "--keep-ratio 0.9 0.8: keep_ratio has 2 values"),
        (["--images", "images", "--budget", "70"], "--budget is 70; a budget is a fraction of the dense model's"),
        (["--images", "images", "--output", "model/config.json"], "config.json exists already and is no folder"),
        (["--images", "images", "--output", "/proc/nope"], "/proc/nope cannot be written"),
        (["--images", "images", "--device", "tpu"], "device is 'tpu'; this machine has cpu"),
        (["--images", "images", "--dense", "model"], "model holds a sparse model"),
        (["--images", "images", "--dense", "large"], "large takes images prepared otherwise than model: size is"),
        (
            ["--images", "images", "--dense", "others"],
            "The dense model has other classes: 'ant', 'bee', 'cat'",
        ),
    ],
)
def test_refusals_come_before_anything_is_written(folder, capsys, given, message):
    assert visualize("--model", "model", *given) == 1
    assert message in capsys.readouterr().err
    assert not Path("seen").exists()


def test_what_is_there_stays(folder, capsys):
    Path("seen").mkdir()
    Path("seen", "mine.txt").write_text("mine")
    assert visualize("--model", "model", "--images", "images") == 1
    assert "seen exists already" in capsys.readouterr().err
    assert [path.name for path in Path("seen").iterdir()] == ["mine.txt"]
    Path("seen", "views.json").write_text("old")
    assert visualize("--model", "model", "--images", "images/a.png", "--only-overview", "--overwrite") == 0
    assert {path.name for path in Path("seen").iterdir()} == {
        *("index.html", "mine.txt", "views.json", "overview_001.webp")
    }
    assert Path("seen", "views.json").read_text() != "old" and Path("seen", "mine.txt").read_text() == "mine"


def test_a_limit_takes_images_evenly():
    files = [f"{folder}/{index}" for folder in "abc" for index in range(10)]
    assert evenly_spaced(files, 3) == ["a/0", "b/0", "c/0"] and evenly_spaced(files, None) == files == evenly_spaced(
        files, 99
    )


def test_names_do_not_collide():
    files = [
        "x/a.jpg",
        "x/a.png",
        "x/b/a.jpg",
        "x/b-a.jpg",
        "x/views.png",
        "x/overview_001.jpg",
        "y/A.jpg",
        "y/index.gif",
    ]
    names = name_outputs(files, [Path("x")])
    assert [*names.values()] == ["a", "a-2", "b-a", "b-a-2", "views-2", "overview_001-2", "A-3", "index-2"]


def test_a_dense_model_with_its_classes_in_another_order(folder, capsys):
    """The same weights, permuted with their names, predict the same."""
    dense, order = toy_dense(), [3, 0, 4, 1, 2]
    dense.classifier.weight.data, dense.classifier.bias.data = (
        parameter.data[order] for parameter in (dense.classifier.weight, dense.classifier.bias)
    )
    dense.config.id2label = {index: f"LABEL_{label}" for index, label in enumerate(order)}
    dense.save_pretrained("permuted")
    given = ["--model", "dense", "--reducer", "topk", "--keep-ratio", "1", "--dense", "permuted"]
    assert visualize(*given, "--images", "images", "--only-overview", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["changed"] == 0
    for entry in result["pictures"]:
        assert [label for label, _ in entry["sparse"]] == [label for label, _ in entry["dense"]]


def test_what_was_seen_is_not_lost(folder, monkeypatch, capsys):
    """Interrupted at the third image, the others have their overview and their numbers."""
    cards, draw = [], visualize_run.card

    def two_cards(*args):
        if len(cards) == 2:
            raise KeyboardInterrupt
        cards.append(draw(*args))
        return cards[-1]

    monkeypatch.setattr(visualize_run, "card", two_cards)
    assert visualize("--model", "model", "--images", "images") == 130
    assert len(json.loads(Path("seen", "views.json").read_text())["pictures"]) == 2
    assert Path("seen", "overview_001.webp").is_file()


def test_an_unreadable_first_file_is_named_once(folder, capsys):
    given = ["--model", "dense", "--reducer", "asvit", "--only-overview"]
    assert visualize(*given, "--images", "images/broken.jpg", "images/a.png") == 0
    assert capsys.readouterr().err.count("skipped: Cannot read") == 1


def test_weights_that_are_not_finite(folder, capsys):
    model = toy_model()
    torch.nn.init.constant_(model.classifier.bias, torch.nan)
    model.save_pretrained("broken")
    processor_of().save_pretrained("broken")
    assert visualize("--model", "broken", "--images", "images") == 1
    assert "the logits are not finite" in capsys.readouterr().err and not Path("seen").exists()


def test_long_names_and_linked_folders(folder):
    deep = Path("images", "a" * 150, "b" * 100)
    deep.mkdir(parents=True)
    Path("images", "a.png").rename(deep / "deep.png")
    Path("images", "loop").symlink_to(Path("..", "images"))
    assert visualize("--model", "model", "--images", "images") == 0
    cards = sorted(path.name for path in Path("seen").glob("*.gif"))
    assert len(cards) == 3 and any(name.endswith("bbb-deep.gif") and len(name) < 160 for name in cards)


def test_png_where_asked(folder):
    assert visualize("--model", "model", "--images", "images/a.png", "--format", "png") == 0
    written = {path.name for path in Path("seen").iterdir()}
    assert written == {"a.png", "a.gif", "overview_001.png", "index.html", "views.json"}


def test_letters_that_no_font_has_are_told(folder, monkeypatch, capsys):
    monkeypatch.setattr(visualize_run, "find_missing", lambda texts: "".join(texts)[:1])
    Path("images", "a.png").rename(Path("images", "\u732b.png"))
    assert visualize("--model", "model", "--images", "images/\u732b.png") == 0
    assert "No font of this machine has \u732b: figures have codes such as" in capsys.readouterr().out
    assert "\u732b.png" in Path("seen", "index.html").read_text(encoding="utf-8")
