# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit demo`: a web page on which models of your choice look at images."""

import argparse

from ..demo import choose_sources, start_gradio


def main(args: argparse.Namespace) -> None:
    sources = choose_sources(args.model)
    if args.port is not None and not 0 < args.port < 65536:
        raise ValueError(f"--port is {args.port}; a port is a number from 1 to 65535.")
    if args.images is not None and not args.images.is_dir():
        raise ValueError(f"--images is {args.images}; it is to be a folder of images.")
    folder = start_gradio()
    from ..demo.page import build

    build(sources, folder=folder, searched=args.images).launch(args.host, args.port)
