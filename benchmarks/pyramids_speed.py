# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Time Swin-S and ConvNeXt-S with fast paths beside the dense models, in CPU seconds, at several sizes of the image.

    OMP_NUM_THREADS=1 python benchmarks/pyramids_speed.py --output benchmarks/pyramids_speed.json

The weights are random: speed does not depend on them. Models take turns on the same batch.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from hf_dynamicvit import (
    DynamicConvNextConfig,
    DynamicConvNextForImageClassification,
    DynamicSwinConfig,
    DynamicSwinForImageClassification,
)
from hf_dynamicvit.benchmark.measure import Setting, benchmark
from hf_dynamicvit.machine import describe_run


SIZES, BATCHES = (224, 384, 512), (1, 8)


def build(keep_ratio: float = 0.7) -> dict[str, Any]:
    """Build the models of the published sizes."""
    torch.manual_seed(0)
    swin = DynamicSwinConfig(depths=(2, 2, 18, 2), num_labels=1000, keep_ratio=keep_ratio)
    convnext = DynamicConvNextConfig(depths=(3, 3, 27, 3), num_labels=1000, keep_ratio=keep_ratio)
    return {
        "Swin-S": DynamicSwinForImageClassification(swin).eval(),
        "ConvNeXt-S": DynamicConvNextForImageClassification(convnext).eval(),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Build the table of the page."""
    lines = ["| model | pixels | batch | multiply-adds, of dense | dense | sparse | dense / sparse |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        if row["kind"] == "dense":
            continue
        dense = row["milliseconds"] * row["over_dense"]
        cost = f"{row['multiply_adds'] / 1e9:.2f} G, {row['multiply_adds'] / row['dense_multiply_adds']:.2f}"
        lines.append(
            f"| {row['model']} | {row['image_size'][0]} | {row['batch']} | {cost} | {dense:.0f} ms | "
            f"{row['milliseconds']:.0f} ms | {row['over_dense']:.2f}x |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows, about = [], describe_run()
    for name, model in build().items():
        for size in args.sizes:
            options: dict[str, Any] = {"image_size": size, "repeats": args.repeats, "warmup": 1}
            settings = [Setting(threads=1, clock="cpu")]
            rows += [row.as_dict() for row in benchmark({name: model}, args.batches, settings, **options)]
            print(table(rows).splitlines()[-1], flush=True)
    content = about | {"rows": rows}
    args.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
