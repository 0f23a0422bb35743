# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Methods fine-tuned beside the dense model, as long and by the same data: flowers, three seeds.

    python benchmarks/finetuned.py --model facebook/deit-tiny-patch16-224 --flowers flowers --output runs \\
        --results benchmarks/finetuned.json
    python benchmarks/finetuned.py --table benchmarks/finetuned.json

`flowers` has train.parquet and test.parquet. For each seed a dense model is fine-tuned; from it go on, for as many
epochs more, the dense model itself and each method at 0.65 of its multiply-adds, with that dense model as teacher.
Settings are the same for all but for what a method has of its own (predictors learn at their own rate). The schedule
of a tuned method is searched by `hf-dynamicvit tune` for that dense model on training images. Runs that are in the
results are not made again.
"""

import argparse
import json
import math
import statistics
from pathlib import Path
from typing import Any

from datasets import load_dataset

from hf_dynamicvit.commands.cli import main as command
from hf_dynamicvit.machine import describe_run


FRACTION = "0.65"
START = {
    "reducer": "none",
    "num_train_epochs": "5",
    "learning_rate": "1e-4",
    "head_learning_rate": "5e-3",
    "weight_decay": "0.05",
    "crop_scale": "0.7",
}
LATER = {"num_train_epochs": "5", "learning_rate": "5e-5", "weight_decay": "0.05", "crop_scale": "0.7"}
PREDICTORS = {"learning_rate": "1e-3", "backbone_lr_scale": "0.05"}
ALWAYS = [
    "--eval-strategy",
    "no",
    "--save-strategy",
    "no",
    "--bf16",
    "true",
    "--load-best-model-at-end",
    "false",
    "--unreadable",
    "unchecked",
]

SETTINGS: dict[str, dict[str, str]] = {
    "dense": LATER | {"reducer": "none"},
    "evit": LATER | {"reducer": "evit"},
    "mctf": LATER | {"reducer": "mctf"},
    "tome": LATER | {"reducer": "tome"},
    "tome, tuned": LATER | {"reducer": "tome"},
    "dynamicvit": LATER | PREDICTORS | {"reducer": "dynamicvit"},
    "diffrate": LATER | {"reducer": "diffrate"},
}


def run_command(*words: Any) -> None:
    """Run `hf-dynamicvit` within this process, whose imports take as long as a short training."""
    command([str(word) for word in words])


def train(args: argparse.Namespace, model: Path | str, folder: Path, options: dict[str, str], seed: int) -> dict:
    """Train into `folder` and return what is kept of the results."""
    typed = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    limits = ["--max-train-samples", args.train_images] if args.train_images else []
    limits += ["--dataloader-num-workers", args.workers] if args.workers else []
    where = ["--dataset", args.flowers, "--output-dir", folder, "--seed", seed]
    run_command("train", "--model", model, *where, *typed, *ALWAYS, *limits)
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    names = ("top1", "top1_interval", "teacher_top1", "images", "train_images", "classes", "gmacs", "kept", "seconds")
    return {name: found[name] for name in names if name in found}


def write_images(args: argparse.Namespace, count: int = 128) -> Path:
    """Write some of the training images, at even distances, into a folder, for searches."""
    folder = args.output / "images"
    if not folder.is_dir():
        data = load_dataset("parquet", data_files=str(args.flowers / "train.parquet"), split="train")
        folder.mkdir(parents=True)
        for place in range(0, len(data), max(1, len(data) // count)):
            data[place]["image"].save(folder / f"{place}.png")
    return folder


def tuned_start(args: argparse.Namespace, dense: Path, folder: Path, reducer: str, seed: int) -> Path:
    """Search the schedule of a method for the dense model; return the folder of the reduced model."""
    if not (folder / "config.json").is_file():
        images = ["--images", write_images(args), "--seed", seed]
        options = ["--refinements", args.refinements, "--batch-size", 1, "--output", folder]
        run_command("tune", dense, "--reducer", reducer, "--fraction", FRACTION, *images, *options)
    return folder


def measure(args: argparse.Namespace, setting: str, seed: int) -> dict[str, Any]:
    """Make one run, and the dense model that it starts from where that is not there yet."""
    name = "".join(letter if letter.isalnum() else "_" for letter in setting)
    start = args.output / f"start-{seed}"
    if not (start / "results.json").is_file():
        train(args, args.model, start, START, seed)
    options, model = dict(SETTINGS[setting]), start
    if setting.endswith(", tuned"):
        model = tuned_start(args, start, args.output / f"tuned-{name}-{seed}", options["reducer"], seed)
    elif options["reducer"] != "none":
        options |= {"budget": FRACTION}
    found = train(args, model, args.output / f"{name}-{seed}", options, seed)
    return {"setting": setting, "options": options, "start": START, "seed": seed} | found


def table(runs: list[dict[str, Any]]) -> str:
    """Return the runs as Markdown: top-1 of each seed, their mean, and the difference to the dense model's."""
    dense = {run["seed"]: run["top1"] for run in runs if run["setting"] == "dense"}
    lines = ["| method | GMACs | top-1 by seed | mean | beside dense |", "| --- | --- | --- | --- | --- |"]
    for setting in SETTINGS:
        rows = sorted((run for run in runs if run["setting"] == setting), key=lambda run: run["seed"])
        if not rows:
            continue
        tops = [100 * run["top1"] for run in rows]
        apart = [100 * (run["top1"] - dense[run["seed"]]) for run in rows if run["seed"] in dense]
        error = statistics.stdev(apart) / math.sqrt(len(apart)) if len(apart) > 1 else math.nan
        beside = "" if setting == "dense" or not apart else f"{statistics.fmean(apart):+.1f} ± {error:.1f}"
        told = ", ".join(f"{top:.1f}" for top in tops)
        lines.append(f"| {setting} | {rows[0]['gmacs']:.3f} | {told} | {statistics.fmean(tops):.1f} | {beside} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="print the runs of this file, and train nothing")
    parser.add_argument("--model", help="a dense ViT, such as facebook/deit-tiny-patch16-224")
    parser.add_argument("--flowers", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs"))
    parser.add_argument("--results", type=Path, default=Path("finetuned.json"))
    parser.add_argument("--only", nargs="+", default=list(SETTINGS), choices=list(SETTINGS), metavar="SETTING")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--train-images", type=int, help="so many of the training images, taken at random")
    parser.add_argument("--refinements", type=int, default=50, help="of each search")
    parser.add_argument("--workers", type=int, default=0, help="processes that load images")
    args = parser.parse_args()
    if args.table is not None:
        print(table(json.loads(args.table.read_text(encoding="utf-8"))))
        return
    if args.model is None or args.flowers is None:
        parser.error("--model and --flowers are needed to train")
    runs = json.loads(args.results.read_text(encoding="utf-8")) if args.results.is_file() else []
    for seed in args.seeds:
        for setting in args.only:
            if not any((run["setting"], run["seed"]) == (setting, seed) for run in runs):
                runs.append(describe_run() | measure(args, setting, seed))
                args.results.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
