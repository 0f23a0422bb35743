# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Train a tiny YOLOS, dense and then with fewer tokens, to find handwritten digits.

    python examples/train_object_detection.py --output digits_found

The images are drawn: one or two handwritten digits of the UCI data set that scikit-learn ships (CC BY 4.0), each 16 to
28 pixels high, anywhere on a canvas of 64 x 64 pixels with noise. So boxes and classes are known to the pixel, and
nothing is downloaded. Test images have digits that training does not see. All digits are one class, `digit`, unless
`--classes 10` tells them apart, which takes far longer to learn.

The dense detector learns from nothing with its native loss. Its copy with a reducer is measured as it is, and
fine-tuned with `DynamicViTTrainer`: the native loss, and distillation from the dense model's detection tokens. Mean
average precision is that of `torchmetrics` (`pip install "hf-dynamicvit[metrics]"`). The result is in
docs/detection.md. `--model` fine-tunes a dense detector that is there already, `--start` trains one on from there.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import (
    Trainer,
    TrainingArguments,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessorPil,
    set_seed,
)

from hf_dynamicvit import DynamicViTTrainer, DynamicViTTrainingArguments, DynamicYolosForObjectDetection
from hf_dynamicvit.machine import describe_run


SIDE, LEAST, MOST = 64, 16, 28


class Digits(torch.utils.data.Dataset):
    """Drawn images with their boxes; the same for the same seed.

    Args:
        count: images.
        test: take the digits that are kept for testing.
        seed: of where digits stand, how large they are and which.
        num_classes: 1 for any digit, or 10.
    """

    def __init__(self, count: int, test: bool, seed: int, num_classes: int = 1):
        found = load_digits()
        digits, classes = (
            torch.tensor(found.images, dtype=torch.float32) / 16,
            torch.tensor(found.target) % num_classes,
        )
        part = slice(1400, None) if test else slice(0, 1400)
        self.digits, self.classes = digits[part], classes[part]
        random = np.random.default_rng(seed)
        self.items = [self.draw(random) for _ in range(count)]

    def draw(self, random: np.random.Generator) -> dict[str, Any]:
        """Draw one image: `pixel_values` `[3, 64, 64]`, and its boxes and classes."""
        canvas = torch.tensor(random.uniform(0, 0.3, (SIDE, SIDE)), dtype=torch.float32)
        boxes, classes, taken = [], [], []
        for _ in range(random.integers(1, 3)):
            size = int(random.integers(LEAST, MOST + 1))
            top, left = (int(random.integers(0, SIDE - size + 1)) for _ in range(2))
            if any(abs(top - y) < max(size, s) and abs(left - x) < max(size, s) for y, x, s in taken):
                continue
            index = int(random.integers(len(self.digits)))
            digit = interpolate(self.digits[index][None, None], size=(size, size), mode="bilinear")[0, 0]
            place = canvas[top : top + size, left : left + size]
            canvas[top : top + size, left : left + size] = torch.maximum(place, digit)
            taken.append((top, left, size))
            boxes.append([(left + size / 2) / SIDE, (top + size / 2) / SIDE, size / SIDE, size / SIDE])
            classes.append(int(self.classes[index]))
        labels = {"class_labels": torch.tensor(classes), "boxes": torch.tensor(boxes)}
        return {"pixel_values": (canvas.expand(3, -1, -1) - 0.5) / 0.5, "labels": labels}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.items[index]


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    images = torch.stack([item["pixel_values"] for item in items])
    return {"pixel_values": images, "labels": [item["labels"] for item in items]}


def make_processor() -> YolosImageProcessorPil:
    """Make the image processor that prepares photographs as the drawn images are."""
    half = [0.5, 0.5, 0.5]
    return YolosImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_mean=half, image_std=half)


def make_dense(num_classes: int, start: str | None) -> YolosForObjectDetection:
    """Make a tiny detector with random weights, or with those of `start`, whose classes may be others."""
    names = ["digit"] if num_classes == 1 else [str(digit) for digit in range(10)]
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    if start is not None:
        return YolosForObjectDetection.from_pretrained(start, ignore_mismatched_sizes=True, **labels)
    config = YolosConfig(
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=128,
        image_size=[SIDE, SIDE],
        patch_size=8,
        num_detection_tokens=5,
        **labels,
    )
    return YolosForObjectDetection(config)


@torch.inference_mode()
def measure(model: Any, data: Digits) -> dict[str, float]:
    """Measure the native loss on `data`, and mean average precision, from 0 to 1, where torchmetrics is installed."""
    metric, losses = make_metric(), []
    for start in range(0, len(data), 100):
        batch = collate([data[index] for index in range(start, min(start + 100, len(data)))])
        outputs = model.eval()(**batch)
        losses.append(outputs.loss.item())
        if metric is not None:
            metric.update(predictions(outputs.logits, outputs.pred_boxes), targets(batch["labels"]))
    found = {"loss": sum(losses) / len(losses)}
    if metric is not None:
        computed = metric.compute()
        found |= {name: float(computed[name]) for name in ("map", "map_50", "map_75")}
    return {name: round(value, 4) for name, value in found.items()}


def make_metric() -> Any:
    """Make what computes mean average precision, or say that it is not there."""
    if any(find_spec(name) is None for name in ("torchmetrics", "faster_coco_eval", "torchvision")):
        print('No mAP: pip install "hf-dynamicvit[metrics]"', file=sys.stderr)
        return None
    from torchmetrics.detection import MeanAveragePrecision

    return MeanAveragePrecision(box_format="cxcywh", backend="faster_coco_eval")


def predictions(logits: Tensor, boxes: Tensor) -> list[dict[str, Tensor]]:
    best = logits.softmax(-1)[..., :-1].max(-1)
    rows = zip(best.values, best.indices, boxes, strict=True)
    return [{"scores": scores, "labels": labels, "boxes": each} for scores, labels, each in rows]


def targets(labels: Sequence[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    return [{"labels": each["class_labels"], "boxes": each["boxes"]} for each in labels]


def settings(args: argparse.Namespace, name: str, epochs: float, rate: float) -> dict[str, Any]:
    """Return what both trainings have in common."""
    return {
        "output_dir": str(args.output / name),
        "num_train_epochs": epochs,
        "learning_rate": rate,
        "per_device_train_batch_size": args.batch_size,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 50,
        "weight_decay": 1e-4,
        "max_grad_norm": 0.5,
        "remove_unused_columns": False,
        "save_strategy": "no",
        "logging_steps": 50,
        "report_to": "none",
        "seed": args.seed,
    }


def train_dense(args: argparse.Namespace, data: Digits) -> YolosForObjectDetection:
    """Train the dense detector, with the Trainer of Transformers."""
    if args.model is not None:
        return YolosForObjectDetection.from_pretrained(args.model)
    model = make_dense(args.classes, args.start)
    training = TrainingArguments(**settings(args, "dense", args.epochs, 1e-3))
    Trainer(model, training, data_collator=collate, train_dataset=data).train()
    return model


def fine_tune(args: argparse.Namespace, model: Any, teacher: Any, data: Digits) -> None:
    """Train a detector that reduces tokens, with the dense one as its teacher."""
    weights = {"class_distill": 1.0, "feature_distill": 100.0}
    training = DynamicViTTrainingArguments(
        **settings(args, args.reducer, args.fine_epochs, 3e-4), loss_weights=weights, freeze_backbone_epochs=0
    )
    DynamicViTTrainer(model, training, teacher=teacher, data_collator=collate, train_dataset=data).train()


def save(model: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    make_processor().save_pretrained(folder)


def main() -> None:
    args = parse()
    set_seed(args.seed)
    train = Digits(args.images, False, args.seed, args.classes)
    test = Digits(args.test_images, True, args.seed + 1, args.classes)
    dense = train_dense(args, train)
    save(dense, args.output / "dense")
    rows = [{"model": "dense", **measure(dense, test)}]
    for fraction in args.fractions:
        model = DynamicYolosForObjectDetection.from_pretrained(args.output / "dense", reducer=args.reducer)
        model.set_budget(fraction=fraction)
        rows[0]["gmacs"] = model.dense_multiply_adds() / 1e9
        name, cost = f"{args.reducer} at {fraction:g}", model.multiply_adds() / 1e9
        rows.append({"model": f"{name}, not trained", **measure(model, test), "gmacs": cost})
        if args.fine_epochs:
            fine_tune(args, model, dense, train)
            rows.append({"model": f"{name}, fine-tuned", **measure(model, test), "gmacs": cost})
        save(model, args.output / f"{args.reducer}-{fraction:g}")
    about = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    found = describe_run() | {"settings": about, "rows": rows}
    (args.output / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    for row in rows:
        print(row)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path, help="folder of models and results.json")
    parser.add_argument("--model", help="folder of a dense detector of these digits (default: train one)")
    parser.add_argument("--start", help="folder of a dense detector whose weights the dense one begins with")
    parser.add_argument("--classes", type=int, choices=(1, 10), default=1)
    parser.add_argument("--images", type=int, default=6000, help="drawn for training")
    parser.add_argument("--test-images", type=int, default=500)
    parser.add_argument("--epochs", type=float, default=20, help="of the dense detector")
    parser.add_argument("--fine-epochs", type=float, default=4, help="with fewer tokens; 0 for none")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--reducer", default="tome")
    parser.add_argument("--fractions", nargs="+", type=float, default=[0.8, 0.6], help="of the dense multiply-adds")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
