# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The logger of what this package itself has to say: signed with its name, as quiet as Transformers is told to be."""

import logging
import sys
from typing import Any

from transformers.utils.logging import get_logger


class SignedHandler(logging.Handler):
    """Write to the standard error of the moment, with the package's name in front."""

    def emit(self, record: logging.LogRecord) -> None:
        print(f"[hf_dynamicvit] {record.getMessage()}", file=sys.stderr, flush=True)


def signed_logger() -> Any:
    """Below Transformers' logger, so that `transformers.logging.set_verbosity` holds here too."""
    found = get_logger("transformers.hf_dynamicvit")
    if not found.handlers:  # remote code runs a copy of this file
        found.addHandler(SignedHandler())
        found.propagate = False  # Transformers would sign it as its own
    return found


logger = signed_logger()
