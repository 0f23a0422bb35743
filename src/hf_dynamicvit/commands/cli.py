# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit <command>`: dispatch only; the file of its name here has `add_arguments`, `main` and `EXAMPLES`.

`train` has `make_parser`, of a parser of its own, in place of the first.
"""

import importlib
import os
import sys
from typing import Any

from .._version import __version__
from ..names import suggest_or_list
from .help_text import examples_text
from .parser import Parser


# command -> one line of help, in the order in which one needs them
COMMANDS = {
    "quickstart": "train, sparsify and measure a small model, without the network",
    "train": "fine-tune a model, sparse or dense, on your own images",
    "predict": "name the classes of images, as a list, CSV or JSON",
    "evaluate": "report how a model does on a data set, beside the dense one",
    "visualize": "draw what a model keeps, drops and predicts on images",
    "demo": "try a model on images in the browser",
    "tune": "find how many tokens each block may leave for a cost or a latency",
    "benchmark": "measure speed, overhead and memory beside the dense model",
    "serve": "answer programs that send images with their classes",
    "export": "write a model as one ONNX or torch.export file",
    "push": "upload a saved model with its card and code to the Hub",
    "convert": "make a published timm-style checkpoint one of Transformers",
    "completion": "let a shell complete commands and options",
}

EXAMPLES = """
# the whole pipeline on handwritten digits, a few minutes on a CPU
hf-dynamicvit quickstart
# your own images, a folder for each class
hf-dynamicvit train --model facebook/deit-small-patch16-224 --dataset my_images --teacher-epochs 3
# the options of a command, and examples of it
hf-dynamicvit train --help
"""


def import_command(name: str) -> Any:
    """Import the module of a command: its options, and its `main`, which imports what it runs."""
    return importlib.import_module(f".{name}", __package__)


def command_parser(name: str) -> Parser:
    """Build the parser of the command `name`."""
    module = import_command(name)
    if hasattr(module, "make_parser"):
        return module.make_parser()
    line = COMMANDS[name]
    parser = Parser(prog=f"hf-dynamicvit {name}", description=f"{line[0].upper()}{line[1:]}.")
    parser.epilog = examples_text(module.EXAMPLES)
    module.add_arguments(parser)  # may say more in `parser.description`
    return parser


def make_parser() -> Parser:
    """Build the parser of `hf-dynamicvit` itself, which knows the names of the commands."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{width}}  {line}" for name, line in COMMANDS.items())
    parser = Parser(
        prog="hf-dynamicvit",
        usage="hf-dynamicvit COMMAND [options]",
        description="Vision transformers that drop the tokens an image does not need: train them, look at what they "
        "do, measure them, take them elsewhere.",
        epilog=f"commands:\n{commands}\n\n{examples_text(EXAMPLES)}",
    )
    parser.add_argument("--version", action="version", version=f"hf-dynamicvit {__version__}")
    return parser


def whole_parser() -> Parser:
    """Return the parser of `make_parser` with all options of all commands."""
    parser = make_parser()
    commands: Any = parser.add_subparsers(metavar="COMMAND")
    for name, line in COMMANDS.items():
        commands.add_parser(name, help=line, parents=[command_parser(name)], add_help=False)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status.

    That is 0, or 1 where input or disk do not allow it, said in one line; a command may return another, which its help
    tells.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler tells when it starts; read as torch is imported
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments:
        make_parser().print_help(sys.stderr)
        sys.exit(2)
    name = arguments[0]
    if name not in COMMANDS:
        parser = make_parser()
        if name.startswith("-"):
            parser.parse_args(arguments[:1])  # ends here
        parser.error(f"there is no command {name!r}{suggest_or_list(name, COMMANDS)}")
    try:
        return import_command(name).main(command_parser(name).parse_args(arguments[1:])) or 0
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"hf-dynamicvit {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"hf-dynamicvit {name}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
