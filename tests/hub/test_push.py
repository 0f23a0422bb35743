# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What `hf-dynamicvit push` says of a model: as the model saw it, as training measured it, as it was typed."""

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image
from toys import toy_images, toy_model
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_dynamicvit.checkpoints.results import weights_fingerprint, wilson_interval
from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.hub.card import Measurements, model_card
from hf_dynamicvit.hub.push import CardContent, kept_figure
from hf_dynamicvit.look.drawing import contact_sheet, stage_images
from hf_dynamicvit.look.viewer import Viewer


LABELS = {"id2label": dict(enumerate("abcde")), "label2id": dict(zip("abcde", range(5), strict=True))}


def cropping(channels: int = 3) -> ViTImageProcessorPil:
    """A processor that shows the model the middle of an image alone."""
    half = [0.5] * channels
    crop = {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
    return ViTImageProcessorPil(size={"shortest_edge": 32}, image_mean=half, image_std=half, **crop)


def save(folder: Path, **overrides) -> dict:
    """A model as `hf-dynamicvit train` leaves it in `folder`, with what it measured, which is returned."""
    model = toy_model(**LABELS, **overrides)
    model.save_pretrained(folder)
    cropping().save_pretrained(folder)
    results = {
        "top1": 37 / 46,
        "teacher_top1": 39 / 46,
        "gmacs": model.multiply_adds(toy_images()) / 1e9,
        "dense_gmacs": model.dense_multiply_adds() / 1e9,
        "patches": model.token_counts(toy_images()),
        "reducer": model.config.reducer,
        "steps": 45,
        "epochs": 5.0,
        "seed": 0,
        "seconds": 365.2,
        "dataset": "/home/me/my|images",
        "images": 46,
        "weights": weights_fingerprint(folder),
        "log": [],
    }
    write(folder, results)
    return results


def write(folder: Path, results: dict) -> None:
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dry_run(capsys, *options: str) -> tuple[str, str]:
    """The card that would go up, and what is said beside it."""
    capsys.readouterr()
    assert main(["push", "saved", "me/small", "--dry-run", *options]) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_the_figure_shows_what_the_model_saw(place):
    """The middle, upright: not the red ends, which are cut off, and the lower half of the file on the left."""
    stripes = np.zeros((96, 32, 3), dtype=np.uint8)
    stripes[:32], stripes[32:48], stripes[48:64], stripes[64:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: 96 wide, with what was below on the left
    Image.fromarray(stripes).save("stripes.png", exif=exif)
    sheet = np.asarray(kept_figure(toy_model(keep_ratio=1.0), cropping(), (Path("stripes.png"),)).convert("RGB"))
    side = sheet.shape[0] - 8  # a gap of 4 around each panel
    seen = sheet[4 : 4 + side, 4 : 4 + side].astype(int)
    assert (seen[:, : side // 2 - 4] == (0, 0, 255)).all() and (seen[:, side // 2 + 4 :] == (0, 255, 0)).all()


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_the_figure_is_that_of_visualize(channels, mode, place):
    pixels = np.random.default_rng(0).integers(0, 255, (50, 90, 4), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save("noise.png")
    model, processor = toy_model(num_channels=channels), cropping(channels)
    views = Viewer(model, processor).look([Image.open("noise.png")])
    figure = kept_figure(model, processor, (Path("noise.png"),))
    assert figure.tobytes() == contact_sheet([stage_images(view) for view in views]).tobytes()
    Path("broken.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"None of 1 images can be read\. .*broken\.jpg"):
        kept_figure(model, processor, (Path("broken.jpg"),))


def test_the_card_has_what_training_measured(place, capsys):
    results = save(place / "saved")
    card, said = dry_run(capsys)
    low, high = wilson_interval(37 / 46, 46)
    interval = f"(95 % interval {100 * low:.1f} to {100 * high:.1f})"
    assert f"| top-1 on my\\|images, 46 images | 84.78 % (its teacher) | 80.43 % {interval} |" in card
    assert f"| multiply-adds of one image | {results['dense_gmacs']:.3f} G | {results['gmacs']:.3f} G |" in card
    assert "By `hf-dynamicvit train` with `dynamicvit`: 45 steps, 5 epochs, seed 0, 365 s." in card
    write(place / "saved", results | {"resumed_after_step": 30})  # the seconds are of the last process alone
    assert "with `dynamicvit`: 45 steps, 5 epochs, seed 0." in dry_run(capsys)[0]
    assert "5 classes: a, b, c, d, e." in card and "Not measured: speed." in card and "/home/me" not in card
    assert "The card has what training measured, from saved/results.json: top-1 80.43 % of 46 images." in said
    write(place / "saved", results | {"teacher_is_dense_copy": True})
    assert "46 images | 84.78 % | 80.43 %" in dry_run(capsys)[0]
    data = ModelCard(card).data.to_dict()
    assert data["metrics"] == ["accuracy"] and not {"datasets", "model-index"} & {name for name in data if data[name]}


def test_a_wilson_interval():
    assert wilson_interval(37 / 46, 46) == pytest.approx((0.6681, 0.8936), abs=5e-4)  # statsmodels: proportion_confint
    assert wilson_interval(1.0, 9) == pytest.approx((0.7009, 1.0), abs=1e-4)
    assert wilson_interval(0.0, 9) == pytest.approx((0.0, 0.2991), abs=1e-4)
    assert wilson_interval(1.0, 10)[1] == 1.0 and wilson_interval(0.0, 10)[0] == 0.0


def test_what_is_typed_goes_first(place, capsys):
    save(place / "saved")
    card, said = dry_run(capsys, "--top1", "0.9", "--dense-top1", "0.95", "--dataset-name", "my pets")
    assert "| top-1 on my pets | 95.00 % | 90.00 % |" in card and "45 steps" in card
    assert "The card has --top1 0.9, as typed, in place of the 0.8043 of results.json." in said
    card, said = dry_run(capsys, "--top1", "0.804", "--dataset", "me/pets", "--num-images", "46")
    assert "| top-1 on me/pets, 46 images | 84.78 % (its teacher) | 80.40 % (95" in card
    assert "in place of the 0.8043" not in said
    assert "The card names the data set me/pets, as typed, in place of the my|images of results.json." in said
    assert ModelCard(card).data.to_dict()["datasets"] == ["me/pets"]


def change_method(results, folder):
    return results | {"reducer": "evit"}


def change_patches(results, folder):
    model = toy_model(**LABELS)
    model.set_keep_ratio(0.4)
    model.save_pretrained(folder)
    return results


def change_cost(results, folder):
    return results | {"gmacs": 1.1 * results["gmacs"]}


def change_weights(results, folder):
    toy_model(1, **LABELS).save_pretrained(folder)
    return results


def change_weights_later(results, folder):
    """As a version that kept no fingerprint would leave it."""
    return {name: value for name, value in results.items() if name != "weights"}


@pytest.mark.parametrize(
    "change, why",
    [
        (change_method, "the method was evit and is dynamicvit"),
        (change_patches, "it kept [44, 31, 21] patches and keeps [25, 10, 4]"),
        (change_cost, "an image took "),
        (change_weights, "its weights are others"),
        (change_weights_later, "its weights were saved after it"),
    ],
)
def test_results_of_a_model_that_was_changed_are_left_out(change, why, place, capsys):
    results = save(place / "saved")
    write(place / "saved", change(results, place / "saved"))
    if change is change_weights_later:
        assert "80.43" in dry_run(capsys)[0]
        os.utime(place / "saved" / "results.json", (1, 1))
    card, said = dry_run(capsys)
    assert "top-1" not in card and "80.43" not in card and "45 steps" not in card
    assert f"saved/results.json is not of this model any more, as {why}" in said and "--top1" in said


@pytest.mark.parametrize("record", ["[1]", "{", '{"log": []}', '{"top1": 93.0, "gmacs": 1.0, "reducer": "x"}'])
def test_results_of_another_program_are_none(record, place, capsys):
    save(place / "saved")
    (place / "saved" / "results.json").write_text(record)
    card, said = dry_run(capsys)
    assert "top-1" not in card and "Not measured: accuracy and speed." in card and "results.json" not in said


def test_images_that_decide_have_the_cost_that_training_measured(place, capsys):
    results = save(place / "saved", reducer="asvit")
    card, _ = dry_run(capsys)
    cost = f"{results['dense_gmacs']:.3f} G | {results['gmacs']:.3f} G"
    assert f"| multiply-adds of one image, mean of images of the evaluation | {cost} |" in card


@pytest.mark.parametrize(
    "options, message",
    [
        (["--dataset-name", "pets"], "--dataset-name is pets, of an accuracy; type --top1 too"),
        (["--dense-top1", "0.9"], "--dense-top1 is 0.9, of an accuracy; type --top1 too"),
        (["--num-images", "9"], "--num-images is 9, of an accuracy; type --top1 too"),
        (["--top1", "0.5", "--num-images", "0"], "num_pictures is 0; at least 1"),
        (["--top1", "93"], "top1 is 93.0; it must be from 0 to 1"),
    ],
)
def test_nothing_that_is_typed_is_dropped(options, message, place, capsys):
    save(place / "saved")
    (place / "saved" / "results.json").unlink()
    assert main(["push", "saved", "me/small", "--dry-run", *options]) == 1
    assert message in capsys.readouterr().err
    named = Measurements(top1=0.5, dataset_name="my pets")
    assert "| top-1 on my pets | not measured | 50.00 % |" in str(model_card(toy_model(), "small", named))


def test_a_dry_run_writes_the_card_and_nothing_else(place, capsys):
    save(place / "saved")
    Image.new("RGB", (40, 40)).save("black.png")
    options = ("--images", "black.png", "--output", "card")
    out, said = dry_run(capsys, *options)
    assert out == "Wrote the card to card.\n" and "Nothing was uploaded. To me/small would go README.md, " in said
    files = said.split("would go")[1]
    assert "kept.png, " in files and "model.safetensors, " in files and "results.json" not in files
    assert sorted(path.name for path in Path("card").iterdir()) == ["README.md", "kept.png"]
    assert "![" in Path("card", "README.md").read_text() and not Path("saved", "README.md").exists()
    assert main(["push", "saved", "me/small", "--dry-run", *options]) == 1
    assert "card exists already; name a new or an empty folder, or type --overwrite." in capsys.readouterr().err
    dry_run(capsys, *options, "--overwrite")
    assert main(["push", "saved", "me/small", "--output", "other"]) == 1
    assert "--output is for --dry-run; type that too." in capsys.readouterr().err
    found = json.loads(dry_run(capsys, "--json")[0])
    assert found["repo_id"] == "me/small" and "80.43 %" in found["card"] and "config.json" in found["files"]


class Hub:
    """Stands in for the client: remembers what it was asked, and answers `refusal` from then on."""

    asked: list[str] = []
    refused: str | None = None

    def __init__(self, token: str | None = None):
        pass

    def ask(self, what: str) -> None:
        self.asked.append(what)
        if self.refused == what:
            raise OSError(f"{what} is refused")

    def whoami(self) -> None:
        self.ask("whoami")

    def create_repo(self, repo_id: str, **options) -> SimpleNamespace:
        self.ask("create_repo")
        return SimpleNamespace(repo_id=f"me/{repo_id}")

    def upload_folder(self, folder_path: Path, **options) -> SimpleNamespace:
        self.ask("upload_folder")
        self.asked.append((folder_path / "README.md").read_text())
        return SimpleNamespace(commit_url="https://example.org")


@pytest.mark.parametrize("refused", ["whoami", "create_repo", None])
def test_the_hub_is_asked_ahead_of_measuring(refused, place, monkeypatch, capsys):
    save(place / "saved", reducer="evovit")
    monkeypatch.setattr("hf_dynamicvit.hub.push.HfApi", Hub)
    monkeypatch.setattr(Hub, "asked", [])
    monkeypatch.setattr(Hub, "refused", refused)
    monkeypatch.setattr("hf_dynamicvit.hub.push.measure_speed", lambda model: Hub.asked.append("speed") or {})
    assert main(["push", "saved", "small", "--measure-speed"]) == (refused is not None)
    said = capsys.readouterr().err
    if refused is not None:
        assert Hub.asked == ["whoami", "create_repo"][: len(Hub.asked)] and Hub.asked[-1] == refused
        assert f"{refused} is refused" in said
        return
    assert Hub.asked[:-1] == ["whoami", "create_repo", "speed", "upload_folder"]
    assert 'model="me/small"' in Hub.asked[-1]  # as the Hub calls it
    assert "The card has no speed, as this model has no dense copy" in said


def test_many_classes_and_odd_names():
    names = dict(enumerate(["a|b", "<i>c*", *map(str, range(30))]))
    model = toy_model(num_labels=32, id2label=names, label2id={name: index for index, name in names.items()})
    text = str(model_card(model, "small", Measurements()))
    assert r"32 classes: a\|b, \<i\>c\*, 0, 1, " in text and "17 and 12 more, all in config.json." in text
    assert "5 classes, whose names config.json does not have." in str(model_card(toy_model(), "small", Measurements()))


def test_content_that_is_not_given_is_none():
    assert CardContent() == CardContent(Measurements()) != CardContent(replace(Measurements(), top1=0.5))
