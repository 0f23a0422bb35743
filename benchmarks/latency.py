# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`tune` to a time: what was asked for, what was reached, and what schedules by name lose at that time.

    python benchmarks/latency.py --model facebook/dinov2-small --images flowers --output benchmarks/latency.json

ToMe on a DINOv2-S at 224 pixels, 1.4 times as fast as the native model with SDPA, in batches of 1 and 8; processor
time of one thread, so that other work on the machine counts little. 16 images, nothing refined.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from hf_dynamicvit import DynamicDinov2Model, tune
from hf_dynamicvit.data.class_folders import evenly_spaced, find_files


SPEEDUP, IMAGES, SIDE = 1.4, 16, 224


def measure(model_name: str, images: Tensor, batch_size: int) -> dict[str, Any]:
    """Search for one batch size and return all that was found."""
    model = DynamicDinov2Model.from_pretrained(model_name, reducer="tome", dtype=torch.float32).eval()
    options: dict[str, Any] = {"clock": "cpu", "refinements": 0, "run_batch": 8}
    return tune(model, images, speedup=SPEEDUP, batch_size=batch_size, **options).as_dict()


def read_square(file: str) -> Tensor:
    """Read an image as `[3, SIDE, SIDE]`, scaled as a whole and normalized as DINOv2 is used to."""
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE))) / 255
    return torch.tensor(((pixels - IMAGENET_DEFAULT_MEAN) / IMAGENET_DEFAULT_STD).transpose(2, 0, 1)).float()


def table(runs: list[dict[str, Any]]) -> str:
    """Return the runs as Markdown."""
    lines = [
        "| batch | dense | asked for | reached | 1 - cosine, tuned | linear at that time | best by name |",
        "|" + " --- |" * 7,
    ]
    for run in runs:
        found, named = run["latency"], run["named"]
        times = [f"{1000 * found[name]:.1f} ms" for name in ("dense", "asked", "reached")]
        best = min(named, key=lambda name: named[name]["loss"])
        losses = [f"{run['loss']:.4f}", f"{named['linear']['loss']:.4f}", f"{named[best]['loss']:.4f} ({best})"]
        lines.append(f"| {' | '.join([str(found['batch']), *times, *losses])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a DINOv2")
    parser.add_argument("--images", required=True, help="a folder")
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    files = evenly_spaced(find_files([Path(args.images)]), IMAGES)
    images = torch.stack([read_square(file) for file in files])
    runs = [measure(args.model, images, batch_size) for batch_size in args.batch_sizes]
    args.output.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
    print(table(runs))


if __name__ == "__main__":
    main()
