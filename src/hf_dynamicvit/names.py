# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Names that a command line or a page takes, and the nearest name to one that was mistyped.

They are here, without torch, whose import takes seconds; tests hold them equal to the tables that they name.
"""

import difflib
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path


# The group of entry points in which other packages name their methods.
REDUCER_GROUP = "hf_dynamicvit.reducers"

# Methods, the keys of `model.reducers.REDUCERS`: each is a file of that name, or an entry point of another package.
OWN_METHODS = {file.stem.removeprefix("reducer_") for file in Path(__file__).parent.glob("model/reducer_*.py")}
METHODS = sorted(OWN_METHODS | {found.name for found in entry_points(group=REDUCER_GROUP)})

# Schedules, the keys of `model.schedules.SCHEDULES`.
SCHEDULES = ("linear", "geometric", "cosine", "diffrate", "late", "three-stage", "alternate")
SCHEDULES += ("algm", "mctf", "asvit", "evovit", "idlevit")

# Sizes of published models, with random weights: width and heads. Speed does not depend on weights, except AS-ViT's.
SHAPES = {"deit-tiny": (192, 3), "deit-small": (384, 6), "deit-base": (768, 12)}

DTYPES = ("float32", "bfloat16", "float16")

# Modes of torch.compile, none, and the eager model's kernels replayed by CUDA as one graph.
CUDA_GRAPH = "cuda-graph"
COMPILED = ("eager", "default", "reduce-overhead", "max-autotune", CUDA_GRAPH)

# Sets of measurements: the keys of `benchmark.suites.SUITES`, and two in `evaluation`.
SUITES = ("cpu", "gpu", "accuracy", "export", "toy")

# Clocks of a benchmark.
CLOCKS = ("wall", "cpu")

# How `tune` searches.
SEARCHES = ("curves", "steps")

# How many times as long as its other edge an edge of an image may be. Image processors that scale the
# shorter edge to a size would make gigabytes of a line of pixels.
LONGEST_TO_SHORTEST = 64

# Formats of exported files, the keys of `export.FORMATS`.
EXPORT_FORMATS = ("onnx", "openvino", "torch-export")

# Arithmetic of exported files, the keys of `export.TOLERANCE`, and how merges are written in them.
EXPORT_DTYPES = ("float32", "float16")
EXPORT_MERGES = ("scatter", "product")

# What covers dropped patches in images that are drawn, the keys of `look.drawing.LINES`.
COVERS = ("dark", "light")

# Levels of augmentation that `data.transforms.ImageTransform` knows.
AUGMENTATIONS = ("none", "plain", "full", "auto")

# What an unreadable image does to a command.
UNREADABLE = ("stop", "skip")

# What the four numbers of a box in a data set are: left and top, then width and height, or right and bottom.
BOX_FORMATS = ("sizes", "corners")

# In training there may be so many images that reading each of them once before costs too much.
UNCHECKED = "unchecked"

# The exit status of a command that could not read some of the images and wrote the result of all others.
SOME_UNREADABLE = 3

# Other keep ratios that `evaluate` tries.
KEEP_RATIOS = (1.0, 0.9, 0.8, 0.7, 0.5)


def suggest_nearest(name: str, names: Iterable[str], otherwise: str = "") -> str:
    """Ask `; did you mean ...?` for the nearest of `names`, or return `otherwise` where none is near."""
    names = [*names]
    longer = [known for known in names if name and known.startswith(name)]
    found = longer or difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {found[0]}?" if found else otherwise


def suggest_or_list(name: str, names: Iterable[str]) -> str:
    """Ask for the nearest of `names`, or list them all."""
    names = [*map(str, names)]
    return suggest_nearest(name, names, f"; there are {', '.join(names)}")
