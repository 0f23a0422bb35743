# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit export`: write one file of a model and say what was checked of it."""

import argparse
from pathlib import Path

from .command_line import add_json_option, only_json, print_json
from .export import FORMATS, check_output, export, load, multiply_adds, read_pictures


EXAMPLES = """
# for ONNX Runtime, checked on two sample photographs
hf-dynamicvit export my-dynamicvit --format onnx --output my-dynamicvit.onnx
# for PyTorch alone, checked on your own pictures
hf-dynamicvit export my-dynamicvit --format torch-export --output my-dynamicvit.pt2 --pictures my_pictures
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Write a classifier, sparse or dense, as one file that runs without this package, for any batch size, with "
        "tokens really dropped. Before it is called done, it is run on pictures beside the model."
    )
    parser.add_argument("model", help="folder or Hub name of a ViT or DeiT classifier, sparse or dense")
    parser.add_argument("--format", required=True, choices=FORMATS, help="onnx, or torch-export for PyTorch alone")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="file to write, .onnx or .pt2")
    parser.add_argument(
        "--pictures",
        type=Path,
        nargs="+",
        help="pictures, or folders of them, to check the file on (default: crops of two that ship with scikit-learn)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it is there")
    add_json_option(parser)


def main(args: argparse.Namespace) -> None:
    with only_json(args.json):
        check_output(args.output, args.format, args.overwrite)
        model = load(args.model)
        pixel_values, pictures = read_pictures(args.model, model.config, args.pictures)
        check = export(model, args.format, args.output, pixel_values, overwrite=args.overwrite)
    if args.json:
        written = {"output": str(args.output), "format": args.format, "multiply_adds": multiply_adds(model)}
        print_json(written | vars(check))
        return
    sizes = ", ".join(map(str, check.batches))
    size, cost = f"{check.num_bytes / 1e6:.1f} MB", f"{multiply_adds(model) / 1e9:.4g} G multiply-adds an image"
    print(f"Wrote {args.output}: {size}, {cost}.")
    print(f"Checked on {pictures} in batches of {sizes}: same top-1, logits off by at most {check.difference:.1e}.")
