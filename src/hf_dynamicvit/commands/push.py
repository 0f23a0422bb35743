# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit push`."""

import argparse
from pathlib import Path

from .parser import add_images_option, add_json_option, add_overwrite_option


EXAMPLES = """
# a model that `hf-dynamicvit train` saved: the card has the accuracy and the cost that it measured
hf-dynamicvit push my-dynamicvit me/my-dynamicvit
# look at the card first; nothing is uploaded
hf-dynamicvit push my-dynamicvit me/my-dynamicvit --dry-run --output card
# with a figure of kept patches, speed measured here, and the accuracy that you measured
hf-dynamicvit push my-dynamicvit me/my-dynamicvit --images cat.jpg dog.jpg --measure-speed \\
    --top1 0.79 --dataset me/pets
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Upload a saved sparse model with its image processor, its code and a card to the Hub. The folder is read, "
        "never written. A README.md in it is the card as it is; else one is made of what training measured "
        "(results.json), of what is typed, which goes first, and of what is measured here."
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a saved sparse model with its image processor")
    parser.add_argument("repo_id", help="user/name on the Hub; created if it is not there")
    card = parser.add_argument_group("what the card says")
    card.add_argument("--base-model", metavar="NAME", help="Hub repository of the dense model it came from")
    card.add_argument("--license", help="identifier, such as apache-2.0 (default: the base model's)")
    card.add_argument("--top1", type=float, help="measured accuracy, 0 to 1 (default: as training measured it)")
    card.add_argument("--dense-top1", type=float, help="that of the dense model (default: the teacher's)")
    card.add_argument("--num-images", type=int, metavar="N", help="that --top1 is of, for its 95%% interval")
    card.add_argument("--dataset", metavar="NAME", help="Hub name of the data set that --top1 is of")
    card.add_argument("--dataset-name", metavar="NAME", help="of the same, or of one of your own, as people say it")
    add_images_option(card, ", for the figure of kept patches")
    card.add_argument("--measure-speed", action="store_true", help="measure images/s beside the dense model, here")
    upload = parser.add_argument_group("upload")
    upload.add_argument("--private", action="store_true", default=None, help="create a private repository")
    upload.add_argument("--without-code", action="store_true", help="leave out what trust_remote_code=True would run")
    upload.add_argument("--token", help="of the Hub (default: the one of `hf auth login` or HF_TOKEN)")
    dry = parser.add_argument_group("without uploading")
    dry.add_argument("--dry-run", action="store_true", help="print the card, or write it to --output; upload nothing")
    dry.add_argument("--output", type=Path, metavar="FOLDER", help="for the card and its figure; must be new or empty")
    add_overwrite_option(dry)
    add_json_option(parser)


def main(args: argparse.Namespace) -> None:
    from .push_run import main

    main(args)
