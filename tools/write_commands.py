# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Write `docs/commands.md`, the reference of the command line, from the parsers of the commands.

    python tools/write_commands.py

After a change of an option, or of its help; a test compares the page with the parsers.
"""

import argparse
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

from hf_dynamicvit.commands.cli import COMMANDS, EXAMPLES, command_parser, import_command
from hf_dynamicvit.commands.help_text import SectionedHelp


PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
WIDTH = 120  # of a line of the file
EXAMPLE_WIDTH = 88  # of a line of code

# What argparse calls a part of the help -> what it is called here.
TITLES = {"positional arguments": "typed without an option"}

# What a line of help says that Markdown would read otherwise; what is in backticks stays as it is.
SPECIAL = re.compile(r"([\\*<\[])")
STOP = re.compile(r"(?<!\.)\. \(default")
OPTION = re.compile(r"(?<![\w-])(--[a-z][\w-]*)")


def escape(text: str) -> str:
    """Write a line of help as Markdown: options as code, all else as it is read in a terminal."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else escape_words(part) for part in parts)


def escape_words(text: str) -> str:
    return OPTION.sub(r"`\1`", SPECIAL.sub(r"\\\1", text))


def wrap(text: str, indent: str = "") -> str:
    """Break `text` into lines, with `indent` ahead of all but the first; nothing in backticks is broken."""
    kept = re.sub(r"`[^`]*`", lambda code: code[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(kept, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")


def sections(parser: argparse.ArgumentParser) -> Iterable[tuple[str, list[argparse.Action]]]:
    """Return the titles of a parser's help, each with its options; what only ends the program is left out."""
    if isinstance(parser, SectionedHelp):
        by_name = {action.dest: action for action in parser._actions}
        groups = [(title, [by_name[name] for name in names]) for title, names in parser.sections.items()]
    else:
        groups = [(TITLES.get(group.title, group.title), group._group_actions) for group in parser._action_groups]
    for title, actions in groups:
        shown = [action for action in actions if action.help is not argparse.SUPPRESS and action.dest != "help"]
        if shown:
            yield title, shown


def describe_option(action: argparse.Action, formatter: argparse.HelpFormatter) -> str:
    """Write an option as an entry of a list: what is typed, what it means, and what holds without it."""
    typed = formatter._format_action_invocation(action)
    meaning = STOP.sub(" (default", escape(formatter._expand_help(action))).removesuffix(".")
    needed = " *Needed.*" if action.required else ""
    return wrap(f"- `{typed}`: {meaning}.{needed}", "  ")


def shorten(line: str) -> str:
    """Break a command line of an example behind an option where it is too wide."""
    if len(line) <= EXAMPLE_WIDTH:
        return line
    options = re.split(r" (?=--)", line)
    lines = [options[0]]
    for option in options[1:]:
        if len(lines[-1]) + 1 + len(option) > EXAMPLE_WIDTH - 2:
            lines.append(f"    {option}")
        else:
            lines[-1] += f" {option}"
    return " \\\n".join(lines)


def examples_block(examples: str) -> str:
    """Write the examples of a command as a block of code with lines of `EXAMPLE_WIDTH` at most."""
    joined = re.sub(r" \\\n +", " ", examples.strip())
    lines = [wrap_comment(line) if line.startswith("#") else shorten(line) for line in joined.splitlines()]
    return "\n".join(["```text", *lines, "```"])


def wrap_comment(line: str) -> str:
    return "\n".join(textwrap.wrap(line, EXAMPLE_WIDTH, subsequent_indent="# "))


def describe_command(name: str) -> str:
    """Write the section of the command `name`."""
    parser = command_parser(name)
    formatter = parser._get_formatter()
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    parts = [f"## {name}", wrap(escape(parser.description or "")), f"```text\n{shorten(usage)}\n```"]
    for title, actions in sections(parser):
        entries = "\n".join(describe_option(action, formatter) for action in actions)
        parts.append(f"**{title[0].upper()}{title[1:]}**\n\n{entries}")
    parts.append(f"**Examples**\n\n{examples_block(import_command(name).EXAMPLES)}")
    return "\n\n".join(parts)


def write_page() -> str:
    """Return the page."""
    lines = "\n".join(f"| [`{name}`](#{name}) | {escape(line)} |" for name, line in COMMANDS.items())
    begin = f"""# Command line

`hf-dynamicvit COMMAND [options]`; `python -m hf_dynamicvit` is the same. Here is what `hf-dynamicvit COMMAND --help`
says of every command, written from the parsers by `tools/write_commands.py`.

| command | what it does |
| --- | --- |
{lines}

{examples_block(EXAMPLES)}

- Options have one spelling, with hyphens; underscores are understood, and abbreviations are not.
- An option that names no default is off, or not set, until it is typed.
- A model may be typed without `--model` ahead of it; `predict` takes the words without an option for images.
- `--json` prints one JSON object on standard output; all else goes to standard error.
- The exit status is 0, or 1 where input or disk do not allow it, 2 where an option is mistyped, and 130 after Ctrl-C.
"""
    return "\n\n".join([begin.strip(), *map(describe_command, COMMANDS)]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(write_page(), encoding="utf-8")
    print(f"Wrote {PAGE}")
