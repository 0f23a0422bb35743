# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit demo`: a web page on which models of your choice look at pictures."""

import argparse
import atexit
import os
import shutil
import tempfile
from pathlib import Path


EXAMPLES = """
# the models that hf-dynamicvit quickstart made in this folder
hf-dynamicvit demo
# your own model, and a dense one from the Hub on which methods without training can be tried
hf-dynamicvit demo --model my-dynamicvit facebook/deit-small-patch16-224
# for others in your network
hf-dynamicvit demo --model my-dynamicvit --host 0.0.0.0 --port 8080
"""

# What the quickstart writes.
DEFAULT = ("quickstart/sparse", "quickstart/dense")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Open a web page on which models look at pictures: which patches they keep, what they score and predict, what "
        "it costs and how long it takes, beside the dense model. Nothing is stored, and the page asks no other host "
        "for anything."
    )
    parser.add_argument(
        "--model",
        nargs="+",
        help="folders or Hub names of ViT or DeiT classifiers, sparse or dense, that the page offers "
        f"(default: {' and '.join(DEFAULT)}, which hf-dynamicvit quickstart makes)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is all there are")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860 on)")


def sources_of(model: list[str] | None) -> list[str]:
    """The models named, or those that the quickstart made in the current folder."""
    sources = model or [source for source in DEFAULT if Path(source, "config.json").is_file()]
    if not sources:
        raise ValueError(
            "there is no quickstart/ in this folder to show; run hf-dynamicvit quickstart first, which makes it, or "
            "name --model."
        )
    return sources


def private_folder() -> Path:
    """A new folder for uploads, which Gradio uses from now on, removed when the program ends."""
    folder = Path(tempfile.mkdtemp(prefix="hf-dynamicvit-demo-")).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return folder


def start_gradio() -> Path:
    """Import Gradio, so that it tells nobody that it runs; the folder where it keeps what it writes.

    Raises:
        ValueError: it is missing.
    """
    folder = private_folder()  # both are read as it is imported
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise ValueError('The page is made with Gradio: pip install "hf-dynamicvit[demo]"') from error
    return folder


def main(args: argparse.Namespace) -> None:
    sources = sources_of(args.model)
    if args.port is not None and not 0 < args.port < 65536:
        raise ValueError(f"--port is {args.port}; a port is a number from 1 to 65535.")
    folder = start_gradio()
    from .page import build

    build(sources, folder=folder).launch(args.host, args.port)
