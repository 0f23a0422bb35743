# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit <command>`: dispatch only; each command's file has its arguments and its `main`."""

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from functools import partial

from ._version import __version__


# command -> (module, one line of help)
COMMANDS = {
    "quickstart": ("quickstart", "train, sparsify and measure a small model on real pictures, without the network"),
    "push": ("push", "upload a saved model with its processor, code and card to the Hub"),
    "benchmark": ("benchmark_command", "throughput, overhead and memory of sparse models beside the dense one, here"),
    "train": ("train", "fine-tune a model, sparse or dense, on pictures from the Hub, a folder or a file"),
    "convert": ("convert", "turn a published checkpoint with timm-style keys into a DynamicViT checkpoint"),
    "visualize": ("visualize_command", "pictures of what a model keeps, when it drops what, and what it then predicts"),
    "evaluate": ("evaluate", "report how a sparse model does on a data set beside the dense one"),
    "demo": ("demo", "a web page to try a model on pictures, in the browser"),
    "completion": ("completion", "print what makes a shell complete hf-dynamicvit's commands and options"),
    "export": ("export", "write a model as one ONNX or torch.export file, checked on pictures"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, or 1 where input or disk do not allow it, said in one line."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler tells when it starts; read as torch is imported
    parser = argparse.ArgumentParser(prog="hf-dynamicvit", description="Vision transformers that drop tokens.")
    parser.add_argument("--version", action="version", version=f"hf-dynamicvit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    arguments = sys.argv[1:] if argv is None else argv
    run: Callable[[], None] | None = None
    for name, (module, help_line) in COMMANDS.items():
        command = commands.add_parser(name, help=help_line, description=help_line)
        if name in arguments[:1]:  # a command imports only what it needs itself
            implementation = importlib.import_module(f".{module}", __package__)
            if hasattr(implementation, "run_command"):  # it has a parser of its own
                run = partial(implementation.run_command, arguments[1:])
            else:
                implementation.add_arguments(command)
                command.set_defaults(run=implementation.main)
    if run is None:
        args = parser.parse_args(arguments)
        run = partial(args.run, args)
    try:
        run()
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"hf-dynamicvit {arguments[0]}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
