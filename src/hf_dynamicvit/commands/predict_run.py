# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit predict`: name the classes of images, as a list, CSV or JSON."""

import argparse
import csv
import io
import itertools
import json
import sys
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..data.class_folders import find_files
from ..data.transforms import read_image
from ..evaluation.data import make_printable
from ..folders import check_file, whole_file
from ..names import SOME_UNREADABLE
from ..prediction import Classifier, NamedClass
from ..training.progress import no_bars_of_weights
from .parser import only_json


# Images that are read ahead of the model, in batches.
BATCHES_AHEAD = 2


@dataclass(frozen=True)
class Row:
    """A file, and its classes or why it could not be read."""

    file: str
    classes: list[NamedClass]
    error: str | None = None


def read_inputs(classifier: Classifier, files: Sequence[str], workers: int, ahead: int) -> Generator[Tensor | str]:
    """Yield for each of `files` the model's input, or why it cannot be read, reading `ahead` files in advance."""

    def read(file: str) -> Tensor | str:
        try:
            return classifier.prepare(read_image(file, mode=classifier.mode))
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Tensor | str]] = deque()
        left = iter(files)
        try:
            waiting.extend(pool.submit(read, file) for file in itertools.islice(left, ahead))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(read, file) for file in itertools.islice(left, 1))
        finally:
            pool.shutdown(cancel_futures=True)


def classify_files(
    classifier: Classifier, files: Sequence[str], top_k: int, batch_size: int, workers: int
) -> Generator[Row]:
    """Yield a row for each of `files`, in their order."""
    inputs = zip(files, read_inputs(classifier, files, workers, BATCHES_AHEAD * batch_size), strict=True)
    while batch := [*itertools.islice(inputs, batch_size)]:
        readable = [pixels for _, pixels in batch if isinstance(pixels, Tensor)]
        classes = iter(classifier.classify(readable, top_k))
        for file, found in batch:
            name = make_printable(file)
            yield Row(name, [], make_printable(found)) if isinstance(found, str) else Row(name, next(classes))


def write_csv(rows: Sequence[Row], top_k: int) -> str:
    """Write a line for each row: file, a label and a probability for each rank, and why a file cannot be read."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ranks = ["", *(f"_{rank}" for rank in range(2, top_k + 1))]
    writer.writerow(["file", *(f"{name}{rank}" for rank in ranks for name in ("label", "probability")), "error"])
    for row in rows:
        cells = [cell for named in row.classes for cell in (named.label, f"{named.probability:.6f}")]
        writer.writerow([row.file, *cells, *[""] * (2 * top_k - len(cells)), row.error or ""])
    return text.getvalue()


def write_list(rows: Sequence[Row]) -> str:
    """Write a line for each row that could be read: `cat.jpg: tabby 81.3 %, lynx 4.0 %`."""
    lines = []
    for row in rows:
        classes = ", ".join(f"{named.label} {named.probability:.1%}".replace("%", " %") for named in row.classes)
        lines += [] if row.error else [f"{row.file}: {classes}\n"]
    return "".join(lines)


def write_json(rows: Sequence[Row], about: dict[str, Any]) -> str:
    """Write one JSON object: `about`, the classes of every image, and the files that cannot be read."""
    images = [{"file": row.file, "classes": [asdict(named) for named in row.classes]} for row in rows if not row.error]
    unreadable = [{"file": row.file, "why": row.error} for row in rows if row.error]
    return json.dumps(about | {"images": images, "unreadable": unreadable}, indent=1, allow_nan=False) + "\n"


def describe_run(args: argparse.Namespace, classifier: Classifier, seconds: float) -> dict[str, Any]:
    return {
        "model": args.model,
        "reducer": getattr(classifier.config, "reducer", None),
        "device": str(classifier.model.device),
        "dtype": args.dtype,
        "seconds": round(seconds, 3),
    }


def write_result(args: argparse.Namespace, text: str) -> None:
    """Write `text` to the output, completely or not at all."""
    if args.output is None:
        sys.stdout.write(text)
        return
    with whole_file(args.output, args.overwrite) as file:
        file.write_text(text, encoding="utf-8")


def tell_result(args: argparse.Namespace, rows: Sequence[Row], seconds: float) -> None:
    """Tell on standard error how many images were classified, and name those that could not be read."""
    errors = [row.error for row in rows if row.error]
    for error in errors:
        print(f"skipped: {error}", file=sys.stderr)
    count = len(rows) - len(errors)
    place = "" if args.output is None else f" Wrote {make_printable(str(args.output))}."
    rate = f"{count / seconds:.1f} a second" if seconds else "at once"
    left_out = f"; {len(errors)} of {len(rows)} could not be read" if errors else ""
    print(f"{count} images classified, {rate}{left_out}.{place}", file=sys.stderr)


def main(args: argparse.Namespace) -> int:
    if args.output is not None:
        check_file(args.output, args.overwrite)
    files = list(dict.fromkeys(find_files(args.images)))
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    with only_json(True), no_bars_of_weights():
        classifier = Classifier.load(args.model, args.device, args.dtype)
        top_k, start = min(args.top_k, len(classifier.labels)), time.perf_counter()
        found = classify_files(classifier, files, top_k, args.batch_size, args.workers)
        rows = [*tqdm(found, total=len(files), unit="image", file=sys.stderr, disable=None, leave=False)]
    seconds = time.perf_counter() - start
    if all(row.error for row in rows):
        raise ValueError(f"None of {len(rows)} images can be read. The first: {rows[0].error}")
    if args.json:
        text = write_json(rows, describe_run(args, classifier, seconds))
    else:
        text = write_csv(rows, top_k) if args.csv else write_list(rows)
    write_result(args, text)
    tell_result(args, rows, seconds)
    return SOME_UNREADABLE if any(row.error for row in rows) else 0
