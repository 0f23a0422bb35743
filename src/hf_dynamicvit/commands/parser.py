# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What the commands share: names of options, errors that say what to type, and JSON alone on standard output."""

import argparse
import contextlib
import json
import math
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from ..names import COVERS, SCHEDULES, suggest_nearest, suggest_or_list
from .help_text import HelpFormatter


# What commands call a model that is typed without an option before it, and that takes the place of `--model`.
NAMES_OF_MODEL = ("folder", "source")

# Names that options had before -> those that they have. The old ones go on working and are in no help.
RENAMED = {
    "--pictures": "--images",
    "--max-samples": "--limit",
    "--all-pictures": "--all-images",
    "--num-pictures": "--num-images",
}

# So many words an option of that `nargs` can take; of others it is their number.
ROOM: dict[Any, Any] = {None: 1, "?": 1, "*": math.inf, "+": math.inf}


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


def add_cover_option(parser: Any) -> None:
    """Add `--cover`, for commands that draw images."""
    parser.add_argument("--cover", choices=COVERS, default=COVERS[0], help="of dropped patches in what is drawn")


def add_schedule_option(parser: Any, default: str) -> None:
    """Add `--schedule`; `default` is what there is without it."""
    text = f"in which blocks, and along which curve the keep ratio is reached (default: {default})"
    parser.add_argument("--schedule", choices=SCHEDULES, help=text)


def add_images_option(parser: Any, purpose: str, required: bool = False) -> None:
    """Add `--images`, the one name for image files and folders of them; `purpose` ends the help."""
    text = f"image files, or folders of them, at any depth{purpose}"
    parser.add_argument("--images", type=Path, nargs="+", required=required, help=text)


def take_images_without_option(parser: Any) -> None:
    """Take words that belong to no option for those of `--images`, as users type the images first."""
    parser.unnamed = "--images"


def add_json_option(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object; all else goes to standard error")


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose errors name the nearest option, and that takes no abbreviations.

    Else `--keep-ratio` would be taken for `--keep-ratios` of a command that has only that. Options can be typed with
    underscores in place of hyphens, and by the names that they had before (`RENAMED`).

    Attributes:
        unnamed: the option that words which belong to none are taken for.
    """

    unnamed = "--model"

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"formatter_class": HelpFormatter, "allow_abbrev": False} | kwargs)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        words = self.as_declared(sys.argv[1:] if args is None else args)
        options = [word.split("=", 1)[0] for word in words[: words.index("--") if "--" in words else None]]
        for option in options:  # ahead of what is missing, as that is often what was mistyped
            if option.startswith("--") and option not in self._option_string_actions:
                self.error(self._unknown(option))
        parsed, left_over = self.parse_known_args(words, namespace)
        if left_over:
            self.error(self._unknown(left_over[0]))
        return parsed

    def as_declared(self, words: Sequence[str]) -> list[str]:
        """Return `words` of a command line with the names of options and the place of the model that this command has.

        The model can be typed after `--model` or without an option, as nobody remembers which commands take which.
        """
        end = [*words].index("--") if "--" in words else len(words)
        spelled = [*map(self.spelled, words[:end])]
        place = self.with_option if self.unnamed in self._option_string_actions else self.without_option
        return [*place(spelled), *words[end:]]

    def spelled(self, word: str) -> str:
        """Return `word` with the name that the option in it has here, whichever of its names was typed."""
        name, equals, value = word.partition("=")
        hyphens = name.replace("_", "-")
        for known in (name, hyphens, RENAMED.get(hyphens, hyphens)):
            if known in self._option_string_actions:
                return f"{known}{equals}{value}"
        return word

    def with_option(self, words: list[str]) -> list[str]:
        """Put `unnamed` ahead of a model, or images, typed without an option."""
        loose, option = self.loose(words), self.unnamed
        if not loose:
            return words
        first = words[loose[0]]
        if any(word.partition("=")[0] == option for word in words):
            named = "a model" if option == "--model" else option.removeprefix("--")
            self.error(f"{first!r} and {option} both name {named}; type one")
        several = self._option_string_actions[option].nargs is not None
        taken = loose if several else loose[:1]
        others = [word for place, word in enumerate(words) if place not in taken]
        return [*others, option, *(words[place] for place in taken)]

    def without_option(self, words: list[str]) -> list[str]:
        """Put a model that was typed after `--model` first, where this command takes it."""
        first = next((action for action in self._actions if not action.option_strings), None)
        typed = [place for place, word in enumerate(words) if word.partition("=")[0] == "--model"]
        if first is None or first.dest not in NAMES_OF_MODEL or not typed:
            return words
        place = typed[0]
        _, equals, value = words[place].partition("=")
        model = [value] if equals else words[place + 1 : place + 2]
        return [*model, *words[:place], *words[place + 1 + len(model) - bool(equals) :]]

    def loose(self, words: Sequence[str]) -> list[int]:
        """Return the places of those of `words` that belong to no option."""
        places: list[int] = []
        room: Any = 0
        for place, word in enumerate(words):
            if word.startswith("-") and not self._negative_number_matcher.match(word):
                action = self._option_string_actions.get(word.partition("=")[0])
                nargs = "*" if action is None else action.nargs  # of an unknown one nobody knows
                room = 0 if "=" in word else ROOM.get(nargs, nargs)
            elif room:
                room -= 1
            else:
                places.append(place)
        return places

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, f"there is no {value!r}{suggest_or_list(str(value), action.choices)}")

    def _unknown(self, word: str) -> str:
        """Say what is wrong with `word`, which no action takes."""
        if not word.startswith("-"):
            return f"{word!r} is one argument too many; {self.prog} --help lists what there is"
        positional = {action.dest: action for action in self._actions if not action.option_strings}
        if word.removeprefix("--") in positional:
            return f"there is no {word}; type the {word.removeprefix('--')} itself, without an option before it"
        return f"there is no option {word}{suggest_nearest(word, self._option_string_actions)}"
