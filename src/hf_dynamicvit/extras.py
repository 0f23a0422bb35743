# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Packages that not everybody needs: imported where they are used, or refused with what installs them."""

from importlib import import_module
from types import ModuleType


def build_install_command(extra: str) -> str:
    """Return the command that installs the packages of `extra`, also for who works in a clone."""
    return f'pip install "hf-dynamicvit[{extra}]" (in a clone: pip install ".[{extra}]")'


def require(module: str, extra: str, why: str, otherwise: str = "") -> ModuleType:
    """Import `module`, which `extra` installs.

    Args:
        module: as it is imported.
        extra: one of the optional dependencies of this package.
        why: the beginning of the refusal: what takes `module`.
        otherwise: its end: what to do without.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ValueError(f"{why}: {build_install_command(extra)}{otherwise}") from error
