# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit tune`: search the schedule, write the model that has it."""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from ..benchmark.measure import with_threads
from ..benchmark.report import check_matplotlib
from ..checkpoints.checkpoint import WITHOUT_TRAINING, Checkpoint, find_reduced, read_checkpoint
from ..checkpoints.source import find_processor
from ..data.class_folders import evenly_spaced, find_files
from ..data.samples import read_samples
from ..folders import check_folder, whole_folder
from ..machine import choose_device
from ..model.reducers import is_adaptive
from ..training.progress import no_bars_of_weights
from ..tuning.report import build_report, draw_front
from ..tuning.result import Tuned
from ..tuning.tune import tune
from .parser import only_json, print_json


# The trials of a search, in the output folder until it ends and afterwards.
TRIALS = "trials.jsonl"


def load(checkpoint: Checkpoint, reducer: str | None) -> Any:
    """Load the weights with the method that was typed, their own, or the best without training.

    Raises:
        ValueError: the method must be trained and is not.
    """
    reducer = reducer or checkpoint.reducer or WITHOUT_TRAINING
    load_model = checkpoint.reduce_around_backbone if checkpoint.maps else checkpoint.load_reduced
    model, untrained = load_model(reducer)
    if untrained and not is_adaptive(reducer):
        raise ValueError(
            f"{checkpoint.source} was not trained with {reducer}, whose choice would be random; train it first, or "
            "type another --reducer."
        )
    return model


def check_output(output: Path, overwrite: bool) -> bool:
    """Check that the folder is new, or holds the trials of a search that was stopped; return whether it does.

    Raises:
        ValueError: it holds something else.
    """
    stopped = (output / TRIALS).is_file() and len([*output.iterdir()]) == 1
    check_folder(output, overwrite or stopped)
    return stopped


def write(output: Path, model: Any, processor: Any, tuned: Tuned) -> None:
    """Write the tuned model with its image processor, and what was found."""
    with whole_folder(output, overwrite=True) as folder:
        model.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
        draw_front(tuned, folder / "front.png")
        (folder / "tune.md").write_text(build_report(tuned) + "\n", encoding="utf-8")
        (folder / "tune.json").write_text(json.dumps(tuned.as_dict(), indent=1) + "\n", encoding="utf-8")


def run(args: argparse.Namespace) -> Tuned:
    """Search as typed, and write the model."""
    check_matplotlib()
    stopped, trials = check_output(args.output, args.overwrite), args.output / TRIALS
    checkpoint = read_checkpoint(args.model)
    model = load(checkpoint, args.reducer).to(choose_device(args.device), getattr(torch, args.dtype))
    files = evenly_spaced(find_files(args.images), args.limit)
    config = checkpoint.backbone_config or checkpoint.config
    images, _ = read_samples(args.model, config, [Path(file) for file in files])
    goal = {name: getattr(args, name) for name in ("gmacs", "fraction", "latency", "speedup")}
    names = ("batch_size", "search", "step", "refinements", "seed", "run_batch", "clock")
    search = {name: getattr(args, name) for name in names}
    if not stopped:
        trials.unlink(missing_ok=True)  # of a search that ended, and is written over
    with with_threads(args.threads):
        tuned = tune(find_reduced(model), images, **goal, **search, trials_file=trials, progress=not args.json)
    write(args.output, model, find_processor(args.model, checkpoint.config), tuned)
    return tuned


def main(args: argparse.Namespace) -> None:
    with only_json(args.json), no_bars_of_weights():
        tuned = run(args)
        print(build_report(tuned))
        print(f"\nWrote {args.output}: the model, tune.json, tune.md and front.png.")
    if args.json:
        print_json({"output": str(args.output)} | tuned.as_dict())
