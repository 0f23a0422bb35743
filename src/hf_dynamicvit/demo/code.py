# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Write the code that gives what the demo shows."""

import shlex

from .models import OWN, Choice


def python_code(choice: Choice) -> str:
    """Write in Python what gives the answer to `choice`, of an image.jpg."""
    method = "" if choice.method == OWN else f", reducer={choice.method!r}"
    return f"""from PIL import Image

from hf_dynamicvit.look import drawing
from hf_dynamicvit.look.viewer import Viewer

image = Image.open("image.jpg")
viewer = Viewer.load({choice.model!r}{method})
viewer.set_keep_ratio({choice.keep_ratio:g}, [image])
(view,) = viewer.look([image])
print(drawing.prediction_text(view, viewer.labels))
drawing.card(view, viewer.labels).save("seen.png")
"""


def shell_code(choice: Choice) -> str:
    """Write the command that draws the answer to `choice`, of an image.jpg."""
    words = ["hf-dynamicvit", "visualize", "--model", choice.model]
    words += [] if choice.method == OWN else ["--reducer", choice.method]
    return shlex.join([*words, "--keep-ratio", f"{choice.keep_ratio:g}", "--images", "image.jpg", "--output", "seen"])
