# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What the commands share: help that reads well, errors that say what to type, and JSON alone on standard output."""

import argparse
import contextlib
import json
import math
import sys
import textwrap
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..names import instead, nearest


# What the values of an option of that type are called in the help.
METAVARS = {int: "N", float: "NUMBER", Path: "PATH"}

# What commands call a model that is typed without an option before it.
NAMES_OF_MODEL = ("model", "folder")

# Longer lists of choices are told in the help of an option rather than beside its name.
MOST_CHOICES = 4


def examples_text(examples: str) -> str:
    """The end of a help text: `examples`, command lines and `# what they do`, each on a line of its own."""
    return f"examples:\n{textwrap.indent(examples.strip(), '  ')}"


@contextlib.contextmanager
def only_json(wanted: bool) -> Generator[None]:
    """Where `wanted`, what is printed goes to standard error, as standard output is for one JSON object."""
    with contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext():
        yield


def print_json(content: dict[str, Any]) -> None:
    print(json.dumps(content))


def add_overwrite_option(parser: Any) -> None:
    """Add `--overwrite`, for commands that write a folder."""
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="write there though it holds something; files of the same names are replaced, others stay",
    )


def add_json_option(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object; all else goes to standard error")


@dataclass(frozen=True)
class Range:
    """The numbers that an option takes: all from `least` to `most`.

    Attributes:
        above, below: `least`, `most` itself is not one of them.
        besides: one more number, which has a meaning of its own.
        falling: of several, none is above the one before it.
        meaning: what the number is, where that is often mistaken.
    """

    least: float = 0.0
    most: float = math.inf
    above: bool = False
    below: bool = False
    besides: float | None = None
    falling: bool = False
    meaning: str = ""

    def holds(self, value: float) -> bool:
        """Return whether `value` is one of the numbers; infinity and NaN never are."""
        high_enough = value > self.least if self.above else value >= self.least
        low_enough = value < self.most if self.below else value <= self.most
        return value == self.besides or (math.isfinite(value) and high_enough and low_enough)

    def __str__(self) -> str:
        said = [f"above {self.least:g}" if self.above else f"{self.least:.10g} or more"]
        if self.most < math.inf:
            said.append(f"below {self.most:g}" if self.below else f"at most {self.most:.10g}")
        besides = "" if self.besides is None else f", or {self.besides:g}"
        return " and ".join(said) + besides + self.meaning


COUNT, FRACTION, NOT_NEGATIVE = Range(1), Range(0, 1), Range()
SOME_FRACTION, BELOW_ONE = Range(0, 1, above=True), Range(0, 1, below=True)
KEEP_RATIO = Range(0, 1, above=True, falling=True)


def numbers_in(value: Any) -> list[float]:
    """Return the numbers of what was typed for one option; what is no number, the parser of all options refuses."""
    numbers = []
    for part in value if isinstance(value, list) else [value]:
        with contextlib.suppress(TypeError, ValueError):
            numbers.append(float(part))
    return numbers


def check_ranges(given: Mapping[str, Any], ranges: Mapping[str, Range], spelled: Mapping[str, str]) -> None:
    """Refuse numbers that an option does not take, before anything is loaded for them.

    Args:
        given: name of an option -> its value, or the words of it.
        ranges: name of an option -> what it takes; others take anything.
        spelled: name of an option -> as it was typed.

    Raises:
        ValueError: names the option, the number and those that it takes.
    """
    for name, allowed in ranges.items():
        numbers, option = numbers_in(given.get(name)), spelled.get(name, f"--{name}")
        for number in numbers:
            if not allowed.holds(number):
                raise ValueError(f"{option} is {number:g}; it must be {allowed}.")
        if allowed.falling and numbers != sorted(numbers, reverse=True):
            raise ValueError(f"{option} is {' '.join(f'{number:g}' for number in numbers)}; it must not increase.")


def check_typed(args: argparse.Namespace, ranges: Mapping[str, Range]) -> None:
    """Check the ranges of what was parsed, as `check_ranges`, with options spelled with hyphens."""
    check_ranges(vars(args), ranges, {name: f"--{name.replace('_', '-')}" for name in ranges})


class HelpFormatter(argparse.HelpFormatter):
    """A usage of one line, examples as they are written, the default of every option that has one."""

    def add_usage(self, usage, actions, groups, prefix=None) -> None:
        actions = sorted(actions, key=lambda action: bool(action.option_strings))  # those without a name first
        needed = [action for action in actions if action.required]
        words = [" ".join([*action.option_strings[:1], self._values(action)]) for action in needed]
        super().add_usage(usage or " ".join(["%(prog)s", *words, "[options]"]), actions, groups, prefix)

    def _values(self, action: argparse.Action) -> str:
        """Return what is to be typed for `action`, after its name."""
        choices = [*map(str, action.choices or [])]
        called = action.metavar or METAVARS.get(action.type, action.dest.upper())
        if 0 < len(choices) <= MOST_CHOICES:
            called = f"{{{','.join(choices)}}}"
        if action.nargs == 0 or action.const is True:  # a flag, with or without the `true` that it may have
            return ""
        if isinstance(called, tuple):
            return " ".join(called)
        return f"{called} ..." if action.nargs in ("+", "*") else called

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """Return the names of `action`, of those that differ in `_` and `-` alone the first."""
        names = {name.replace("-", "_"): name for name in reversed(action.option_strings)}
        return " ".join([", ".join(reversed(names.values())), self._values(action)]).strip()

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or "", action.default
        if action.choices is not None and len([*action.choices]) > MOST_CHOICES:
            text = f"{text.removesuffix('.')}: {', '.join(map(str, action.choices))}"
        nothing = isinstance(default, bool) or default in (None, [None], [], {}, argparse.SUPPRESS)
        if not nothing and "default" not in text.lower():
            text += f" (default: {' '.join(map(str, default)) if isinstance(default, list) else default})"
        return text

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Paragraphs are wrapped; those with indented lines stay as they are."""
        paragraphs = text.strip().split("\n\n")
        fill = super()._fill_text
        return "\n\n".join(part if "\n " in part else fill(part, width, indent) for part in paragraphs)


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors name the nearest option, and that takes no abbreviations.

    Else `--keep-ratio` would be taken for `--keep-ratios` of a command that has only that.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"formatter_class": HelpFormatter, "allow_abbrev": False} | kwargs)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        words = self.with_model(sys.argv[1:] if args is None else args)
        options = [word.split("=", 1)[0] for word in words[: words.index("--") if "--" in words else None]]
        for option in options:  # ahead of what is missing, as that is often what was mistyped
            if option.startswith("--") and option not in self._option_string_actions:
                self.error(self._unknown(option))
        parsed, left_over = self.parse_known_args(words, namespace)
        if left_over:
            self.error(self._unknown(left_over[0]))
        return parsed

    def with_model(self, words: Sequence[str]) -> list[str]:
        """Return `words` with the model as this command takes it: after `--model`, or in the first place without.

        Both can be typed for all commands, as nobody remembers which of them takes which.
        """
        words = [*words]
        first = next((action for action in self._actions if not action.option_strings), None)
        typed = [place for place, word in enumerate(words) if word.partition("=")[0] == "--model"]
        if first is None and "--model" in self._option_string_actions and words and not words[0].startswith("-"):
            if typed:
                self.error(f"{words[0]!r} and --model both name a model; type one")
            return ["--model", *words]
        if first is not None and first.dest in NAMES_OF_MODEL and typed:
            place = typed[0]
            _, equals, value = words.pop(place).partition("=")
            given = [value] if equals else []
            while words[place:] and not words[place].startswith("-") and (first.nargs or not given):
                given.append(words.pop(place))
            return [*given, *words]
        return words

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, f"there is no {value!r}{instead(str(value), action.choices)}")

    def _unknown(self, word: str) -> str:
        """Say what is wrong with `word`, which no action takes."""
        if not word.startswith("-"):
            return f"{word!r} is one argument too many; {self.prog} --help lists what there is"
        positional = {action.dest: action for action in self._actions if not action.option_strings}
        if word.removeprefix("--") in positional:
            return f"there is no {word}; type the {word.removeprefix('--')} itself, without an option before it"
        return f"there is no option {word}{nearest(word, self._option_string_actions)}"


class SectionedHelp(argparse.ArgumentParser):
    """A parser whose help has the options of `sections` alone: title -> names, in the order of the help."""

    sections: dict[str, list[str]]

    def format_help(self) -> str:
        return self.help_of(self.sections)

    def help_of(self, sections: dict[str, list[str]]) -> str:
        """Return the help with the options of these names only."""
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, [])
        formatter.add_text(self.description)
        for title, names in ({"help": ["help", "help_all"]} | sections).items():
            formatter.start_section(title)
            for name in names:
                formatter.add_arguments(action for action in self._actions if action.dest == name)
            formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()
