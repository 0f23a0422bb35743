# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Tell what each method does, from the files of the methods, which are read without importing torch."""

import ast
from dataclasses import dataclass
from pathlib import Path

from ..names import METHODS, OWN_METHODS


MODEL = Path(__file__).parents[1] / "model"

# What becomes of patches that are not kept, `rest` of a reducer, as the page says it; "" for other packages' methods.
GROUPS = {
    "dropped": "Drop patches for good",
    "merged": "Merge patches into others",
    "idle": "Let patches wait; they may return",
    "": "From other packages",
}


@dataclass(frozen=True)
class Method:
    """A method as the page shows it.

    Attributes:
        name: as it stands in a configuration.
        title: as its paper calls it.
        line: what it does, in a few words.
        group: a key of `GROUPS`.
    """

    name: str
    title: str
    line: str
    group: str


def read_classes() -> dict[str, ast.ClassDef]:
    """Read the classes of all files of reducers."""
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in sorted(MODEL.glob("reducer_*.py"))]
    return {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}


def find_rest(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> str:
    """Find the value of `rest` in a class or the first of its parents that has one; else it drops."""
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            (target,), value = statement.targets, statement.value
            names = [ast.unparse(name) for name in (target.elts if isinstance(target, ast.Tuple) else [target])]
            if "rest" in names:
                values = value.elts if isinstance(value, ast.Tuple) else [value]
                return str(ast.literal_eval(values[names.index("rest")]))
    parents = [classes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in classes]
    return next(
        (found for found in (find_rest(parent, classes) for parent in parents) if found != "dropped"), "dropped"
    )


def read_method(name: str, classes: dict[str, ast.ClassDef]) -> Method:
    """Read the first line of a method's file, `Title: what it does. More.`, and what becomes of the rest."""
    if name not in OWN_METHODS:
        return Method(name, name, "a method of another package", "")
    tree = ast.parse((MODEL / f"reducer_{name}.py").read_text(encoding="utf-8"))
    title, _, text = (ast.get_docstring(tree) or "").partition("\n")[0].partition(": ")
    line = text.partition(". ")[0].removesuffix(".")
    own = [node.name for node in tree.body if isinstance(node, ast.ClassDef)][-1]  # the method's, below its parents
    return Method(name, title, line, find_rest(classes[own], classes))


def read_methods() -> list[Method]:
    """Read all methods, those of one group beside each other, in the order of `GROUPS`."""
    classes = read_classes()
    found = [read_method(name, classes) for name in METHODS]
    return sorted(found, key=lambda method: [*GROUPS].index(method.group))
