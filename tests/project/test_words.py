# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""One word for one thing: the glossary is of the code, and names that did not explain themselves stay away."""

import ast
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "hf_dynamicvit"
GLOSSARY = ROOT / "docs" / "glossary.md"

# name that is not to come back -> what to say
BANNED = {
    "teaching": "teacher",
    "some_of": "what is taken of what",
    "relaid": "what layout the weights have",
    "printable": "make_printable",
    "prepared": "build_call, or what is ready for what",
    "lean": "what is not computed",
    "knows": "has_classes",
    "gathered": "build_evaluation",
    "answers_of": "build_answers",
    "batch_of": "build_batch",
    "batches_of": "split_batches",
    "caption_of": "build_caption",
    "changed_images": "find_changed",
    "chosen_device": "choose_device",
    "dense_name": "name_dense",
    "difference_of": "compare_answers",
    "for_export": "copy_for_export",
    "held_out_of": "read_held_out",
    "held_out_part": "select_held_out",
    "installing": "build_install_command",
    "notes_of": "collect_notes",
    "order_of": "find_class_order",
    "placed": "copy_for_setting, or where it is",
    "seconds_of": "measure_seconds",
    "stages_of": "summarise_stages",
    "true_classes": "find_true_classes",
}


@cache
def read_source() -> dict[str, ast.Module]:
    """Read all files of the package, by their place in it."""
    files = sorted(SOURCE.rglob("*.py"))
    return {file.relative_to(SOURCE).as_posix(): ast.parse(file.read_text(encoding="utf-8")) for file in files}


@cache
def identifiers() -> dict[str, set[str]]:
    """Find every identifier of the package, with the files that have it; modules and packages count as their names."""
    found: dict[str, set[str]] = {}
    for place, tree in read_source().items():
        names = {*Path(place).with_suffix("").parts}
        for node in ast.walk(tree):
            fields = (getattr(node, field, None) for field in ("id", "attr", "arg", "name", "asname"))
            names |= {part for field in fields if isinstance(field, str) for part in field.split(".")}
        for name in names:
            found.setdefault(name, set()).add(place)
    return found


def read_glossary() -> list[list[str]]:
    """Read the cells of all rows of the glossary's tables."""
    lines = [line for line in GLOSSARY.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if row[0] != "term" and not row[0].startswith("---")]


@pytest.mark.parametrize("row", read_glossary(), ids=lambda row: row[0])
def test_words_of_the_glossary_are_in_the_code(row):
    term, code, meaning = row
    words = re.findall(r"`(\w+)`", code)
    assert term and meaning and words, row
    assert not [word for word in words if word not in identifiers()]


def test_the_glossary_has_each_term_once():
    terms = [row[0] for row in read_glossary()]
    assert len(terms) > 40 and len(set(terms)) == len(terms)


@pytest.mark.parametrize("name", BANNED)
def test_names_that_explain_nothing_stay_away(name):
    assert not identifiers().get(name), f"{name} is banned; say {BANNED[name]}"


# Identifiers with another word for image that stay: documented keywords, fields, keys of saved JSON, options.
KEPT = {
    "commands/push_run.py": {"num_pictures"},
    "data/seeded.py": {"pictures"},
    "data/transforms.py": {"picture"},
    "evaluation/evaluate.py": {"pictures"},
    "evaluation/report.py": {"picture"},
    "evaluation/results.py": {"picture"},
    "hub/card.py": {"num_pictures"},
    "hub/push.py": {"num_pictures", "pictures"},
    "look/drawing.py": {"picture"},
    "look/viewer.py": {"picture", "pictures"},
}

# The same in strings and comments: in quotes, as entries of docstrings, or at the beginning.
NAMED = re.compile(
    r"--[\w-]*pictures?|\w+_pictures|picture_source|`pictures?`|^\s*pictures?(?=[:,]|$| is one )", re.MULTILINE
)


def read_texts(place: str) -> list[str]:
    """Read the strings and comments of a file of the package."""
    texts = [node.value for node in ast.walk(read_source()[place]) if isinstance(node, ast.Constant)]
    with tokenize.open(SOURCE / place) as lines:
        comments = [part.string for part in tokenize.generate_tokens(lines.readline) if part.type == tokenize.COMMENT]
    return [text for text in (*texts, *comments) if isinstance(text, str)]


def test_an_image_is_no_picture():
    for name, places in identifiers().items():
        if "picture" in name.lower():
            assert not [place for place in places if name not in KEPT.get(place, ()) and place != "_moved.py"], name
    for place in read_source().keys() - {"_moved.py"}:  # which has old names
        assert not [text for text in read_texts(place) if "picture" in NAMED.sub("", text).lower()], place


def read_functions() -> list[tuple[str, ast.FunctionDef]]:
    """Read all functions of the package that are called, each with its file and line: no properties, no overloads."""
    found = []
    for place, tree in read_source().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                marks = {ast.unparse(mark).rsplit(".", 1)[-1] for mark in node.decorator_list}
                if not marks & {"property", "cached_property", "setter", "overload"}:
                    found.append((f"{place}:{node.lineno} {node.name}", node))
    return found


def test_docstrings_say_what_a_call_does():
    """By an imperative clause: its first line begins with no article and no question."""
    begins = re.compile(r"(The|What|Whether|How|Of|A|An)\b")
    assert not [place for place, node in read_functions() if begins.match(ast.get_docstring(node) or "")]


def test_no_docstring_begins_within_a_sentence():
    """Properties may be named by a noun; that what follows is a part of something else is read twice."""
    begins = re.compile(r"(Of|Within|Without)\b")
    nodes = [(place, node) for place, tree in read_source().items() for node in ast.walk(tree)]
    documented = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
    found = [(place, node) for place, node in nodes if isinstance(node, documented)]
    assert not [place for place, node in found if begins.match(ast.get_docstring(node) or "")]


def test_functions_are_called_by_what_they_do():
    """`read_config`, not `config_of`."""
    assert not [place for place, node in read_functions() if node.name.endswith("_of")]
