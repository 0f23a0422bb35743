# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The tabs of the demo for models that are no classifiers: zero-shot and retrieval."""

import json

import numpy as np
import pytest
from encoders import save_encoder, save_two_towers
from native_toys import native_model
from PIL import Image
from toys import toy_dense
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.demo.answer import NEAREST, Models, Neighbours
from hf_dynamicvit.demo.code import python_code, shell_code
from hf_dynamicvit.demo.events import Page
from hf_dynamicvit.demo.html import answers_html
from hf_dynamicvit.demo.input import PHOTOGRAPHS, flowers, read_gallery
from hf_dynamicvit.demo.models import MOST_LABELS, OWN, Choice, find_tasks, read_sources, split_labels
from hf_dynamicvit.demo.server.limits import Limits
from hf_dynamicvit.demo.server.uploads import Uploads
from hf_dynamicvit.demo.verdict import told_neighbours


LABELS = "daisy, rose, cat"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`classifier/`, `towers/` and `encoder/`."""
    folder = tmp_path_factory.mktemp("kinds")
    toy_dense().save_pretrained(folder / "classifier")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder / "classifier")
    save_two_towers(folder / "towers")
    save_encoder(folder / "encoder")
    return folder


@pytest.fixture(scope="module")
def models(folder):
    return Models(read_sources([str(folder / name) for name in ("classifier", "towers", "encoder")]))


def noise(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8))


def test_what_can_be_asked_of_a_model(models):
    tasks = {name: source.tasks for name, source in models.sources.items()}
    assert tasks == {"classifier": ("classify",), "towers": ("zero-shot", "retrieval"), "encoder": ("retrieval",)}
    assert find_tasks({"model_type": "clip", "text_config": {}, "architectures": ["CLIPForImageClassification"]}) == (
        "classify",
    )
    assert find_tasks({"model_type": "vit"}) == ("classify",) and find_tasks({"model_type": "bert"}) == ()
    assert find_tasks({"model_type": "aimv2", "text_config": {}}) == ("zero-shot", "retrieval")
    assert find_tasks({"model_type": "clip_vision_model", "architectures": ["CLIPVisionModel"]}) == ("retrieval",)
    assert find_tasks({"model_type": "dynamicdinov2", "architectures": ["DynamicDinov2Model"]}) == ("retrieval",)
    with pytest.raises(ValueError, match="classifier is no model for Retrieval"):
        models.answer(noise(), Choice("classifier", OWN, 0.7, "retrieval"))
    with pytest.raises(ValueError, match="encoder is no model for Classify"):
        models.answer(noise(), Choice("encoder", OWN, 0.7))


def test_labels_that_are_typed():
    assert split_labels(" a cat,, dog ,a cat") == ["a cat", "dog"]
    for typed, said in (
        ("cat", "There are 1 labels; type 2 to 20"),
        (",".join(map(str, range(MOST_LABELS + 1))), "There are 21 labels"),
        (f"cat, {'x' * 61}", "61 characters; it can have 60"),
    ):
        with pytest.raises(ValueError, match=said):
            Choice("towers", OWN, 0.7, "zero-shot", typed)
    with pytest.raises(ValueError, match="no task 'magic'"):
        Choice("towers", OWN, 0.7, "magic")


@pytest.mark.parametrize("method", ["tome", "topk"])
def test_zero_shot(method, models):
    answer = models.answer(noise(), Choice("towers", method, 0.5, "zero-shot", LABELS))
    assert answer.labels == ["daisy", "rose", "cat"] and answer.view.probabilities.sum() == pytest.approx(1, abs=1e-5)
    html = answers_html([answer])
    assert "of 64 patches and says" in html and "Top 3" in html and "Nearest images" not in html
    assert "Same answer" in html or "Answer changed" in html
    assert shell_code(answer.choice) == ""


@pytest.mark.parametrize("name", ["towers", "encoder"])
def test_retrieval(name, models):
    query = flowers()[0]
    answer = models.answer(query.image, Choice(name, "tome", 0.5, "retrieval"))
    found = answer.neighbours
    assert found.searched == 16 and len(found.sparse) == len(found.dense) == NEAREST
    assert query.title not in [entry.title for entry, _ in found.sparse + found.dense]  # the query itself
    for row in (found.sparse, found.dense):
        cosines = [cosine for _, cosine in row]
        assert cosines == sorted(cosines, reverse=True)
    html = answers_html([answer])
    assert "Nearest images, sparse" in html and f"finds {found.sparse[0][0].title}" in html
    assert 'class="dv-classes"' not in html and "Of 16 images" in html and "dv-download" not in html
    assert html.count("dv-only") == 2 * (NEAREST - found.shared)


def test_the_index_is_made_once(models, monkeypatch):
    from hf_dynamicvit.look.encoders import EncoderViewer

    models.answer(noise(), Choice("encoder", "topk", 0.7, "retrieval"))
    monkeypatch.delattr(EncoderViewer, "embed_dense")
    models.answer(noise(1), Choice("encoder", "tome", 0.5, "retrieval"))


def test_the_index_is_built_before_anybody_asks(folder, tmp_path, monkeypatch):
    from hf_dynamicvit.look.encoders import EncoderViewer

    page = Page(read_sources([str(folder / "towers")]), flowers(), Limits(), Uploads(tmp_path, 20, set()))
    page.warm_up()
    monkeypatch.delattr(EncoderViewer, "embed_dense")
    answer = page.models.answer(noise(), Choice("towers", "tome", 0.5, "retrieval"))
    assert answer.neighbours.searched == 16


def test_the_verdict_tells_how_many_are_found():
    one, two, three = flowers()[:3]

    def verdict(*names):
        found = Neighbours([(entry, 0.5) for entry in names], [(one, 0.6), (two, 0.5)], 9)
        return told_neighbours(found)[1:]

    assert verdict(one, two) == ("Same 2 nearest images", "dv-same")
    assert verdict(two, one) == ("Same 2 nearest images in another order", "dv-same")
    assert verdict(one, three) == ("1 of the dense model's 2 nearest images found", "dv-changed")


@pytest.mark.parametrize(
    ("name", "task", "found"),
    [("towers", "zero-shot", "dense:"), ("towers", "retrieval", "my_images"), ("encoder", "retrieval", "my_images")],
)
def test_the_code_gives_the_answer_that_is_shown(name, task, found, models, folder, tmp_path, monkeypatch, capsys):
    answer = models.answer(noise(), Choice(name, "topk", 0.5, task, LABELS))
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "my_images").mkdir()
    for seed in range(2):
        noise(seed).save(tmp_path / "my_images" / f"{seed}.jpg")
    noise().save(tmp_path / "image.png")
    (tmp_path / "image.png").rename(tmp_path / "image.jpg")  # without loss
    space = {}
    exec(python_code(answer.choice), space)
    assert space["view"].counts == answer.view.counts
    assert found in capsys.readouterr().out
    if task == "zero-shot":
        assert space["view"].probabilities.tolist() == pytest.approx(answer.view.probabilities.tolist(), abs=1e-5)


def test_images_of_a_folder_are_searched(folder, tmp_path):
    for seed in range(3):
        (tmp_path / "a").mkdir(exist_ok=True)
        noise(seed).save(tmp_path / "a" / f"{seed}.png")
    assert [entry.title for entry in read_gallery(tmp_path)] == ["a/0.png", "a/1.png", "a/2.png"]
    searching = Models(read_sources([str(folder / "encoder")]), tmp_path)
    found = searching.answer(noise(1), Choice("encoder", "topk", 0.9, "retrieval")).neighbours
    assert {entry.title for entry, _ in found.dense} == {"a/0.png", "a/2.png"} and found.searched == 3


def test_the_command_takes_images(folder, tmp_path, monkeypatch, capsys):
    from hf_dynamicvit.demo import page

    served = []
    monkeypatch.setenv("GRADIO_TEMP_DIR", "before")
    monkeypatch.setattr(page.Demo, "launch", lambda self, host, port: served.append(self.page.searched))
    model = ["demo", "--model", str(folder / "encoder")]
    assert main([*model, "--images", str(tmp_path)]) == 0 and served == [tmp_path]
    assert main([*model, "--images", str(tmp_path / "none")]) == 1
    assert "it is to be a folder of images" in capsys.readouterr().err


def test_gallery_names_who_took_its_photographs():
    table = json.loads((PHOTOGRAPHS / "attribution.json").read_text(encoding="utf-8"))
    assert {entry["file"] for entry in table["gallery"]} == {
        f"gallery/{file.name}" for file in (PHOTOGRAPHS / "gallery").iterdir()
    }
    links = [entry["link"] for entry in table["images"] + table["gallery"]]
    assert len({*links}) == len(links) == 16
    for entry, shown in zip(table["gallery"], flowers("gallery"), strict=True):
        assert entry["author"] in shown.credit.replace("&#x27;", "'") and shown.image.size == (160, 160)


def test_a_model_without_pooled_output_says_so(tmp_path):
    native_model("dynamicijepa", "model").save_pretrained(tmp_path / "mean")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "mean")
    with pytest.raises(ValueError, match="has no pooled output"):
        Models(read_sources([str(tmp_path / "mean")])).answer(noise(), Choice("mean", "topk", 0.7, "retrieval"))
