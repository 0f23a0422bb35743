# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""This machine: its devices, what it is called, and what runs on it."""

import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from .compat import multiplies_bfloat16


def list_devices() -> list[str]:
    """List the devices of this machine, the fastest kind first: `["cuda", "cuda:0", "cpu"]`."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is None:
        return ["cpu"]
    kind = accelerator.type
    return [kind, *(f"{kind}:{index}" for index in range(torch.accelerator.device_count())), "cpu"]


def bfloat16_is_faster(device: torch.device) -> bool:
    """Return whether `device` multiplies matrices in bfloat16 by instructions of its own, faster than in float32."""
    if device.type == "cuda":
        return torch.version.cuda is not None and torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return multiplies_bfloat16()
    return False


def check_device(device: str) -> None:
    """Refuse a device that this machine lacks.

    Raises:
        ValueError: it lacks `device`.
    """
    if device not in list_devices():
        build = (
            "; this PyTorch is built without CUDA" if device.startswith("cuda") and torch.version.cuda is None else ""
        )
        raise ValueError(f"device is {device!r}; this machine has {', '.join(list_devices())}{build}.")


def choose_device(device: str | None) -> str:
    """Return `device`, or the fastest there is where none is named.

    Raises:
        ValueError: this machine has no `device`.
    """
    if device is None:
        return list_devices()[0]
    check_device(device)
    return device


def describe_machine() -> dict[str, Any]:
    """Describe the machine and the versions that the numbers depend on."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "cpu": read_cpu_name(),
        "gpus": gpus,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def describe_run() -> dict[str, Any]:
    """Describe what others need to measure again what this process measures: command, commit and machine."""
    return {"command": read_command(), "commit": read_commit(), "machine": describe_machine()}


def read_command() -> str:
    """Read the command line of this process, with the program's name in place of its path here."""
    program = Path(sys.argv[0])
    if program.stem == "__main__" and program.parent.name == __package__:
        words = ["hf-dynamicvit"]
    elif program.suffix == ".py":
        words = ["python", str(Path(program.parent.name, program.name))]
    else:
        words = ["python" if program.stem in ("", "-c") else program.stem]
    return shlex.join([*words, *sys.argv[1:]])


def read_commit() -> str | None:
    """Read the commit that this package is checked out at, `-dirty` where files differ; `None` if it is installed."""
    file = Path(__file__)
    if ask_git(file.parent, "ls-files", "--error-unmatch", file.name) is None:
        return None  # also within another project's checkout
    return ask_git(file.parent, "describe", "--always", "--dirty")


def ask_git(folder: Path, *words: str) -> str | None:
    """Return what git answers in `folder`; `None` where it refuses or is not installed."""
    try:
        found = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def read_cpu_name() -> str:
    """Read the name of the CPU from the system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
