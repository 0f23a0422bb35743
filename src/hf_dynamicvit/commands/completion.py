# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit completion`: a script with which a shell completes commands, options, choices and files."""

import argparse
from pathlib import Path
from typing import Any

from ..extras import require


EXAMPLES = """
# bash: in new shells (with the package bash-completion), or `source` the file in this one
mkdir -p ~/.local/share/bash-completion/completions
hf-dynamicvit completion bash > ~/.local/share/bash-completion/completions/hf-dynamicvit
# zsh: a folder of $fpath; ~/.zshrc holds `fpath=(~/.zfunc $fpath)` ahead of `autoload -Uz compinit && compinit`
mkdir -p ~/.zfunc
hf-dynamicvit completion zsh > ~/.zfunc/_hf-dynamicvit
# tcsh: source it in ~/.tcshrc
hf-dynamicvit completion tcsh > ~/.hf-dynamicvit.tcsh
"""

SHELLS = ("bash", "zsh", "tcsh")

# Options that take a folder or a file, though their values are no paths: names on the Hub do as well.
FILES = ("model", "source", "dataset", "teacher", "dense", "output_dir", "resume_from_checkpoint", "label_names")


def script(shell: str) -> str:
    """Write the completion script for `shell`, with every option of every command.

    Raises:
        ValueError: shtab, which writes it, is not installed.
    """
    shtab = require("shtab", "completion", "completion takes shtab")
    from .cli import whole_parser

    parser = whole_parser()
    prepare(parser, shtab.FILE)
    return shtab.complete(parser, shell=shell)


def prepare(parser: argparse.ArgumentParser, files: Any) -> None:
    """Mark the options of `parser` and of its commands that take files; make lists of choices, which shtab reads."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                prepare(command, files)
        elif action.type is Path or action.dest in FILES:
            vars(action)["complete"] = files  # where shtab looks for it
        elif action.choices is not None:
            action.choices = [*action.choices]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Print a script with which your shell completes the commands of hf-dynamicvit, their options, choices and "
        "files. It holds what the installed version knows: print it again after an update."
    )
    parser.add_argument("shell", choices=SHELLS, help="for which it is")


def main(args: argparse.Namespace) -> None:
    print(script(args.shell))
