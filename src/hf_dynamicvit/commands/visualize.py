# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit visualize`."""

import argparse
from pathlib import Path

from ..names import METHODS
from .parser import add_cover_option, add_images_option, add_json_option, add_overwrite_option, add_schedule_option
from .ranges import COUNT, FRACTION, KEEP_RATIO, check_ranges


EXAMPLES = """
# what a fine-tuned model keeps of every image in a folder
hf-dynamicvit visualize --model my-dynamicvit --images my_images --output seen
# another method on the same weights, at 0.6 of the dense model's cost
hf-dynamicvit visualize --model facebook/deit-small-patch16-224 --reducer tome --budget 0.6 \\
    --images cat.jpg --output seen
# the boxes of a detector beside those of the dense one
hf-dynamicvit visualize --model hustvl/yolos-tiny --reducer tome --keep-ratio 0.7 --images my_images --output seen
# the depth map of a model around a backbone beside the dense one's
hf-dynamicvit visualize --model depth-anything/Depth-Anything-V2-Small-hf --reducer tome --budget 0.7 \\
    --images my_images --output seen
# only the overview and the numbers, of 50 images
hf-dynamicvit visualize --model my-dynamicvit --images my_images --limit 50 --only-overview --output seen
"""

FORMATS = ("webp", "png")

RANGES = {"keep_ratio": KEEP_RATIO, "batch_size": COUNT, "limit": COUNT, "least_probability": FRACTION}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Draw, for each image, what takes part after each decision, what was scored, merged or came back, when each "
        "patch went, and what the sparse and the dense model predict: a card and a GIF each, overviews of all, "
        "index.html, which sorts them by change, confidence and class, and views.json with the numbers."
    )
    parser.add_argument(
        "--model",
        required=True,
        help="folder or Hub name of an image classifier, object detector, segmenter or depth model, sparse or dense",
    )
    add_images_option(parser, "", required=True)
    parser.add_argument("--output", required=True, type=Path, help="folder to write; must be new or empty")
    add_overwrite_option(parser)
    parser.add_argument("--reducer", choices=METHODS, help="another method on the same weights (default: the model's)")
    add_schedule_option(parser, "the model's own")
    how_much = parser.add_mutually_exclusive_group()
    how_much.add_argument(
        "--keep-ratio", nargs="+", type=float, help="one number, or one a stage (default: the model's own)"
    )
    how_much.add_argument(
        "--budget",
        type=float,
        help="fraction of the dense multiply-adds, 0 to 1, at the model's own image size",
    )
    parser.add_argument(
        "--same-classes", action="store_true", help="classes of --dense of other names are the same, in the same order"
    )
    parser.add_argument("--dense", help="a dense model to compare with (default: the same weights, all patches kept)")
    parser.add_argument(
        "--image-size",
        nargs="+",
        type=int,
        metavar="PIXELS",
        help="stretch the images to one number, or to HEIGHT WIDTH (default: as the image processor does)",
    )
    parser.add_argument(
        "--least-probability", type=float, help="of an object that is drawn, of a detector (default: 0.5)"
    )
    parser.add_argument("--limit", type=int, help="at most so many images, at even distances in the list of files")
    add_cover_option(parser)
    parser.add_argument("--only-overview", action="store_true", help="no card and no GIF for each image")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="webp",
        help="of cards and overviews; webp has a third of the size of png, and looks alike",
    )
    parser.add_argument("--seconds", type=float, default=0.8, help="of each frame of the GIFs")
    parser.add_argument("--batch-size", type=int, default=16, help="images at a time")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: the fastest)")
    add_json_option(parser)


def main(args: argparse.Namespace) -> None:
    check_ranges(vars(args), RANGES)
    from .visualize_run import main

    main(args)
