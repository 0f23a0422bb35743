# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit quickstart`: the whole pipeline on handwritten digits, without the network, in minutes on a CPU.

Trains a small dense ViT on scikit-learn's handwritten digits, makes it a DynamicViT, fine-tunes that with
distillation, evaluates both with tokens really dropped, and writes a report, a figure and the checkpoints.
"""

import argparse
import math
import os
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    set_seed,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from ..benchmark.measure import images_per_second
from ..checkpoints.load_report import REDUCER, expect_in_report
from ..data.digits import IMAGE_SIZE, load_digits_dataset
from ..data.transforms import ImageTransform
from ..folders import check_folder
from ..look.drawing import contact_sheet, stages_row
from ..model.cost import grid_size
from ..model.modeling_dynamicvit import DynamicViTForImageClassification
from ..training.arguments import DynamicViTTrainingArguments
from ..training.metrics import compute_accuracy
from ..training.progress import Progress, no_bars_of_weights, show
from ..training.trainer import DynamicViTTrainer
from .parser import only_json, print_json


KEEP_RATIO = 0.7
DENSE_EPOCHS = 12
SPARSE_EPOCHS = 6
BATCH_SIZES = (1, 64)
NUM_IMAGES = 8

# How far logits of two copies of the same weights may lie apart.
TOLERANCE = 1e-5


@dataclass
class Result:
    """What was measured of one model."""

    accuracy: float
    multiply_adds: int
    images_per_second: dict[int, float]
    kept: list[int]


def training_arguments(output: Path, seed: int) -> dict[str, Any]:
    return {
        "output_dir": str(output),
        "per_device_train_batch_size": 32,
        "per_device_eval_batch_size": 64,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "weight_decay": 0.05,
        "logging_strategy": "epoch",
        "save_strategy": "no",
        "remove_unused_columns": False,
        "dataloader_pin_memory": torch.accelerator.is_available(),
        "report_to": "none",
        "seed": seed,
    }


def train_dense(train: Dataset, processor: Any, output: Path, seed: int) -> ViTForImageClassification:
    names = train.features["label"].names
    config = ViTConfig(
        hidden_size=96,
        num_hidden_layers=6,
        num_attention_heads=3,
        intermediate_size=384,
        image_size=IMAGE_SIZE,
        patch_size=4,
        layer_norm_eps=1e-6,
        initializer_range=0.1,  # about 1 / sqrt(width); the usual 0.02 is for ten times the width
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    model = ViTForImageClassification(config)
    arguments = TrainingArguments(
        **training_arguments(output, seed), num_train_epochs=DENSE_EPOCHS, learning_rate=1e-3
    )
    trainer = Trainer(model, arguments, train_dataset=train, processing_class=processor)
    show(trainer, Progress(f"1/4 training a dense ViT on {len(train)} handwritten digits", 0, sparse=False))
    trainer.train()
    trainer.save_model()
    return model.eval()


def train_sparse(
    train: Dataset, dense: Path, processor: Any, output: Path, seed: int
) -> DynamicViTForImageClassification:
    with expect_in_report(REDUCER):
        model = DynamicViTForImageClassification.from_pretrained(dense, keep_ratio=KEEP_RATIO)
    arguments = DynamicViTTrainingArguments(
        **training_arguments(output, seed),
        num_train_epochs=SPARSE_EPOCHS,
        learning_rate=1e-3,
        # from a start of a minute, not of 300 epochs, the backbone has more to learn than the published 1 %
        backbone_lr_scale=0.2,
    )
    trainer = DynamicViTTrainer(model, arguments, train_dataset=train, processing_class=processor)
    title = f"2/4 fine-tuning it as DynamicViT, keep ratio {KEEP_RATIO}, the dense model as teacher"
    show(trainer, Progress(title, 0, sparse=True))
    trainer.train()
    trainer.save_model()
    return model.eval()


def measure_accuracy(model: PreTrainedModel, test: Dataset, output: Path) -> float:
    arguments = TrainingArguments(**training_arguments(output, seed=0))
    trainer = Trainer(model, arguments, eval_dataset=test, compute_metrics=compute_accuracy)
    show(trainer, Progress("", len(test), sparse=False))
    return trainer.evaluate()["eval_accuracy"]


def measure(dense, sparse: DynamicViTForImageClassification, test: Dataset, output: Path) -> dict[str, Result]:
    pixel_values = torch.stack(test[: max(BATCH_SIZES)]["pixel_values"]).to(dense.device)
    speed = {
        size: images_per_second({"dense": dense, "sparse": sparse}, pixel_values[:size], repeats=40 // size + 20)
        for size in BATCH_SIZES
    }
    num_patches = math.prod(grid_size(dense.config))
    cost = {"dense": sparse.dense_multiply_adds(), "sparse": sparse.multiply_adds()}
    kept = {"dense": [num_patches] * len(sparse.decision_layers), "sparse": sparse.token_counts()}
    return {
        name: Result(
            measure_accuracy(model, test, output),
            cost[name],
            {size: speed[size][name] for size in BATCH_SIZES},
            kept[name],
        )
        for name, model in (("dense", dense), ("sparse", sparse))
    }


def draw(model: DynamicViTForImageClassification, test: Dataset, processor: Any) -> Image.Image:
    """Draw a sheet: a row an image, the input and what is kept after each stage."""
    images = [test[index]["image"].convert("RGB") for index in range(NUM_IMAGES)]
    with torch.inference_mode():
        kept = model(processor(images, return_tensors="pt")["pixel_values"].to(model.device)).kept
    large = [image.resize((96, 96), Image.Resampling.NEAREST) for image in images]
    grid = grid_size(model.config)
    return contact_sheet(
        [stages_row(image, stages, grid, "steelblue") for image, stages in zip(large, kept, strict=True)]
    )


def check_reload(folder: Path, model: DynamicViTForImageClassification, test: Dataset) -> None:
    """Compare the saved checkpoint, read as any user would, with the trained model.

    Weights and decisions are compared to the bit, logits to `TOLERANCE`: kernels round by where a weight lies in
    memory, and one that is read from a file lies elsewhere.

    Raises:
        ValueError: they differ; the message says in what.
    """
    reloaded = AutoModelForImageClassification.from_pretrained(folder).to(model.device).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    image = test[0]["image"].convert("RGB")
    pixel_values = processor(image, return_tensors="pt")["pixel_values"].to(model.device)
    own, read = model.state_dict(), reloaded.state_dict()
    differing = [name for name in own.keys() | read.keys() if name not in own or name not in read]
    differing += [name for name in own.keys() & read.keys() if not torch.equal(own[name], read[name])]
    with torch.inference_mode():
        before, after = model(pixel_values), reloaded(pixel_values)
    if not torch.equal(before.kept, after.kept):
        differing.append("what is kept")
    if not torch.allclose(before.logits, after.logits, rtol=TOLERANCE, atol=TOLERANCE):
        differing.append("logits")
    if differing:
        raise ValueError(
            f"the checkpoint in {folder} is not the trained model: {', '.join(sorted(differing))} differ."
        )


def report(results: dict[str, Result], seconds: float, seed: int) -> str:
    header = [
        "model",
        "top-1",
        "GMACs",
        *(f"images/s, batch {size}" for size in BATCH_SIZES),
        "patches kept per stage",
    ]
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    for name, result in results.items():
        speeds = [f"{result.images_per_second[size]:.0f}" for size in BATCH_SIZES]
        cells = [name, f"{result.accuracy:.1%}", f"{result.multiply_adds / 1e9:.4f}", *speeds, str(result.kept)]
        lines.append(f"| {' | '.join(cells)} |")
    dense, sparse = results["dense"], results["sparse"]
    ratios = [f"{sparse.images_per_second[size] / dense.images_per_second[size]:.2f}x" for size in BATCH_SIZES]
    cells = [
        "sparse / dense",
        f"{100 * (sparse.accuracy - dense.accuracy):+.1f} points",
        f"{sparse.multiply_adds / dense.multiply_adds:.2f}x",
        *ratios,
        "",
    ]
    lines.append(f"| {' | '.join(cells)} |")
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    notes = (
        f"Seed {seed}, {seconds:.0f} s in all, {device}, {torch.get_num_threads()} threads, {platform.machine()}, "
        f"torch {torch.__version__}. Both models ran with SDPA attention in float32, taking turns; medians."
    )
    return "\n".join(lines) + f"\n\n{notes}\n"


def main(args: argparse.Namespace) -> None:
    with only_json(args.json), no_bars_of_weights():
        results = run(args.output, args.seed, args.overwrite)
    if args.json:
        print_json({"output": str(args.output), "seed": args.seed} | {name: vars(of) for name, of in results.items()})


def run(output: Path, seed: int, overwrite: bool = False) -> dict[str, Result]:
    """All of it; what was measured of the models `dense` and `sparse`."""
    check_folder(output, overwrite)
    # One device is enough; with several the Trainer would split each batch over all of them.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    start = time.perf_counter()
    set_seed(seed)
    data = load_digits_dataset(seed)
    processor = ViTImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
    train = data["train"].with_transform(ImageTransform(processor))
    test = data["test"].with_transform(ImageTransform(processor))

    dense_folder, sparse_folder = output / "dense", output / "sparse"
    dense = train_dense(train, processor, dense_folder, seed)
    sparse = train_sparse(train, dense_folder, processor, sparse_folder, seed)
    print(f"3/4 evaluating both on {len(test)} images, tokens really dropped", file=sys.stderr)
    results = measure(dense, sparse, test, sparse_folder)
    print("4/4 drawing what it keeps and reading the checkpoint back", file=sys.stderr)
    table = report(results, time.perf_counter() - start, seed)
    text = f"# DynamicViT on handwritten digits\n\n{table}\n![patches kept after each stage](kept.png)\n"
    (output / "report.md").write_text(text, encoding="utf-8")
    draw(sparse, data["test"], processor).save(output / "kept.png")
    print(f"\n{table}\nWrote {output}: report.md, kept.png, and the checkpoints in dense/ and sparse/.")
    check_reload(sparse_folder, sparse, data["test"])  # last: what was trained and measured is there whatever it finds
    return results
