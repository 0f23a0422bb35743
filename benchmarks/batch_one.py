# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Where the time of one image goes on one thread of a CPU: DeiT-S at keep ratio 0.7 between the dense model and ideal.

    OMP_NUM_THREADS=1 python benchmarks/batch_one.py --output benchmarks/batch_one.json

Models take turns; what stands between two is told as the median of the differences of their turns, in milliseconds of
processor time. The ideal has the blocks on inputs as short as the method makes them, without deciding or moving. A
step leaves out one thing at a time: scores cost nothing where they are read off the tokens, and the last block of the
ideal computes the class token alone as that of every method does.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hf_dynamicvit import DynamicViTConfig, DynamicViTForImageClassification
from hf_dynamicvit.benchmark.measure import Ideal, Shortened, mean_counts, take_turns
from hf_dynamicvit.machine import describe_run


METHODS = ("dynamicvit", "topk", "evit")
# what is told, and the two models between which it is
STEPS = {
    "shorter inputs": ("dense", "{}, ideal"),
    "the last block computes the class token alone": ("{}, ideal", "{}, ideal, class token last"),
    "choosing and moving tokens": ("{}, ideal, class token last", "{}, free scores"),
    "scores": ("{}, free scores", "{}"),
}


class FreeScores(nn.Module):
    """Stand in for a predictor: scores that take no time."""

    def forward(self, patches: Tensor, mask: Tensor | None = None) -> Tensor:
        return patches[..., :2]


class LastForClass(Shortened):
    """Let the last block compute the prefix alone, as it does for methods."""

    def prefix_suffices(self, layer: int) -> bool:
        return True


def build(method: str) -> dict[str, Any]:
    """Build a method's model, its ideals, and the model whose scores are free."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536, "num_labels": 1000}
    model = DynamicViTForImageClassification(DynamicViTConfig(**sizes, reducer=method, keep_ratio=0.7)).eval()
    lengths = [(before + 1, after + 1) for before, after in mean_counts(model, torch.zeros(1, 3, 224, 224))]
    dense = model.to_dense().eval()
    ideal, last = Ideal(dense, lengths).eval(), Ideal(dense, lengths).eval()
    last.model.backbone.reducer = LastForClass(last.model.config, lengths)
    found = {"dense": dense, f"{method}, ideal": ideal, f"{method}, ideal, class token last": last.eval()}
    if method == "dynamicvit":
        free = DynamicViTForImageClassification(model.config).eval()
        free.vit.reducer.predictors = nn.ModuleList([FreeScores() for _ in model.vit.reducer.predictors])
        found[f"{method}, free scores"] = free
    return found | {method: model}


def split(method: str, seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Return what stands between the dense model and the method, step by step; without predictors the last are one."""
    steps = {title: tuple(name.format(method) for name in pair) for title, pair in STEPS.items()}
    if f"{method}, free scores" not in seconds:
        del steps["scores"], steps["choosing and moving tokens"]
        steps["scores, choosing and moving tokens"] = (f"{method}, ideal, class token last", method)
    rows = []
    for title, (before, after) in steps.items():
        apart = [b - a for a, b in zip(seconds[before], seconds[after], strict=True)]
        rows.append({"method": method, "step": title, "milliseconds": 1000 * statistics.median(apart)})
    return rows


def table(record: dict[str, Any]) -> str:
    """Return the steps as Markdown, a column a method."""
    lines = ["| ms of one image | " + " | ".join(METHODS) + " |", "| --- |" + " --- |" * len(METHODS)]
    found = {(row["method"], row["step"]): row["milliseconds"] for row in record["steps"]}
    models = record["models"]

    def line(title: str, cells: list[str]) -> None:
        lines.append(f"| {title} | {' | '.join(cells)} |")

    line("dense", [f"{models['dense']:.1f}"] * len(METHODS))
    for step in dict.fromkeys(row["step"] for row in record["steps"]):
        line(step, [f"{found[each, step]:+.2f}" if (each, step) in found else "" for each in METHODS])
    line("the model", [f"{models[each]:.1f}" for each in METHODS])
    line("as fast as dense", [f"{models['dense'] / models[each]:.2f}x" for each in METHODS])
    line("its ideal", [f"{models['dense'] / models[f'{each}, ideal']:.2f}x" for each in METHODS])
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=25)
    args = parser.parse_args()
    torch.set_num_threads(1)
    models = {name: model for method in METHODS for name, model in build(method).items()}
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    times = take_turns([*models.values()], images, args.repeats, warmup=3, clock="cpu")
    seconds = dict(zip(models, times, strict=True))
    medians = {name: 1000 * statistics.median(each) for name, each in seconds.items()}
    steps = [row for method in METHODS for row in split(method, seconds)]
    record = describe_run() | {"repeats": args.repeats, "models": medians, "steps": steps}
    args.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(table(record))


if __name__ == "__main__":
    main()
