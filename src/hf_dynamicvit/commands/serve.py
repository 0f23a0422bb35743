# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit serve`."""

import argparse
from typing import Any

from ..names import DTYPES
from .ranges import COUNT, NOT_NEGATIVE, Range, check_ranges


EXAMPLES = """
# your model, for programs on this machine
hf-dynamicvit serve --model my-dynamicvit
# for others in your network, behind a proxy that has TLS and knows who may ask
hf-dynamicvit serve --model my-dynamicvit --host 0.0.0.0 --port 8080 --batch-size 32 --window 10
"""

RANGES = dict.fromkeys(("batch_size", "threads", "workers", "megabytes", "pixels", "images_a_request"), COUNT)
RANGES |= {"reading": COUNT, "waiting": COUNT, "window": NOT_NEGATIVE, "patience": Range(0, above=True)}
RANGES |= {"port": Range(0, 65535)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Answer with the classes of the images that are sent: POST /predict takes an image, or a form with several. "
        "Requests that come at the same time are run as one batch. /health, /model and /metrics (Prometheus) are for "
        "those who run it; it keeps nothing of what is sent, and has neither passwords nor TLS."
    )
    parser.add_argument("--model", required=True, help="folder or Hub name of an image classifier, sparse or dense")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is all there are")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0 is any that is free")
    add_running(parser.add_argument_group("how it runs"))
    add_limits(parser.add_argument_group("what is refused"))


def add_running(group: Any) -> None:
    """Add the options that say how the model runs."""
    group.add_argument("--batch-size", type=int, default=16, help="images at a time, at most")
    group.add_argument("--window", type=float, default=5.0, help="milliseconds that the first of a batch waits")
    group.add_argument("--threads", type=int, help="CPU threads of the model (default: torch's)")
    group.add_argument("--workers", type=int, default=2, help="threads that read and scale images")
    group.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: the fastest)")
    group.add_argument("--dtype", choices=DTYPES, default="float32", help="arithmetic")


def add_limits(group: Any) -> None:
    """Add the options that say what is too much."""
    group.add_argument("--megabytes", type=int, default=10, help="of one request, at most")
    group.add_argument("--pixels", type=int, default=40_000_000, help="of one image, at most")
    group.add_argument("--images-a-request", type=int, default=16, help="at most")
    group.add_argument("--reading", type=int, default=32, help="requests that arrive at the same time, at most")
    group.add_argument("--waiting", type=int, default=128, help="images that wait for the model, at most")
    group.add_argument("--patience", type=float, default=20.0, help="seconds in which a request must have arrived")


def main(args: argparse.Namespace) -> None:
    check_ranges(vars(args), RANGES)
    from .serve_run import main

    main(args)
