# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit quickstart`."""

import argparse
from pathlib import Path

from .parser import add_json_option, add_overwrite_option


EXAMPLES = """
# a few minutes on a CPU; the report, an image and the checkpoints are in quickstart/
hf-dynamicvit quickstart
# in another folder, from another start, with the numbers for a script
hf-dynamicvit quickstart --output digits --seed 1 --json > digits.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "The whole pipeline on scikit-learn's handwritten digits, without the network, in a few minutes on a CPU: "
        "train a small dense ViT, make it a DynamicViT, fine-tune that with distillation, measure both with tokens "
        "really dropped, and write a report, an image and the checkpoints."
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("quickstart"),
        metavar="FOLDER",
        help="folder to write; must be new or empty",
    )
    add_overwrite_option(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the split and the order of the images")
    add_json_option(parser)


def main(args: argparse.Namespace) -> None:
    from .quickstart_run import main

    main(args)
