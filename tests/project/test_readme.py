# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The README names the project's own commands. That its code runs and its links lead somewhere: `test_docs.py`."""

import re
import tomllib

from paths import ROOT


README = ROOT / "README.md"


def test_commands_are_those_of_the_project():
    project = tomllib.loads((README.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shell = "\n".join(re.findall(r"```bash\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL))
    assert "hf-dynamicvit quickstart" in shell and "pytest" in shell
    assert "hf-dynamicvit" in project["scripts"]
    ci = (README.parent / ".ci" / "run").read_text(encoding="utf-8")
    assert (
        "\n    pytest\n    pytest -m long\n" in ci and '\n    pytest -m "not slow"\n' in ci
    )  # the newest dependencies and the oldest


def test_a_strangers_commands_are_read_off_the_readme():
    """The third leg of CI runs what stands below this heading, two commands a line each."""
    section = README.read_text(encoding="utf-8").split("\n## Two commands\n")[1].split("\n## ")[0]
    commands = re.findall(r"```bash\n(.*)\n```", section)
    assert len(commands) == section.count("```") / 2 == 2
    assert commands[0].endswith("hf-dynamicvit quickstart") and commands[1].endswith("pytest")
    assert "Two commands" in (README.parent / ".ci" / "run").read_text(encoding="utf-8")
