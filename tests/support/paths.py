# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Where the files lie that tests read."""

from pathlib import Path


ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SUPPORT = ROOT / "tests" / "support"  # what a program in a process of its own needs on its path
SHARED = ROOT.parent / "shared"
FIXTURES = [SHARED / "fixtures", ROOT / "tests" / "fixtures"]
