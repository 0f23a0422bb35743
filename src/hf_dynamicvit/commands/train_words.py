# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""How `hf-dynamicvit train` words numbers, and lays out rows of text."""

import math
import textwrap


WIDTH = 100


def table(rows: dict[str, str]) -> str:
    """Return a line for each row, its name in a column of its own; long ones go on below their beginning."""
    width = max(map(len, rows)) + 2
    lines = []
    for name, text in rows.items():
        room = math.inf if name == "next" else WIDTH - width - 2
        for part in text.split("\n"):
            wrapped = [part] if len(part) <= room else textwrap.wrap(part, int(room), break_on_hyphens=False)
            lines += [f"  {name if not index else '':{width}}{line}" for index, line in enumerate(wrapped)]
            name = ""
    return "\n".join(lines)


def told_gmacs(value: float) -> str:
    return f"{value:#.4g} GMACs"


def counted(number: float, what: str) -> str:
    return f"{number:.{3 if number % 1 else 12}g} {what}{'' if number == 1 else 's'}"


def told_seconds(seconds: float) -> str:
    """Return a duration in the two units that matter."""
    minutes, hours = seconds / 60, seconds / 3600
    if hours >= 1:
        return f"{int(hours)} h {int(minutes) % 60} min"
    return f"{int(minutes)} min {int(seconds) % 60} s" if minutes >= 2 else f"{seconds:.0f} s"
