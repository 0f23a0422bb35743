# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit benchmark`."""

import argparse
from pathlib import Path
from typing import Any

from ..names import CLOCKS, COMPILED, DTYPES, METHODS, SHAPES, SUITES
from .parser import add_images_option, add_json_option, add_overwrite_option, add_schedule_option


EXAMPLES = """
# your model beside the dense one, on this CPU
hf-dynamicvit benchmark --model my-dynamicvit
# methods at the same cost on a GPU, eager and compiled, with plots
hf-dynamicvit benchmark --model deit-small --reducer topk evit tome --budget 0.6 --batch-sizes 1 8 32 128 \\
    --device cuda --dtype bfloat16 --compile eager default --output bench
# the numbers of docs/benchmarks.md, on your GPU, and of exported files
hf-dynamicvit benchmark --suite gpu --output bench-gpu
hf-dynamicvit benchmark --suite export --output bench-export
# which method costs your model least on your images, without training
hf-dynamicvit benchmark --suite accuracy --model my-dense-vit --dataset my_images --output bench-accuracy
# the numbers for a script
hf-dynamicvit benchmark --model my-dynamicvit --batch-sizes 1 --threads 1 4 --json > benchmark.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measure sparse models on this machine: images per second, what reduction costs beside an ideal without any "
        "overhead, memory and multiply-adds, each beside its dense model. All take turns; medians are told. Where an "
        "option takes several values, every combination is measured."
    )
    parser.add_argument(
        "--model",
        nargs="+",
        default=[],
        help="checkpoint (folder or Hub name; of a segmenter or depth model its backbone is measured, and the whole "
        f"model) or config.json, sparse or dense, or a shape: {', '.join(SHAPES)}",
    )
    parser.add_argument(
        "--suite",
        choices=SUITES,
        help="in place of all other options but --output and --json: a set of measurements by name, which others can "
        "repeat; one that was stopped goes on. accuracy takes one --model, a --dataset and a --device besides: top-1 "
        "of every method at four costs, untrained, and speed where half a point and a point are lost",
    )
    parser.add_argument(
        "--dataset",
        help="of --suite accuracy: folder of class folders, parquet, saved data set, or a name on the Hub",
    )
    add_sparse(parser.add_argument_group("what is kept"))
    add_measuring(parser.add_argument_group("how it is measured"))
    add_output(parser.add_argument_group("what comes out"))


def add_sparse(group: Any) -> None:
    """Add the options that say which methods are measured, and how much they keep."""
    group.add_argument(
        "--reducer",
        nargs="+",
        choices=METHODS,
        default=[None],
        help="methods (default: the checkpoint's, dynamicvit)",
    )
    group.add_argument(
        "--keep-ratio", nargs="+", type=float, default=[None], help="one model for each (default: its own)"
    )
    add_schedule_option(group, "each model's own")
    group.add_argument(
        "--budget", type=float, help="fraction of the dense multiply-adds, 0 to 1, at the model's own size"
    )


def add_measuring(group: Any) -> None:
    """Add the options that say on what images, where and how the models run."""
    group.add_argument("--batch-sizes", nargs="+", type=int, default=[1, 8, 32], help="images at a time")
    group.add_argument("--image-size", nargs="+", type=int, default=[None], help="pixels (default: the checkpoint's)")
    add_images_option(group, " (default: noise)")
    group.add_argument("--device", nargs="+", default=["cpu"], help="cpu, cuda, cuda:1, ...")
    group.add_argument("--dtype", nargs="+", choices=DTYPES, default=["float32"], help="arithmetic")
    group.add_argument("--attention", nargs="+", default=["sdpa"], help="of the sparse models: sdpa, eager, ...")
    group.add_argument(
        "--compile", nargs="+", choices=COMPILED, default=["eager"], help="mode of torch.compile, or eager"
    )
    group.add_argument("--threads", nargs="+", type=int, default=[None], help="CPU threads (default: torch's)")
    group.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="what is measured: wall, or processor time on a CPU that others use too (cpu; with --threads 1)",
    )
    group.add_argument("--repeats", type=int, default=20, help="measured turns of each model")
    group.add_argument("--warmup", type=int, default=3, help="turns before")
    group.add_argument("--optimize", action="store_true", help="model.optimize_for_inference() first")


def add_output(group: Any) -> None:
    """Add the options that say what is written."""
    group.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="for benchmark.json, benchmark.md and plots; must be new or empty",
    )
    add_overwrite_option(group)
    group.add_argument(
        "--accuracy", nargs="+", default=[], metavar="MODEL=TOP1", help="0 to 1, for a plot over throughput"
    )
    add_json_option(group)


def main(args: argparse.Namespace) -> None:
    from .benchmark_run import main

    main(args)
