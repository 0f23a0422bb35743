# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Help that reads well: a usage of one line, examples as they are typed, every default, sections."""

import argparse
import textwrap
from pathlib import Path


# What the values of an option of that type are called in the help.
METAVARS = {int: "N", float: "NUMBER", Path: "PATH"}

# Longer lists of choices are told in the help of an option rather than beside its name.
MOST_CHOICES = 4


def examples_text(examples: str) -> str:
    """Write the end of a help text: `examples`, command lines and `# what they do`, each on a line of its own."""
    return f"examples:\n{textwrap.indent(examples.strip(), '  ')}"


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
        """Return the names of `action`, and what is to be typed after them."""
        return " ".join([", ".join(action.option_strings), self._values(action)]).strip()

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or "", action.default
        if action.choices is not None and len([*action.choices]) > MOST_CHOICES:
            text = f"{text.removesuffix('.')}: {', '.join(map(str, action.choices))}"
        elif action.choices is not None:  # they stand beside the name
            text = text.removesuffix(" One of")
        nothing = isinstance(default, bool) or default in (None, [None], [], {}, argparse.SUPPRESS)
        if not nothing and "default" not in text.lower():
            text += f" (default: {' '.join(map(str, default)) if isinstance(default, list) else default})"
        return text

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Paragraphs are wrapped; those with indented lines stay as they are."""
        paragraphs = text.strip().split("\n\n")
        fill = super()._fill_text
        return "\n\n".join(part if "\n " in part else fill(part, width, indent) for part in paragraphs)


class SectionedHelp(argparse.ArgumentParser):
    """A parser whose help has the options of `sections` alone: title -> names, in the order of the help."""

    sections: dict[str, list[str]]

    def format_help(self) -> str:
        return self.format_help_for(self.sections)

    def format_help_for(self, sections: dict[str, list[str]]) -> str:
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
