# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The completion script, asked by a real bash."""

import argparse
import shutil
import subprocess
import sys

import pytest

from hf_dynamicvit import REDUCERS
from hf_dynamicvit.commands.cli import COMMANDS, command_parser, main
from hf_dynamicvit.commands.completion import SHELLS, script


# As bash does when Tab is pressed after the words "$@" (the last may be empty).
ASK = """
source "$SCRIPT"
function=$(complete -p hf-dynamicvit | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*"
COMP_POINT=${#COMP_LINE}
"$function" hf-dynamicvit "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the script and some files."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "script.bash").write_text(script("bash"))
    for name in ("pictures", "my-model"):
        (folder / name).mkdir()
    (folder / "my-weights.pth").write_text("")
    return folder


@pytest.fixture
def ask(place):
    def ask(*words: str) -> set[str]:
        command = ["bash", "--norc", "-c", ASK, "bash", "hf-dynamicvit", *words]
        run = subprocess.run(command, cwd=place, env={"SCRIPT": "script.bash"}, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return {*run.stdout.split()}

    return ask


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@needs_bash
def test_commands(ask):
    assert ask("") == {*COMMANDS}
    assert ask("e") == {"evaluate", "export"}
    assert ask("--v") == {"--version"}


@needs_bash
@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command(ask, name):
    parser = command_parser(name)
    shown = [action for action in parser._actions if action.help != argparse.SUPPRESS]
    options = {option for action in shown for option in action.option_strings if option.startswith("--")}
    assert ask(name, "--") == options and len(options) > (name != "completion")


@needs_bash
def test_choices(ask):
    assert ask("export", "--model", "my-model", "--format", "o") == {"onnx", "openvino"}
    assert ask("benchmark", "--model", "my-model", "--reducer", "") >= {*REDUCERS}
    assert ask("benchmark", "--model", "my-model", "--reducer", "tome", "to") == {"tome", "topk", "tosa"}
    assert ask("completion", "") == {*SHELLS}


@needs_bash
def test_files(ask):
    assert ask("export", "--model", "my") == {"my-model", "my-weights.pth"}
    assert ask("export", "--model", "m", "--images", "pic") == {"pictures"}
    assert ask("train", "--model", "my-m") == {"my-model"}
    assert ask("train", "--dataset", "p") == {"pictures"}
    assert ask("convert", "my-w") == {"my-weights.pth"}
    assert ask("visualize", "--images", "p") == {"pictures"}


@pytest.mark.parametrize("shell", SHELLS[1:])
def test_other_shells(shell, capsys):
    assert main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS) and "keep-ratio" in printed and "torch-export" in printed


def test_without_shtab(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 1
    assert 'pip install "hf-dynamicvit[completion]"' in capsys.readouterr().err
