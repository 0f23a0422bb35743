# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""How near the feature maps of a reduced DINOv2 are to the dense ones, without training: cosine, mean over patches.

    python benchmarks/backbone_features.py --model facebook/dinov2-small --images flowers/test.parquet \\
        --output benchmarks/backbone_features.json

`--images` is a parquet file with the column image, of which `--count` are taken, spread over the file. Each method is
set to a fraction of the dense multiply-adds at the size of the images; a row has the stages at a quarter, half, three
quarters and all of the blocks. About a second an image and row for DINOv2-S on one CPU thread at 224 pixels.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import load_dataset
from PIL import Image
from torch import Tensor
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from hf_dynamicvit import DynamicDinov2Backbone
from hf_dynamicvit.machine import describe_run


# name in the table -> what from_pretrained takes
METHODS: dict[str, dict[str, Any]] = {
    "tome": {"reducer": "tome"},
    "tps, score evit": {"reducer": "tps", "reducer_args": {"score": "evit"}},
    "evovit, representative token": {"reducer": "evovit", "reducer_args": {"representative_token": True}},
    "evovit": {"reducer": "evovit"},
    "random": {"reducer": "random"},
    "evit": {"reducer": "evit"},
    "idlevit": {"reducer": "idlevit"},
}
BATCH = 8


def read_images(path: str, count: int, size: int) -> Tensor:
    """`[count, 3, size, size]`, squeezed to a square, normalised as DINOv2's image processor does."""
    data = load_dataset("parquet", data_files=path, split="train")
    chosen = data.select(range(0, len(data), max(1, len(data) // count))[:count])["image"]
    squares = [each.convert("RGB").resize((size, size), Image.Resampling.BICUBIC) for each in chosen]
    pixels = torch.from_numpy(np.stack(squares)).movedim(-1, 1) / 255
    mean, std = (torch.tensor(each)[:, None, None] for each in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    return (pixels - mean) / std


@torch.inference_mode()
def read_maps(model: Any, images: Tensor) -> list[Tensor]:
    """Feature maps `[N, D, down, across]` of every stage."""
    found = [model(batch).feature_maps for batch in images.split(BATCH)]
    return [torch.cat(maps) for maps in zip(*found, strict=True)]


def load(args: argparse.Namespace, **method: Any) -> Any:
    model = DynamicDinov2Backbone.from_pretrained(args.model, dtype=torch.float32, **method).eval()
    depth = model.config.num_hidden_layers
    model.out_indices = [depth * quarter // 4 for quarter in (1, 2, 3, 4)]
    return model


def rows(args: argparse.Namespace) -> Iterator[tuple[float | None, str, list[float]]]:
    images = read_images(args.images, args.count, args.image_size)
    dense = read_maps(load(args, reducer="tome", keep_ratio=1.0), images)
    yield None, "another image", [torch.cosine_similarity(maps, maps.roll(1, 0)).mean().item() for maps in dense]
    for fraction in args.fractions:
        for name, method in METHODS.items():
            model = load(args, **method)
            try:
                model.set_budget(fraction=fraction, pixel_values=images[:1])
            except ValueError:  # the method cannot go so low
                continue
            pairs = zip(read_maps(model, images), dense, strict=True)
            yield fraction, name, [torch.cosine_similarity(*pair).mean().item() for pair in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a DINOv2 checkpoint")
    parser.add_argument("--images", required=True, help="parquet file with the column image")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.9, 0.7, 0.5])
    parser.add_argument("--output", type=Path, help="file for the results")
    args = parser.parse_args()
    record = describe_run() | {"images": args.count, "pixels": args.image_size, "rows": []}
    for fraction, name, cosines in rows(args):
        record["rows"].append({"fraction": fraction, "method": name, "cosine": cosines})
        if args.output is not None:
            args.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(
            f"| {'' if fraction is None else f'{fraction} '}{name} | "
            + " | ".join(f"{cosine:.3f}" for cosine in cosines)
            + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
