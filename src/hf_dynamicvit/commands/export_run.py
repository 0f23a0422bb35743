# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit export`: write one file of a model, what runs it, and say what was checked of it."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from ..checkpoints.checkpoint import read_checkpoint
from ..checkpoints.cost import multiply_adds
from ..data.samples import find_or_make_processor, prepare_samples, read_sample_images
from ..deploy.description import write_companions
from ..export import check_export, export
from ..folders import check_file
from ..training.progress import no_bars_of_weights
from .parser import only_json, print_json


def check_companions(folder: Path, companions: Mapping[str, str], overwrite: bool) -> None:
    """Refuse to write over others of these names; the same may be there from an export in another format.

    Raises:
        ValueError: names the file.
    """
    for name, text in companions.items():
        file = folder / name
        if not file.is_file() or file.read_bytes() != text.encode():
            check_file(file, overwrite)


def main(args: argparse.Namespace) -> None:
    with only_json(args.json), no_bars_of_weights():
        check_export(args.output, args.format, args.overwrite, args.opset)
        model = read_checkpoint(args.model).load()
        images, what = read_sample_images(model.config, args.images)
        processor, how = find_or_make_processor(args.model, model.config)
        pixel_values, companions = prepare_samples(images, processor, model.config), {}
        if not args.only_file:
            companions = write_companions(model, processor, images, pixel_values, args.output)
        check_companions(args.output.parent, companions, args.overwrite)
        options = {"overwrite": args.overwrite, "opset": args.opset, "dtype": args.dtype, "merges": args.merges}
        check = export(model, args.format, args.output, pixel_values, companions=companions, **options)
    if args.json:
        written = {"output": str(args.output), "format": args.format, "multiply_adds": multiply_adds(model)}
        print_json(written | {"companions": [*companions]} | vars(check))
        return
    sizes = ", ".join(map(str, check.batches))
    size, cost = f"{check.num_bytes / 1e6:.1f} MB", f"{multiply_adds(model) / 1e9:.4g} G multiply-adds an image"
    print(f"Wrote {args.output}: {size}, {cost}.")
    print(
        f"Checked on {what}, through {how}, in batches of {sizes}: same top-1, logits off by at most "
        f"{check.difference:.1e}."
    )
    if companions:
        print(f"Beside it: {' and '.join(companions)}; try python infer.py {args.output.name} IMAGE in its folder.")
