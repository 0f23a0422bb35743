# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Private names of other packages stand in the two `compat.py`, but for those that are listed here."""

import ast
import functools
from collections.abc import Generator
from pathlib import Path

import pytest

import hf_dynamicvit
from hf_dynamicvit.model import compat


ROOT = Path(hf_dynamicvit.__file__).parent
FILES = {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in ROOT.rglob("*.py")}
COMPAT = ("compat.py", "model/compat.py")

# file -> private names that it uses of others there, and why not by way of compat.py
ELSEWHERE = {
    # argparse, which only commands import, has no public way to ask for options
    "commands/completion.py": {"_actions", "_SubParsersAction"},
    "commands/help_text.py": {"_actions", "_get_formatter", "_fill_text"},
    "commands/parser.py": {"_actions", "_option_string_actions", "_negative_number_matcher"},
    "commands/train.py": {"_option_string_actions"},
    "commands/train_arguments.py": {"_actions", "_option_string_actions"},
    # what subclasses of `Trainer`, `nn.Module` and `PreTrainedModel` override, set on themselves, or call of their own
    "model/packed.py": {"_apply"},
    "model/modeling_dynamiclevit.py": {"_init_weights"},
    "model/pretrained.py": {"_init_weights", "_set_gradient_checkpointing", "_initialize_weights"},
    "training/publishing.py": {"_internal_call"},
    "training/trainer.py": {
        "_finish_current_push",
        "_get_grad_norm",
        "_hp_search_setup",
        "_internal_call",
        "_load_from_checkpoint",
        "_prepare_inputs",
        "_run_epoch",
        "_save_checkpoint",
    },
}


def is_private(name: str | None) -> bool:
    return bool(name) and name.startswith("_") and not name.startswith("__") and name != "_"


@functools.cache
def own_names() -> set[str]:
    """Private names that this package itself gives: to functions, classes, fields, and to `self`."""
    found = set()
    for tree in FILES.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                if isinstance(node.value, ast.Name) and node.value.id == "self":
                    found.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return {name for name in found if is_private(name)}


def private_names(tree: ast.AST) -> Generator[tuple[str, str]]:
    """(private name, of what) wherever a file reads, sets, imports or hands one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            yield node.attr, ast.unparse(node.value)
        elif isinstance(node, ast.keyword) and is_private(node.arg):
            yield str(node.arg), "an argument"
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for part in [*(node.module or "").split("."), *(alias.name for alias in node.names)]:
                if is_private(part):
                    yield part, "an import"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and is_private(name.value):
                yield name.value, "an attribute by its name"


def foreign_names(file: str) -> set[str]:
    """What of that this package does not name itself, or calls of its parents."""
    own = own_names()
    return {
        name
        for name, of in private_names(FILES[file])
        if name not in own or of in ("super()", "cast(Any, super())") or (of == "cls" and name not in own)
    }


@pytest.mark.parametrize("file", sorted(set(FILES) - set(COMPAT)))
def test_private_names_of_others_are_in_compat(file):
    assert foreign_names(file) == ELSEWHERE.get(file, set())


def test_there_are_some_to_find():
    assert {"_attn_implementation", "_version", "_raise_exceptions_for_gated_repo"} <= foreign_names("model/compat.py")
    assert {"_queue", "_is_amx_tile_supported"} <= foreign_names("compat.py")


def test_internals_without_an_underscore_are_imported_in_one_file():
    internal = {"conversion_mapping", "core_model_loading", "output_capturing", "kineto_results", "session_data"}
    for file, tree in FILES.items():
        words = {word for node in ast.walk(tree) for word in (getattr(node, "module", None) or "").split(".")}
        words |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert file in COMPAT or not words & internal, file


def test_each_says_why_and_when_it_can_go():
    for file in COMPAT:
        for node in FILES[file].body:
            if isinstance(node, ast.FunctionDef):
                assert ast.get_docstring(node), f"{file}: {node.name}"
    names = {name for name in vars(compat) if not name.startswith("_")}
    assert set(compat.__all__) <= names


def test_super_is_called_for_an_attribute_at_once():
    """`super()` alone, put into a variable, cannot be compiled on Python 3.12 with torch 2.11."""
    for name, tree in FILES.items():
        if not name.startswith("model/"):
            continue
        used = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super":
                assert id(node) in used, f"{name}:{node.lineno}"
