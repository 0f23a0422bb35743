# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A web page on which models of your choice look at images."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from ..extras import require


# What the quickstart writes.
DEFAULT = ("quickstart/sparse", "quickstart/dense")


def choose_sources(model: list[str] | None) -> list[str]:
    """Return the models named, or those that the quickstart made in the current folder."""
    sources = model or [source for source in DEFAULT if Path(source, "config.json").is_file()]
    if not sources:
        raise ValueError(
            "there is no quickstart/ in this folder to show; run hf-dynamicvit quickstart first, which makes it, or "
            "name --model."
        )
    return sources


def private_folder() -> Path:
    """Make a folder for uploads, which Gradio uses from now on; it is removed when the program ends."""
    folder = Path(tempfile.mkdtemp(prefix="hf-dynamicvit-demo-")).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return folder


def start_gradio() -> Path:
    """Import Gradio with its analytics off; return the folder of uploads.

    Raises:
        ValueError: it is missing.
    """
    folder = private_folder()  # both are read as it is imported
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    require("gradio", "demo", "The page is made with Gradio")
    return folder
