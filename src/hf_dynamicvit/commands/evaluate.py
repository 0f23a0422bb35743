# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit evaluate`."""

import argparse
import shlex
from pathlib import Path
from typing import Any

from ..names import BOX_FORMATS, DTYPES, KEEP_RATIOS, METHODS, UNREADABLE
from .parser import add_cover_option, add_json_option, add_overwrite_option, add_schedule_option
from .ranges import ABOVE_ZERO, COUNT, KEEP_RATIO, NOT_NEGATIVE, SOME_FRACTION, as_option, check_ranges


EXAMPLES = """
# a report of a fine-tuned model on the images that it was not trained on
hf-dynamicvit evaluate --model my-dynamicvit --dataset my_images --output report
# another method on the weights of a dense model, on 1000 images of a data set on the Hub
hf-dynamicvit evaluate --model my-dense-vit --reducer tome --dataset ethz/food101 --limit 1000 --output report
# beside the dense model that it was made from, at its own keep ratio only, for a script
hf-dynamicvit evaluate --model my-dynamicvit --dense my-dense-vit --dataset my_images --no-keep-ratios --json
# mAP of a detector, mIoU of a segmenter, errors of a depth model, on images with objects, masks or depth
hf-dynamicvit evaluate --model my-detector --reducer tome --keep-ratio 0.7 --dataset my_boxes --output report
"""

RANGES = {
    "keep_ratio": KEEP_RATIO,
    "keep_ratios": SOME_FRACTION,
    "limit": COUNT,
    "batch_size": COUNT,
    "max_changed": NOT_NEGATIVE,
    "resamples": NOT_NEGATIVE,
    "depth_scale": ABOVE_ZERO,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Run a sparse model and the dense one on every image of a data set, and report accuracy, what changed for "
        "which class and which image, what is kept and where, and accuracy at other keep ratios. Of a detector it is "
        "mAP, of a segmenter mIoU, of a depth model the errors, by torchmetrics."
    )
    parser.add_argument(
        "--model",
        required=True,
        help="folder or Hub name of an image classifier, a detector, or a segmenter or depth model around a backbone",
    )
    parser.add_argument(
        "--dataset", required=True, help="folder of class folders, parquet, saved data set, or a name on the Hub"
    )
    add_compared(parser.add_argument_group("what is compared"))
    add_images(parser.add_argument_group("which images"))
    add_running(parser.add_argument_group("how it runs"))
    add_output(parser.add_argument_group("what comes out"))


def add_compared(group: Any) -> None:
    """Add the options that say which models are compared, and how much they keep."""
    group.add_argument(
        "--dense", metavar="MODEL", help="dense model to compare with (default: the dense copy of the same weights)"
    )
    group.add_argument("--reducer", choices=METHODS, help="another method on the same weights (default: its own)")
    add_schedule_option(group, "the model's own")
    how_much = group.add_mutually_exclusive_group()
    how_much.add_argument(
        "--keep-ratio", nargs="+", type=float, help="one number, or one a stage (default: the model's own)"
    )
    how_much.add_argument("--budget", type=float, help="fraction of the dense multiply-adds, 0 to 1")
    ratios = group.add_mutually_exclusive_group()
    ratios.add_argument(
        "--keep-ratios",
        nargs="+",
        type=float,
        default=list(KEEP_RATIOS),
        help="try these too, without training; each takes as long as the model itself",
    )
    ratios.add_argument("--no-keep-ratios", action="store_true", help="try no other keep ratios")


def add_images(group: Any) -> None:
    """Add the options that say which images of the data set are taken, and of which classes they are."""
    group.add_argument("--split", help="default: that for validation or testing, or the only one")
    group.add_argument("--dataset-config", help="configuration of a data set with several")
    group.add_argument("--dataset-revision", help="branch, tag or commit on the Hub")
    group.add_argument("--image-column", help="default: found")
    group.add_argument(
        "--label-column", help="of classes, of a detector of objects, else of masks or depth (default: found)"
    )
    group.add_argument(
        "--boxes",
        choices=BOX_FORMATS,
        default="sizes",
        help="numbers of a box, in pixels: left, top, width, height (sizes) or left, top, right, bottom (corners)",
    )
    group.add_argument(
        "--depth-scale", type=float, default=1.0, help="by what depth is multiplied, such as 0.001 of millimetres"
    )
    group.add_argument(
        "--same-classes", action="store_true", help="classes of other names are the model's, in the same order"
    )
    group.add_argument("--unreadable", choices=UNREADABLE, default="skip", help="what an unreadable image does")
    group.add_argument(
        "--all-images",
        action="store_true",
        help="include the images that the model was trained on (default: where `train` held some out, these alone)",
    )
    group.add_argument("--limit", type=int, help="at most so many images, taken at random")
    group.add_argument("--seed", type=int, default=0, help="of that choice")


def add_running(group: Any) -> None:
    """Add the options that say how the models run."""
    group.add_argument(
        "--batch-size",
        type=int,
        default=32,
        help="images at a time; results do not depend on it, but with batch_mode mean_topk of asvit",
    )
    group.add_argument(
        "--resamples",
        type=int,
        default=100,
        help="of a detector, segmenter or depth model: how often images are drawn anew for the intervals; 0 for none",
    )
    group.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: the fastest)")
    group.add_argument("--dtype", choices=DTYPES, default="float32", help="arithmetic")


def add_output(group: Any) -> None:
    """Add the options that say what is written."""
    group.add_argument(
        "--output", type=Path, help="folder for report.html, report.md, report.json and plots; must be new or empty"
    )
    add_overwrite_option(group)
    add_cover_option(group)
    group.add_argument(
        "--max-changed", type=int, default=24, help="show so many images whose prediction changed, or that differ most"
    )
    add_json_option(group)


def write_command(args: argparse.Namespace) -> str:
    """Return the command line that gives `args`, without what is the default."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    words = ["hf-dynamicvit", "evaluate"]
    for name, value in vars(args).items():
        if value == parser.get_default(name):
            continue
        option = as_option(name)
        if isinstance(value, list):
            words += [option, *map(str, value)]
        elif value is True:
            words.append(option)
        else:  # what begins with a dash would be taken for another option
            words += [f"{option}={value}"] if str(value).startswith("-") else [option, str(value)]
    return shlex.join(words)


def main(args: argparse.Namespace) -> None:
    check_ranges(vars(args), RANGES)
    from .evaluate_run import main

    main(args, write_command(args))
