# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Pushing and loading through the true client of the Hub, over HTTP on loopback."""

import json
from subprocess import CompletedProcess

import pytest
import torch
from huggingface_hub import ModelCard
from local_hub import TOKEN, USER, LocalHub
from PIL import Image
from programs import ForkServer, Program, environment, free_port
from torch.testing import assert_close
from toys import assert_same_weights, toy_images, toy_model
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settings():
    """The environment of one who knows the local Hub only; the cache is in the working folder."""
    named = {name: value for name, value in environment().items() if not name.startswith("HF_")}
    switches = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return named | switches | {"HF_ENDPOINT": f"http://127.0.0.1:{free_port()}", "HF_HOME": "home"}


@pytest.fixture(scope="module")
def server(settings):
    """The process that programs are forked off, in this environment."""
    server = ForkServer(settings)
    yield server
    server.stop()


@pytest.fixture
def hub(settings):
    """An empty Hub at the endpoint of all tests."""
    with LocalHub(int(settings["HF_ENDPOINT"].rpartition(":")[2])) as hub:
        yield hub


@pytest.fixture
def client(hub, server, settings, tmp_path):
    """Run Python in a process of its own that knows the local Hub only."""

    def run(program: str, *arguments: str, token: str = TOKEN) -> CompletedProcess:
        called = Program(PATIENCE + program, [*arguments], tmp_path, settings | {"HF_TOKEN": token})
        return server.run([called], timeout=120)[0]

    return run


# The true client, but between its tries it waits a twentieth of a second at most.
PATIENCE = "import time; wait = time.sleep; time.sleep = lambda seconds: wait(min(seconds, 0.05))\n"
PUSH = "import sys; from hf_dynamicvit.commands.cli import main; sys.exit(main(['push', *sys.argv[1:]]))"
LOAD = """
import sys, torch
if "absent" in sys.argv:
    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "hf_dynamicvit":
                raise ModuleNotFoundError(name)
    sys.meta_path.insert(0, Absent())
else:
    import hf_dynamicvit
from transformers import AutoImageProcessor, AutoModelForImageClassification
trust = "absent" in sys.argv
model = AutoModelForImageClassification.from_pretrained(sys.argv[1], trust_remote_code=trust).eval()
processor = AutoImageProcessor.from_pretrained(sys.argv[1])
assert processor.size["height"] == 32
torch.save((model.state_dict(), model(torch.load("images.pt")).logits), "loaded.pt")
"""


@pytest.fixture
def saved(tmp_path):
    """A checkpoint with its processor, and the model."""
    labels = {"id2label": dict(enumerate("abcde")), "label2id": dict(zip("abcde", range(5), strict=True))}
    model = toy_model(hidden_size=64, intermediate_size=256, **labels)
    model.save_pretrained(tmp_path / "saved")
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / "training_args.bin").write_bytes(b"a pickle")
    torch.save(toy_images(), tmp_path / "images.pt")
    return model


def assert_loaded(folder, weights, logits):
    """What `LOAD` found: these weights to the bit, these logits to 1e-5."""
    found = torch.load(folder / "loaded.pt")
    assert_same_weights(found[0], weights)
    assert_close(found[1], logits, atol=1e-5, rtol=1e-5)


def files_of(hub) -> dict[str, bytes]:
    return hub.repositories[f"{USER}/small"].at("main")[2]


def test_push_and_load_with_and_without_the_package(hub, client, saved, tmp_path):
    Image.effect_noise((40, 48), 60).save(tmp_path / "noise.jpg")
    facts = ("--top1", "0.75", "--dense-top1", "0.8", "--dataset", "me/flowers", "--license", "apache-2.0")
    more = ("--base-model", "facebook/deit-tiny-patch16-224", "--images", "noise.jpg", "--measure-speed")
    result = client(PUSH, "saved", f"{USER}/small", *facts, *more)
    assert result.returncode == 0, result.stderr
    assert f"{hub.url}/{USER}/small/commit/" in result.stdout
    files = files_of(hub)
    assert "training_args.bin" not in files and "modeling_dynamicvit.py" in files and "kept.png" in files
    assert any(request.startswith("PUT /lfs/") and request.endswith("/2") for request in hub.requests)  # in parts
    expected = saved(toy_images()).logits
    for arguments in ((f"{USER}/small",), (f"{USER}/small", "absent")):
        loaded = client(LOAD, *arguments)
        assert loaded.returncode == 0, loaded.stderr
        assert_loaded(tmp_path, saved, expected)
    check_card(files["README.md"].decode(), saved)
    whoami = hub.requests.index("GET /api/whoami-v2")
    assert hub.requests[whoami + 1] == "POST /api/repos/create"
    again = client(PUSH, "saved", f"{USER}/small", *facts, *more[:-1], "--json")  # pushing again is no mistake
    assert again.returncode == 0, again.stderr
    pushed = json.loads(again.stdout)
    assert pushed["repo_id"] == f"{USER}/small" and f"{USER}/small/commit/" in pushed["commit_url"]


def check_card(text, model):
    card = ModelCard(text)
    data = card.data.to_dict()
    assert data["library_name"] == "transformers" and data["pipeline_tag"] == "image-classification"
    assert {"dynamicvit", "token-pruning", "vision"} <= set(data["tags"])
    assert data["license"] == "apache-2.0" and data["base_model_relation"] == "finetune"
    assert data["datasets"] == ["me/flowers"] and data["metrics"] == ["accuracy"]
    (result,) = card.data.eval_results
    assert result.metric_value == 0.75 and result.dataset_type == "me/flowers"
    assert "| top-1 on me/flowers | 80.00 % | 75.00 % |" in text
    cost, dense = model.multiply_adds() / 1e9, model.dense_multiply_adds() / 1e9
    assert f"| multiply-adds of one image | {dense:.3f} G | {cost:.3f} G |" in text
    assert "images/s, batch 1" in text and "images/s, batch 8" in text and "![" in text
    assert "trust_remote_code=True" in text and "Not measured" not in text


def test_nothing_is_claimed_that_was_not_measured(hub, client, saved):
    result = client(PUSH, "saved", f"{USER}/small", "--without-code")
    assert result.returncode == 0, result.stderr
    files = files_of(hub)
    text = files["README.md"].decode()
    assert not [path for path in files if path.endswith(".py")] and "trust_remote_code" not in text
    data = ModelCard(text).data.to_dict()
    assert not {"model-index", "license", "base_model", "datasets", "metrics"} & {name for name in data if data[name]}
    assert "top-1" not in text and "images/s" not in text and "Not measured: accuracy and speed." in text
    assert "None" not in text and "nan" not in text


def test_a_card_of_ones_own_is_kept(hub, client, saved, tmp_path):
    (tmp_path / "saved" / "README.md").write_text("---\nlicense: mit\n---\n\nMine.\n")
    assert client(PUSH, "saved", f"{USER}/small").returncode == 0
    assert files_of(hub)["README.md"].decode().endswith("Mine.\n")


def test_a_wrong_token_is_refused_and_nothing_is_lost(hub, client, saved, tmp_path):
    before = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    result = client(PUSH, "saved", f"{USER}/small", token="hf_wrong")
    assert result.returncode == 1
    assert "Invalid user token" in result.stderr and "Traceback" not in result.stderr
    assert not hub.repositories and hub.requests[-1] == "GET /api/whoami-v2"  # and nothing was loaded for it
    assert {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()} == before


def test_a_broken_upload_leaves_the_repository_as_it_was(hub, client, saved):
    hub.break_uploads = 99
    result = client(PUSH, "saved", f"{USER}/small")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert files_of(hub) == {}
    hub.break_uploads = 1  # the client tries again
    assert client(PUSH, "saved", f"{USER}/small").returncode == 0
    assert "model.safetensors" in files_of(hub)


def test_a_broken_download_goes_on_where_it_was(hub, client, saved, tmp_path):
    assert client(PUSH, "saved", f"{USER}/small").returncode == 0
    hub.break_downloads = 1
    result = client(LOAD, f"{USER}/small")
    assert result.returncode == 0, result.stderr
    assert_loaded(tmp_path, saved, saved(toy_images()).logits)


def test_a_hub_that_is_not_there(client, hub, saved):
    """Or a name that none has."""
    result = client(PUSH, "saved", "some/such/name")
    assert result.returncode == 1 and "repo_id is 'some/such/name'; a name on the Hub is user/name." in result.stderr
    hub.__exit__()
    result = client(PUSH, "saved", f"{USER}/small")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "the Hub cannot be reached" in result.stderr and "nothing was committed" in result.stderr


def test_what_does_not_exist_is_named(client, saved, tmp_path):
    result = client(LOAD, f"{USER}/nothing")
    assert result.returncode == 1 and f"{USER}/nothing" in result.stderr
    for folder, missing in (("nowhere", "there is no folder nowhere"), ("saved", "holds no image processor")):
        if folder == "saved":
            (tmp_path / "saved" / "preprocessor_config.json").unlink()
        result = client(PUSH, folder, f"{USER}/small")
        assert result.returncode == 1 and missing in result.stderr


MODEL_PUSH = """
import sys, torch, hf_dynamicvit
from transformers import AutoImageProcessor
model = hf_dynamicvit.DynamicViTForImageClassification.from_pretrained("saved")
model.push_to_hub("small")
AutoImageProcessor.from_pretrained("saved").push_to_hub("small")
"""


def test_model_push_to_hub_carries_the_code(hub, client, saved, tmp_path):
    result = client(MODEL_PUSH)
    assert result.returncode == 0, result.stderr
    assert "reducer_dynamicvit.py" in files_of(hub)
    assert "auto_map" in json.loads(files_of(hub)["config.json"])
    assert client(LOAD, f"{USER}/small", "absent").returncode == 0
    assert_loaded(tmp_path, saved, saved(toy_images()).logits)


TRAINER_PUSH = """
import sys
import torch
from trainers import ToyData, arguments
from hf_dynamicvit import DynamicViTForImageClassification, DynamicViTTrainer
from hf_dynamicvit.training.metrics import compute_accuracy
from transformers import AutoImageProcessor
trainer = DynamicViTTrainer(
    DynamicViTForImageClassification.from_pretrained("saved"),
    arguments("run", hub_model_id="small", save_steps=2, push_to_hub=True),
    train_dataset=ToyData(), eval_dataset=ToyData(10), compute_metrics=compute_accuracy,
    processing_class=AutoImageProcessor.from_pretrained("saved"),
)
open("run_secrets.py", "w").write("token = 1")
import os
os.makedirs("run", exist_ok=True)
open("run/my_secrets.py", "w").write("token = 1")
trainer.train()
accuracy = trainer.evaluate()["eval_accuracy"]
trainer.push_to_hub(dataset_tags="me/noise", dataset="noise", tags="mine")
trainer.model.eval()
logits = trainer.model(torch.load("images.pt")).logits
torch.save((trainer.model.state_dict(), logits, accuracy), "trained.pt")
"""


def test_trainer_push_to_hub(hub, client, saved, tmp_path):
    result = client(TRAINER_PUSH)
    assert result.returncode == 0, result.stderr
    files = files_of(hub)
    weights, logits, accuracy = torch.load(tmp_path / "trained.pt")
    assert client(LOAD, f"{USER}/small", "absent").returncode == 0
    assert_loaded(tmp_path, weights, logits)
    card = ModelCard(files["README.md"].decode())
    assert card.data.eval_results[0].metric_value == round(accuracy, 4)
    assert card.data.eval_results[0].dataset_type == "me/noise" and "mine" in card.data.tags
    assert "4 steps of 4 images" in card.content and "ratio 2" in card.content
    assert not [path.name for path in (tmp_path / "run" / "checkpoint-2").glob("*.py")]
    for _, _, pushed in hub.repositories[f"{USER}/small"].commits:
        assert not [path for path in pushed if "/" in path or path.endswith((".bin", ".pt", ".pth"))]
        assert "my_secrets.py" not in pushed


TRAIN = "import sys; from hf_dynamicvit.commands.cli import main; sys.exit(main(['train', *sys.argv[1:]]))"


def test_the_training_command_pushes(hub, client, saved, tmp_path):
    for index, name in enumerate("abcde" * 4):
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (12 * index, 60, 200)).save(folder / f"{index}.png")
    options = ["--model", "saved", "--dataset", "images", "--output-dir", "out", "--use-cpu", "--max-steps", "1"]
    result = client(TRAIN, *options, "--ema-decay", "0.5", "--push-to-hub", "--hub-model-id", f"{USER}/small")
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    accuracy, held_out = results["top1"], results["images"]
    assert held_out == 5 and results["teacher_top1"] is not None
    card = ModelCard(files_of(hub)["README.md"].decode())
    assert f"{100 * accuracy:.2f} %" in card.content and "1 steps of 32 images" in card.content
    assert client(LOAD, f"{USER}/small", "absent").returncode == 0
    pushed = torch.load(tmp_path / "loaded.pt")
    assert client(LOAD, "out").returncode == 0
    assert_loaded(tmp_path, *pushed)
    (tmp_path / "out" / "README.md").unlink()  # as without --push-to-hub
    result = client(PUSH, "out", f"{USER}/again")
    assert result.returncode == 0 and "The card has what training measured" in result.stderr
    card = hub.repositories[f"{USER}/again"].at("main")[2]["README.md"].decode()
    assert f"| top-1 on images, {held_out} images | " in card and f"{100 * accuracy:.2f} % (95 % interval " in card
    assert "By `hf-dynamicvit train` with `dynamicvit`: 1 steps" in card and "5 classes: a, b, c, d, e." in card
