# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""This machine: its devices, and what it is called."""

import platform
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
        raise ValueError(f"device is {device!r}; this machine has {', '.join(list_devices())}.")


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


def read_cpu_name() -> str:
    """Read the name of the CPU from the system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
