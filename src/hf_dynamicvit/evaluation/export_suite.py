# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The suite `export`: files of ONNX and OpenVINO beside those of the dense model, their time and their outputs."""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ..benchmark.measure import Setting
from ..benchmark.suites import Case, build_model
from ..export import Check, export
from ..machine import describe_run


# One thread; the time of the process, which others on the machine change least.
CASE = Case(
    "deit-small", (1, 8), Setting("cpu", threads=1, clock="cpu"), ("dynamicvit", "evit", "tome", "tome, three-stage")
)
# format -> the package that runs it, and the ending of its files
RUNTIMES = {"onnx": ("onnxruntime", ".onnx"), "openvino": ("openvino", ".xml")}

Run = Callable[[torch.Tensor], Any]


def check_runtimes() -> list[str]:
    """List the formats that this machine can run.

    Raises:
        ValueError: it can run none.
    """
    found = [name for name, (package, _) in RUNTIMES.items() if find_spec(package) is not None]
    if not found:
        raise ValueError('--suite export runs files in ONNX Runtime or OpenVINO: pip install "hf-dynamicvit[export]".')
    return found


def open_onnx(file: Path) -> Run:
    """Open an ONNX file in ONNX Runtime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"pixel_values": images.numpy()})


def open_openvino(file: Path) -> Run:
    """Open an OpenVINO file on one thread, in the arithmetic that it was written in."""
    openvino: Any = import_module("openvino")
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    model = openvino.Core().compile_model(file, "CPU", hints)
    return lambda images: model({"pixel_values": images.numpy()})


OPEN: dict[str, Callable[[Path], Run]] = {"onnx": open_onnx, "openvino": open_openvino}


def take_turns(runs: Mapping[str, Run], images: torch.Tensor, repeats: int, warmup: int) -> dict[str, float]:
    """Run each in turn; return the median seconds of this process that each takes."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + warmup):
        for name, run in runs.items():
            begin = time.process_time()
            run(images)
            if turn >= warmup:
                seconds[name].append(time.process_time() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}


def export_models(case: Case, format: str, folder: Path) -> dict[str, tuple[Any, Check]]:
    """Write a file of the dense model and of each method, each checked against the model that it is of."""
    models = {method: build_model(case, method) for method in case.methods}
    dense = next(iter(models.values())).to_dense().eval()
    size = dense.config.image_size
    images = torch.randn(6, 3, size, size, generator=torch.Generator().manual_seed(0))
    found = {}
    for name, model in ({"dense": dense} | models).items():
        found[name] = model, export(model, format, folder / f"{len(found)}{RUNTIMES[format][1]}", images)
    return found


def measure_format(case: Case, format: str) -> list[dict[str, Any]]:
    """Export all models as `format` and time the files, an entry a batch size."""
    entries = []
    with tempfile.TemporaryDirectory() as folder:
        models = export_models(case, format, Path(folder))
        runs = {
            name: OPEN[format](Path(folder) / f"{index}{RUNTIMES[format][1]}") for index, name in enumerate(models)
        }
        size = models["dense"][0].config.image_size
        for batch in case.batches:
            images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
            seconds = take_turns(runs, images, case.repeats, case.warmup)
            rows = [build_row(name, check, seconds, batch) for name, (_, check) in models.items()]
            about = {"suite": "export", "format": format, **case.describe(), "batch": batch}
            entries.append(describe_run() | about | {"measurements": rows})
    return entries


def build_row(name: str, check: Check, seconds: Mapping[str, float], batch: int) -> dict[str, Any]:
    """Collect what was found of one file."""
    times = {"milliseconds": 1000 * seconds[name], "over_dense": seconds["dense"] / seconds[name]}
    sizes = {"num_bytes": check.num_bytes, "difference": check.difference}
    return {"model": name, "images_per_second": batch / seconds[name], **times, **sizes}


def run_export(file: Path, report: Callable[[dict[str, Any]], None], case: Case = CASE) -> list[dict[str, Any]]:
    """Measure every format that this machine can run; each is written into `file`, and what is there stays.

    Raises:
        ValueError: it can run none, or a file gives other logits than its model.
    """
    formats = check_runtimes()
    record = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    for format in formats:
        if any(each["format"] == format for each in record):
            continue
        found = measure_format(case, format)
        for each in found:
            report(each)
        record += found
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def format_export_line(each: Mapping[str, Any]) -> str:
    """Format one batch size as a line, to be printed while others are still to come."""
    told = [f"{row['model']} {row['over_dense']:.2f}x" for row in each["measurements"]]
    return f"{each['format']}, batch {each['batch']}: {', '.join(told)}"


def build_export_table(record: list[dict[str, Any]]) -> str:
    """Format the suite as Markdown, a row a file."""
    heads = ["format", "batch", "file of", "ms", "over dense", "largest difference of a logit", "MB"]
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    for each in record:
        for row in each["measurements"]:
            cells = [each["format"], str(each["batch"]), row["model"], f"{row['milliseconds']:.1f}"]
            cells += [f"{row['over_dense']:.2f}x", f"{row['difference']:.0e}", f"{row['num_bytes'] / 1e6:.1f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
