# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Speed of DINOv2-S at keep ratio 0.7 beside the native model with SDPA attention, on one thread of a CPU.

    python benchmarks/speed.py --model facebook/dinov2-small --results benchmarks/speed.json
    python benchmarks/speed.py --table benchmarks/speed.json

Each run is one `hf-dynamicvit benchmark`, whose models take turns. Processor time is counted, so that other processes
on the machine cost little. The predictors of DynamicViT are untrained; speed does not depend on weights. Runs that are
in the results are not made again.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any


ALWAYS = ["--reducer", "tome", "evit", "dynamicvit", "--keep-ratio", "0.7", "--threads", "1", "--clock", "cpu"]
# What is typed for each run besides; large batches of large images take seconds each.
RUNS = (
    ["--image-size", "224", "--batch-sizes", "1", "--repeats", "15"],
    ["--image-size", "224", "--batch-sizes", "8", "--repeats", "7"],
    ["--image-size", "518", "--batch-sizes", "1", "--repeats", "7"],
    ["--image-size", "518", "--batch-sizes", "8", "--repeats", "3", "--warmup", "1"],
)
HEADER = "| pixels | batch | model | multiply-adds | as they say | measured | its ideal | ms (10 to 90 %) |"


def measure(model: str, run: list[str]) -> dict[str, Any]:
    """Make one run and return what it says."""
    command = ["benchmark", "--model", model, *ALWAYS, *run, "--json"]
    called = [sys.executable, "-m", "hf_dynamicvit", *command]
    found = json.loads(subprocess.run(called, stdout=subprocess.PIPE, check=True).stdout)
    return {"run": run} | found


def build_row(row: dict[str, Any], ideal: dict[str, Any] | None) -> str:
    """Write one model as a row: the native one's time over its own, by multiply-adds, as measured and at best."""
    name = "native" if row["kind"] == "dense" else row["model"].split()[-2]
    gmacs = f"{row['multiply_adds'] / 1e9:.2f} G"
    ratios = [row["dense_multiply_adds"] / row["multiply_adds"], row["over_dense"]]
    cells = [f"{ratio:.2f}x" for ratio in ratios] + ["" if ideal is None else f"{ideal['over_dense']:.2f}x"]
    times = f"{row['milliseconds']:.0f} ({row['fastest']:.0f} to {row['slowest']:.0f})"
    return f"| {row['image_size'][0]} | {row['batch']} | {name} | {gmacs} | {' | '.join(cells)} | {times} |"


def table(runs: list[dict[str, Any]]) -> str:
    """Return the runs as Markdown: the native model and each method."""
    lines = [HEADER, "| --- |" + " --- |" * (HEADER.count("|") - 2)]
    for run in runs:
        ideals = {row["model"]: row for row in run["measurements"] if row["kind"] == "ideal"}
        rows = [row for row in run["measurements"] if row["kind"] != "ideal"]
        lines += [build_row(row, ideals.get(row["model"])) for row in rows]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="print the runs of this file, and measure nothing")
    parser.add_argument("--model", help="a DINOv2-S, such as facebook/dinov2-small")
    parser.add_argument("--results", type=Path, default=Path("speed.json"))
    args = parser.parse_args()
    if args.table is not None:
        print(table(json.loads(args.table.read_text(encoding="utf-8"))))
        return
    if args.model is None:
        parser.error("--model is needed to measure")
    runs = json.loads(args.results.read_text(encoding="utf-8")) if args.results.is_file() else []
    for run in RUNS:
        if not any(each["run"] == run for each in runs):
            runs.append(measure(args.model, run))
            args.results.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
