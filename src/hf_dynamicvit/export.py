# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A classifier as one ONNX or torch.export file, checked on images against the model.

The file takes `pixel_values` `[batch, channels, height, width]`, float32 as the image processor makes them, of any
batch size, and returns `logits` `[batch, num_labels]`. Tokens are really dropped in it.

```python
logits = onnxruntime.InferenceSession("model.onnx").run(None, {"pixel_values": array})[0]
logits = torch.export.load("model.pt2").module()(tensor)
```
"""

import copy
import importlib.util
import logging
import math
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .compat import ONNX_REGISTRATION_LOGGER
from .extras import build_install_command
from .folders import check_file
from .model.budget import BudgetMixin
from .model.cost import as_pair, image_tower
from .model.reducers import REDUCERS, is_adaptive


# How far a logit may be from the model's: 1e-4, and as much again of what it is.
TOLERANCE = 1e-4

# Scores that differ by less, as a fraction of what they are, another runtime may put in another order.
ROUNDING = 1e-5

# The check runs a batch of 1, one of 3, and the other images, at least 2 and at most so many at a time.
FEWEST_IMAGES, LARGEST_BATCH = 6, 32

# The oldest version of ONNX's operators that torch writes.
OLDEST_OPSET = 18

# How a process that knows neither this package nor Transformers runs a torch.export file.
RUN_ALONE = """
import sys
sys.modules["hf_dynamicvit"] = sys.modules["transformers"] = None
import torch
file, batches, logits = sys.argv[1:]
run = torch.export.load(file).module()
with torch.no_grad():
    torch.save([run(batch) for batch in torch.load(batches)], logits)
"""


@dataclass(frozen=True)
class Check:
    """What the check of a written file found.

    Attributes:
        batches: the sizes that were run.
        difference: largest absolute difference of a logit from the model's.
        num_bytes: of the file, with the weights where those are a file of their own.
    """

    batches: list[int]
    difference: float
    num_bytes: int


class Logits(nn.Module):
    """`pixel_values` `[B, C, H, W]` -> logits `[B, num_labels]`."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model(pixel_values).logits


def copy_for_export(model: PreTrainedModel) -> Logits:
    """Copy `model` to the CPU in eval mode, in float32, with SDPA attention.

    Raises:
        ValueError: each image, or a parameter, decides how many tokens are kept.
    """
    if isinstance(model, BudgetMixin) and model.config.is_adaptive:
        fixed = ", ".join(name for name in REDUCERS if not is_adaptive(name))
        raise ValueError(
            f"{model.config.reducer} lets each image decide how many patches it keeps, which a graph of fixed shapes "
            f"cannot. Export a model fine-tuned with another method ({fixed}), or the dense copy, model.to_dense()."
        )
    if isinstance(model, BudgetMixin) and model.backbone.reducer.sought is not None:
        raise ValueError(
            f"{model.config.reducer} reads from its parameters how many patches it keeps; a graph of fixed shapes "
            "cannot. Load the model with what its search has found, as its documentation says, and export that."
        )
    copied = copy.deepcopy(model).to("cpu", torch.float32)
    copied.set_attn_implementation("sdpa")
    return Logits(copied).eval()


def is_news(record: logging.LogRecord) -> bool:
    """Return whether torch says something else than that operators of torchvision are left out."""
    return "torchvision is not installed" not in record.getMessage()


@contextmanager
def quiet_exporter() -> Generator[None]:
    """Suppress what torch says of exports that are as they should be."""
    registration = logging.getLogger(ONNX_REGISTRATION_LOGGER)
    registration.addFilter(is_news)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # within torch
        try:
            yield
        finally:
            registration.removeFilter(is_news)


def build_dynamic_shapes() -> dict[str, Any]:
    """Declare the batch as the one axis of any length."""
    return {"pixel_values": {0: torch.export.Dim("batch")}}


@quiet_exporter()
@torch.no_grad()
def trace(logits: Logits) -> torch.export.ExportedProgram:
    """Trace the graph, for any batch size, without the stack traces that name the folders of this machine."""
    config = image_tower(logits.model.config)
    height, width = as_pair(config.image_size)
    example = torch.zeros(2, config.num_channels, height, width)  # a saved program carries it along: no image
    program = torch.export.export(logits, (example,), dynamic_shapes=build_dynamic_shapes())
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def stable_sort(values: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> tuple[Any, Any]:
    """Translate `aten.sort.stable` (ToMe), which the exporter lacks; of equal values TopK too takes the first."""
    from onnxscript import opset18

    op: Any = opset18
    size = op.Gather(op.Shape(values), op.Constant(value_ints=[dim]))
    ordered, indices = op.TopK(values, size, axis=dim, largest=int(descending), sorted=1)
    return ordered, indices


@quiet_exporter()
def write_onnx(program: torch.export.ExportedProgram, file: Path, opset: int | None = None) -> None:
    """Write the program with its weights to `file`; weights beyond ONNX's limit of 2 GB go to `<file>.data`.

    Raises:
        ValueError: this version of torch writes another `opset` in place of that one.
    """
    converted: Any = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        input_names=["pixel_values"],
        output_names=["logits"],
        dynamic_shapes=build_dynamic_shapes(),  # for the name of the axis
        opset_version=opset,
        custom_translation_table={torch.ops.aten.sort.stable: stable_sort},
    )
    written = converted.model.opset_imports[""]
    if opset not in (None, written):
        raise ValueError(
            f"opset is {opset}; torch {torch.__version__} wrote {written} in its place, and writes {OLDEST_OPSET} and "
            "later ones."
        )
    converted.save(file)


def run_onnx(file: Path, batches: list[Tensor]) -> list[Tensor]:
    """Run the file in ONNX Runtime, on the CPU.

    Raises:
        ValueError: it cannot.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        return [torch.from_numpy(session.run(["logits"], {"pixel_values": batch.numpy()})[0]) for batch in batches]
    except Exception as error:  # its exceptions have no class in common
        raise ValueError(
            f"Nothing is written, as ONNX Runtime {onnxruntime.__version__} does not run the file; another --opset "
            f"may help: {error}"
        ) from error


def write_torch_export(program: torch.export.ExportedProgram, file: Path, opset: int | None = None) -> None:
    """Write the program with its weights to `file`; `opset` is ONNX's."""
    torch.export.save(program, file)


def run_torch_export(file: Path, batches: list[Tensor]) -> list[Tensor]:
    """Run the file in a fresh process that can import torch alone.

    Raises:
        ValueError: it cannot run there.
    """
    with tempfile.TemporaryDirectory() as folder:
        inputs, logits = Path(folder) / "batches", Path(folder) / "logits"
        torch.save(batches, inputs)
        command = [sys.executable, "-P", "-c", RUN_ALONE, str(file), str(inputs), str(logits)]
        ended = subprocess.run(command, capture_output=True, text=True)
        if ended.returncode:
            raise ValueError(f"The exported file does not run by itself: {ended.stderr}")
        return torch.load(logits)


@dataclass(frozen=True)
class Format:
    """How a kind of file is written and run, and the packages that takes."""

    suffix: str
    packages: tuple[str, ...]
    write: Callable[[torch.export.ExportedProgram, Path, int | None], None]
    run: Callable[[Path, list[Tensor]], list[Tensor]]


FORMATS = {
    "onnx": Format(".onnx", ("onnx", "onnxscript", "onnxruntime"), write_onnx, run_onnx),
    "torch-export": Format(".pt2", (), write_torch_export, run_torch_export),
}


def check_export(output: Path, format: str, overwrite: bool = False, opset: int | None = None) -> None:
    """Refuse what cannot be written before anything is.

    Raises:
        ValueError: no such format, packages missing, another suffix, no such folder, a file that is there already, or
            an opset that torch does not write.
    """
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}; it can be {' or '.join(FORMATS)}.")
    suffix, packages = FORMATS[format].suffix, FORMATS[format].packages
    if opset is not None and format != "onnx":
        raise ValueError(f"opset is {opset}, which files of {format} have none of; leave it out.")
    if opset is not None and opset < OLDEST_OPSET:
        raise ValueError(f"opset is {opset}; torch writes {OLDEST_OPSET} and later ones.")
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ValueError(f"{format} takes {', '.join(missing)}: {build_install_command('export')}")
    if output.suffix != suffix:
        raise ValueError(
            f"the output is {output}; the name of a file of {format} must end in {suffix}, such as "
            f"{output.parent / f'{output.stem or format}{suffix}'}."
        )
    for file in (output, output.with_name(f"{output.name}.data")):
        check_file(file, overwrite)


def split_batches(pixel_values: Tensor) -> list[Tensor]:
    """Split `[N, C, H, W]` into a batch of 1, one of 3, and the rest; too few images are repeated."""
    repeats = math.ceil(FEWEST_IMAGES / len(pixel_values))
    if repeats > 1:
        pixel_values = pixel_values.repeat(repeats, 1, 1, 1)[:FEWEST_IMAGES]
    return [pixel_values[:1], pixel_values[1:4], *pixel_values[4:].split(LARGEST_BATCH)]


def find_largest_difference(logits: Tensor, expected: Tensor, undecided: Callable[[], Tensor]) -> float:
    """Find how far `logits` `[N, K]` are from `expected`, those of the model; `undecided` finds ties, `[N]` bool.

    Raises:
        ValueError: one is further off than `TOLERANCE`, or an image has another top-1.
    """
    difference = (logits - expected).abs().max().item()
    same_class = logits.argmax(dim=1) == expected.argmax(dim=1)  # [N]
    close = logits.isclose(expected, rtol=TOLERANCE, atol=TOLERANCE).all(dim=1)
    if not (same_class & close).all():
        ties = (~(same_class & close) & undecided()).sum()
        why = (
            f" With {ties} of them the scores on both sides of the limit between kept and dropped are equal to "
            "rounding, so that chance decides, as in a model that is hardly trained: train it longer, or check the "
            "file on other --images."
        )
        raise ValueError(
            f"Nothing is written, as the file would not compute what the model does: of {len(logits)} images, "
            f"{(~close).sum()} have other logits, by up to {difference:.2g}, and {(~same_class).sum()} another top-1."
            f"{why if ties else ''}"
        )
    return difference


def find_undecided(model: PreTrainedModel, pixel_values: Tensor) -> Tensor:
    """Find the images, `[N]` bool, whose lowest score kept and highest dropped are equal to `ROUNDING`.

    Of a dense model, and a method that scores no patches, none.
    """
    if not isinstance(model, BudgetMixin):
        return torch.zeros(len(pixel_values), dtype=torch.bool)
    outputs = model(pixel_values, output_scores=True)
    scores, kept = outputs.scores, outputs.kept  # [N, S, num_patches]
    chosen_from = scores.isfinite()
    reducer: Any = model.reducer
    if reducer.rest != "idle":  # a patch that is gone has the score of the token that it is a part of
        chosen_from[:, 1:] &= kept[:, :-1]
    lowest = scores.masked_fill(~(chosen_from & kept), torch.inf).amin(dim=-1)  # [N, S]
    highest = scores.masked_fill(~chosen_from | kept, -torch.inf).amax(dim=-1)
    close = (lowest - highest).abs() <= ROUNDING * highest.abs()
    return (close & highest.isfinite()).any(dim=-1)


@torch.no_grad()
def export(
    model: PreTrainedModel,
    format: str,
    output: str | Path,
    pixel_values: Tensor,
    *,
    overwrite: bool = False,
    opset: int | None = None,
) -> Check:
    """Write `model` as one file of `format` that gives the same logits for `pixel_values`, completely or not at all.

    The graph is that of inference in float32 with SDPA attention, whatever `model` is set to; it stays as it is.

    Args:
        model: an image classifier of any family, dense or sparse.
        format: `"onnx"`, checked with ONNX Runtime, or `"torch-export"`, checked in a process that has only torch.
        output: file to write, `.onnx` or `.pt2`. ONNX weights beyond 2 GB are in `OUTPUT.data` beside it.
        pixel_values: `[N, channels, height, width]`, images as the image processor makes them, one or more.
        overwrite: replace `output` if it is there.
        opset: version of ONNX's operators, 18 or later (`None`: torch's own choice).

    Raises:
        ValueError: `output` or `format` cannot be written (`check_export`); each image decides how many tokens it
            keeps (AS-ViT); a logit is off by more than 1e-4 + 1e-4 |logit|, or a top-1 differs.
    """
    output = Path(output)
    check_export(output, format, overwrite, opset)
    how, logits = FORMATS[format], copy_for_export(model)
    batches = split_batches(pixel_values.to("cpu", torch.float32))
    expected = torch.cat([logits(batch) for batch in batches])
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".export-") as folder:
        file = Path(folder) / output.name
        how.write(trace(logits), file, opset)
        found = torch.cat(how.run(file, batches))
        difference = find_largest_difference(found, expected, lambda: find_undecided(logits.model, torch.cat(batches)))
        parts = sorted(Path(folder).iterdir(), reverse=True)  # weights of their own ahead of the file that names them
        num_bytes = sum(part.stat().st_size for part in parts)
        for part in parts:
            os.replace(part, output.parent / part.name)
    return Check([len(batch) for batch in batches], difference, num_bytes)
