# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit predict`."""

import argparse
from pathlib import Path

from ..names import DTYPES, SOME_UNREADABLE
from .parser import add_images_option, take_images_without_option
from .ranges import COUNT, check_ranges


EXAMPLES = """
# the class of every image in a folder, at any depth
hf-dynamicvit predict my_images --model my-dynamicvit
# a table of the three most probable classes for a spreadsheet
hf-dynamicvit predict my_images cat.jpg --model my-dynamicvit --top-k 3 --csv --output classes.csv
# one JSON object for a script
hf-dynamicvit predict cat.jpg --model my-dynamicvit --json
"""

RANGES = {"batch_size": COUNT, "top_k": COUNT, "threads": COUNT, "workers": COUNT}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Classify images: the most probable classes of each, as a list, CSV or JSON, written when all are done. "
        f"Images that cannot be read are named, and the exit status is then {SOME_UNREADABLE}."
    )
    add_images_option(parser, "; --images can be left out", required=True)
    take_images_without_option(parser)
    parser.add_argument("--model", required=True, help="folder or Hub name of an image classifier, sparse or dense")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--csv", action="store_true", help="a row an image: file, label, probability, ..., error")
    kind.add_argument("--json", action="store_true", help="one JSON object; all else goes to standard error")
    parser.add_argument("--output", type=Path, metavar="FILE", help="file to write (default: standard output)")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it is there")
    parser.add_argument("--top-k", type=int, default=1, help="so many classes of each image, the most probable first")
    parser.add_argument("--batch-size", type=int, default=32, help="images at a time")
    parser.add_argument("--threads", type=int, help="CPU threads of the model (default: torch's)")
    parser.add_argument("--workers", type=int, default=2, help="threads that read and scale images meanwhile")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: the fastest)")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="arithmetic")


def main(args: argparse.Namespace) -> int:
    check_ranges(vars(args), RANGES)
    from .predict_run import main

    return main(args)
