# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Sets of measurements by name, so that others can make the same ones on their machine.

Models have the sizes of published ones and random weights, on which speed does not depend; nothing is downloaded.
"""

import json
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..machine import describe_run
from ..names import CUDA_GRAPH
from ..registration import CLASSIFIERS, ENCODERS
from .measure import Measurement, Setting, benchmark


# Sizes of published models: a model type, and what its configuration is told.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "deit-small": ("vit", {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}),
    "deit-base": ("vit", {}),
    "vit-large": (
        "vit",
        {"hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096, "num_hidden_layers": 24},
    ),
    "dinov2-small": (
        "dinov2",
        {"hidden_size": 384, "num_attention_heads": 6, "image_size": 518, "patch_size": 14},
    ),
    "dinov2-base": ("dinov2", {"image_size": 518, "patch_size": 14}),
    "siglip-base": ("siglip_vision_model", {"image_size": 224, "patch_size": 16}),
    "swin-base": (
        "swin",
        {"embed_dim": 128, "depths": (2, 2, 18, 2), "num_heads": (4, 8, 16, 32)},
    ),
    "convnext-base": ("convnext", {"hidden_sizes": (128, 256, 512, 1024), "depths": (3, 3, 27, 3)}),
    "toy": (
        "vit",
        {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "num_hidden_layers": 4}
        | {"image_size": 32, "patch_size": 4},
    ),
    "toy pyramid": (
        "convnext",
        {"image_size": 32, "patch_size": 2, "hidden_sizes": (8, 8, 16, 16), "depths": (1, 1, 6, 1)},
    ),
}

# Name in the results -> method and its options.
METHODS: dict[str, dict[str, Any]] = {
    "dynamicvit": {"reducer": "dynamicvit"},
    "topk": {"reducer": "topk"},
    "evit": {"reducer": "evit"},
    "tps": {"reducer": "tps", "reducer_args": {"score": "evit"}},
    "idlevit": {"reducer": "idlevit"},
    "evovit": {"reducer": "evovit"},
    "tome": {"reducer": "tome"},
    "tome, three-stage": {"reducer": "tome", "schedule": "three-stage"},
    "tome, late": {"reducer": "tome", "schedule": "late"},
    "mctf": {"reducer": "mctf"},
    "mctf, three-stage": {"reducer": "mctf", "schedule": "three-stage"},
    "pitome": {"reducer": "pitome"},
    "diffrate": {"reducer": "diffrate"},
    "diffrate, three-stage": {"reducer": "diffrate", "schedule": "three-stage"},
}

# Those that pyramids take with published paths.
PYRAMIDS = ("dynamicvit",)


@dataclass(frozen=True)
class Case:
    """What runs in turns.

    Attributes:
        model: of `MODELS`.
        batches: images in a batch.
        setting: device, dtype, ...
        methods: of `METHODS`.
        fraction: of the dense multiply-adds that each is set to.
        image_size: pixels, or `None` for the model's own.
        repeats, warmup: measured and unmeasured turns.
    """

    model: str
    batches: tuple[int, ...]
    setting: Setting
    methods: tuple[str, ...] = ("dynamicvit", "evit", "tome")
    fraction: float = 0.7
    image_size: int | None = None
    repeats: int = 10
    warmup: int = 3

    def describe(self) -> dict[str, Any]:
        """Say in JSON what this is."""
        return {
            "model": self.model,
            "setting": vars(self.setting),
            "methods": [*self.methods],
            "fraction": self.fraction,
            "image_size": self.image_size,
        }


def gpu_cases() -> Generator[Case]:
    """Yield the cases of a GPU in bfloat16, those that say most first; compiled ones take minutes, and are last."""
    eager, graph, compiled = (Setting("cuda", "bfloat16", compiled=how) for how in ("eager", CUDA_GRAPH, "default"))
    merging = ("tome", "tome, three-stage")
    most = ("dynamicvit", "evit", *merging, "mctf, three-stage", "diffrate", "diffrate, three-stage")
    for model in ("deit-base", "deit-small"):
        yield Case(model, (256,), eager, most)
    yield Case("vit-large", (256,), eager, ("evit", *merging, "diffrate"), repeats=6)
    yield Case("siglip-base", (256,), eager, ("evit", *merging))
    yield Case("dinov2-base", (256,), eager, ("evit", *merging, "diffrate"), image_size=224)
    yield Case("dinov2-base", (64, 8), eager, ("evit", *merging), repeats=6)
    for fraction in (0.9, 0.8, 0.6, 0.5):
        yield Case("deit-base", (256,), eager, ("evit", *merging, "diffrate, three-stage"), fraction)
    yield Case("deit-small", (64, 8, 1), graph, most)
    yield Case("deit-base", (256,), graph, most)
    yield Case("deit-base", (64, 8, 1), graph, ("evit", *merging, "diffrate"))
    yield Case("vit-large", (8, 1), graph, ("evit", *merging))
    yield Case("deit-small", (64, 8, 1), eager, most)
    for model in ("convnext-base", "swin-base"):
        yield Case(model, (256, 64), eager, PYRAMIDS, 0.75, repeats=6)
        yield Case(model, (8, 1), graph, PYRAMIDS, 0.75)
    yield Case("deit-base", (256,), compiled, ("evit", "tome, three-stage"))


def cpu_cases() -> Generator[Case]:
    """Yield the cases of one thread of a CPU, by processor time."""
    setting = Setting("cpu", threads=1, clock="cpu")
    some = ("dynamicvit", "topk", "evit", "tome", "tome, three-stage", "mctf, three-stage")
    for batch, repeats, warmup in ((1, 11, 3), (8, 5, 1)):
        yield Case("deit-small", (batch,), setting, tuple(METHODS), repeats=repeats, warmup=warmup)
        yield Case("dinov2-small", (batch,), setting, some, image_size=224, repeats=repeats, warmup=warmup)


def toy_cases() -> Generator[Case]:
    """Yield cases that take no time, with every method."""
    yield Case("toy", (1, 2), Setting("cpu"), tuple(METHODS), repeats=2)
    yield Case("toy pyramid", (2,), Setting("cpu"), PYRAMIDS, 0.9, repeats=2)


SUITES: dict[str, Callable[[], Iterable[Case]]] = {"cpu": cpu_cases, "gpu": gpu_cases, "toy": toy_cases}


def build_model(case: Case, method: str) -> Any:
    """Build the model of a case with one of its methods, a classifier where there is one, at its cost."""
    model_type, sizes = MODELS[case.model]
    family: Any = CLASSIFIERS.get(model_type) or ENCODERS[model_type]
    options = {"num_labels": 1000} if model_type in CLASSIFIERS else {}
    torch.manual_seed(0)
    with torch.device(case.setting.device):
        model = family(family.config_class(**options, **sizes, **METHODS[method])).eval()
    size = case.image_size or model.config.image_size
    model.set_budget(fraction=case.fraction, pixel_values=torch.zeros(1, 3, size, size, device=model.device))
    return model


def run_case(case: Case, batch: int) -> list[Measurement]:
    """Measure the models of a case with one batch size."""
    models = {method: build_model(case, method) for method in case.methods}
    turns: dict[str, Any] = {"repeats": case.repeats, "warmup": case.warmup}
    return benchmark(models, (batch,), [case.setting], image_size=case.image_size, **turns)


def check_suite(name: str) -> None:
    """Refuse a suite that needs a device which this machine lacks.

    Raises:
        ValueError: it does.
    """
    if not torch.cuda.is_available() and any(case.setting.device == "cuda" for case in SUITES[name]()):
        raise ValueError(f"--suite {name} needs a CUDA device, and this machine has none.")


def run_suite(name: str, file: Path, report: Callable[[Measurement], None]) -> list[dict[str, Any]]:
    """Measure a suite and write each result into `file` as it comes; what is there already is not measured again.

    Raises:
        ValueError: this machine lacks the device that the suite needs.
    """
    check_suite(name)
    record = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    for case in SUITES[name]():
        for batch in case.batches:
            this = {"suite": name, **case.describe(), "batch": batch}
            if any({key: each.get(key) for key in this} == this for each in record):
                continue
            rows = run_case(case, batch)
            for row in rows:
                report(row)
            record.append(describe_run() | this | {"measurements": [row.as_dict() for row in rows]})
            file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


HEADER = ["model", "pixels", "batch", "how", "of dense cost", "dense ms", "ideal", "methods, as fast as dense"]


def build_suite_table(record: list[dict[str, Any]]) -> str:
    """Format the results of a suite as Markdown, a row a case: the native model's time, over it the ideal's and ours.

    The ideal is the best of those of the methods.
    """
    lines = [f"| {' | '.join(HEADER)} |", f"|{' --- |' * len(HEADER)}"]
    for case in record:
        rows = case["measurements"]
        dense = next(row for row in rows if row["kind"] == "dense")
        ideals = [row["over_dense"] for row in rows if row["kind"] == "ideal"]  # none of a pyramid
        told = [f"{row['model']} {row['over_dense']:.2f}x" for row in rows if row["kind"] == "sparse"]
        how = case["setting"]["compiled"]
        cells = [case["model"], str(dense["image_size"][0]), str(case["batch"]), how, f"{case['fraction']:g}"]
        cells += [f"{dense['milliseconds']:.2f}", f"{max(ideals):.2f}x" if ideals else "", "; ".join(told)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
