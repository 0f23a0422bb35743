# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The README names the project's own commands. That its code runs and its links lead somewhere: `test_docs.py`."""

import re
import tomllib
from pathlib import Path


README = Path(__file__).parents[1] / "README.md"


def test_commands_are_those_of_the_project():
    project = tomllib.loads((README.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shell = "\n".join(re.findall(r"```bash\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL))
    assert "hf-dynamicvit quickstart" in shell and "pytest" in shell
    assert "hf-dynamicvit" in project["scripts"]
    ci = (README.parent / ".ci" / "run").read_text(encoding="utf-8")
    assert ci.count("\n    pytest\n") == 2  # the newest dependencies and the oldest
