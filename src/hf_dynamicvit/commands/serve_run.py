# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit serve`: answer with the classes of images that are sent."""

import argparse

import torch

from ..extras import require
from ..prediction import Classifier
from ..serve.limits import Limits
from ..training.progress import no_bars_of_weights


def main(args: argparse.Namespace) -> None:
    if args.images_a_request > args.waiting:
        raise ValueError(
            f"--images-a-request is {args.images_a_request}; at most {args.waiting}, the images that wait (--waiting)."
        )
    for module in ("fastapi", "uvicorn", "python_multipart"):
        require(module, "serve", f"The server takes {module}")
    from ..serve.app import build_app
    from ..serve.run import open_socket, serve

    limits = Limits(args.megabytes, args.pixels, args.images_a_request, args.reading, args.waiting, args.patience)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    with open_socket(args.host, args.port) as listening:
        with no_bars_of_weights():
            classifier = Classifier.load(args.model, args.device, args.dtype)
        options = {"batch_size": args.batch_size, "window": args.window, "workers": args.workers}
        serve(build_app(classifier, limits, **options), listening, limits)
