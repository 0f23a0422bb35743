# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""examples/retrieve.py on toy encoders: an index, queries by image and by text, and the comparison."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from native_toys import native_model
from paths import ROOT
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BitImageProcessorPil, CLIPImageProcessorPil, PreTrainedTokenizerFast
from viewers import make_images


SIZE = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
EXAMPLE = ROOT / "examples" / "retrieve.py"


def save_tokenizer(folder: Path) -> None:
    words = {word: index for index, word in enumerate(("<unk>", "<pad>", "<s>", "</s>", "red", "cat"))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<s>", 2), ("</s>", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=8, **names).save_pretrained(folder)


@pytest.fixture
def retrieve(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    native_model("dynamicdinov2", "model").save_pretrained("dino")
    BitImageProcessorPil(**SIZE).save_pretrained("dino")
    native_model("dynamicclip", "zero_shot").save_pretrained("clip")
    CLIPImageProcessorPil(**SIZE).save_pretrained("clip")
    save_tokenizer(Path("clip"))
    for index, image in enumerate(make_images(*[(40, 36)] * 14)):
        file = Path("images", "ab"[index % 2], f"{index:02}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file)

    def run(*arguments: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["retrieve.py", *arguments])
        runpy.run_path(str(EXAMPLE), run_name="__main__")
        return capsys.readouterr().out.splitlines()

    return run


@pytest.mark.parametrize("model", ["dino", "clip"])
@pytest.mark.parametrize("fraction", ["0.6", "1"])
def test_an_image_finds_itself(retrieve, model, fraction):
    retrieve("index", "--model", model, "--images", "images", "--output", "index", "--fraction", fraction)
    found = retrieve("query", "--index", "index", "--image", "images/a/04.png", "--top", "3")
    assert found[0].split() == ["1.000", "images/a/04.png"] and len(found) == 3


def test_a_text_finds_what_the_model_says(retrieve):
    retrieve("index", "--model", "clip", "--images", "images", "--output", "index", "--fraction", "0.6")
    found = retrieve("query", "--index", "index", "--text", "red cat", "--top", "20")
    alike = [float(line.split()[0]) for line in found]
    assert len(found) == 14 and alike == sorted(alike, reverse=True) and alike[0] > alike[-1]
    retrieve("index", "--model", "dino", "--images", "images", "--output", "other")
    with pytest.raises(SystemExit, match="dino has no text tower; search it with --image"):
        retrieve("query", "--index", "other", "--text", "red cat")
    with pytest.raises(SystemExit, match="There is no file or folder none"):
        retrieve("index", "--model", "dino", "--images", "none", "--output", "other")


def test_the_comparison(retrieve):
    options = ("--methods", "tome", "random", "--fractions", "0.8", "--limit", "12", "--batch-size", "5")
    printed = retrieve("compare", "--model", "dino", "--images", "images", "--output", "out/found.json", *options)
    record = json.loads(Path("out/found.json").read_text())
    dense, tome, random = record["rows"]
    assert record["settings"]["images"] == 12 and [dense["model"], random["model"]] == ["dense", "random at 0.8"]
    assert dense["recall, own index"] == dense["recall, dense index"] == 1 and dense["times as fast"] == 1
    assert 0.6 * dense["gmacs"] < tome["gmacs"] <= 0.8 * dense["gmacs"]
    for row in (tome, random):
        assert 0.5 < row["recall, own index"] <= 1 and 0 <= row["same class"] <= 1 and row["cosine"] < 1 - 1e-6
    assert len(printed) == 5 and printed[0].startswith("| model | gmacs | recall, own index")


def test_recall_and_neighbours():
    module = runpy.run_path(str(EXAMPLE))
    vectors = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]]), dim=-1)
    assert module["find_nearest"](vectors, vectors, 1)[:, 0].tolist() == [1, 0, 3, 2]
    dense, found = torch.tensor([[1, 2], [3, 4]]), torch.tensor([[2, 1], [4, 5]])
    assert module["recall"](found, dense) == pytest.approx(0.75)
    assert module["same_class"](torch.tensor([[1], [0], [0]]), ["a/1", "a/2", "b/1"]) == pytest.approx(2 / 3)
    assert module["same_class"](torch.tensor([[1], [0]]), ["a/1", "a/2"]) is None
