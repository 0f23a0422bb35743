# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit evaluate`."""

import argparse
import shlex
from pathlib import Path

from ..names import DTYPES, KEEP_RATIOS, METHODS, UNREADABLE
from .parser import COUNT, KEEP_RATIO, NOT_NEGATIVE, SOME_FRACTION, add_json_option, add_overwrite_option, check_typed


EXAMPLES = """
# a report of a fine-tuned model on the pictures that it was not trained on
hf-dynamicvit evaluate --model my-dynamicvit --dataset my_pictures --output report
# another method on the weights of a dense model, on 1000 pictures of a data set on the Hub
hf-dynamicvit evaluate --model my-dense-vit --reducer tome --dataset ethz/food101 --max-samples 1000 --output report
# beside the dense model that it was made from, at its own keep ratio only, for a script
hf-dynamicvit evaluate --model my-dynamicvit --dense my-dense-vit --dataset my_pictures --no-keep-ratios --json
"""

RANGES = {
    "keep_ratio": KEEP_RATIO,
    "keep_ratios": SOME_FRACTION,
    "max_samples": COUNT,
    "batch_size": COUNT,
    "max_changed": NOT_NEGATIVE,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Run a sparse model and the dense one on every picture of a data set, and report accuracy, what changed for "
        "which class and which picture, what is kept and where, and accuracy at other keep ratios."
    )
    parser.add_argument("--model", required=True, help="folder or Hub name of a ViT or DeiT classifier")
    parser.add_argument(
        "--dataset", required=True, help="folder of class folders, parquet, saved data set, or a name on the Hub"
    )
    compared = parser.add_argument_group("what is compared")
    compared.add_argument(
        "--dense", metavar="MODEL", help="dense model to compare with (default: the dense copy of the same weights)"
    )
    compared.add_argument("--reducer", choices=METHODS, help="another method on the same weights (default: its own)")
    how_much = compared.add_mutually_exclusive_group()
    how_much.add_argument(
        "--keep-ratio", nargs="+", type=float, help="one number, or one a stage (default: the model's own)"
    )
    how_much.add_argument("--budget", type=float, help="fraction of the dense multiply-adds, 0 to 1")
    ratios = compared.add_mutually_exclusive_group()
    ratios.add_argument(
        "--keep-ratios",
        nargs="+",
        type=float,
        default=list(KEEP_RATIOS),
        help="try these too, without training; each takes as long as the model itself",
    )
    ratios.add_argument("--no-keep-ratios", action="store_true", help="try no other keep ratios")
    data = parser.add_argument_group("which pictures")
    data.add_argument("--split", help="default: that for validation or testing, or the only one")
    data.add_argument("--dataset-config", help="configuration of a data set with several")
    data.add_argument("--dataset-revision", help="branch, tag or commit on the Hub")
    data.add_argument("--image-column", help="default: found")
    data.add_argument("--label-column", help="default: found")
    data.add_argument(
        "--same-classes",
        action="store_true",
        help="classes of other names are the model's, in the same order",
    )
    data.add_argument("--unreadable", choices=UNREADABLE, default="skip", help="what an unreadable picture does")
    data.add_argument(
        "--all-pictures",
        action="store_true",
        help="those too that the model was trained on (default: where `train` held some out, these alone)",
    )
    data.add_argument("--max-samples", type=int, help="use only so many, taken at random")
    data.add_argument("--seed", type=int, default=0, help="of that choice")
    how = parser.add_argument_group("how it runs")
    how.add_argument(
        "--batch-size",
        type=int,
        default=32,
        help="pictures at a time; results do not depend on it, but with batch_mode mean_topk of asvit",
    )
    how.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: the fastest)")
    how.add_argument("--dtype", choices=DTYPES, default="float32", help="arithmetic")
    output = parser.add_argument_group("what comes out")
    output.add_argument(
        "--output", type=Path, help="folder for report.html, report.md, report.json and plots; must be new or empty"
    )
    add_overwrite_option(output)
    output.add_argument("--max-changed", type=int, default=24, help="show so many pictures whose prediction changed")
    add_json_option(output)


def command_of(args: argparse.Namespace) -> str:
    """Return the command line that gives `args`, without what is the default."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    words = ["hf-dynamicvit", "evaluate"]
    for name, value in vars(args).items():
        if value == parser.get_default(name):
            continue
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, list):
            words += [option, *map(str, value)]
        elif value is True:
            words.append(option)
        else:  # what begins with a dash would be taken for another option
            words += [f"{option}={value}"] if str(value).startswith("-") else [option, str(value)]
    return shlex.join(words)


def main(args: argparse.Namespace) -> None:
    check_typed(args, RANGES)
    from .evaluate_run import main

    main(args, command_of(args))
