# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The trials of a search in a file, so that one that was stopped goes on."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .search import Losses, Numbers


class Trials:
    """The trials of a search in a file, a JSON object a line, so that one that was stopped goes on.

    Args:
        file: `None` for nowhere. The first line says of what model and images they are.
        identity: of the search.

    Raises:
        ValueError: the file is of another search.
    """

    def __init__(self, file: str | Path | None, identity: dict[str, Any]):
        self.file = None if file is None else Path(file)
        self.known: dict[Numbers, Losses] = {}
        self.identity = identity
        lines = self.file.read_text(encoding="utf-8").splitlines() if self.file and self.file.exists() else []
        self.begun = bool(lines)
        if not lines:
            return
        found = read_line(lines[0])
        if found != identity:
            other = [name for name, value in identity.items() if (found or {}).get(name) != value]
            raise ValueError(
                f"{self.file} is of another search ({', '.join(other)}); remove it, or name another file."
            )
        trials = filter(None, map(read_line, lines[1:]))  # the last one may have been cut off
        # those of 0.1.0 have a mean alone, and are run again
        self.known = {tuple(each["counts"]): tuple(each["losses"]) for each in trials if "losses" in each}

    def add(self, counts: Numbers, losses: Losses) -> None:
        """Write a trial; the first makes the file."""
        if self.file is None:
            return
        trial: dict[str, Any] = {"counts": counts, "losses": losses}
        records = [trial] if self.begun else [self.identity, trial]
        self.begun = True
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)


def read_line(line: str) -> dict[str, Any] | None:
    """Read a JSON object; `None` where the line is none."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def identify(model: Any, images: Tensor) -> dict[str, Any]:
    """Return what decides the losses of a search: method, options, sizes, a digest of weights and of images."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    pixels = hashlib.sha256(images.contiguous().cpu().float().numpy().tobytes())
    config = model.config
    return {
        "reducer": config.reducer,
        "reducer_args": config.reducer_args,
        "dtype": str(model.dtype).removeprefix("torch."),
        "images": [*images.shape, pixels.hexdigest()[:16]],
        "weights": digest.hexdigest()[:16],
    }
