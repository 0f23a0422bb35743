# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Check what GitHub and citation tools read against their schemas, which check-jsonschema brings: no network."""

import subprocess
import sys
from pathlib import Path


ROOT = Path(__file__).parents[1]

# Files, by the schema that they keep.
FILES = {
    "github-workflows": [".github/workflows/ci.yml", ".github/workflows/weekly.yml"],
    "dependabot": [".github/dependabot.yml"],
    "github-issue-config": [".github/ISSUE_TEMPLATE/config.yml"],
    "github-issue-forms": [".github/ISSUE_TEMPLATE/bug.yml", ".github/ISSUE_TEMPLATE/method.yml"],
    "citation-file-format": ["CITATION.cff"],
}


def main() -> int:
    """Check the files of each schema; return how many schemas are not kept."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    runs = [subprocess.run([*command, f"vendor.{schema}", *files], cwd=ROOT) for schema, files in FILES.items()]
    return sum(run.returncode != 0 for run in runs)


if __name__ == "__main__":
    sys.exit(main())
