# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Write the code that gives what the demo shows."""

import shlex

from .models import OWN, Choice, split_labels


def python_code(choice: Choice) -> str:
    """Write in Python what gives the answer to `choice`, of an image.jpg."""
    codes = {"classify": classify_code, "zero-shot": zero_shot_code, "retrieval": retrieval_code}
    return codes[choice.task](choice)


def loading_lines(choice: Choice, imports: str, load: str) -> str:
    """Write what loads a model by `load`, sets it and opens an image."""
    method = "" if choice.method == OWN else f", reducer={choice.method!r}"
    return f"""from PIL import Image

{imports}

image = Image.open("image.jpg")
viewer = {load}({choice.model!r}{method})
viewer.set_keep_ratio({choice.keep_ratio:g}, [image])
"""


def classify_code(choice: Choice) -> str:
    """Write what classifies."""
    imports = "from hf_dynamicvit.look import drawing\nfrom hf_dynamicvit.look.viewer import Viewer"
    return f"""{loading_lines(choice, imports, "Viewer.load")}(view,) = viewer.look([image])
print(drawing.prediction_text(view, viewer.labels))
drawing.card(view, viewer.labels).save("seen.png")
"""


def encoder_lines(choice: Choice) -> str:
    """Write what loads an encoder, sets it and opens an image."""
    imports = "from hf_dynamicvit.look.encoders import EncoderViewer"
    return loading_lines(choice, imports, "EncoderViewer.load_encoder")


def zero_shot_code(choice: Choice) -> str:
    """Write what tells which of the labels an image shows."""
    return f"""{encoder_lines(choice)}viewer.compare_with_texts({split_labels(choice.labels)!r})
(view,) = viewer.look([image])
print(dict(zip(viewer.labels, view.probabilities.tolist())))
print("dense:", view.dense_probabilities.tolist())
"""


def retrieval_code(choice: Choice) -> str:
    """Write what finds the nearest images in a folder."""
    return f"""from pathlib import Path

import torch
{encoder_lines(choice)}files = sorted(Path("my_images").rglob("*.jpg"))
index = torch.stack([viewer.embed_dense(Image.open(file)) for file in files])
viewer.compare_with_images(index, [str(file) for file in files])
(view,) = viewer.look([image])
print(viewer.labels[view.probabilities.argmax()], view.probabilities.max())
"""


def shell_code(choice: Choice) -> str:
    """Write the command that draws the answer to `choice`, of an image.jpg; nothing where there is none."""
    if choice.task != "classify":
        return ""
    words = ["hf-dynamicvit", "visualize", "--model", choice.model]
    words += [] if choice.method == OWN else ["--reducer", choice.method]
    return shlex.join([*words, "--keep-ratio", f"{choice.keep_ratio:g}", "--images", "image.jpg", "--output", "seen"])
