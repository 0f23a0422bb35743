# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Curves of trainings by `hf-dynamicvit train`: loss, patches kept, accuracy.

    python examples/plot_training.py my-model-07 my-model-05 --output curves.png

Each folder has the `results.json` of a training. Needs matplotlib (`pip install 'hf-dynamicvit[plot]'`).
"""

import argparse
import json
from pathlib import Path

import matplotlib


matplotlib.use("Agg")
from matplotlib import pyplot


PANELS = {
    "loss_classification": "cross entropy (training)",
    "kept_stage_3": "patches kept after the last stage (training)",
    "eval_accuracy": "top-1 (tokens really dropped)",
}


def draw(folders: list[Path], file: Path) -> None:
    """Draw a panel for each of `PANELS`, with a line for each training."""
    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(4 * len(PANELS), 3.2), layout="constrained")
    for folder in folders:
        log = json.loads((folder / "results.json").read_text(encoding="utf-8"))["log"]
        for axis, (name, title) in zip(axes, PANELS.items(), strict=True):
            points = {entry["step"]: entry[name] for entry in log if name in entry}
            axis.plot(list(points), list(points.values()), marker=".", label=folder.name)
            axis.set(title=title, xlabel="step")
    axes[0].legend()
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, default=Path("curves.png"))
    args = parser.parse_args()
    draw(args.folders, args.output)


if __name__ == "__main__":
    main()
