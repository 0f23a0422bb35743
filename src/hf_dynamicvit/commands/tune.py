# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit tune`."""

import argparse
from pathlib import Path
from typing import Any

from ..names import CLOCKS, DTYPES, METHODS, SEARCHES
from .parser import add_images_option, add_json_option, add_overwrite_option
from .ranges import COUNT, NOT_NEGATIVE, SOME_FRACTION, Range, check_ranges


EXAMPLES = """
# 0.7 of the multiply-adds of a dense model, without training, on your own images
hf-dynamicvit tune facebook/deit-small-patch16-224 --images my_images --fraction 0.7 --output deit-small-tuned
# 30 ms for a batch of 8 on this machine
hf-dynamicvit tune my-model --images my_images --latency 30 --batch-size 8 --output my-model-tuned
# a third faster than the dense model, with a method that drops
hf-dynamicvit tune facebook/dinov2-small --reducer evit --images my_images --speedup 1.33 --output dinov2-tuned
"""

ABOVE_ONE, POSITIVE = Range(1, above=True), Range(0, above=True)
RANGES = {"gmacs": POSITIVE, "fraction": SOME_FRACTION, "latency": POSITIVE, "speedup": ABOVE_ONE}
RANGES |= {"batch_size": COUNT, "limit": COUNT, "step": COUNT, "run_batch": COUNT, "threads": COUNT}
RANGES |= {"refinements": NOT_NEGATIVE}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Find how many tokens each block may leave so that a cost or a latency is met and the answers change least, "
        "on images without labels and without training; write the model with that schedule, tune.json, the front of "
        "what was tried as a table and a plot. A search that was stopped goes on when the same is typed again."
    )
    parser.add_argument(
        "--model", required=True, help="folder or Hub name of a model of any family, or around one, sparse or dense"
    )
    parser.add_argument(
        "--reducer", choices=METHODS, help="method (default: a sparse model's own, tome for a dense one)"
    )
    add_goal(parser.add_argument_group("what it may cost (one of them)"))
    images = parser.add_argument_group("which images")
    add_images_option(images, ", 64 to 1,000 like those to come", required=True)
    images.add_argument("--limit", type=int, default=256, help="at most so many, at even distances (default: 256)")
    add_search(parser.add_argument_group("how it searches"))
    output = parser.add_argument_group("what comes out")
    output.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="must be new or empty")
    add_overwrite_option(output)
    add_json_option(output)


def add_goal(group: Any) -> None:
    """Add the options of which one says what a schedule may cost."""
    goal = group.add_mutually_exclusive_group(required=True)
    goal.add_argument("--fraction", type=float, help="multiply-adds as a fraction of the dense model's, 0 to 1")
    goal.add_argument("--gmacs", type=float, help="multiply-adds of an image in units of 10^9")
    goal.add_argument("--latency", type=float, metavar="MS", help="milliseconds of a batch, measured here")
    goal.add_argument("--speedup", type=float, help="times as fast as the native dense model, measured here")
    group.add_argument("--batch-size", type=int, default=1, help="images in a batch that is measured (default: 1)")


def add_search(group: Any) -> None:
    """Add the options that say how the search goes and where it runs."""
    group.add_argument(
        "--search",
        choices=SEARCHES,
        help="curves: some dozens of trials (default where the method may reduce in any block); steps: tokens are "
        "removed block by block, in hundreds of trials",
    )
    group.add_argument(
        "--step", type=int, help="tokens that steps remove at a time, and refining moves (default: a 24th)"
    )
    group.add_argument("--refinements", type=int, default=100, help="schedules tried at most to refine (default: 100)")
    group.add_argument("--seed", type=int, default=0, help="of the order in which these are tried")
    group.add_argument("--run-batch", type=int, default=32, help="images that run at once (default: 32)")
    group.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: the fastest there is)")
    group.add_argument("--dtype", choices=DTYPES, default="float32", help="arithmetic")
    group.add_argument("--threads", type=int, help="CPU threads (default: torch's)")
    group.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: processor time, for a busy machine; with --threads 1"
    )


def main(args: argparse.Namespace) -> None:
    check_ranges(vars(args), RANGES)
    from .tune_run import main

    main(args)
