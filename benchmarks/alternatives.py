# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Token reduction beside what else makes a model faster: smaller images, fewer blocks, bfloat16 and int8; flowers.

    python benchmarks/alternatives.py --model facebook/deit-tiny-patch16-224 --flowers flowers --output runs \\
        --results benchmarks/alternatives.json
    python benchmarks/alternatives.py --table benchmarks/alternatives.json --plot docs/images/alternatives.png

`flowers` has train.parquet and test.parquet. A dense model is fine-tuned once; from it go on, for as many epochs, at
the same rate and by the labels alone, the dense model itself, at smaller images, with its first blocks only, and with
fewer tokens, at 224 pixels and at smaller images. Each is then told in float32, in bfloat16 and with PyTorch's dynamic
int8 quantisation of its linear layers: top-1 on all test images, and the time of an image, all taking turns, on one
thread of a CPU, in processor time. Runs that are in the folder are not trained again.
"""

import argparse
import copy
import json
import shlex
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from finetuned import ALWAYS, LATER, START, run_command
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification

import hf_dynamicvit  # noqa: F401  registers the models
from hf_dynamicvit.benchmark.measure import take_turns
from hf_dynamicvit.data.transforms import ImageTransform
from hf_dynamicvit.machine import describe_machine, read_commit


EPOCHS = "3"
BATCHES = (1, 8)


@dataclass(frozen=True)
class Variant:
    """One model that is fine-tuned.

    Attributes:
        kind: Which curve of the plot it belongs to.
        size: Pixels of a side.
        blocks: The first so many of the dense model's, or all.
        fraction: Multiply-adds beside the dense model of that size, for a reduced one.
    """

    kind: str
    size: int = 224
    blocks: int | None = None
    reducer: str = "none"
    fraction: float | None = None


VARIANTS: dict[str, Variant] = {
    "dense": Variant("dense"),
    "192 px": Variant("smaller images", size=192),
    "160 px": Variant("smaller images", size=160),
    "128 px": Variant("smaller images", size=128),
    "tome 0.65": Variant("tome", reducer="tome", fraction=0.65),
    "evit 0.65": Variant("evit", reducer="evit", fraction=0.65),
    "9 blocks": Variant("fewer blocks", blocks=9),
    "6 blocks": Variant("fewer blocks", blocks=6),
    "tome 0.5": Variant("tome", reducer="tome", fraction=0.5),
    "evit 0.5": Variant("evit", reducer="evit", fraction=0.5),
    "tome 0.65, 192 px": Variant("tome, smaller images", size=192, reducer="tome", fraction=0.65),
    "evit 0.65, 192 px": Variant("evit, smaller images", size=192, reducer="evit", fraction=0.65),
    "evit 0.65, 160 px": Variant("evit, smaller images", size=160, reducer="evit", fraction=0.65),
}


def in_bfloat16(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).to(torch.bfloat16)


def in_int8(model: nn.Module) -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {nn.Linear}, dtype=torch.qint8)


PRECISIONS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "float32": lambda model: model,
    "bfloat16": in_bfloat16,
    "int8": in_int8,
}


# ----- training


def train(args: argparse.Namespace, model: Path | str, folder: Path, options: dict[str, str], *flags: str) -> None:
    """Train into `folder`, unless that was done."""
    if (folder / "results.json").is_file():
        return
    typed = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    where = ["--dataset", args.flowers, "--output-dir", folder, "--seed", args.seed]
    limits = ["--max-train-samples", args.train_images] if args.train_images else []
    run_command("train", "--model", model, *where, *typed, *flags, *ALWAYS, *limits)


def shallower(start: Path, blocks: int) -> Path:
    """Write the dense model with its first blocks only; return its folder."""
    folder = start.with_name(f"{start.name}-{blocks}-blocks")
    if not (folder / "config.json").is_file():
        config = AutoConfig.from_pretrained(start)
        config.num_hidden_layers = blocks
        model = AutoModelForImageClassification.from_pretrained(start, config=config)
        AutoImageProcessor.from_pretrained(start).save_pretrained(folder)
        model.save_pretrained(folder)
    return folder


def train_variant(args: argparse.Namespace, name: str, variant: Variant) -> Path:
    """Fine-tune one model from the dense start; return its folder."""
    start = args.output / f"start-{args.seed}"
    train(args, args.model, start, START)
    options = LATER | {"num_train_epochs": EPOCHS, "reducer": variant.reducer}
    if variant.fraction is not None:
        options |= {"budget": str(variant.fraction)}
    if variant.size != VARIANTS["dense"].size:
        options |= {"image_size": str(variant.size)}
    folder = args.output / f"alternative-{name.replace(' ', '-').replace(',', '')}-{args.seed}"
    model = start if variant.blocks is None else shallower(start, variant.blocks)
    train(args, model, folder, options, *([] if variant.reducer == "none" else ["--no-distill"]))
    return folder


# ----- what is told of them


def load(folder: Path) -> nn.Module:
    return AutoModelForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()


def read_test(args: argparse.Namespace, folder: Path) -> tuple[Tensor, Tensor]:
    """Return all test images as the model takes them, `[N, 3, H, W]`, and their classes `[N]`."""
    data = load_dataset("parquet", data_files=str(args.flowers / "test.parquet"), split="train")
    examples = data.with_transform(ImageTransform(AutoImageProcessor.from_pretrained(folder)))[:]
    return torch.stack(examples["pixel_values"]), torch.tensor(examples["labels"])


def right_answers(model: nn.Module, images: Tensor, labels: Tensor, dtype: torch.dtype) -> list[int]:
    """Return 1 for each image that the model classifies rightly, else 0."""
    with torch.inference_mode():
        logits = torch.cat([model(batch.to(dtype)).logits.float() for batch in images.split(32)])
    return (logits.argmax(dim=-1) == labels).int().tolist()


def dtype_at(precision: str) -> torch.dtype:
    """Return what the images are given in: dynamic quantisation takes and returns float32."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def measure_accuracy(args: argparse.Namespace, record: dict[str, Any]) -> None:
    """Fill in the rows that the record lacks, one model after the other."""
    for name, variant in VARIANTS.items():
        folder = train_variant(args, name, variant)
        missing = [each for each in PRECISIONS if f"{name}, {each}" not in record["rows"]]
        if not missing:
            continue
        model = load(folder)
        images, labels = read_test(args, folder)
        gmacs = json.loads((folder / "results.json").read_text(encoding="utf-8"))["gmacs"]
        for precision in missing:
            right = right_answers(PRECISIONS[precision](model), images, labels, dtype_at(precision))
            row = {"variant": name, "precision": precision, **vars(variant), "gmacs": gmacs, "right": right}
            record["rows"][f"{name}, {precision}"] = row
            write(args, record)
            print(f"{name}, {precision}: {sum(right) / len(right):.1%}", flush=True)


def measure_speed(args: argparse.Namespace, record: dict[str, Any]) -> None:
    """Time all rows in turns, at each batch size; the medians in milliseconds an image."""
    torch.set_num_threads(1)
    models, rows = [], []
    for row in record["rows"].values():
        model = load(train_variant(args, row["variant"], VARIANTS[row["variant"]]))
        models.append(PRECISIONS[row["precision"]](model))
        rows.append(row)
    for batch in BATCHES:
        inputs = [torch.rand(batch, 3, row["size"], row["size"], dtype=dtype_at(row["precision"])) for row in rows]
        calls = [lambda _, model=model, given=given: model(given) for model, given in zip(models, inputs, strict=True)]
        repeats = max(3, args.repeats // batch)
        for row, seconds in zip(rows, take_turns(calls, inputs[0], repeats, warmup=1, clock="cpu"), strict=True):
            row.setdefault("milliseconds", {})[str(batch)] = 1000 * statistics.median(seconds) / batch
    record["machine"] |= {"threads": 1, "clock": "cpu", "repeats": args.repeats}


def write(args: argparse.Namespace, record: dict[str, Any]) -> None:
    args.results.write_text(json.dumps(record) + "\n", encoding="utf-8")


# ----- how it is shown


def compare(row: dict[str, Any], dense: dict[str, Any]) -> tuple[float, float, float]:
    """Return top-1, its difference to the dense one on the same images and the standard error of that, in points."""
    apart = torch.tensor(row["right"]).double() - torch.tensor(dense["right"]).double()
    error = apart.std() / len(apart) ** 0.5
    return 100 * statistics.fmean(row["right"]), 100 * apart.mean().item(), 100 * error.item()


def table(record: dict[str, Any]) -> str:
    """Return all rows as Markdown, the fastest of batch 1 last."""
    lines = [
        "| model | precision | GMACs | top-1 | beside dense | ms an image, batch 1 | batch 8 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    dense = record["rows"]["dense, float32"]
    for row in sorted(record["rows"].values(), key=lambda row: -row["milliseconds"]["1"]):
        top1, apart, error = compare(row, dense)
        times = " | ".join(f"{row['milliseconds'][str(batch)]:.1f}" for batch in BATCHES)
        told = f"{row['gmacs']:.3f} | {top1:.1f} | {apart:+.1f} ± {error:.1f}"
        lines.append(f"| {row['variant']} | {row['precision']} | {told} | {times} |")
    return "\n".join(lines)


def draw(record: dict[str, Any], file: Path) -> None:
    """Draw accuracy over latency, a panel for each batch size; colours are kinds, markers precisions."""
    from matplotlib import pyplot

    kinds = list(dict.fromkeys(variant.kind for variant in VARIANTS.values()))
    colours = dict(zip(kinds, pyplot.get_cmap("tab10").colors, strict=False))
    markers = dict(zip(PRECISIONS, ("o", "s", "^"), strict=True))
    figure, panels = pyplot.subplots(1, len(BATCHES), figsize=(11, 4.6), sharey=True, layout="constrained")
    for panel, batch in zip(panels, BATCHES, strict=True):
        for kind in kinds:
            for precision, marker in markers.items():
                rows = [
                    each for each in record["rows"].values() if (each["kind"], each["precision"]) == (kind, precision)
                ]
                rows.sort(key=lambda row: row["milliseconds"][str(batch)])
                times = [row["milliseconds"][str(batch)] for row in rows]
                tops = [100 * statistics.fmean(row["right"]) for row in rows]
                panel.plot(times, tops, marker=marker, color=colours[kind], linewidth=1, markersize=6)
        panel.set(xlabel=f"ms an image, batch {batch}, one thread", xscale="log")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("{x:g}")
        panel.grid(alpha=0.3, which="both")
    panels[0].set_ylabel("top-1 in %")
    shown = [pyplot.Line2D([], [], color=colour, marker="o", label=kind) for kind, colour in colours.items()]
    shown += [pyplot.Line2D([], [], color="gray", marker=marker, label=name) for name, marker in markers.items()]
    figure.legend(handles=shown, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, help="print the rows of this file, and train nothing")
    parser.add_argument("--plot", type=Path, help="draw the rows of --table here")
    parser.add_argument("--model", help="a dense ViT, such as facebook/deit-tiny-patch16-224")
    parser.add_argument("--flowers", type=Path)
    parser.add_argument("--output", type=Path, default=Path("runs"))
    parser.add_argument("--results", type=Path, default=Path("alternatives.json"))
    parser.add_argument("--train-images", type=int, help="so many of the training images, taken at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=15, help="turns at batch 1; fewer at 8")
    args = parser.parse_args()
    if args.table is not None:
        record = json.loads(args.table.read_text(encoding="utf-8"))
        print(table(record))
        if args.plot is not None:
            draw(record, args.plot)
        return
    if args.model is None or args.flowers is None:
        parser.error("--model and --flowers are needed to train")
    command = shlex.join(["python", *sys.argv])
    record = {"command": command, "commit": read_commit(), "machine": describe_machine(), "rows": {}}
    if args.results.is_file():
        record = json.loads(args.results.read_text(encoding="utf-8"))
    measure_accuracy(args, record)
    measure_speed(args, record)
    write(args, record)
    print(table(record))


if __name__ == "__main__":
    main()
