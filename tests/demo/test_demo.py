# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The demo's command, what it reads, and what its models answer; the page itself is tested in `demo/`."""

import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pytest
import torch
from methods import UNLIKE, usual
from paths import EXAMPLES
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from programs import run_program
from toys import toy_dense, toy_model
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_dynamicvit import REDUCERS, demo
from hf_dynamicvit.commands.cli import main
from hf_dynamicvit.demo import answer
from hf_dynamicvit.demo import methods as methods_module
from hf_dynamicvit.demo.answer import Models, Times
from hf_dynamicvit.demo.code import python_code, shell_code
from hf_dynamicvit.demo.html import DRAWN, answers_html, told_spread, told_time
from hf_dynamicvit.demo.input import DIGIT_SCANS, PHOTOGRAPHS, bundled, digits, flowers, open_image
from hf_dynamicvit.demo.methods import GROUPS, read_methods
from hf_dynamicvit.demo.models import METHODS, OWN, Choice, on_slider, read_sources
from hf_dynamicvit.demo.server.limits import Limits, RateLimit
from hf_dynamicvit.demo.server.messages import depth, files_in, find_address, paths_in
from hf_dynamicvit.demo.server.uploads import Uploads
from hf_dynamicvit.demo.verdict import told_cost, told_speed, verdict_html
from hf_dynamicvit.families import MODEL_TYPES
from hf_dynamicvit.look.drawing import chosen
from hf_dynamicvit.look.viewer import Viewer
from hf_dynamicvit.model.reducers import is_adaptive
from hf_dynamicvit.registration import CLASSIFIERS


SPACE = EXAMPLES / "space"


def save(model, folder: Path) -> str:
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    return save(toy_model(keep_ratio=0.7), tmp_path_factory.mktemp("demo") / "sparse")


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    return save(toy_dense(), tmp_path_factory.mktemp("demo") / "dense")


def noise(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8))


def test_tables_that_are_read_without_torch_agree_with_those_that_are_not():
    assert sorted(REDUCERS) == METHODS
    assert sorted(MODEL_TYPES) == sorted(CLASSIFIERS)


@pytest.mark.slow
def test_page_is_made_without_torch():
    """Which is why it is there in a few seconds."""
    code = "import sys; import hf_dynamicvit.demo.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_command_without_a_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 1
    error = capsys.readouterr().err
    assert "run hf-dynamicvit quickstart first" in error and "name --model" in error
    for name in ("dense", "sparse"):
        (tmp_path / "quickstart" / name).mkdir(parents=True)
        (tmp_path / "quickstart" / name / "config.json").touch()
    assert demo.choose_sources(None) == ["quickstart/sparse", "quickstart/dense"]
    assert demo.choose_sources(["mine"]) == ["mine"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "no/such/folder"], "there is no folder no/such/folder"),
        (["--model", "{sparse}", "{sparse}"], "a model is named twice"),
        (["--model", "{sparse}", "--port", "70000"], "--port is 70000; a port is a number from 1 to 65535"),
    ],
)
def test_command_refuses(arguments, said, sparse, capsys):
    assert main(["demo", *(argument.format(sparse=sparse) for argument in arguments)]) == 1
    assert said in capsys.readouterr().err


def test_command_without_gradio(sparse, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo", "--model", sparse]) == 1
    said = capsys.readouterr().err
    assert 'pip install "hf-dynamicvit[demo]"' in said and '(in a clone: pip install ".[demo]")' in said


def test_command_serves(sparse, monkeypatch):
    """All the way, but for the server itself."""
    from hf_dynamicvit.demo import page

    served = []
    monkeypatch.setenv("GRADIO_TEMP_DIR", "before")
    monkeypatch.setattr(
        page.Demo, "launch", lambda self, host, port: served.append((self.page.uploads.folder, host, port))
    )
    assert main(["demo", "--model", sparse, "--port", "8080"]) == 0
    ((folder, host, port),) = served
    assert folder.is_dir() and (host, port) == ("127.0.0.1", 8080)


def test_sources(sparse, dense, tmp_path):
    found, other = read_sources([sparse, dense])
    assert (found.name, found.reducer, found.keep_ratio, found.shows_digits) == ("sparse", "dynamicvit", 0.7, False)
    assert (other.name, other.reducer, other.keep_ratio) == ("dense", None, 0.7)
    (tmp_path / "sparse").symlink_to(sparse)
    same_name = save(toy_dense(num_labels=10, id2label=dict(enumerate("0123456789"))), tmp_path / "x" / "sparse")
    assert [source.name for source in read_sources([sparse, same_name])][1] == "x/sparse"
    assert read_sources([same_name])[0].shows_digits
    shutil.copy(Path(sparse, "preprocessor_config.json"), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="of model type 'bert'; the demo shows vit, "):
        read_sources([str(tmp_path)])
    for labels in (None, {"a": "b"}):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "id2label": labels}))
        assert not read_sources([str(tmp_path)])[0].shows_digits


def test_slider_starts_where_the_checkpoint_is():
    assert [on_slider(value) for value in (0.7, 0.72, 0.1, 1, [0.9, 0.5], None)] == [0.7, 0.7, 0.3, 1.0, 0.7, 0.7]


@pytest.mark.parametrize(
    ("method", "keep_ratio"), [("magic", 0.7), ("topk", 0.2), ("topk", "0.7"), ("topk", True), ("topk", float("nan"))]
)
def test_choices_off_the_page_are_refused(method, keep_ratio):
    with pytest.raises(ValueError):
        Choice("sparse", method, keep_ratio)


def test_choices_that_are_no_choices_are_refused_in_words(sparse, tmp_path):
    from hf_dynamicvit.demo.events import Page

    page = Page(read_sources([sparse]), [], Limits(), Uploads(tmp_path, 20, set()))
    usual = ["sparse", OWN, 0.7, False, "tome", 0.7, "classify", ""]
    assert "patches and says" in page.answers(noise(), *usual)
    for place, value, said in (
        (0, ["x"], "There is no model"),
        (0, {}, "There is no model"),
        (1, ["x"], "There is no method"),
        (2, float("nan"), "The keep ratio is nan"),
        (2, float("inf"), "The keep ratio is inf"),
        (2, None, "The keep ratio is None"),
    ):
        html = page.answers(noise(), *usual[:place], value, *usual[place + 1 :])
        assert 'role="alert"' in html and said in html
    assert "There are 8 settings, not 3" in page.answers(noise(), *usual[:3])
    assert "keep ratio 1.00" in page.answers(noise(), "sparse", OWN, 10**400, False, "tome", 0.7, "classify", "")


LATE = """
import sys, threading, types
from pathlib import Path
from PIL import Image
from hf_dynamicvit.demo.server.limits import Limits
from hf_dynamicvit.demo.models import read_sources
from hf_dynamicvit.demo.events import Page
from hf_dynamicvit.demo.server.uploads import Uploads

source, folder = sys.argv[1], Path(sys.argv[2])
page = Page(read_sources([source]), [], Limits(), Uploads(folder, 20, set()))
(folder / "a").mkdir()
Image.new("RGB", (32, 32)).save(folder / "a" / "a.png")
settings, answers = ["sparse", "as trained", 0.7, False, "tome", 0.7, "classify", ""], []
window = types.SimpleNamespace(session_hash="w")
threads = [
    threading.Thread(target=lambda: answers.append(page.upload(window, {"path": f"{folder}/a/a.png"}, *settings)[3])),
    threading.Thread(target=lambda: answers.append(page.look(window, Image.new("RGB", (32, 32)), *settings))),
]
before = {name for name in sys.modules if name.startswith("hf_dynamicvit")}
with page._making:  # somebody imports
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=1)
    print(sorted({name for name in sys.modules if name.startswith("hf_dynamicvit")} - before))
for thread in threads:
    thread.join()
print(["patches and says" in answer for answer in answers])
"""


@pytest.mark.slow
def test_events_import_nothing_while_another_does(sparse, tmp_path):
    """Two threads that import modules which need each other stop each other."""
    run = run_program(LATE, sparse, str(tmp_path.resolve()), folder=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-2:] == ["[]", "[True, True]"]


def test_what_nobody_foresaw_is_an_answer_too(sparse, tmp_path, monkeypatch, caplog):
    """Or that of another model would stay where it is."""
    from hf_dynamicvit.demo.events import BROKEN, Page

    def fail(*_):
        raise KeyError("a secret")

    page = Page(read_sources([sparse]), [], Limits(), Uploads(tmp_path, 20, set()))
    monkeypatch.setattr(Models, "answer", fail)
    html = page.answers(noise(), "sparse", OWN, 0.7, False, "tome", 0.7, "classify", "")
    assert BROKEN in html and "secret" not in html and "a secret" in caplog.text
    monkeypatch.setattr(Models, "load", fail)
    page.warm_up()


@pytest.mark.parametrize("changes", [{"hidden_size": 48}, {"image_size": "x"}])
def test_weights_and_configuration_that_do_not_fit(changes, sparse, tmp_path):
    shutil.copytree(sparse, tmp_path / "mine")
    file = tmp_path / "mine" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    models = Models(read_sources([str(tmp_path / "mine")]))
    with pytest.raises(ValueError, match=r"mine|image_size") as error:
        models.answer(noise(), Choice("mine", OWN, 0.7))
    assert str(tmp_path) not in str(error.value)


def test_equal_ratios_with_other_costs_are_told(sparse):
    models = Models(read_sources([sparse]))
    own, tome, fewer = (
        models.answer(noise(), Choice("sparse", *asked)) for asked in ((OWN, 0.7), ("tome", 0.7), (OWN, 0.5))
    )
    assert "compare at equal GMACs" in answers_html([own, tome])
    for answers in ([own], [own, own], [own, fewer], [own, "no"]):
        assert "compare at equal GMACs" not in answers_html(answers)


def test_methods_are_told_as_their_classes_are():
    methods = read_methods()
    assert sorted(method.name for method in methods) == METHODS
    for method in methods:
        assert method.group == REDUCERS[method.name].rest, method.name
        assert method.title.lower().replace("-", "") == method.name and method.line
    order = [method.group for method in methods]
    assert order == sorted(order, key=[*GROUPS].index)
    (tome,) = (method for method in methods if method.name == "tome")
    assert tome.line == "in every block the most similar pairs of patches are merged"


def test_methods_of_other_packages_are_a_group(monkeypatch):
    monkeypatch.setattr(methods_module, "METHODS", [*METHODS, "foreign"])
    assert read_methods()[-1].name == "foreign" and read_methods()[-1].group == ""


def test_the_page_begins_with_what_needs_no_training_and_compares_with_another(sparse, dense, tmp_path):
    from hf_dynamicvit.demo.controls import another_method

    merging = save(toy_model(reducer="tome", keep_ratio=0.7), tmp_path / "merging")
    begun = [(source.first_method, source.other_method) for source in read_sources([sparse, dense, merging])]
    assert begun == [(OWN, "tome"), ("tome", "topk"), (OWN, "topk")]
    assert another_method("tome", False, "tome") == "topk" and another_method("topk", False, "topk") == "tome"
    assert another_method("tome", True, "tome") == "tome" and another_method("evit", False, "tome") == "tome"


def test_the_page_opens_with_an_answer_that_is_made_once(sparse, tmp_path, monkeypatch):
    from hf_dynamicvit.demo.events import LABELS, Page

    sources, asked = read_sources([sparse]), []
    page = Page(sources, bundled(sources), Limits(), Uploads(tmp_path, 20, set()))
    answers = Models.answer

    def broken(*_):
        raise ValueError("not now")

    monkeypatch.setattr(Models, "answer", broken)
    assert "not now" in page.opening()[2]  # what failed is tried again
    monkeypatch.setattr(Models, "answer", lambda *given: asked.append(given[2]) or answers(*given))
    image, shown, html = page.opening()
    assert page.opening()[2] == html and asked == [Choice("sparse", OWN, 0.7, labels=LABELS)]
    assert image is page.images[0].image and "Chosen: Daisy" in shown and "#pick-0" in shown
    assert "patches and says" in html


def test_the_verdict_tells_whether_the_answer_changed(sparse):
    answer = Models(read_sources([sparse])).answer(noise(), Choice("sparse", OWN, 0.5))
    probabilities = torch.tensor([0.1, 0.6, 0.1, 0.1, 0.1])
    costs = {"multiply_adds": 64, "dense_multiply_adds": 100, "probabilities": probabilities}

    def verdict(dense, milliseconds):
        view = replace(answer.view, dense_probabilities=dense, **costs)
        return verdict_html(replace(answer, view=view, milliseconds=milliseconds))

    times = {name: Times(median, 0.1, 9.0, 5) for name, median in (("sparse", 1.0), ("dense", 1.3))}
    same = verdict(probabilities, times)
    assert "Same answer (LABEL_1), 36% less compute, 1.3x faster" in same and "dv-same" in same
    changed = verdict(probabilities.flip(0), times)
    assert "Answer changed (LABEL_1; dense: LABEL_3), 36%" in changed and "dv-changed" in changed
    alone = verdict(None, {"sparse": times["sparse"]})
    assert "LABEL_1, 36% less compute</p>" in alone and "dv-alone" in alone
    assert [told_speed(ratio) for ratio in (0.58, 1.04, 0.97, 2)] == [
        "1.7x slower",
        "about as fast",
        "about as fast",
        "2.0x faster",
    ]
    assert [told_cost(cost) for cost in (0.64, 1.0, 1.1)] == [
        "36% less compute",
        "the same compute",
        "10% more compute",
    ]


@pytest.mark.parametrize("method", [OWN, "tome"])
def test_the_code_gives_the_answer_that_is_shown(method, sparse, tmp_path, monkeypatch, capsys):
    models = Models(read_sources([sparse]))
    noise().save(tmp_path / "image.png")
    (tmp_path / "image.png").rename(tmp_path / "image.jpg")  # without loss
    answer = models.answer(noise(), Choice("sparse", method, 0.5))
    html = answers_html([answer])
    assert escape(python_code(answer.choice)) in html and escape(shell_code(answer.choice)) in html
    assert 'download="' in html and "data:image/jpeg;base64," in html
    (tmp_path / "sparse").symlink_to(sparse)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(python_code(answer.choice), found)
    assert found["view"].counts == answer.view.counts and Path("seen.png").is_file()
    assert main(shlex.split(shell_code(answer.choice))[1:]) == 0
    assert json.loads(Path("seen", "views.json").read_text())["pictures"][0]["kept"] == answer.view.counts


def test_times_are_told_without_exponents():
    once, twice = Times(12.34, 12.34, 12.34, 1), Times(12.34, 11.98, 140.2, 2)
    assert told_spread(once) == "12.3" and told_spread(twice) == "12.3 (12 to 140)"
    assert [told_time(value) for value in (0.01234, 12.34, 99.96, 1460.4)] == ["0.0123", "12.3", "100", "1,460"]


def test_probabilities_are_bars_and_scores_have_a_scale(sparse):
    answer = Models(read_sources([sparse])).answer(noise(), Choice("sparse", OWN, 0.5))
    html = answers_html([answer])
    assert f"width: {answer.view.probabilities.max():.1%}" in html and html.count('class="dv-bar"') == 10
    assert html.count('class="dv-scale"') == 3


def test_bundled_images(sparse):
    table = json.loads((PHOTOGRAPHS / "attribution.json").read_text())
    assert {entry["file"] for entry in table["images"]} == {file.name for file in PHOTOGRAPHS.glob("*.jpg")}
    for entry, shown in zip(table["images"], flowers(), strict=True):
        assert entry["author"] in shown.credit and entry["link"] in shown.credit and "CC-BY 2.0" in shown.credit
        assert shown.image.size == (224, 224) and (PHOTOGRAPHS / entry["file"]).stat().st_size < 25_000
    (source,) = read_sources([sparse])
    assert [shown.title for shown in bundled([source])] == [shown.title for shown in flowers()]


def test_digits_are_of_the_quickstarts_test_images():
    from hf_dynamicvit.data.digits import load_digits_dataset

    rows = load_digits_dataset(seed=0)["test"]
    tested = {row["image"].tobytes(): row["label"] for row in rows}
    shown = digits()
    assert [image.title for image in shown] == [f"Digit {digit}" for digit in DIGIT_SCANS]
    assert [tested[image.image.tobytes()] for image in shown] == [*DIGIT_SCANS]


def test_images_lose_all_but_their_pixels(tmp_path):
    image, file = noise(), tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"  # lies on its side
    image.save(file, exif=exif, comment=b"a secret")
    read = open_image(file, 40_000_000)
    assert read.size == (40, 60) and read.mode == "RGB" and read.info == {} and not read.getexif()
    image.resize((4000, 100)).save(tmp_path / "long.png")
    assert open_image(tmp_path / "long.png", 40_000_000).size == (1024, 26)


def test_images_that_are_refused(tmp_path):
    Image.new("I;16", (4, 4)).save(tmp_path / "deep.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "format.tiff")
    Image.new("1", (20_000, 10_000)).save(tmp_path / "bomb.png")
    Image.new("RGB", (129, 2)).save(tmp_path / "line.png")
    text = PngInfo()
    text.add_text("k", "x" * 3_000_000, zip=True)  # more than Pillow unpacks
    Image.new("RGB", (4, 4)).save(tmp_path / "text.png", pnginfo=text)
    noise().save(tmp_path / "whole.gif")
    (tmp_path / "cut.gif").write_bytes((tmp_path / "whole.gif").read_bytes()[:100])
    said = {
        "deep.png": "more than 8 bits a channel",
        "format.tiff": "no image that can be read",
        "bomb.png": "too many pixels",
        "line.png": "129 x 2 pixels: one edge may be 64 times the other",
        "text.png": "damaged",
        "cut.gif": "damaged",
        "gone.png": "damaged",
    }
    for name, message in said.items():
        with pytest.raises(ValueError, match=message) as error:
            open_image(tmp_path / name, 300_000_000 if name != "bomb.png" else 40_000_000)
        assert str(tmp_path) not in str(error.value)


def test_rate_limit():
    now = [0.0]
    rate = RateLimit(2, seconds=60, clock=lambda: now[0])
    assert [rate.allows("a"), rate.allows("a"), rate.allows("a"), rate.allows("b")] == [True, True, False, True]
    now[0] = 61
    assert rate.allows("a")


def test_paths_are_found_wherever_they_are():
    body = b'{"path": "/a", "data": [{"path": null}, [{"x": {"pa\\u0074h": "http://b", "path": 3}}]]}'
    assert sorted(paths_in(body)[0]) == ["/a", "3", "http://b"]
    with pytest.raises(ValueError):
        paths_in(b"not JSON")
    assert [depth(value) for value in (1, [], {"a": [1, {}]})] == [0, 1, 3]


def test_addresses_of_visitors():
    scope = {"client": ("10.0.0.1", 5), "headers": [(b"x-forwarded-for", b"made, up"), (b"x-forwarded-for", b"a, b")]}
    assert find_address(scope, behind_proxy=False) == "10.0.0.1"
    assert find_address(scope, behind_proxy=True) == "b"
    assert find_address(scope | {"headers": []}, behind_proxy=True) == "10.0.0.1"


@pytest.mark.parametrize("number", [0, 1, 3])
def test_files_in_a_request_are_counted(number):
    body = b"".join(b"--xy\r\nContent-Disposition: form-data\r\n\r\n--x\r\n" for _ in range(number)) + b"--xy--\r\n"
    assert files_in(body, b'multipart/form-data; boundary="xy"') == number
    assert files_in(body, b"text/plain") == 0


@usual(method=[OWN, *UNLIKE, "asvit"])
@pytest.mark.parametrize("method", [OWN, *METHODS])
@pytest.mark.slow
def test_every_method_answers(method, sparse, dense):
    models = Models(read_sources([sparse, dense]))
    for name, source in models.sources.items():
        answer = models.answer(noise(), Choice(name, method, 0.5))
        for times in answer.milliseconds.values():
            assert 0 < times.fastest <= times.median <= times.slowest and times.turns >= 1
        assert answer.view.multiply_adds < answer.view.dense_multiply_adds
        assert answer.trained != Viewer.load(source.place, answer.reducer).untrained
        html = answers_html([answer])
        assert ("Not trained" in html) == (not answer.trained and not is_adaptive(answer.reducer))
        assert ("not trained with" in html) == (answer.reducer != source.reducer and "Not trained" not in html)
        assert name == "sparse" or answer.reducer != "dynamicvit" or not answer.trained
        assert ("Merged groups, one colour each" in html) == (REDUCERS[answer.reducer].rest == "merged")
        assert ("on this very image each stage keeps" in html) == is_adaptive(answer.reducer)
        counts = [str(answer.view.counts[stage]) for stage in chosen(len(answer.view.counts), DRAWN)]
        assert f"keeps {', '.join(counts)} of 64 patches" in html


def test_what_a_model_cannot_do_is_said_without_its_folder(tmp_path):
    place = save(toy_model(reducer="evovit", keep_ratio=0.7), tmp_path / "mine")  # its classifier reads all tokens
    models = Models(read_sources([place]))
    with pytest.raises(ValueError, match="the classifier of mine") as error:
        models.answer(noise(), Choice("mine", "topk", 0.7))
    assert str(tmp_path) not in str(error.value)
    html = answers_html([models.answer(noise(), Choice("mine", OWN, 0.7)), str(error.value)])
    assert "no dense model to compare with" in html and 'role="alert">the classifier of mine' in html
    (tmp_path / "mine" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="the weights of mine cannot be read"):
        Models(read_sources([place])).load("mine", OWN)
    with pytest.raises(ValueError, match="no model '/etc' here"):
        models.answer(noise(), Choice("/etc", OWN, 0.7))


def test_tome_says_what_it_cannot_reach(tmp_path):
    shallow = save(toy_dense(num_hidden_layers=1), tmp_path / "shallow")
    models = Models(read_sources([shallow]))
    with pytest.raises(ValueError, match="at most half of them merge"):
        models.answer(noise(), Choice("shallow", "tome", 0.3))
    assert models.answer(noise(), Choice("shallow", "tome", 0.5)).view.counts == [32]


def test_keep_ratios_of_two_visitors_do_not_mix(sparse, monkeypatch):
    """Were a model set by one while another looks, both would see the ratio that came last."""
    together, look = threading.Barrier(2), Viewer.look

    def slow_look(self, images):
        with suppress(threading.BrokenBarrierError):
            together.wait(timeout=0.5)  # were there no lock, both would be here
        return look(self, images)

    monkeypatch.setattr(Viewer, "look", slow_look)
    models = Models(read_sources([sparse]))
    models.load("sparse", OWN)
    with ThreadPoolExecutor(2) as pool:
        few, many = pool.map(lambda ratio: models.answer(noise(), Choice("sparse", OWN, ratio)), (0.4, 0.9))
    expected = toy_model(keep_ratio=0.4).token_counts(), toy_model(keep_ratio=0.9).token_counts()
    assert (few.view.counts, many.view.counts) == expected


def test_few_models_stay_in_memory(sparse, monkeypatch):
    monkeypatch.setattr(answer, "CAPACITY", 2)
    models = Models(read_sources([sparse]))
    for method in ("topk", "evit", "topk", "tome"):
        models.load("sparse", method)
    assert list(models._viewers) == [("sparse", "topk"), ("sparse", "tome")]


def test_space(sparse, monkeypatch):
    """Its page is made, its settings are those that the Hub knows."""
    monkeypatch.setenv("DEMO_MODELS", sparse)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "before")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "before")
    app = runpy.run_path(str(SPACE / "app.py"), run_name="space")
    assert list(app["make_demo"]().page.sources) == ["sparse"]
    front = re.match(r"---\n(.*?)\n---\n", (SPACE / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    settings = dict(line.split(": ", 1) for line in front.splitlines() if ": " in line)
    assert settings["sdk"] == "gradio" and settings["sdk_version"].startswith("6.")
    assert (SPACE / settings["app_file"]).is_file() and len(settings["short_description"]) <= 60
    assert app["DEFAULT"] in front
    lines = (SPACE / "requirements.txt").read_text().splitlines()
    assert lines[-1] == "hf-dynamicvit[demo]" and len([line for line in lines if line[0] not in "#-"]) == 1
