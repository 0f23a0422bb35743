# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The arrows between modules point one way, and the model folder can travel as remote code."""

import ast
import re
from collections.abc import Collection
from pathlib import Path

from paths import ROOT as PROJECT
from transformers import Trainer

import hf_dynamicvit


ROOT = Path(hf_dynamicvit.__file__).parent
MODEL = ROOT / "model"

# inside model/: a file imports only files of a lower rank
RANKS = [
    {"compat", "ragged", "logger", "refused", "schedules", "products", "native", "gathering", "decisions", "flags"},
    {"packed", "legacy_keys", "traces"},
    {"tokens", "masking", "cost", "levit_cost", "remote_code", "checkpointing"},
    {"clustering", "scoring", "selection", "outputs", "matching", "merging"},
    {"positions"},
    {"reducer", "alignment"},
    {"adaptive", "diffrate_search"},
    {"reducer_*"},
    {"reducers", "levit_reducer", "pyramid_reducer"},
    {"block", "reduction_config"},
    {"pyramid_config"},
    {"budget", "inference", "spatial", "configuration_*"},
    {"pretrained"},
    {"reduction"},
    {"backbone", "classification"},
    {"dino", "tower", "detection", "pyramid"},
    {"modeling_*"},
]


# what is in the package beside its rooms: any of them may import it
SHARED = {"_moved", "_version", "auto", "extras", "folders", "fonts", "machine", "names"}

# the rooms: one imports only those of lines above its own, and itself; two files of `hub` stand below the Trainer,
# which writes a card too, and import nothing else of that room
FLOORS = [
    {"families", "compat"},
    SHARED,
    {"model"},
    {"registration"},
    {"vision_language"},
    {"adoption"},
    {"checkpoints"},
    {"data"},
    {"hub.card"},
    {"hub.training_card"},
    {"deploy"},
    {"look", "benchmark", "training", "export", "prediction"},
    {"hub", "tuning"},
    {"evaluation", "demo", "serve"},
    {"commands"},
    {"__main__"},
]


def rank(name: str) -> int:
    kind = name.partition("_")[0]
    name = f"{kind}_*" if kind in ("reducer", "configuration", "modeling") and "_" in name else name
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
                    "re",
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
                kinds = ("reducer_", "configuration_", "modeling_")
                one_builds_on_another = any(module.startswith(kind) and path.stem.startswith(kind) for kind in kinds)
                assert rank(module) < rank(path.stem) or one_builds_on_another, f"{path.name} imports {module}"


def modules() -> dict[str, Path]:
    """Every module of the package, by its name within it."""
    paths = {path: path.relative_to(ROOT).with_suffix("").parts for path in ROOT.rglob("*.py")}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): path for path, parts in paths.items()}


def imported(name: str, path: Path, known: Collection[str]) -> set[str]:
    """The modules of the package that the module `name` imports, also within its functions."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = package[: len(package) + 1 - node.level] + (node.module or "").split(".")
            origin = ".".join(filter(None, parts))
            within = [".".join(filter(None, (origin, alias.name))) for alias in node.names]
            found |= {each if each in known else origin for each in within}
    return found


def room(name: str) -> str:
    """The name among `FLOORS` that a module stands under."""
    return max((each for rooms in FLOORS for each in rooms if f"{name}.".startswith(f"{each}.")), key=len)


def floor(name: str) -> int:
    return next(index for index, rooms in enumerate(FLOORS) if room(name) in rooms)


def test_rooms_import_downwards():
    """So nothing imports `commands`, the uppermost, but `python -m hf_dynamicvit`."""
    known = modules()
    for name, path in known.items():
        for other in imported(name, path, known) if name else ():
            same_room = room(name) == room(other)
            registers = (name, other) == ("model", "registration")  # so that no class is imported unregistered
            assert same_room or registers or floor(other) < floor(name), f"{name} imports {other}"
        assert not any(module.startswith("hf_dynamicvit") for _, module in imports(path)), name


def test_no_module_imports_itself_by_way_of_others():
    known = modules()
    graph = {name: imported(name, path, known) - {name} for name, path in known.items() if name}
    while leaves := {name for name, others in graph.items() if not others & graph.keys()}:
        graph = {name: others for name, others in graph.items() if name not in leaves}
    assert not graph


# what is set on another object, in rooms where an object is handed what it needs: a copy of a configuration, a reducer
# that stands in for a while, the Trainer's own way to be stopped
SET_FROM_OUTSIDE = {
    "callbacks.py": {"config.keep_ratio"},
    "predictor_start.py": {"model.backbone.reducer"},
    "second_pass.py": {"student.backbone.reducer"},
    "trainer.py": {"self.control.should_training_stop"},
}


def test_objects_set_their_own_attributes():
    for room in ("training", "hub", "data", "demo", "look", "serve"):
        for path in (ROOT / room).rglob("*.py"):
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            stored = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)]
            found = {ast.unparse(node) for node in stored if ast.unparse(node.value) != "self"}
            assert found <= SET_FROM_OUTSIDE.get(path.name, set()), f"{path}: {found}"


def test_the_trainer_is_one_class_over_that_of_transformers():
    assert hf_dynamicvit.DynamicViTTrainer.__bases__ == (Trainer,)


def test_only_commands_parse_command_lines():
    goes_along = ROOT / "deploy" / "infer.py"  # a script of its own beside exported files
    unpickles = ROOT / "checkpoints" / "published.py"  # published files hold `argparse.Namespace`
    for path in ROOT.rglob("*.py"):
        if path.parent != ROOT / "commands" and path not in (unpickles, goes_along):
            assert "argparse" not in {module for _, module in imports(path)}, path


def test_notes_are_signed_in_one_place_and_nobody_is_silenced_by_a_level():
    """A level of a logger of Transformers switches on checks of its own; a filter takes out one record."""
    for path in ROOT.rglob("*.py"):
        words = {node.attr for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if hasattr(node, "attr")}
        assert not words & {"setLevel", "set_verbosity", "set_verbosity_error", "get_logger"}, path


def test_the_page_names_every_room():
    text = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in ROOT.iterdir():
        room = f"{path.name}/" if path.is_dir() else path.name
        if path.name not in ("__init__.py", "__main__.py", "_version.py", "py.typed", "__pycache__"):
            assert f"`{room}`" in text, room


def test_every_room_has_its_folder_of_tests():
    rooms = {path.parent.relative_to(ROOT) for path in ROOT.rglob("*.py")}
    for room in rooms:
        assert [*(PROJECT / "tests" / room).glob("test_*.py")], room


def test_what_tests_share_lies_in_support():
    """No test module imports another one, nor does a program that it writes."""
    statement = re.compile(r"^\s*(?:from|import) (?:[\w.]*\.)?(?:test_\w+|conftest)\b", re.MULTILINE)
    for path in (PROJECT / "tests").rglob("*.py"):
        shared = path.parent.name == "support"
        assert shared or path.name == "conftest.py" or path.name.startswith(("test_", "take_")), path
        assert not statement.findall(path.read_text(encoding="utf-8")), path
