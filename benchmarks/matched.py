# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""How fast methods are where top-1 has fallen as far: speeds at -0.5 and -1 point, from a file of accuracies.

    OMP_NUM_THREADS=1 python benchmarks/matched.py --accuracies benchmarks/deit_tiny_without_training.json \\
        --model facebook/deit-tiny-patch16-224 --output benchmarks/deit_tiny_matched.json

`hf-dynamicvit benchmark --suite accuracy` measures both at once; this takes top-1 over cost from what
`examples/compare_without_training.py` wrote. Costs between measured ones are interpolated. Images are noise, on which
speed does not depend, so methods whose images decide what they keep are left out.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from hf_dynamicvit.checkpoints.checkpoint import read_checkpoint
from hf_dynamicvit.checkpoints.load_report import REDUCER
from hf_dynamicvit.evaluation.accuracy_suite import build_matched_table, measure_matched
from hf_dynamicvit.evaluation.without_training import load_weights
from hf_dynamicvit.machine import describe_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accuracies", type=Path, required=True)
    parser.add_argument("--model", required=True, help="the classifier that they are of")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument(
        "--methods", nargs="+", default=["topk", "evit", "tome", "pitome", "mctf", "diffrate (nothing dropped)"]
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    accuracies = json.loads(args.accuracies.read_text(encoding="utf-8"))
    checkpoint = read_checkpoint(args.model)
    record: dict[str, Any] = describe_run() | {"accuracies": args.accuracies.name, "dense": accuracies["dense"]}
    record["results"] = [row for row in accuracies["results"] if row["method"] in args.methods]
    size = checkpoint.image_config.image_size
    images = torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(0))

    def keep() -> None:
        written = {name: value for name, value in record.items() if name not in ("dense", "results")}
        args.output.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")

    def load(settings: dict[str, Any]) -> Any:
        return load_weights(checkpoint.family, checkpoint, settings, [REDUCER])

    measure_matched(record, load, images, "cpu", keep)
    print(build_matched_table(record))


if __name__ == "__main__":
    main()
