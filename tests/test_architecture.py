# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The arrows between modules point one way, and the model folder can travel as remote code."""

import ast
from pathlib import Path

import hf_dynamicvit


ROOT = Path(hf_dynamicvit.__file__).parent
MODEL = ROOT / "model"

# inside model/: a file imports only files of a lower rank
RANKS = [
    {"ragged", "relaid", "logger"},
    {"tokens", "masking", "cost", "remote_code", "checkpointing"},
    {"scoring", "selection", "outputs"},
    {"reducer"},
    {"adaptive"},
    {"reducer_*"},
    {"reducers"},
    {"block", "reduction_config"},
    {"budget", "inference", "spatial", "configuration_dynamicvit"},
    {"reduction", "configuration_dynamicdeit"},
    {"modeling_dynamicvit", "modeling_dynamicdeit"},
]


# what knows all commands
COMMAND_LINE = ("cli", "__main__", "commands")


def rank(name: str) -> int:
    name = "reducer_*" if name.startswith("reducer_") else name
    return next(index for index, names in enumerate(RANKS) if name in names)


def imports(path: Path) -> list[tuple[int, str]]:
    """(level, module) of every import of a file; level 0 is absolute."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or ""))
        elif isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
    return found


def test_model_folder_is_flat_and_imports_only_siblings():
    assert not [path for path in MODEL.iterdir() if path.is_dir() and path.name != "__pycache__"]
    for path in MODEL.glob("*.py"):
        if path.name == "__init__.py":
            continue
        for level, module in imports(path):
            if level == 0:
                package = module.split(".")[0]
                allowed = {
                    "collections",
                    "contextlib",
                    "copy",
                    "functools",
                    "dataclasses",
                    "inspect",
                    "itertools",
                    "logging",
                    "sys",
                    "math",
                    "operator",
                    "statistics",
                    "time",
                    "pathlib",
                    "typing",
                    "torch",
                    "transformers",
                    "huggingface_hub",
                }
                assert package in allowed, f"{path.name}: {module}"
            else:
                assert level == 1 and module and "." not in module, f"{path.name}: {'.' * level}{module}"
                one_builds_on_another = module.startswith("reducer_") and path.stem.startswith("reducer_")
                assert rank(module) < rank(path.stem) or one_builds_on_another, f"{path.name} imports {module}"


def test_the_package_imports_downwards():
    order = ["names", "model", "training", "other", "cli"]
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).parts
        here = parts[0] if parts[0] in order else ("cli" if {parts[0], path.stem} & {*COMMAND_LINE} else "other")
        if path.name == "__init__.py" or here == "model":
            continue
        for level, module in imports(path):
            if level == len(parts):  # relative to the package
                target = module.split(".")[0]
                target = "cli" if target in COMMAND_LINE else target if target in order else "other"
                assert order.index(target) <= order.index(here), f"{path}: {module}"
            assert not module.startswith("hf_dynamicvit"), f"{path}: {module}"


def test_notes_are_signed_in_one_place_and_nobody_is_silenced_by_a_level():
    """A level of a logger of Transformers switches on checks of its own; a filter takes out one record."""
    for path in ROOT.rglob("*.py"):
        words = {node.attr for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if hasattr(node, "attr")}
        assert not words & {"setLevel", "set_verbosity", "set_verbosity_error", "get_logger"}, path
