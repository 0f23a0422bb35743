# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`python -m hf_dynamicvit <command>`, for launchers that take a module: the command line of `commands/cli.py`."""

import sys

from .commands.cli import main


sys.exit(main())
