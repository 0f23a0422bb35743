# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Modules under the names that they had before: they go on working, and warn of the new ones.

Only what stood in the README, the documentation, the examples, or in installed scripts is here.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any


# old module -> the modules that have its content now
MOVED = {
    "benchmark": ["benchmark.measure"],
    "cli": ["commands.cli"],
    "demo.limits": ["demo.server.limits"],
    "evaluate": ["evaluation.evaluate"],
    "evaluate.report": ["evaluation.report"],
    "evaluate.results": ["evaluation.results"],
    "push": ["hub.push"],
    "quickstart": ["data.digits", "commands.quickstart_run"],
    "train": ["commands.train_run"],
    "train_arguments": ["commands.train_arguments"],
    "training.augmentation": ["data.augmentation"],
    "training.card": ["hub.card"],
    "training.data": ["data.transforms"],
    "training.drawn": ["data.seeded"],
    "training.pictures": ["data.loading"],
    "viewer": ["look.viewer"],
    "visualize": ["look.drawing"],
}

# module -> names that it had before -> those that it has now
RENAMED: dict[str, dict[str, str]] = {
    "data.loading": {"Pictures": "ImageSplits", "load_pictures": "load_images"},
    "data.seeded": {"DrawnPictures": "SeededImages", "EpochOfPictures": "SeededImagesEpoch"},
    "data.transforms": {"read_picture": "read_image"},
    "look.drawing": {"stage_pictures": "stage_images"},
}


def getter(old: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of the module `old` of this package: finds what has moved, and warns once a name."""

    def find(name: str) -> Any:
        before = f"{__package__}.{old}"
        for new in MOVED[old] if not name.startswith("__") else ():
            module = import_module(f".{new}", __package__)
            now = RENAMED.get(new, {}).get(name, name)
            if hasattr(module, now):
                warnings.warn(f"{before}.{name} is now {module.__name__}.{now}", DeprecationWarning, stacklevel=2)
                setattr(sys.modules[before], name, getattr(module, now))
                return getattr(module, now)
        raise AttributeError(f"module {before!r} has no attribute {name!r}")

    return find


def renamed(module: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of `module` of this package: finds its former names, and warns of the new ones."""

    def find(name: str) -> Any:
        home = f"{__package__}.{module}"
        if name not in RENAMED[module]:
            raise AttributeError(f"module {home!r} has no attribute {name!r}")
        new = RENAMED[module][name]
        warnings.warn(f"{home}.{name} is now {home}.{new}", DeprecationWarning, stacklevel=2)
        return getattr(sys.modules[home], new)

    return find


class MovedModules(MetaPathFinder, Loader):
    """Is asked about every import, as a folder that held modules may still be there: has a module for each old name.

    Not for one that is the name of a package now, which has a `getter` of its own.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, old = fullname.partition(".")
        if package != __package__ or old not in MOVED or MOVED[old][0].startswith(f"{old}."):
            return None
        return spec_from_loader(fullname, self, is_package=any(name.startswith(f"{old}.") for name in MOVED))

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__getattr__"] = getter(module.__name__.partition(".")[2])


def keep_old_names() -> None:
    """Let modules be imported by the names that they had."""
    sys.meta_path.insert(0, MovedModules())
