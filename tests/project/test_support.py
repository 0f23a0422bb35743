# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What tests stand on: programs that are forked off are like ones that somebody starts."""

import json
import signal
from types import SimpleNamespace

import pytest
from cpu_report import cpu_seconds, slowest
from methods import is_usual, usual
from programs import launch, run_program, run_script


pytestmark = pytest.mark.slow


ABOUT = """
import json, os, sys
print(json.dumps({
    "arguments": sys.argv, "folder": os.getcwd(), "name": __name__, "setting": os.environ.get("SETTING"),
    "path": sys.path[0], "ours": [name for name in sys.modules if name.startswith("hf_dynamicvit")],
}))
"""


def test_a_program_sees_its_own_arguments_and_nothing_of_ours(tmp_path):
    first = run_program(f"{ABOUT}import hf_dynamicvit; os.environ['SETTING'] = 'left over'", folder=tmp_path)
    assert first.returncode == 0, first.stderr
    seen = json.loads(run_program(ABOUT, "a b", "c", folder=tmp_path).stdout)
    assert seen == {
        "arguments": ["-c", "a b", "c"],
        "folder": str(tmp_path),
        "name": "__main__",
        "setting": None,
        "path": "",
        "ours": [],
    }
    assert json.loads(run_program(ABOUT, folder=tmp_path, SETTING="on").stdout)["setting"] == "on"
    (tmp_path / "script.py").write_text(ABOUT)
    seen = json.loads(run_script(tmp_path / "script.py", folder=tmp_path).stdout)
    assert (seen["arguments"], seen["path"]) == ([str(tmp_path / "script.py")], str(tmp_path))


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("import sys; sys.exit('no')", 1, "no\n"),
        ("raise SystemExit(3)", 3, ""),
        ("import sys; sys.exit()", 0, ""),
        ("import atexit; atexit.register(print, 'end', file=__import__('sys').stderr)", 0, "end\n"),
        (f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})", -signal.SIGKILL, ""),
    ],
)
def test_how_a_program_ends(code, status, said, tmp_path):
    done = run_program(code, folder=tmp_path)
    assert (done.returncode, done.stderr) == (status, said)


def test_errors_are_traced(tmp_path):
    done = run_program("1 / 0", folder=tmp_path)
    assert done.returncode == 1 and done.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_a_program_that_hangs_is_ended_and_the_next_one_runs(tmp_path):
    with pytest.raises(TimeoutError, match=r"took more than 0\.5 seconds"):
        run_program("import time; time.sleep(60)", folder=tmp_path, timeout=0.5)
    assert run_program("print(1)", folder=tmp_path).stdout == "1\n"


def test_processes_that_are_launched_together_find_each_other(tmp_path):
    code = "import torch.distributed as group, sys; group.init_process_group('gloo'); group.barrier()\n"
    code += "sys.exit(0 if group.get_world_size() == 2 else 1)"
    launch(code, folder=tmp_path)
    with pytest.raises(AssertionError, match="rank one"):
        launch("import os, sys; sys.exit('rank one' if os.environ['RANK'] == '1' else 0)", folder=tmp_path)


def test_the_seconds_of_children_count(tmp_path):
    def spent(code):
        before = cpu_seconds()
        run_program(code, folder=tmp_path)
        return cpu_seconds() - before

    busy = "import time\nwhile time.process_time() < 1: pass\nprint(time.process_time())"
    assert spent(busy) > 0.5 + spent("")


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"reducer": "tome", "dtype": "float16", "gradients": False}, True),
        ({"reducer": "topk", "dtype": "float32", "gradients": True}, True),
        ({"reducer": "topk", "dtype": "float32", "gradients": False}, False),
        ({"reducer": "topk", "dtype": "float16", "gradients": True}, False),
    ],
)
def test_usual_cases_are_those_that_one_of_the_marks_names(given, expected):
    marks = [usual(reducer=["tome"]).mark, usual(dtype=["float32"], gradients=[True]).mark]
    case = SimpleNamespace(iter_markers=lambda name: marks, callspec=SimpleNamespace(params=given))
    assert is_usual(case) == expected


def test_a_usual_method_that_there_is_not():
    with pytest.raises(AssertionError):
        usual(reducer=["tomee"])


def test_the_slowest_tests_are_named_behind_their_folders():
    seconds = {
        "tests/hub/test_a.py::test_one[b/c]": 1.0,
        "tests/hub/test_a.py::test_two": 2.5,
        "tests/test_c.py::d": 0.5,
    }
    assert slowest(seconds, 1) == [
        "    3.5 tests/hub",
        "    0.5 tests/test_c.py",
        "    2.5 tests/hub/test_a.py::test_two",
    ]
