# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Make a family of checkpoints, measure each beside its dense model, write the cards, and push them.

    python examples/publish.py --model my-dense-vit --tune tome --train evit --fractions 0.7 0.5 \\
        --images more_images --dataset my_images --organisation my-team --output family --dry-run

That is every method at every fraction of the multiply-adds of every model: `--tune` searches a schedule on images
without labels, `--train` fine-tunes. A model must be a dense classifier of the classes of the data set; fine-tune one
of other classes first (`hf-dynamicvit train --reducer none`). Each checkpoint has a folder below `--output`, with
`model/`, of which the repository is made; `measured.json`, top-1 on the images for validation or testing and images
per second, both beside the dense model; and `pushed.json`. What is there is not made again, so that a run that was
stopped goes on. What fails is named, and the others are made. `family.md` has a row for each. With `--dry-run` all is
made and measured, and nothing is uploaded.

Tune on other images than those that top-1 is measured on. The images of `--figure` are published with the cards.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi

from hf_dynamicvit.benchmark.measure import with_threads
from hf_dynamicvit.checkpoints.checkpoint import read_checkpoint
from hf_dynamicvit.checkpoints.results import RESULTS, read_results
from hf_dynamicvit.commands.cli import main as run_command
from hf_dynamicvit.evaluation.data import load_labelled, read_held_out
from hf_dynamicvit.evaluation.evaluate import evaluate
from hf_dynamicvit.hub.card import MARKER, Measurements, inherited_license, model_card
from hf_dynamicvit.hub.errors import hub_errors_in_words
from hf_dynamicvit.hub.push import (
    CARD,
    FIGURE,
    CardContent,
    describe_results,
    dry_run,
    kept_figure,
    measure_speed,
    push,
)
from hf_dynamicvit.hub.training_card import is_repository
from hf_dynamicvit.look.viewer import Viewer
from hf_dynamicvit.machine import describe_machine


# What a run must share with the one that it goes on with.
SHARED = ("dataset", "images", "limit", "threads", "tune_options", "train_options")


@dataclass(frozen=True)
class Member:
    """A checkpoint of the family.

    Attributes:
        source: the dense model.
        reducer: the method.
        trained: fine-tuned, rather than tuned.
        fraction: of the dense multiply-adds.
        folder: for all that is made.
    """

    source: str
    reducer: str
    trained: bool
    fraction: float
    folder: Path

    @property
    def model(self) -> Path:
        """The folder of what goes up."""
        return self.folder / "model"

    @property
    def dense(self) -> str:
        """The model that it is measured beside: the one it came from, or what its training made of that first."""
        teacher = self.model / "teacher"
        return str(teacher) if teacher.is_dir() else self.source


def list_members(args: argparse.Namespace) -> Iterator[Member]:
    """List the checkpoints that were asked for, in the order in which they are made."""
    for source in args.model:
        for reducer, trained in [*((name, False) for name in args.tune), *((name, True) for name in args.train)]:
            for fraction in args.fractions:
                kind = "" if not (reducer in args.tune and trained) else "-trained"
                name = f"{Path(source).name}-{reducer}{kind}-{100 * fraction:g}"
                yield Member(source, reducer, trained, fraction, args.output / name)


# ----- made, measured


def make(member: Member, args: argparse.Namespace) -> None:
    """Tune or train, unless that was done.

    Raises:
        ValueError: it did not succeed; the command has said why.
    """
    if (member.model / (RESULTS if member.trained else "tune.json")).is_file():
        return
    options = ["--model", member.source, "--reducer", member.reducer]
    if member.trained:
        command, more = "train", ["--dataset", args.dataset, "--budget", str(member.fraction), *args.train_options]
        more += ["--output-dir", str(member.model)]
        if any(member.model.rglob("checkpoint-*")):
            more += ["--resume-from-checkpoint", "last"]
    else:
        command, more = "tune", ["--images", *args.images, "--fraction", str(member.fraction), *args.tune_options]
        more += ["--output", str(member.model)]
    print(f"$ hf-dynamicvit {command} {shlex.join([*options, *more])}", flush=True)
    if run_command([command, *options, *more]) != 0:
        raise ValueError(f"hf-dynamicvit {command} did not succeed")


def measure(member: Member, args: argparse.Namespace) -> dict[str, Any]:
    """Measure top-1 and speed beside the dense model, unless that was done."""
    file = member.folder / "measured.json"
    if file.is_file():
        return json.loads(file.read_text(encoding="utf-8"))
    viewer = Viewer.load(read_checkpoint(member.model), dense=member.dense)
    held_out = read_held_out(str(member.model)) if member.trained else None
    images = load_labelled(args.dataset, viewer.labels, limit=args.limit, held_out=held_out)
    found = evaluate(viewer, images, keep_ratios=())
    with with_threads(args.threads):
        speeds, machine = measure_speed(viewer.model), describe_machine()
    measured = {
        "top1": found.sparse.top(1),
        "dense_top1": None if found.dense is None else found.dense.top(1),
        "images": len(found.truth),
        "gmacs": found.sparse.gmacs,
        "dense_gmacs": found.dense_gmacs,
        "images_per_second": {str(batch): both for batch, both in speeds.items()},
        "machine": machine,
    }
    file.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    return measured


# ----- the card, the push


def describe_making(member: Member) -> str:
    """Tell in a sentence or two how the checkpoint was made."""
    if member.trained:
        results = read_results(member.model)
        assert results is not None
        return describe_results(results)
    tuned = json.loads((member.model / "tune.json").read_text(encoding="utf-8"))
    return (
        f"Not trained: the weights are those of the dense model. `hf-dynamicvit tune` searched the schedule of "
        f"`{member.reducer}` for {member.fraction:g} of the multiply-adds, on {tuned['images']} images without labels."
    )


def write_card(member: Member, measured: dict[str, Any], repo_id: str, args: argparse.Namespace) -> None:
    """Write the card beside the model, unless somebody's own is there."""
    path = member.model / CARD
    if path.is_file() and MARKER not in path.read_text(encoding="utf-8"):
        return
    checkpoint, machine = read_checkpoint(member.model), measured["machine"]
    model, threads = checkpoint.load_as_saved().eval(), machine["threads"]
    if args.figure:
        kept_figure(model, checkpoint.processor, args.figure).save(member.model / FIGURE)
    known = Measurements(
        top1=measured["top1"],
        dense_top1=measured["dense_top1"],
        num_pictures=measured["images"],
        dataset_name=args.dataset_name or Path(args.dataset).name,
        multiply_adds=round(measured["gmacs"] * 1e9),
        multiply_adds_of="images of the evaluation" if model.config.is_adaptive else None,
        images_per_second={int(batch): tuple(both) for batch, both in measured["images_per_second"].items()},
        device=f"{machine['cpu']}, {threads} thread{'s' * (threads != 1)}, torch {machine['torch']}",
        recipe=describe_making(member),
        figure=FIGURE if args.figure else None,
    )
    base = member.source if is_repository(member.source) else None
    license = args.license or inherited_license(member.source)
    model_card(model, repo_id, known, base, license).save(path)


def publish(member: Member, repo_id: str, args: argparse.Namespace) -> None:
    """Push the checkpoint, unless that was done, or say what would go up."""
    file = member.folder / "pushed.json"
    if args.dry_run:
        _, files = dry_run(member.model, repo_id, CardContent())
        code = [name for name in files if name.endswith(".py")]
        others = ", ".join(name for name in files if name not in code)
        print(f"To {repo_id} would go {others} and {len(code)} files of code.")
    elif not file.is_file() or json.loads(file.read_text(encoding="utf-8"))["repo_id"] != repo_id:
        address = push(member.model, repo_id, CardContent(), private=args.private or None)
        file.write_text(json.dumps({"repo_id": repo_id, "commit_url": address}) + "\n", encoding="utf-8")
        print(f"Pushed to {address}")


# ----- the family


def table_row(member: Member, measured: dict[str, Any]) -> str:
    """Write what was measured as a row of the table."""
    dense = "-" if measured["dense_top1"] is None else f"{100 * measured['dense_top1']:.2f} %"
    ratios = [f"{sparse / dense:.2f}x" for dense, sparse in measured["images_per_second"].values()]
    cells = [member.folder.name, "trained" if member.trained else "tuned", f"{100 * measured['top1']:.2f} %", dense]
    cells += [f"{measured['gmacs']:.3f} of {measured['dense_gmacs']:.3f} G", ", ".join(ratios) or "-"]
    return f"| {' | '.join(cells)} |"


def write_table(rows: list[str], output: Path) -> str:
    """Write the table of the family to `family.md`."""
    head = "| checkpoint | how | top-1 | dense | multiply-adds | images/s beside dense, batch 1 and 8 |"
    table = "\n".join([head, "| --- | --- | --- | --- | --- | --- |", *rows])
    (output / "family.md").write_text(table + "\n", encoding="utf-8")
    return table


def check_settings(args: argparse.Namespace) -> None:
    """Refuse to go on with a family of other settings; write down those of a new one.

    Raises:
        ValueError: something is missing, or other than it was.
    """
    if not args.tune and not args.train:
        raise ValueError("neither --tune nor --train names a method.")
    if args.tune and not any(args.images):
        raise ValueError("--tune takes images; type --images.")
    settings = {name: getattr(args, name) for name in SHARED}
    file = args.output / "family.json"
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        other = [name for name in SHARED if before.get(name) != settings[name]]
        if other:
            raise ValueError(f"{args.output} was made with another {', '.join(other)}; name another --output.")
    args.output.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def run(args: argparse.Namespace) -> int:
    """Make, measure and publish all; return the exit status."""
    check_settings(args)
    if not args.dry_run:
        with hub_errors_in_words(args.organisation):
            HfApi().whoami()
    rows, failed = [], []
    for member in list_members(args):
        repo_id = f"{args.organisation}/{member.folder.name}"
        try:
            member.folder.mkdir(exist_ok=True)
            make(member, args)
            measured = measure(member, args)
            write_card(member, measured, repo_id, args)
            publish(member, repo_id, args)
        except (ValueError, OSError, FloatingPointError) as error:
            failed.append(member.folder.name)
            print(f"{member.folder.name}: {error}", file=sys.stderr)
            continue
        rows.append(table_row(member, measured))
    print(write_table(rows, args.output))
    if failed:
        print(f"Failed: {', '.join(failed)}. The same command tries these again.", file=sys.stderr)
    return int(bool(failed))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", required=True, help="dense classifiers: folders, or names on the Hub")
    parser.add_argument("--tune", nargs="+", default=[], metavar="METHOD", help="methods whose schedule is searched")
    parser.add_argument("--train", nargs="+", default=[], metavar="METHOD", help="methods that are fine-tuned")
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.7], help="of the dense multiply-adds")
    parser.add_argument("--dataset", required=True, help="for training and for top-1, as hf-dynamicvit train takes it")
    parser.add_argument("--dataset-name", help="as the cards call it (default: its last part)")
    parser.add_argument("--limit", type=int, help="images for top-1, at most")
    parser.add_argument("--images", nargs="+", default=[], help="image files or folders to tune on")
    parser.add_argument("--tune-options", type=shlex.split, default=[], help="more for tune, as ='--limit 128'")
    parser.add_argument("--train-options", type=shlex.split, default=[], help="more for train, as ='--epochs 3'")
    parser.add_argument("--threads", type=int, help="CPU threads that speed is measured with (default: torch's)")
    parser.add_argument("--figure", type=Path, nargs="+", help="images for the cards, which are published")
    parser.add_argument("--license", help="of the cards (default: the model's)")
    parser.add_argument("--organisation", required=True, help="or user, whose repositories are made")
    parser.add_argument("--private", action="store_true", help="make private ones")
    parser.add_argument("--output", type=Path, required=True, help="folder of the family")
    parser.add_argument("--dry-run", action="store_true", help="make and measure all, upload nothing")
    return parser.parse_args()


if __name__ == "__main__":
    torch.manual_seed(0)
    try:
        status = run(parse_arguments())
    except (ValueError, OSError) as error:
        sys.exit(f"publish.py: {error}")
    if status:
        sys.exit(status)
