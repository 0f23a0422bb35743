# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A classifier as one ONNX, OpenVINO or torch.export file, checked on images against the model.

The file takes `pixel_values` `[batch, channels, height, width]`, float32 as the image processor makes them, of any
batch size, and returns `logits` `[batch, num_labels]`. Tokens are really dropped in it.

```python
session = onnxruntime.InferenceSession("model.onnx")
logits = session.run(None, {"pixel_values": array})[0]
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
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .compat import ONNX_REGISTRATION_LOGGER
from .deploy.products import merge_by_products
from .extras import build_install_command
from .folders import check_file
from .model.budget import BudgetMixin
from .model.compat import attends
from .model.cost import as_pair, image_tower
from .model.reducers import REDUCERS, is_adaptive
from .names import EXPORT_MERGES


# How far a logit may be from the model's in float32: so much, and as much again of what it is.
TOLERANCE = {"float32": 1e-4, "float16": 2e-2}

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
    """`pixel_values` `[B, C, H, W]` -> logits `[B, num_labels]`, float32 both, whatever the model computes in."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        if self.model.dtype == torch.float32:
            return self.model(pixel_values).logits
        return self.model(pixel_values.to(self.model.dtype)).logits.float()


def copy_for_export(model: PreTrainedModel, dtype: str = "float32") -> Logits:
    """Copy `model` to the CPU in eval mode, in `dtype`, with SDPA attention.

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
    copied = copy.deepcopy(model).to("cpu", getattr(torch, dtype))
    if attends(copied):
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
        warnings.filterwarnings("ignore", ".*requires_grad=True to a scalar", UserWarning)  # within torch
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


def write_openvino(program: torch.export.ExportedProgram, file: Path, opset: int | None = None) -> None:
    """Write the program for OpenVINO, through ONNX: the graph to `file`, the weights to a `.bin` beside it."""
    openvino: Any = import_module("openvino")
    with tempfile.TemporaryDirectory() as folder:
        write_onnx(program, Path(folder) / "model.onnx", opset)
        converted = openvino.convert_model(Path(folder) / "model.onnx")
        openvino.save_model(converted, file, compress_to_fp16=False)


def run_openvino(file: Path, batches: list[Tensor]) -> list[Tensor]:
    """Run the file in OpenVINO, on the CPU, in the arithmetic that it was written in.

    Raises:
        ValueError: it cannot.
    """
    openvino: Any = import_module("openvino")
    try:
        model = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return [torch.from_numpy(model({"pixel_values": batch.numpy()})["logits"].copy()) for batch in batches]
    except Exception as error:  # its exceptions have no class in common
        raise ValueError(f"Nothing is written, as OpenVINO does not run the file: {error}") from error


@dataclass(frozen=True)
class Format:
    """How a kind of file is written and run, the packages that takes, and the extra that installs them.

    `weights` names the file beside one of that kind that weights may be in.
    """

    suffix: str
    packages: tuple[str, ...]
    write: Callable[[torch.export.ExportedProgram, Path, int | None], None]
    run: Callable[[Path, list[Tensor]], list[Tensor]]
    extra: str = "export"
    weights: Callable[[Path], Path] = lambda file: file.with_name(f"{file.name}.data")


ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
FORMATS = {
    "onnx": Format(".onnx", ONNX_PACKAGES, write_onnx, run_onnx),
    "openvino": Format(
        ".xml",
        (*ONNX_PACKAGES, "openvino"),
        write_openvino,
        run_openvino,
        "openvino",
        lambda file: file.with_suffix(".bin"),
    ),
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
    how = FORMATS[format]
    suffix, packages = how.suffix, how.packages
    if opset is not None and format == "torch-export":
        raise ValueError(f"opset is {opset}, which files of {format} have none of; leave it out.")
    if opset is not None and opset < OLDEST_OPSET:
        raise ValueError(f"opset is {opset}; torch writes {OLDEST_OPSET} and later ones.")
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise ValueError(f"{format} takes {', '.join(missing)}: {build_install_command(how.extra)}")
    if output.suffix != suffix:
        raise ValueError(
            f"the output is {output}; the name of a file of {format} must end in {suffix}, such as "
            f"{output.parent / f'{output.stem or format}{suffix}'}."
        )
    for file in (output, how.weights(output)):
        check_file(file, overwrite)


def split_batches(pixel_values: Tensor) -> list[Tensor]:
    """Split `[N, C, H, W]` into a batch of 1, one of 3, and the rest; too few images are repeated."""
    repeats = math.ceil(FEWEST_IMAGES / len(pixel_values))
    if repeats > 1:
        pixel_values = pixel_values.repeat(repeats, 1, 1, 1)[:FEWEST_IMAGES]
    return [pixel_values[:1], pixel_values[1:4], *pixel_values[4:].split(LARGEST_BATCH)]


def find_largest_difference(
    logits: Tensor, expected: Tensor, undecided: Callable[[], Tensor], tolerance: float = TOLERANCE["float32"]
) -> float:
    """Find how far `logits` `[N, K]` are from `expected`, those of the model; `undecided` finds ties, `[N]` bool.

    Raises:
        ValueError: one is further off than `tolerance`, or an image has another top-1.
    """
    difference = (logits - expected).abs().max().item()
    same_class = logits.argmax(dim=1) == expected.argmax(dim=1)  # [N]
    close = logits.isclose(expected, rtol=tolerance, atol=tolerance).all(dim=1)
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
    dtype: str = "float32",
    merges: str = "scatter",
    companions: Mapping[str, str] | None = None,
) -> Check:
    """Write `model` as one file of `format` that gives the same logits for `pixel_values`, completely or not at all.

    The graph is that of inference with SDPA attention, whatever `model` is set to; it stays as it is.

    Args:
        model: an image classifier of any family, dense or sparse.
        format: `"onnx"`, checked with ONNX Runtime, `"openvino"`, checked with OpenVINO, or `"torch-export"`, checked
            in a process that has only torch.
        output: file to write, `.onnx`, `.xml` or `.pt2`. ONNX weights beyond 2 GB are in `OUTPUT.data` beside it, and
            OpenVINO's in a `.bin`.
        pixel_values: `[N, channels, height, width]`, images as the image processor makes them, one or more.
        overwrite: replace `output` if it is there.
        opset: version of ONNX's operators, 18 or later (`None`: torch's own choice).
        dtype: arithmetic and weights of the file, `"float32"` or `"float16"`; input and output are float32.
        merges: `"scatter"`, or `"product"`: methods that merge do it by matrix products, for runtimes that lack a
            scatter with a sum.
        companions: files to write along, in the same folder: name -> text.

    Raises:
        ValueError: `output` or `format` cannot be written (`check_export`); each image decides how many tokens it
            keeps (AS-ViT); a logit is off by more than 1e-4 + 1e-4 |logit| (2e-2 in float16), or a top-1 differs.
    """
    output = Path(output)
    check_export(output, format, overwrite, opset)
    check_arithmetic(dtype, merges)
    how, logits = FORMATS[format], copy_for_export(model)
    batches = split_batches(pixel_values.to("cpu", torch.float32))
    expected = torch.cat([logits(batch) for batch in batches])
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".export-") as folder:
        file = Path(folder) / output.name
        program = trace(logits if dtype == "float32" else copy_for_export(model, dtype))
        if merges == "product":
            with quiet_exporter():
                program = merge_by_products(program)
        how.write(program, file, opset)
        found = torch.cat(how.run(file, batches))
        difference = find_largest_difference(
            found, expected, lambda: find_undecided(logits.model, torch.cat(batches)), TOLERANCE[dtype]
        )
        parts = sorted(Path(folder).iterdir(), key=lambda part: part == file)  # last the file that names the others
        num_bytes = sum(part.stat().st_size for part in parts)
        texts = write_texts(Path(folder), companions or {})
        for part in [*texts, *parts]:
            os.replace(part, output.parent / part.name)
    return Check([len(batch) for batch in batches], difference, num_bytes)


def check_arithmetic(dtype: str, merges: str) -> None:
    """Refuse arithmetic and ways to merge that there are not."""
    if dtype not in TOLERANCE:
        raise ValueError(f"dtype is {dtype!r}; it can be {' or '.join(TOLERANCE)}.")
    if merges not in EXPORT_MERGES:
        raise ValueError(f"merges is {merges!r}; it can be {' or '.join(EXPORT_MERGES)}.")


def write_texts(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write each of `texts` into `folder` under its name; return the files."""
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]
