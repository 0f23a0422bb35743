# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Top-1 of DynamicViT before any training: predictors at random, turned round, and started from class attention.

    python benchmarks/untrained_predictors.py --model facebook/deit-tiny-patch16-224 --images imagenet.parquet \\
        --output benchmarks/untrained_predictors.json

`--images` is a parquet file with the columns image and label (an ImageNet class by number): of every two images one
is classified, and of the others 128 show the predictors what the class token attends to. In bfloat16; a minute or so a
row on a CPU.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from datasets import load_dataset
from torch import Tensor
from transformers import AutoImageProcessor, set_seed

from hf_dynamicvit import DynamicViTForImageClassification
from hf_dynamicvit.machine import describe_run
from hf_dynamicvit.training.predictor_start import imitate_class_attention


BATCH = 50


def accuracy(model: DynamicViTForImageClassification, pixel_values: Tensor, labels: Tensor) -> float:
    model.eval()
    with torch.inference_mode(), torch.autocast(pixel_values.device.type, torch.bfloat16):
        guesses = [model(images).logits.argmax(dim=-1) for images in pixel_values.split(BATCH)]
    return (torch.cat(guesses) == labels).float().mean().item()


def rows(args: argparse.Namespace) -> Iterator[tuple[str, int | None, float]]:
    data = load_dataset("parquet", data_files=args.images)["train"]
    processor = AutoImageProcessor.from_pretrained(args.model)

    def prepared(indices: range) -> Tensor:
        images = [data[index]["image"].convert("RGB") for index in indices]
        return processor(images, return_tensors="pt")["pixel_values"]

    def load(reducer: str) -> DynamicViTForImageClassification:
        return DynamicViTForImageClassification.from_pretrained(
            args.model, reducer=reducer, keep_ratio=args.keep_ratio
        )

    tested = range(0, len(data), 2)[: args.limit]
    pixel_values, labels = prepared(tested), torch.tensor(data[tested]["label"])
    for reducer in ("random", "topk", "evit"):
        yield reducer, None, accuracy(load(reducer), pixel_values, labels)
    for seed in range(args.seeds):
        set_seed(seed)
        model = load("dynamicvit")
        yield "at random", seed, accuracy(model, pixel_values, labels)
        for predictor in model.reducer.predictors:
            predictor.score[-1].weight.data.neg_()
        yield "the same turned round", seed, accuracy(model, pixel_values, labels)
        imitate_class_attention(model, prepared(range(1, 256, 2)))
        yield "from class attention", seed, accuracy(model, pixel_values, labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--keep-ratio", type=float, default=0.7)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=500, help="images to classify, at even places")
    parser.add_argument("--output", type=Path, help="file for the results")
    args = parser.parse_args()
    record = describe_run() | {"images": args.limit, "keep_ratio": args.keep_ratio, "rows": []}
    for name, seed, top1 in rows(args):
        print(f"{name}{'' if seed is None else f', seed {seed}'}: {100 * top1:.1f} %", flush=True)
        record["rows"].append({"scores": name, "seed": seed, "top1": top1})
        if args.output is not None:
            args.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
