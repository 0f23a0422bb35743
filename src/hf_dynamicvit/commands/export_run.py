# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit export`: write one file of a model and say what was checked of it."""

import argparse

from ..checkpoints.checkpoint import read_checkpoint
from ..checkpoints.cost import multiply_adds
from ..data.samples import read_samples
from ..export import check_export, export
from ..training.progress import no_bars_of_weights
from .parser import only_json, print_json


def main(args: argparse.Namespace) -> None:
    with only_json(args.json), no_bars_of_weights():
        check_export(args.output, args.format, args.overwrite, args.opset)
        model = read_checkpoint(args.model).load()
        pixel_values, images = read_samples(args.model, model.config, args.images)
        options = {"overwrite": args.overwrite, "opset": args.opset}
        check = export(model, args.format, args.output, pixel_values, **options)
    if args.json:
        written = {"output": str(args.output), "format": args.format, "multiply_adds": multiply_adds(model)}
        print_json(written | vars(check))
        return
    sizes = ", ".join(map(str, check.batches))
    size, cost = f"{check.num_bytes / 1e6:.1f} MB", f"{multiply_adds(model) / 1e9:.4g} G multiply-adds an image"
    print(f"Wrote {args.output}: {size}, {cost}.")
    print(f"Checked on {images} in batches of {sizes}: same top-1, logits off by at most {check.difference:.1e}.")
