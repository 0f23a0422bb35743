# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit benchmark`: throughput, overhead, memory and cost of sparse models beside the dense one, here."""

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..benchmark.measure import Measurement, Setting, benchmark, break_even
from ..benchmark.report import build_tables, check_matplotlib, draw_plots, format_line, parse_accuracies
from ..benchmark.suites import build_suite_table, check_suite, run_suite
from ..checkpoints.checkpoint import Checkpoint, find_reduced, read_checkpoint
from ..checkpoints.load_report import REDUCER, expect_in_report
from ..data.samples import read_samples
from ..evaluation.accuracy_suite import build_accuracy_table, build_matched_table, run_accuracy
from ..evaluation.export_suite import build_export_table, check_runtimes, format_export_line, run_export
from ..evaluation.without_training import Comparison
from ..folders import check_folder
from ..machine import check_device, describe_run
from ..model.budget import check_fraction
from ..model.configuration_dynamicvit import DynamicViTConfig
from ..model.modeling_dynamicvit import DynamicViTForImageClassification
from ..model.reducers import is_adaptive
from ..names import CUDA_GRAPH, SHAPES
from ..training.progress import no_bars_of_weights
from .cli import command_parser
from .parser import only_json, print_json


# What of the options a suite leaves to the user, and the file of its results.
OF_SUITE = {"suite", "output", "overwrite", "json"}
OF_ACCURACY = OF_SUITE | {"model", "dataset", "device"}
SUITE_FILE = "suite.json"


def shape_config(shape: str, image_size: int | None, **reduction: Any) -> DynamicViTConfig:
    """Build the configuration of a DeiT for ImageNet."""
    width, heads = SHAPES[shape]
    sizes: dict[str, Any] = {"hidden_size": width, "num_attention_heads": heads, "intermediate_size": 4 * width}
    sizes |= {"layer_norm_eps": 1e-6, "num_labels": 1000, "image_size": image_size or 224}
    return DynamicViTConfig(**sizes, **reduction)


def read_sources(sources: Sequence[str]) -> dict[str, Checkpoint]:
    """Read the checkpoints among `sources`, each once; a shape is none.

    Raises:
        ValueError: there is no such checkpoint and no such shape, or it is of another family.
    """
    found = {}
    for source in sources:
        if source in SHAPES or source in found:
            continue
        try:
            found[source] = read_checkpoint(source)
        except ValueError as error:
            shapes = "" if Path(source).exists() else f" A shape is one of {', '.join(SHAPES)}."
            raise ValueError(f"{error}{shapes}") from error
        if found[source].maps:
            print(f"{source}: its backbone is measured, and the whole model, whose head is the native one.")
        elif found[source].has_classifier:
            found[source].check_family([*SHAPES])
        else:
            found[source].configured_encoder()
    return found


def build(
    source: str,
    checkpoint: Checkpoint | None,
    reducer: str | None,
    schedule: str | None,
    keep_ratio: float | None,
    image_size: int | None,
) -> Any:
    """Build a sparse model in eval mode: of a shape, a configuration file, or a checkpoint, sparse or dense."""
    given = {"reducer": reducer, "schedule": schedule, "keep_ratio": keep_ratio}
    reduction = {name: value for name, value in given.items() if value is not None}
    torch.manual_seed(0)
    if checkpoint is None:
        return DynamicViTForImageClassification(shape_config(source, image_size, **reduction)).eval()
    if checkpoint.maps:
        return build_around_backbone(checkpoint, reducer, schedule, keep_ratio)
    if checkpoint.has_classifier:
        family, config = checkpoint.family, checkpoint.configured(**reduction)
    else:
        family, config = checkpoint.encoder, checkpoint.configured_encoder(**reduction)
    if source.endswith(".json"):
        return family(config).eval()
    with expect_in_report(REDUCER):
        return family.from_pretrained(source, config=config).eval()


def build_around_backbone(
    checkpoint: Checkpoint, reducer: str | None, schedule: str | None, keep_ratio: float | None
) -> Any:
    """Build a model around a sparse backbone, in eval mode."""
    model = checkpoint.reduce_around_backbone(reducer)[0]
    if schedule is not None:
        find_reduced(model).set_schedule(schedule, keep_ratio)
    elif keep_ratio is not None:
        find_reduced(model).set_keep_ratio(keep_ratio)
    return model


def build_models(
    args: argparse.Namespace, checkpoints: dict[str, Checkpoint], image_size: int | None, given_images: Tensor | None
) -> dict[str, Any]:
    """Every model by a name that tells it from the others."""
    found: dict[str, Any] = {}
    for source, reducer, keep_ratio in itertools.product(args.model, args.reducer, args.keep_ratio):
        adaptive = reducer is not None and is_adaptive(reducer)
        wanted = None if adaptive else keep_ratio
        whole = build(source, checkpoints.get(source), reducer, args.schedule, wanted, image_size)
        model = find_reduced(whole)
        adaptive = model.config.is_adaptive
        size = image_size or model.config.image_size
        height, width = (size, size) if isinstance(size, int) else size
        images = torch.randn(16, model.config.num_channels, height, width) if given_images is None else given_images
        if args.budget is not None:
            model.set_budget(fraction=args.budget, pixel_values=images[:64] if adaptive else None)
        elif adaptive and keep_ratio is not None:
            model.set_keep_ratio(keep_ratio, images[:64])
        kept = f"{args.budget} of dense" if args.budget is not None else model.config.keep_ratio or keep_ratio
        if adaptive and kept is None:
            kept = "as trained"
        short = Path(source).parent.name if source.endswith(".json") else Path(source).name
        name = f"{short} {model.config.reducer} {kept}"
        found[f"{source} {model.config.reducer} {kept}" if name in found else name] = whole
    return found


def check_numbers(args: argparse.Namespace) -> None:
    """Refuse numbers that are out of range, by their options.

    Raises:
        ValueError: one is.
    """
    least = {"batch_sizes": 1, "image_size": 1, "threads": 1, "repeats": 1, "warmup": 0}
    for name, smallest in least.items():
        given = getattr(args, name) if isinstance(getattr(args, name), list) else [getattr(args, name)]
        if any(number is not None and number < smallest for number in given):
            raise ValueError(f"--{name.replace('_', '-')} is {' '.join(map(str, given))}; at least {smallest}.")
    if args.budget is not None:
        check_fraction(args.budget, "--budget")


def list_settings(args: argparse.Namespace) -> list[Setting]:
    """Every combination that was asked for.

    Raises:
        ValueError: a number is out of range, a device is not there, or two options do not go together.
    """
    check_numbers(args)
    if args.optimize and args.compile != ["eager"]:
        raise ValueError(
            f"--optimize is for eager models, and --compile is {' '.join(args.compile)}; give one of them."
        )
    if args.threads != [None] and "cpu" not in args.device:
        raise ValueError(f"--threads are of the CPU, and --device is {' '.join(args.device)}; leave them out.")
    if args.clock == "cpu" and (args.threads != [1] or {*args.device} != {"cpu"}):
        raise ValueError("--clock cpu adds the threads' times up; it needs --threads 1 and --device cpu.")
    for device in args.device:
        check_device(device)
    if CUDA_GRAPH in args.compile and any(torch.device(device).type != "cuda" for device in args.device):
        raise ValueError(f"--compile {CUDA_GRAPH} is of CUDA, and --device is {' '.join(args.device)}.")
    settings = []
    for device, dtype, attention, compiled in itertools.product(args.device, args.dtype, args.attention, args.compile):
        for threads in args.threads if device == "cpu" else [None]:
            settings.append(Setting(device, dtype, attention, compiled, threads, args.clock))
    return settings


def write(folder: Path, rows: Sequence[Measurement], accuracies: dict[str, float]) -> None:
    """`benchmark.json`, `benchmark.md` and the plots."""
    folder.mkdir(parents=True, exist_ok=True)
    even = [
        {"model": model, "image_size": size, "batch": batch} | vars(setting)
        for (model, setting, size), batch in break_even(rows).items()
    ]
    record = describe_run() | {"measurements": [row.as_dict() for row in rows], "break_even": even}
    (folder / "benchmark.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (folder / "benchmark.md").write_text(build_tables(rows) + "\n", encoding="utf-8")
    draw_plots(folder, rows, accuracies)


def read(args: argparse.Namespace, checkpoints: dict[str, Checkpoint], image_size: int | None) -> Tensor:
    """Read the images as the first model takes them.

    Raises:
        ValueError: another image size is asked for than that of a checkpoint, whose image processor makes its own.
    """
    source = args.model[0]
    if source not in SHAPES and image_size is not None:
        raise ValueError(
            f"--images go through the image processor of {source}, which has its own size; give no --image-size."
        )
    checkpoint = checkpoints.get(source)
    config = checkpoint.backbone_config or checkpoint.config if checkpoint else shape_config(source, image_size)
    images, how = read_samples(source, config, args.images)
    print(f"Measured on {how.removesuffix(',')}.")
    return images


def measure(args: argparse.Namespace) -> list[Measurement]:
    """Measure what was asked for, and print each line as it is measured."""
    settings = list_settings(args)
    rows: list[Measurement] = []
    accuracies: dict[str, float] = {}

    def report(row: Measurement) -> None:
        rows.append(row)
        print(format_line(row), flush=True)

    if args.output is not None:
        check_folder(args.output, args.overwrite)
        check_matplotlib()
    checkpoints = read_sources(args.model)
    for image_size in args.image_size:
        images = read(args, checkpoints, image_size) if args.images else None
        models = build_models(args, checkpoints, image_size, images)
        accuracies = parse_accuracies(args.accuracy, [*models])
        how = (images, image_size, args.repeats, args.warmup, args.optimize)
        try:
            benchmark(models, args.batch_sizes, settings, *how, report)
        except torch.OutOfMemoryError as error:
            raise ValueError(f"not enough memory: {error}") from error
        finally:  # what was measured is not lost
            if args.output is not None and rows:
                write(args.output, rows, accuracies)
    return rows


def check_suite_options(args: argparse.Namespace) -> None:
    """Refuse options that a suite would not heed, and ask for those that it needs.

    Raises:
        ValueError: there are some, or this machine lacks what the suite needs.
    """
    defaults = vars(command_parser("benchmark").parse_args([]))
    taken = OF_ACCURACY if args.suite == "accuracy" else OF_SUITE
    given = [name for name in defaults.keys() - taken if getattr(args, name) != defaults[name]]
    if given:
        typed = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(given))
        raise ValueError(f"--suite {args.suite} says what is measured and how; leave {typed} out.")
    if args.output is None:
        raise ValueError(f"--suite {args.suite} writes its results as they come; give --output FOLDER.")
    if args.suite == "accuracy":
        if len(args.model) != 1 or args.dataset is None or len(args.device) != 1:
            raise ValueError("--suite accuracy needs one --model, a --dataset with its classes, and one --device.")
        check_device(args.device[0])
    elif args.suite == "export":
        check_runtimes()
    else:
        check_suite(args.suite)


def run_named_suite(args: argparse.Namespace, file: Path) -> tuple[Any, str]:
    """Measure the suite into `file`, and return what it has with its tables."""

    def report(row: Measurement) -> None:
        print(format_line(row), flush=True)

    if args.suite == "accuracy":
        found = run_accuracy(Comparison(args.model[0], args.dataset, device=args.device[0]), file, report)
        return found, f"{build_accuracy_table(found)}\n\n{build_matched_table(found)}"
    if args.suite == "export":
        record = run_export(file, lambda each: print(format_export_line(each), flush=True))
        return record, build_export_table(record)
    record = run_suite(args.suite, file, report)
    return record, build_suite_table(record)


def measure_suite(args: argparse.Namespace) -> tuple[Any, str]:
    """Measure the suite that was asked for, into `suite.json` of the folder, and print each line as it is measured.

    Raises:
        ValueError: other options are given too, there is no folder, or this machine lacks what the suite needs.
    """
    check_suite_options(args)
    if not (args.output / SUITE_FILE).is_file():
        check_folder(args.output, args.overwrite)
        args.output.mkdir(parents=True, exist_ok=True)
    record, table = run_named_suite(args, args.output / SUITE_FILE)
    (args.output / "suite.md").write_text(table + "\n", encoding="utf-8")
    return record, table


def main(args: argparse.Namespace) -> None:
    if args.suite is not None:
        with only_json(args.json), no_bars_of_weights():
            record, table = measure_suite(args)
        if args.json:
            print_json({"suite": args.suite, "results": record})
        else:
            print(f"\n{table}")
        return
    if args.dataset is not None:
        raise ValueError("--dataset is of --suite accuracy; images to run are given by --images.")
    if not args.model:
        raise ValueError("give --model, a checkpoint or a shape, or --suite.")
    with only_json(args.json), no_bars_of_weights():
        rows = measure(args)
    if args.json:
        print_json(describe_run() | {"measurements": [row.as_dict() for row in rows]})
    else:
        print(f"\n{build_tables(rows)}")
