# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What the defaults of `hf-dynamicvit train` are made of: settings beside each other on three data sets.

    python benchmarks/training.py --model facebook/deit-tiny-patch16-224 --flowers flowers --emoji emoji \\
        --output runs --results benchmarks/training.json
    python benchmarks/training.py --table benchmarks/training.json

`flowers` has train.parquet and test.parquet, `emoji` is what emoji_folder.py writes, digits are scikit-learn's.
Images of 112 pixels, so that a run takes minutes on one CPU thread: three dense epochs, then six sparse ones at keep
ratio 0.7 from one of the dense models, which also teaches. Runs that are in the results are not made again; --only
names some.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from hf_dynamicvit.data.digits import load_digits_dataset
from hf_dynamicvit.machine import describe_run


# All that differs between runs is typed, so that other defaults do not change them.
DENSE = {
    "reducer": "none",
    "image_size": "112",
    "num_train_epochs": "3",
    "learning_rate": "1e-4",
    "head_learning_rate": "5e-3",
    "weight_decay": "0.05",
    "crop_scale": "0.35",
}
SPARSE = {
    "reducer": "dynamicvit",
    "keep_ratio": "0.7",
    "num_train_epochs": "6",
    "learning_rate": "1e-3",
    "backbone_lr_scale": "0.05",
    "crop_scale": "0.35",
    "predictor_start": "random",
    "loss_weights": '{"ratio": 2}',
}
ALWAYS = ["--bf16", "true", "--load-best-model-at-end", "false", "--unreadable", "unchecked"]

SETTINGS: dict[str, dict[str, str]] = {
    "one rate": DENSE | {"head_learning_rate": "1e-4"},
    "classifier 2e-3": DENSE | {"head_learning_rate": "2e-3"},
    "classifier 5e-3": DENSE,
    "classifier 1e-2": DENSE | {"head_learning_rate": "1e-2"},
    "backbone 5e-5": DENSE | {"learning_rate": "5e-5"},
    "backbone 3e-4": DENSE | {"learning_rate": "3e-4"},
    "no decay": DENSE | {"weight_decay": "0"},
    "crops from 0.7": DENSE | {"crop_scale": "0.7"},
    "no crops": DENSE | {"crop_scale": "1.0"},
    "backbone 2e-4, crops from 0.7": DENSE | {"learning_rate": "2e-4", "crop_scale": "0.7"},
    "backbone 2e-4, crops from 0.7, no decay": DENSE
    | {"learning_rate": "2e-4", "crop_scale": "0.7", "weight_decay": "0"},
    "sparse: before": SPARSE,
    "sparse: backbone at 1 %": SPARSE | {"backbone_lr_scale": "0.01"},
    "sparse: ratio 10": SPARSE | {"loss_weights": '{"ratio": 10}'},
    "sparse: ratio 10, attention": SPARSE | {"loss_weights": '{"ratio": 10}', "predictor_start": "attention"},
}
ATTENTION = SETTINGS["sparse: ratio 10, attention"]
SETTINGS |= {
    "sparse: ratio 10, attention, never frozen": ATTENTION | {"freeze_backbone_epochs": "0"},
    "sparse: ratio 10, attention, backbone at 10 %": ATTENTION | {"backbone_lr_scale": "0.1"},
    "sparse: ratio 10, attention, crops from 0.7": ATTENTION | {"crop_scale": "0.7"},
    "sparse: ratio 10, attention, no crops": ATTENTION | {"crop_scale": "1.0"},
    "sparse: published, no crops": SPARSE
    | {
        "backbone_lr_scale": "0.01",
        "crop_scale": "1.0",
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": '{"min_lr_rate": 0.001}',
        "warmup_steps": "0.1666",
    },
}

# The dense model that sparse runs start from and learn from.
START = {"flowers": "no crops", "emoji": "classifier 5e-3", "digits": "no crops"}


def write_digits(folder: Path) -> Path:
    for split, data in load_digits_dataset(seed=0).items():
        for index, row in enumerate(data):
            place = folder / split / str(row["label"])
            place.mkdir(parents=True, exist_ok=True)
            row["image"].save(place / f"{index}.png")
    return folder


def folder_of(output: Path, data: str, setting: str, seed: int) -> Path:
    return output / "-".join(["".join(letter if letter.isalnum() else "_" for letter in setting), data, str(seed)])


def train(args, data: str, dataset: Path, setting: str) -> dict[str, Any]:
    """Run one training and return what is kept of its results."""
    options, folder = SETTINGS[setting], folder_of(args.output, data, setting, args.seed)
    sparse = options["reducer"] != "none"
    model = folder_of(args.output, data, START[data], args.seed) if sparse else args.model
    typed = [word for name, value in options.items() for word in (f"--{name}", value)]
    command = ["train", "--model", str(model), "--dataset", str(dataset), "--output-dir", str(folder)]
    command += [*typed, *ALWAYS, "--seed", str(args.seed)]
    subprocess.run([sys.executable, "-m", "hf_dynamicvit", *command], check=True)
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    about = describe_run() | {"data": data, "setting": setting, "options": options, "seed": args.seed}
    return about | kept_of(found)


def kept_of(results: dict[str, Any]) -> dict[str, Any]:
    names = ("top1", "top1_interval", "teacher_top1", "images", "train_images", "classes", "gmacs", "kept", "seconds")
    accuracies = [entry["eval_accuracy"] for entry in results["log"] if "eval_accuracy" in entry]
    return {name: results[name] for name in names if name in results} | {"top1_by_epoch": accuracies}


def told_top1(run: dict[str, Any]) -> str:
    """Write top-1 in %; of a sparse model, with that of its teacher."""
    teacher = f" of {100 * run['teacher_top1']:.1f}" if "teacher_top1" in run else ""
    return f"{100 * run['top1']:.1f}{teacher}"


def table(runs: list[dict[str, Any]]) -> str:
    """Return the runs as Markdown: a row a setting, a column a data set."""
    sets = [name for name in START if any(run["data"] == name for run in runs)]
    lines = [f"| setting | {' | '.join(sets)} |", "| --- |" + " --- |" * len(sets)]
    for setting in SETTINGS:
        cells = []
        for data in sets:
            found = [run for run in runs if (run["setting"], run["data"]) == (setting, data)]
            told = ", ".join(map(told_top1, sorted(found, key=lambda run: run["seed"])))
            kept = "/".join(f"{value:.2f}" for value in found[0]["kept"]) if found and "kept" in found[0] else ""
            cells.append(f"{told} ({kept})" if kept else told)
        if any(cells):
            lines.append(f"| {setting} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="print the runs of this file, and train nothing")
    parser.add_argument("--model", help="a dense ViT, such as facebook/deit-tiny-patch16-224")
    parser.add_argument("--flowers", type=Path)
    parser.add_argument("--emoji", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs"))
    parser.add_argument("--results", type=Path, default=Path("training.json"))
    parser.add_argument("--only", nargs="+", default=list(SETTINGS), choices=list(SETTINGS), metavar="SETTING")
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    if args.table is not None:
        print(table(json.loads(args.table.read_text(encoding="utf-8"))))
        return
    if args.model is None:
        parser.error("--model is needed to train")
    places = {"flowers": args.flowers, "emoji": args.emoji, "digits": write_digits(args.output / "digits")}
    runs = json.loads(args.results.read_text(encoding="utf-8")) if args.results.is_file() else []
    for data, dataset in places.items():
        for setting in args.only if dataset is not None else ():
            if not any((run["data"], run["setting"], run["seed"]) == (data, setting, args.seed) for run in runs):
                runs.append(train(args, data, dataset, setting))
                args.results.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
