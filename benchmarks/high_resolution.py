# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Speed of a DINOv2-S backbone and of YOLOS-tiny's encoder at 518, 768 and 1024 pixels, one image at a time.

    python benchmarks/high_resolution.py --results benchmarks/high_resolution.json
    python benchmarks/high_resolution.py --table benchmarks/high_resolution.json

The native model with SDPA attention and the same with fewer tokens take turns, on one thread of a CPU, and processor
time is counted. Weights and images are random: speed does not depend on them. ALGM, whose images decide, is set to the
cost on an image of the first size, and what it costs is told for every size. The backbone hands out the maps of four
stages with every patch. Runs that are in the results are not made again.
"""

import argparse
import itertools
import json
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from hf_dynamicvit import DynamicDinov2Backbone, DynamicDinov2Config, DynamicYolosConfig, DynamicYolosModel
from hf_dynamicvit.benchmark.measure import build_dense, take_turns
from hf_dynamicvit.machine import describe_machine, describe_run
from hf_dynamicvit.model.reducers import is_adaptive


SIZES, METHODS, FRACTIONS = (518, 768, 1024), ("tome", "algm", "evit", "dynamicvit"), (0.7, 0.5)
WARM = 224  # pixels of the turn ahead of those that are measured
REPEATS = {518: 3, 768: 2, 1024: 1}
SMALL = {"hidden_size": 384, "num_attention_heads": 6, "num_hidden_layers": 12}
TINY = {"hidden_size": 192, "num_attention_heads": 3, "num_hidden_layers": 12, "intermediate_size": 768}
TINY |= {"image_size": [800, 1333], "use_mid_position_embeddings": False}
HEADER = "| model | pixels | method | GMACs | of dense | as they say | measured | seconds (fastest to slowest) |"


def build_backbone(**reduction: Any) -> Any:
    """Build a DINOv2-S backbone with four stages."""
    return DynamicDinov2Backbone(DynamicDinov2Config(**SMALL, image_size=518, out_indices=[3, 6, 9, 12], **reduction))


def build_detector(**reduction: Any) -> Any:
    """Build the encoder of YOLOS-tiny, whose 100 detection tokens are never reduced."""
    return DynamicYolosModel(DynamicYolosConfig(**TINY, **reduction))


SHAPES = {"DINOv2-S backbone": build_backbone, "YOLOS-tiny encoder": build_detector}


@cache
def build_model(shape: str, method: str, fraction: float, size: int) -> Any:
    """Build a model that takes `fraction` of the dense multiply-adds at `size` pixels."""
    torch.manual_seed(0)
    model = SHAPES[shape](reducer=method).eval()
    image = make_image(size) if model.config.is_adaptive else torch.empty(1, 3, size, size)
    model.set_budget(fraction=fraction, pixel_values=image)
    return model


def make_image(size: int) -> Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))


def build_models(args: argparse.Namespace, shape: str, size: int) -> dict[str, Any]:
    """Build a model for each method and fraction, by name."""
    adaptive = {method: is_adaptive(method) for method in args.methods}
    pairs = itertools.product(args.methods, args.fractions)
    each = {pair: args.sizes[0] if adaptive[pair[0]] else size for pair in pairs}
    return {f"{method} at {part:g}": build_model(shape, method, part, at) for (method, part), at in each.items()}


def measure(shape: str, size: int, models: dict[str, Any]) -> dict[str, Any]:
    """Measure the models of one shape and size beside the native one."""
    image, first = make_image(size), next(iter(models.values()))
    native = build_dense(first).eval()
    native.set_attn_implementation("sdpa")
    calls = [partial(model, interpolate_pos_encoding=True) for model in models.values()]
    take_turns([native, *calls], make_image(WARM), 1, 0)
    turns = take_turns([native, *calls], image, REPEATS.get(size, 1), 0, clock="cpu")
    costs = [first.dense_multiply_adds(image), *(model.multiply_adds(image) for model in models.values())]
    rows = [
        {"method": name, "multiply_adds": cost, "seconds": seconds}
        for name, cost, seconds in zip(("native", *models), costs, turns, strict=True)
    ]
    return {"shape": shape, "pixels": size, "machine": describe_machine(), "rows": rows}


def build_row(run: dict[str, Any], row: dict[str, Any]) -> str:
    """Write one model as a row: the native one's time over its own, by multiply-adds and as measured."""
    native, cost, seconds = run["rows"][0], row["multiply_adds"] / 1e9, row["seconds"]
    part = row["multiply_adds"] / native["multiply_adds"]
    faster = median(native["seconds"]) / median(seconds)
    times = f"{median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
    cells = [f"{cost:.1f}", f"{part:.2f}", f"{1 / part:.2f}x", f"{faster:.2f}x", times]
    return f"| {run['shape']} | {run['pixels']} | {row['method']} | {' | '.join(cells)} |"


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Return the runs as Markdown: the native model and each method."""
    lines = [HEADER, "| --- |" + " --- |" * (HEADER.count("|") - 2)]
    return "\n".join([*lines, *(build_row(run, row) for run in runs for row in run["rows"])])


def main() -> None:
    args = parse()
    if args.table is not None:
        print(table(json.loads(args.table.read_text(encoding="utf-8"))["runs"]))
        return
    runs = json.loads(args.results.read_text(encoding="utf-8"))["runs"] if args.results.is_file() else []
    done = {(run["shape"], run["pixels"]) for run in runs}
    for shape, size in [(shape, size) for shape in SHAPES for size in args.sizes]:
        if (shape, size) not in done:
            runs.append(measure(shape, size, build_models(args, shape, size)))
            record = describe_run() | {"runs": runs}
            args.results.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="print the runs of this file, and measure nothing")
    parser.add_argument("--results", type=Path, default=Path("high_resolution.json"))
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--fractions", type=float, nargs="+", default=FRACTIONS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
