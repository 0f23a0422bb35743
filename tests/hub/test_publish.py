# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`examples/publish.py`: a family of checkpoints is made, measured and pushed once, and goes on where it stopped."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from unittest.mock import Mock

import pytest
from huggingface_hub import ModelCard
from local_hub import TOKEN, LocalHub
from paths import EXAMPLES
from programs import ForkServer, Program, environment, free_port
from shelf import save_dense, save_images

import hf_dynamicvit.commands.cli as cli
from hf_dynamicvit import DynamicViTForImageClassification
from hf_dynamicvit.hub.push import CardContent


pytestmark = pytest.mark.slow

QUICK = ["--tune-options=--step 64 --refinements 1 --limit 4 --threads 1", "--train-options=--max-steps 1 --use-cpu"]
FAMILY = ["--model", "dense", "--dataset", "data", "--images", "data/train", "--organisation", "team"]
FAMILY += ["--output", "family", "--threads", "1", *QUICK]
BOTH = ["--tune", "tome", "--train", "evit", "--fractions", "0.8"]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A dense classifier and a data set of noise."""
    save_dense(tmp_path / "dense", 3)
    for split in ("train", "test"):
        save_images(tmp_path / "data" / split, 2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def publish(place, monkeypatch, capsys):
    """Run the script with `upload` in place of the push, or as a dry run; return its exit status, the commands that
    it ran, and what it printed.
    """
    script = runpy.run_path(str(EXAMPLES / "publish.py"))
    ran: list[str] = []

    def command(words: list[str]) -> int:
        ran.append(words[0])
        return cli.main(words)

    script["run"].__globals__["run_command"] = command

    def run(*options: str, upload: Callable | None = None) -> tuple[int, list[str], str]:
        script["run"].__globals__.update(HfApi=Mock, push=upload)
        dry = [] if upload else ["--dry-run"]
        monkeypatch.setattr(sys, "argv", ["publish.py", *FAMILY, *dry, *options])
        ran.clear()
        status = script["run"](script["parse_arguments"]())
        printed = capsys.readouterr()
        return status, [*ran], printed.out + printed.err

    return run


def measured(name: str) -> dict:
    return json.loads(Path("family", name, "measured.json").read_text())


def test_a_family_is_made_once(publish, place):
    status, ran, printed = publish(*BOTH, "--figure", "data/train/cat/0.jpg", "--license", "mit")
    assert (status, ran) == (0, ["tune", "train"])
    assert "To team/dense-tome-80 would go README.md, config.json, kept.png, model.safetensors" in printed
    for name in ("dense-tome-80", "dense-evit-80"):
        found = measured(name)
        assert found["images"] == 4 and 0 <= found["top1"] <= 1 and found["dense_top1"] is not None
        assert found["gmacs"] <= 0.8 * found["dense_gmacs"] and [*found["images_per_second"]] == ["1", "8"]
        model = DynamicViTForImageClassification.from_pretrained(f"family/{name}/model")
        assert model.multiply_adds() / 1e9 == pytest.approx(found["gmacs"])
        card = Path("family", name, "model", "README.md").read_text()
        assert f"| {100 * found['dense_top1']:.2f} % | {100 * found['top1']:.2f} % (95 % interval" in card
        assert "images/s, batch 8" in card and "1 thread, torch" in card and "(kept.png)" in card
        assert ModelCard(card).data.license == "mit" and f'model="team/{name}"' in card
        assert not Path("family", name, "pushed.json").exists()
    assert "Not trained: the weights are those" in Path("family/dense-tome-80/model/README.md").read_text()
    assert "with `evit`: 1 steps" in Path("family/dense-evit-80/model/README.md").read_text()
    table = Path("family/family.md").read_text()
    assert table in printed and table.count("dense-") == 2 and "| trained |" in table
    Path("family/dense-tome-80/measured.json").write_text(json.dumps(measured("dense-tome-80") | {"top1": 0.125}))
    assert publish(*BOTH)[:2] == (0, [])  # neither made nor measured again
    assert "| 12.50 % |" in Path("family/family.md").read_text()


def test_what_fails_is_named_and_tried_again(publish):
    """No schedule of ToMe takes a hundredth; the other is made all the same."""
    status, ran, printed = publish("--tune", "tome", "--fractions", "0.01", "0.8")
    assert (status, ran) == (1, ["tune", "tune"])
    assert "Failed: dense-tome-1. The same command tries these again." in printed
    assert "dense-tome-80" in Path("family/family.md").read_text()
    assert publish("--tune", "tome", "--fractions", "0.01", "0.8")[:2] == (1, ["tune"])


def test_a_checkpoint_is_pushed_once(publish):
    """And a card of one's own stays."""
    pushed = Mock(return_value="https://example.org/commit")
    assert publish("--tune", "tome", "--fractions", "0.8", "--private", upload=pushed)[0] == 0
    folder = Path("family/dense-tome-80")
    pushed.assert_called_once_with(folder / "model", "team/dense-tome-80", CardContent(), private=True)
    found = json.loads((folder / "pushed.json").read_text())
    assert found == {"repo_id": "team/dense-tome-80", "commit_url": "https://example.org/commit"}
    (folder / "model" / "README.md").write_text("mine")
    for organisation, count in (("team", 1), ("others", 2)):
        options = ("--tune", "tome", "--fractions", "0.8", "--organisation", organisation)
        assert publish(*options, upload=pushed)[:2] == (0, []) and pushed.call_count == count
    assert (folder / "model" / "README.md").read_text() == "mine"


def test_a_family_of_other_settings_is_refused(publish):
    Path("family").mkdir()
    Path("family/family.json").write_text(json.dumps({"dataset": "data", "images": ["data/test"]}))
    with pytest.raises(ValueError, match=r"family was made with another images, .*; name another --output"):
        publish(*BOTH)
    with pytest.raises(ValueError, match="neither --tune nor --train names a method"):
        publish()
    with pytest.raises(ValueError, match="--tune takes images; type --images"):
        publish(*BOTH, "--images", "")


@pytest.mark.long
def test_the_hub_gets_it_once(place):
    """Through the true client; nothing is made before the Hub knows who asks."""
    port = free_port()
    named = {name: value for name, value in environment().items() if not name.startswith("HF_")}
    named |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HOME": "home"}
    named |= {"HF_ENDPOINT": f"http://127.0.0.1:{port}"}
    options = (*FAMILY, "--tune", "tome", "--fractions", "0.8")

    server, file = ForkServer(named), EXAMPLES / "publish.py"

    def run(token: str) -> CompletedProcess:
        program = Program(file.read_text(encoding="utf-8"), [*options], place, named | {"HF_TOKEN": token}, file)
        return server.run([program], timeout=240)[0]

    with LocalHub(port) as hub:
        refused = run("hf_anothertoken")
        assert refused.returncode == 1 and "publish.py: " in refused.stderr and "Traceback" not in refused.stderr
        assert not Path("family", "dense-tome-80").exists()
        first = run(TOKEN)
        assert first.returncode == 0, first.stderr
        pushed = json.loads(Path("family/dense-tome-80/pushed.json").read_text())
        assert pushed["repo_id"] == "team/dense-tome-80" and hub.url in pushed["commit_url"]
        files = hub.repositories["team/dense-tome-80"].at("main")[2]
        assert {"README.md", "model.safetensors", "modeling_dynamicvit.py"} <= {*files}
        assert not {"tune.json", "trials.jsonl", "front.png"} & {*files}
        commits = len(hub.repositories["team/dense-tome-80"].commits)
        assert run(TOKEN).returncode == 0
        assert len(hub.repositories["team/dense-tome-80"].commits) == commits
    server.stop()
