# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Train a UperNet on DINOv2 to segment flowers, dense and then with fewer tokens in the backbone.

    python examples/train_semantic_segmentation.py --model facebook/dinov2-small \\
        --train flowers/train.parquet --test flowers/test.parquet --output flowers_segmented

The parquet files have the column `image`, and `mask`, an image of class numbers, or `label`. Ours are photographs of
five kinds of flowers, CC BY 2.0, from the data set `tf_flowers`, and have no masks. Then OpenCV's GrabCut tells the
flower in the middle from what is around it, and photographs in which that makes no sense (a flower of under 12 % or
over 60 % of the image) are left out. So masks are those of a program, with its errors: figures tell how well models
agree with it, not with what a person would mark.

The dense backbone is frozen, unless `--train-backbone`, and the head learns with the Trainer and the native loss. Then
`reduce_tokens` puts each method into a copy, which is measured as it is and trained on by `BackboneTrainer`: its head
and, where the method learns what to keep (SViT, DynamicViT, ...), that too, with the method's own loss. Methods that
hand back every patch are meant for this. mIoU and pixel accuracy are those of `torchmetrics`
(`pip install "hf-dynamicvit[metrics]" opencv-python-headless`).
"""

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset, load_dataset
from PIL import Image
from transformers import (
    Dinov2Backbone,
    DPTImageProcessorPil,
    Trainer,
    TrainingArguments,
    UperNetConfig,
    UperNetForSemanticSegmentation,
    set_seed,
)
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from hf_dynamicvit import BackboneTrainer, reduce_tokens
from hf_dynamicvit.machine import describe_run


LEAST, MOST, SIDE = 0.12, 0.6, 112
COLOURS = ((0, 0, 0), (255, 255, 255), (255, 200, 0), (230, 60, 120), (255, 120, 0), (160, 80, 255))


def find_flower(image: Image.Image) -> np.ndarray:
    """Tell the flower in the middle from what is around it: `[SIDE, SIDE]`, 0 or 1."""
    import cv2

    small = np.array(image.convert("RGB").resize((SIDE, SIDE)))[..., ::-1].copy()
    down, across = np.mgrid[:SIDE, :SIDE]
    radius = np.hypot(down - (SIDE - 1) / 2, across - (SIDE - 1) / 2) / SIDE
    mask = np.full((SIDE, SIDE), cv2.GC_PR_BGD, np.uint8)
    mask[radius < 0.35] = cv2.GC_PR_FGD
    mask[radius < 0.1] = cv2.GC_FGD
    mask[:3] = mask[-3:] = mask[:, :3] = mask[:, -3:] = cv2.GC_BGD
    cv2.setRNGSeed(0)
    cv2.grabCut(small, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    return np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)


def find_mask(row: dict[str, Any]) -> Image.Image | None:
    """Read the class of each pixel, or find 0 and 1 + the kind of a flower; `None` where that makes no sense."""
    if "mask" in row:
        return row["mask"]
    flower = find_flower(row["image"])
    if not LEAST <= flower.mean() <= MOST:
        return None
    return Image.fromarray(flower * np.uint8(1 + row["label"])).resize(row["image"].size, Image.Resampling.NEAREST)


class Photographs(torch.utils.data.Dataset):
    """Photographs, and the class of each of their pixels.

    Args:
        data: columns `image`, and `mask` or `label`.
        count: photographs, taken in a drawn order, as many as make sense.
        processor: prepares images and masks.
        seed: of the order.
    """

    def __init__(self, data: Dataset, count: int, processor: Any, seed: int):
        self.items: list[dict[str, torch.Tensor]] = []
        self.rows: list[int] = []
        for row in np.random.default_rng(seed).permutation(len(data)).tolist():
            if len(self.items) == count:
                break
            mask = find_mask(data[row])
            if mask is not None:
                prepared = processor([data[row]["image"].convert("RGB")], [mask], return_tensors="pt")
                self.items.append({name: values[0] for name, values in prepared.items()})
                self.rows.append(row)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.items[index]


def make_dense(name: str, classes: Sequence[str]) -> UperNetForSemanticSegmentation:
    """Make a UperNet with random weights on the backbone `name`, whose features are read at each quarter."""
    backbone = Dinov2Backbone.from_pretrained(name, dtype=torch.float32)
    depth = backbone.config.num_hidden_layers
    backbone.config.out_indices = [depth * quarter // 4 for quarter in (1, 2, 3, 4)]
    names = dict(enumerate(["background", *classes]))
    config = UperNetConfig(
        backbone_config=backbone.config,
        hidden_size=64,
        use_auxiliary_head=False,
        id2label=names,
        label2id={each: index for index, each in names.items()},
    )
    model = UperNetForSemanticSegmentation(config)
    model.backbone.load_state_dict(backbone.state_dict())
    return model


def take_dense(args: argparse.Namespace, data: Dataset, learn: Photographs) -> UperNetForSemanticSegmentation:
    """Load the dense model that was trained before, or train one."""
    if args.dense is not None:
        return UperNetForSemanticSegmentation.from_pretrained(args.dense)
    dense = make_dense(args.model, args.classes or data.features["label"].names)
    train(args, dense, learn, args.epochs, args.learning_rate)
    return dense


@torch.inference_mode()
def segment(model: Any, data: Photographs, batch_size: int) -> torch.Tensor:
    """Find the class of each pixel of every image, `[N, height, width]`."""
    batches = torch.stack([item["pixel_values"] for item in data.items]).split(batch_size)
    return torch.cat([model.eval()(batch.to(model.device)).logits.argmax(1).cpu() for batch in batches])


def measure(model: Any, data: Photographs, batch_size: int) -> dict[str, float]:
    """Measure mean intersection over union and pixel accuracy over all images together, if torchmetrics is there."""
    if find_spec("torchmetrics") is None:
        print('No mIoU: pip install "hf-dynamicvit[metrics]"', file=sys.stderr)
        return {}
    from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

    classes, found = model.config.num_labels, segment(model, data, batch_size)
    truth = torch.stack([item["labels"] for item in data.items])
    options: dict[str, Any] = {"num_classes": classes, "ignore_index": model.config.loss_ignore_index}
    metrics = {
        "miou": MulticlassJaccardIndex(average="macro", **options),
        "pixel_accuracy": MulticlassAccuracy(average="micro", **options),
    }
    return {name: round(float(metric(found, truth)), 4) for name, metric in metrics.items()}


def train(args: argparse.Namespace, model: Any, data: Photographs, epochs: float, rate: float) -> None:
    """Train the head, what a method learns and, where it was asked for, the backbone."""
    for key, parameter in model.named_parameters():
        parameter.requires_grad = args.train_backbone or "backbone" not in key or ".reducer." in key
    settings = TrainingArguments(
        str(args.output / "training"),
        num_train_epochs=epochs,
        learning_rate=rate,
        per_device_train_batch_size=args.batch_size,
        dataloader_drop_last=True,  # batch normalisation of the head needs two images
        lr_scheduler_type="cosine",
        weight_decay=1e-4,
        save_strategy="no",
        logging_steps=20,
        report_to="none",
        seed=args.seed,
    )
    dense = model.config.backbone_config.model_type == "dinov2"
    (Trainer if dense else BackboneTrainer)(model, settings, train_dataset=data).train()


def compare(
    args: argparse.Namespace, method: str, fraction: float, data: Photographs, test: Photographs
) -> list[dict]:
    """Measure a method on the dense model's weights, as it is and with the head trained on."""
    model: Any = UperNetForSemanticSegmentation.from_pretrained(args.output / "dense")
    # SViT's target is squared and cubed in the later blocks, so that the mean over all is near the fraction
    reduce_tokens(model, method, keep_ratio=None, reducer_args={"target": fraction**0.5} if method == "svit" else {})
    typical, seen = (torch.stack([item["pixel_values"] for item in each.items[:16]]) for each in (data, test))
    name, rows = f"{method} at {fraction:g}", []
    for how in ("not trained", "head trained") if args.fine_epochs else ("not trained",):
        if how == "head trained":
            train(args, model, data, args.fine_epochs, args.learning_rate / 2)
        model.eval().backbone.set_budget(fraction=fraction, pixel_values=typical)  # anew: what decides may have learnt
        cost = model.backbone.multiply_adds(seen) / 1e9
        rows.append({"model": f"{name}, {how}", **measure(model, test, args.batch_size), "gmacs": cost})
    model.save_pretrained(args.output / name.replace(" at ", "-"))
    return rows


def draw(
    args: argparse.Namespace, models: Sequence[Any], data: Dataset, test: Photographs, rows: Sequence[int]
) -> None:
    """Draw images, their masks, and what each model finds, a row an image."""
    found = [segment(model, test, args.batch_size) for model in models]
    colours = np.array(COLOURS, dtype=np.uint8)
    sheet = []
    for row in rows:
        image = np.array(data[test.rows[row]]["image"].convert("RGB").resize((args.image_size, args.image_size)))
        masks = [test.items[row]["labels"], *(each[row] for each in found)]
        sheet.append(np.concatenate([image, *(image // 2 + colours[mask.numpy()] // 2 for mask in masks)], axis=1))
    Image.fromarray(np.concatenate(sheet)).save(args.figure, quality=85)
    for row in rows:
        print(data[test.rows[row]].get("attribution", ""))


def main() -> None:
    args = parse()
    set_seed(args.seed)
    data = load_dataset("parquet", data_files={"train": args.train, "test": args.test})
    size = {"height": args.image_size, "width": args.image_size}
    means = {"image_mean": IMAGENET_DEFAULT_MEAN, "image_std": IMAGENET_DEFAULT_STD}
    processor = DPTImageProcessorPil(size=size, resample=Image.Resampling.BILINEAR, **means)
    learn = Photographs(data["train"], args.images, processor, args.seed)
    test = Photographs(data["test"], args.test_images, processor, args.seed)
    dense = take_dense(args, data["train"], learn)
    dense.save_pretrained(args.output / "dense")
    processor.save_pretrained(args.output / "dense")
    rows = [{"model": "dense", **measure(dense, test, args.batch_size)}]
    for fraction, method in itertools.product(args.fractions, args.reducers):
        rows += compare(args, method, fraction, learn, test)
        write(args, rows)
    if args.figure:
        first = f"{args.reducers[0]}-{args.fractions[0]:g}"
        reduced = UperNetForSemanticSegmentation.from_pretrained(args.output / first)
        draw(args, (dense, reduced), data["test"], test, args.figure_rows)


def write(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Write what was measured so far; the dense cost is that of the first model that is reduced."""
    model: Any = UperNetForSemanticSegmentation.from_pretrained(args.output / "dense")
    size = (args.image_size, args.image_size)
    rows[0]["gmacs"] = reduce_tokens(model).backbone.dense_multiply_adds(size) / 1e9
    about = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    record = describe_run() | {"settings": about, "rows": rows}
    (args.output / "results.json").write_text(json.dumps(record, indent=1) + "\n")
    print(rows[-1], flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a DINOv2 checkpoint")
    parser.add_argument("--dense", help="folder of a dense segmenter of these masks (default: train one)")
    parser.add_argument("--train", required=True, help="parquet file with columns image, and mask or label")
    parser.add_argument("--test", required=True, help="the same, of photographs that training does not see")
    parser.add_argument("--output", required=True, type=Path, help="folder of models and results.json")
    parser.add_argument("--classes", nargs="+", help="of masks, beside the background (default: those of the labels)")
    parser.add_argument("--images", type=int, default=600, help="to train on")
    parser.add_argument("--test-images", type=int, default=200)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=float, default=5, help="of the dense model's head")
    parser.add_argument("--fine-epochs", type=float, default=2, help="of the head with fewer tokens; 0 for none")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--train-backbone", action="store_true", help="train the backbone too")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--reducers", nargs="+", default=["tome", "algm", "idlevit", "evit", "svit"])
    parser.add_argument("--fractions", nargs="+", type=float, default=[0.7, 0.5], help="of the backbone's cost")
    parser.add_argument("--figure", type=Path, help="image file to draw; the first method at the first fraction")
    parser.add_argument("--figure-rows", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
