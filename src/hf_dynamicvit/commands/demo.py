# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit demo`."""

import argparse
from pathlib import Path

from ..demo import DEFAULT


EXAMPLES = """
# the models that hf-dynamicvit quickstart made in this folder
hf-dynamicvit demo
# your own model, and a dense one from the Hub on which methods without training can be tried
hf-dynamicvit demo --model my-dynamicvit facebook/deit-small-patch16-224
# a CLIP or SigLIP tells which of your words an image shows, an encoder which of your images are most like it
hf-dynamicvit demo --model openai/clip-vit-base-patch32 facebook/dinov2-small --images my_images
# for others in your network
hf-dynamicvit demo --model my-dynamicvit --host 0.0.0.0 --port 8080
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Open a web page on which models look at images: which patches they keep, what they score and predict, what "
        "it costs and how long it takes, beside the dense model. Nothing is stored, and the page asks no other host "
        "for anything."
    )
    parser.add_argument(
        "--model",
        nargs="+",
        help="folders or Hub names of image classifiers, sparse or dense, that the page offers; of a CLIP or its kin "
        "it offers zero-shot classification, and of it and of encoders, as DINOv2, retrieval "
        f"(default: {' and '.join(DEFAULT)}, which hf-dynamicvit quickstart makes)",
    )
    parser.add_argument(
        "--images",
        type=Path,
        help="folder of images among which the Retrieval tab searches, at most 48 of them; who opens the page sees "
        "them (default: 16 photographs of flowers)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is all there are")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860 on)")


def main(args: argparse.Namespace) -> None:
    from .demo_run import main

    main(args)
