# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Every method on one dense checkpoint, without training, at equal multiply-adds: a table, a plot and JSON.

    python examples/compare_without_training.py --model facebook/deit-tiny-patch16-224 --data imagenet --output table

`imagenet` holds test.parquet with the columns image and label, whose labels are the model's. The published result for
1,000 ImageNet images is in docs/benchmarks.md. A quarter of an hour on 2 CPU cores. The plot needs matplotlib
(`pip install "hf-dynamicvit[plot]"`).

Every method is set to 0.9, 0.8, 0.7 and 0.5 of the dense model's multiply-adds with `model.set_budget`. AS-ViT's
thresholds are set on some of the images (`--calibrate`), and its cost is the mean over all. The predictors of
DynamicViT are untrained, so it shows what they must learn.
"""

import argparse
import json
from pathlib import Path

import torch
from datasets import Dataset, load_dataset
from matplotlib import pyplot
from transformers import AutoImageProcessor, set_seed

from hf_dynamicvit import DynamicViTForImageClassification
from hf_dynamicvit.data.transforms import ImageTransform


# name in the table -> what from_pretrained takes; the classifier of a dense checkpoint reads the class token
METHODS = {
    "topk": {"reducer": "topk"},
    "evit": {"reducer": "evit"},
    "tps (evit scores)": {"reducer": "tps", "reducer_args": {"score": "evit"}},
    "tome": {"reducer": "tome"},
    "idlevit": {"reducer": "idlevit"},
    "evovit": {"reducer": "evovit", "reducer_args": {"pooling": "class"}},
    "evovit (by layer)": {"reducer": "evovit", "reducer_args": {"pooling": "class", "grouping": "layer"}},
    "asvit": {"reducer": "asvit"},
    "random": {"reducer": "random"},
    "dynamicvit (untrained)": {"reducer": "dynamicvit"},
}


def evaluate(model, batches) -> tuple[float, float]:
    """Top-1 accuracy and mean multiply-adds of one image."""
    correct = count = cost = 0.0
    with torch.inference_mode():
        for batch in batches:
            images, labels = batch["pixel_values"], batch["labels"]
            correct += (model(images).logits.argmax(-1) == labels).sum().item()
            cost += model.multiply_adds(images) * len(images)
            count += len(images)
    return correct / count, cost / count


def load_batches(data: Dataset, batch_size: int) -> list[dict[str, torch.Tensor]]:
    """All images, once: they fit into memory, and every model sees the same."""
    batches = []
    for start in range(0, len(data), batch_size):
        batch = data[start : start + batch_size]
        batches.append({"pixel_values": torch.stack(batch["pixel_values"]), "labels": torch.tensor(batch["labels"])})
    return batches


def draw(results: list[dict], dense: dict, path: Path) -> None:
    """Accuracy over multiply-adds, a line for each method."""
    figure, axes = pyplot.subplots(figsize=(9, 6), layout="constrained")
    for name in METHODS:
        points = [dense, *(result for result in results if result["method"] == name)]
        relative = [point["gmacs"] / dense["gmacs"] for point in points]
        axes.plot(relative, [100 * point["top1"] for point in points], marker="o", markersize=4, label=name)
    axes.set(xlabel="multiply-adds as a fraction of the dense model's", ylabel="top-1 in %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def table(results: list[dict], dense: dict, fractions: list[float]) -> str:
    lines = ["| method | " + " | ".join(f"{fraction:g} of dense" for fraction in fractions) + " |"]
    lines.append("| --- |" + " --- |" * len(fractions))
    for name in METHODS:
        cells = [
            next(
                (
                    f"{100 * result['top1']:.1f} % ({result['gmacs']:.3f} G)"
                    for result in results
                    if result["method"] == name and result["fraction"] == fraction
                ),
                "out of reach",
            )
            for fraction in fractions
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append(f"\nDense: {100 * dense['top1']:.1f} % ({dense['gmacs']:.3f} G).")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a dense ViT classifier")
    parser.add_argument("--data", required=True, type=Path, help="folder with test.parquet")
    parser.add_argument("--output", required=True, type=Path, help="folder for table.md, results.json and plot.png")
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.9, 0.8, 0.7, 0.5])
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--calibrate", type=int, default=100, help="images on which AS-ViT's thresholds are set")
    parser.add_argument("--limit", type=int, help="use only so many images, to try the script")
    args = parser.parse_args()
    processor = AutoImageProcessor.from_pretrained(
        args.model, size={"height": 224, "width": 224}, do_center_crop=False
    )
    data = load_dataset("parquet", data_files=str(args.data / "test.parquet"), split="train")
    data = data.select(range(min(args.limit or len(data), len(data)))).with_transform(ImageTransform(processor))
    batches = load_batches(data, args.batch_size)
    every = max(1, len(data) // max(1, args.calibrate))  # spread over the data, which may be sorted by class
    typical = torch.cat([batch["pixel_values"] for batch in batches])[::every]

    whole = DynamicViTForImageClassification.from_pretrained(args.model, reducer="topk", keep_ratio=1.0).eval()
    top1, _ = evaluate(whole, batches)
    dense = {"top1": top1, "gmacs": whole.dense_multiply_adds() / 1e9}
    print(f"dense: {100 * top1:.1f} %, {dense['gmacs']:.3f} G", flush=True)
    results = []
    for name, settings in METHODS.items():
        set_seed(0)
        model = DynamicViTForImageClassification.from_pretrained(args.model, **settings).eval()
        for fraction in args.fractions:
            try:
                model.set_budget(fraction=fraction, pixel_values=typical)
            except ValueError as error:
                print(f"{name} at {fraction}: {error}", flush=True)
                continue
            top1, cost = evaluate(model, batches)
            results.append({"method": name, "fraction": fraction, "top1": top1, "gmacs": cost / 1e9})
            print(f"{name} at {fraction}: {100 * top1:.1f} %, {cost / 1e9:.3f} G", flush=True)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "results.json").write_text(json.dumps({"dense": dense, "results": results}, indent=1) + "\n")
    (args.output / "table.md").write_text(table(results, dense, args.fractions) + "\n")
    draw(results, dense, args.output / "plot.png")
    print((args.output / "table.md").read_text())


if __name__ == "__main__":
    main()
