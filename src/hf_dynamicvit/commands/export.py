# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit export`."""

import argparse
from pathlib import Path

from ..names import EXPORT_DTYPES, EXPORT_FORMATS, EXPORT_MERGES
from .parser import add_images_option, add_json_option


EXAMPLES = """
# for ONNX Runtime, checked on two sample photographs
hf-dynamicvit export --model my-dynamicvit --format onnx --output my-dynamicvit.onnx
# for a runtime that knows no operators of later versions than 18
hf-dynamicvit export --model my-dynamicvit --format onnx --opset 18 --output my-dynamicvit.onnx
# half the size, for a runtime that gets a scatter with a sum wrong
hf-dynamicvit export --model my-dynamicvit --format onnx --dtype float16 --merges product --output half.onnx
# for PyTorch alone, checked on your own images
hf-dynamicvit export --model my-dynamicvit --format torch-export --output my-dynamicvit.pt2 --images my_images
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Write a classifier, sparse or dense, as one file that runs without this package, for any batch size, with "
        "tokens really dropped. Before it is called done, it is run on images beside the model. A .json of the same "
        "name has labels and preprocessing, and infer.py classifies images with both."
    )
    parser.add_argument("--model", required=True, help="folder or Hub name of an image classifier, sparse or dense")
    parser.add_argument("--format", required=True, choices=EXPORT_FORMATS, help="torch-export is for PyTorch alone")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FILE", help="file to write, .onnx, .xml or .pt2"
    )
    add_images_option(parser, ", to check the file on (default: crops of two that ship with scikit-learn)")
    parser.add_argument(
        "--opset", type=int, help="version of ONNX's operators, 18 or later, for other runtimes (default: torch's)"
    )
    parser.add_argument(
        "--dtype",
        choices=EXPORT_DTYPES,
        default="float32",
        help="arithmetic and weights; what goes in and out is float32",
    )
    parser.add_argument(
        "--merges",
        choices=EXPORT_MERGES,
        default="scatter",
        help="how merged tokens are summed: product is for runtimes without a scatter that sums",
    )
    parser.add_argument("--only-file", action="store_true", help="write no .json and no infer.py beside it")
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it is there")
    add_json_option(parser)


def main(args: argparse.Namespace) -> None:
    from .export_run import main

    main(args)
