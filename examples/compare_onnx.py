# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""ONNX files beside each other in ONNX Runtime on the CPU: images/s, taking turns, over those of the first.

    hf-dynamicvit export --model DENSE --format onnx --output dense.onnx
    hf-dynamicvit export --model SPARSE --format onnx --output sparse.onnx
    python examples/compare_onnx.py dense.onnx sparse.onnx --batch-sizes 1 8 --threads 1

Expect about what the same models reach in PyTorch; docs/benchmarks.md has measured values.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import onnxruntime


def open_session(file: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def seconds_each(sessions: list[onnxruntime.InferenceSession], images: np.ndarray, repeats: int) -> list[list[float]]:
    """Of every measured turn of each, after three that are not."""
    seconds: list[list[float]] = [[] for _ in sessions]
    for turn in range(repeats + 3):
        for session, times in zip(sessions, seconds, strict=True):
            start = time.perf_counter()
            session.run(["logits"], {"pixel_values": images})
            if turn >= 3:
                times.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", type=Path, nargs="+", help="files of hf-dynamicvit export; ratios are over the first")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    sessions = [open_session(file, args.threads) for file in args.files]
    shape = sessions[0].get_inputs()[0].shape[1:]
    print(f"ONNX Runtime {onnxruntime.__version__}, {args.threads} thread(s)\n")
    print("| batch | file | images/s | over the first |\n| --- | --- | --- | --- |")
    for batch in args.batch_sizes:
        images = np.random.default_rng(0).standard_normal((batch, *shape), dtype=np.float32)
        medians = [statistics.median(times) for times in seconds_each(sessions, images, args.repeats)]
        for file, median in zip(args.files, medians, strict=True):
            print(f"| {batch} | {file.name} | {batch / median:.1f} | {medians[0] / median:.2f}x |", flush=True)


if __name__ == "__main__":
    main()
