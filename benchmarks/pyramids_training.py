# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Train a tiny Swin and a tiny ConvNeXt from scratch on scikit-learn's digits, then fine-tune them with fast paths.

    python benchmarks/pyramids_training.py --output benchmarks/pyramids_training.json

Each seed has its own split and dense model. The sparse models, and the same dense model as a control, go on from it
for as many epochs at the same rate of the backbone. The table on the page about pyramids is of that file.
"""

import argparse
import copy
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)

from hf_dynamicvit import DynamicViTTrainer, DynamicViTTrainingArguments
from hf_dynamicvit.data.digits import load_digits_dataset
from hf_dynamicvit.machine import describe_run
from hf_dynamicvit.registration import CLASSIFIERS


# 8 x 8 positions in the reduced stage, of six blocks.
SHARED = {"image_size": 32, "patch_size": 2, "num_channels": 1, "num_labels": 10}
SIZES: dict[str, Any] = {
    "swin": SwinConfig(
        embed_dim=24, depths=(1, 6, 1), num_heads=(1, 2, 4), window_size=4, drop_path_rate=0.1, **SHARED
    ),
    "convnext": ConvNextConfig(
        hidden_sizes=(24, 48, 96), depths=(1, 6, 1), num_stages=3, layer_norm_eps=1e-6, drop_path_rate=0.1, **SHARED
    ),
}
DENSE = {"swin": SwinForImageClassification, "convnext": ConvNextForImageClassification}
EPOCHS, MORE_EPOCHS, BATCH = 15, 6, 32
RATE, BACKBONE_SCALE = 1e-3, 0.2
# what is fine-tuned: name -> options of the configuration
SPARSE: dict[str, dict[str, Any]] = {
    "slow and fast, 0.7": {"keep_ratio": 0.7},
    "slow and fast, 0.5": {"keep_ratio": 0.5},
}
# the same on Swin alone, at the cost of the last of them or as near below as they come
IDLE: dict[str, dict[str, Any]] = {
    "idle by norm, at the cost of 0.5": {"reducer": "idlevit"},
    "idle by predictors, at the cost of 0.5": {
        "reducer": "idlevit",
        "reducer_args": {"score": "predictor"},
        "schedule": "slow-fast",
    },
}


class Digits(torch.utils.data.Dataset):
    """One split in memory, as `[1, 32, 32]` from -1 to 1."""

    def __init__(self, rows: Any):
        images = [torch.from_numpy(np.array(row["image"].convert("L")))[None] for row in rows]
        self.images: Tensor = torch.stack(images).float() / 127.5 - 1
        self.labels = torch.tensor(rows["label"])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"pixel_values": self.images[index], "labels": self.labels[index]}


def build_settings(folder: str, epochs: int, rate: float, seed: int) -> dict[str, Any]:
    """Return the arguments that all trainings share."""
    return {
        "output_dir": folder,
        "num_train_epochs": epochs,
        "learning_rate": rate,
        "per_device_train_batch_size": BATCH,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "weight_decay": 0.05,
        "seed": seed,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }


@torch.no_grad()
def top1(model: Any, data: Digits) -> float:
    """Measure top-1 in eval mode, from 0 to 1."""
    model.eval()
    right = [(model(images).logits.argmax(dim=1) == labels) for images, labels in split(data)]
    return torch.cat(right).float().mean().item()


def split(data: Digits) -> Any:
    """Pair the images with their labels, batch by batch."""
    return zip(data.images.split(120), data.labels.split(120), strict=True)


def train(trainer: Trainer) -> float:
    """Train, and return the CPU seconds."""
    start = time.process_time()
    trainer.train()
    return time.process_time() - start


def run(family: str, seed: int) -> list[dict[str, Any]]:
    """Train one dense model from scratch, and go on from it in every way."""
    data = {name: Digits(rows) for name, rows in load_digits_dataset(seed).items()}
    with tempfile.TemporaryDirectory() as folder:
        set_seed(seed)
        dense = DENSE[family](copy.deepcopy(SIZES[family]))
        options: Any = build_settings(folder, EPOCHS, RATE, seed)
        seconds = train(Trainer(dense, TrainingArguments(**options), train_dataset=data["train"]))
        classifier = CLASSIFIERS[family]
        cost = classifier.like(dense).dense_multiply_adds()
        rows = [row(family, seed, "dense, from scratch", top1(dense, data["test"]), cost, seconds)]
        again = copy.deepcopy(dense)
        options = build_settings(folder, MORE_EPOCHS, RATE * BACKBONE_SCALE, seed)
        seconds = train(Trainer(again, TrainingArguments(**options), train_dataset=data["train"]))
        budget = 0.0
        rows.append(row(family, seed, "dense, as long again", top1(again, data["test"]), cost, seconds))
        for name, reduction in (SPARSE | (IDLE if family == "swin" else {})).items():
            set_seed(seed)
            model = classifier(classifier.config_class.from_dict(dense.config.to_dict(), **reduction))
            model.load_state_dict(dense.state_dict(), strict=False)
            if name in IDLE:
                model.set_budget(gmacs=budget)
            budget = model.multiply_adds() / 1e9
            untrained = top1(model, data["test"])
            options = build_settings(folder, MORE_EPOCHS, RATE, seed)
            arguments = DynamicViTTrainingArguments(
                **options, backbone_lr_scale=BACKBONE_SCALE, freeze_backbone_epochs=1
            )
            seconds = train(DynamicViTTrainer(model, arguments, train_dataset=data["train"]))
            found = row(family, seed, name, top1(model, data["test"]), model.multiply_adds(), seconds)
            rows.append(found | {"untrained_top1": round(untrained, 4), "kept": model.token_counts()})
    return rows


def row(family: str, seed: int, name: str, accuracy: float, cost: int, seconds: float) -> dict[str, Any]:
    """Collect one line of the file."""
    found = {"family": family, "seed": seed, "model": name, "top1": round(accuracy, 4)}
    found |= {"multiply_adds": cost, "cpu_seconds": round(seconds, 1)}
    print(json.dumps(found), flush=True)
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Build the table of the page: means over the seeds."""
    lines = ["| model | multiply-adds | top-1, mean of seeds | by seed |", "| --- | --- | --- | --- |"]
    for family in SIZES:
        own = [each for each in rows if each["family"] == family]
        for name in dict.fromkeys(each["model"] for each in own):
            found = [each for each in own if each["model"] == name]
            each_top1 = [100 * each["top1"] for each in found]
            cost = (
                f"{found[0]['multiply_adds'] / 1e6:.1f} M ({found[0]['multiply_adds'] / own[0]['multiply_adds']:.2f})"
            )
            shown = ", ".join(f"{value:.1f}" for value in each_top1)
            lines.append(f"| {family}: {name} | {cost} | {statistics.fmean(each_top1):.1f} % | {shown} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    settings = {"epochs": EPOCHS, "more_epochs": MORE_EPOCHS, "batch": BATCH, "learning_rate": RATE}
    settings |= {"backbone_lr_scale": BACKBONE_SCALE}
    about = describe_run() | {"settings": settings}
    rows: list[dict[str, Any]] = []
    for seed, family in itertools.product(range(args.seeds), SIZES):
        rows += run(family, seed)
        content = json.dumps(about | {"rows": rows}, indent=1)
        args.output.write_text(f"{content}\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
