# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit push`: a saved model, its processor, its code and its card to the Hub."""

import argparse

from ..hub.card import Measurements
from ..hub.push import CardContent, dry_run, push, say
from ..training.progress import no_bars_of_weights
from .parser import only_json, print_json


def read_content_options(args: argparse.Namespace) -> CardContent:
    """Return what was typed for the card."""
    measured = Measurements(
        top1=args.top1,
        dense_top1=args.dense_top1,
        num_pictures=args.num_images,
        dataset=args.dataset,
        dataset_name=args.dataset_name,
    )
    return CardContent(measured, args.base_model, args.license, tuple(args.images or ()), args.measure_speed)


def main(args: argparse.Namespace) -> None:
    given, code = read_content_options(args), not args.without_code
    if not args.dry_run and (args.output is not None or args.overwrite):
        raise ValueError(f"{'--overwrite' if args.output is None else '--output'} is for --dry-run; type that too.")
    with only_json(args.json), no_bars_of_weights():
        if args.dry_run:
            options = {"output": args.output, "overwrite": args.overwrite, "code": code}
            card, files = dry_run(args.folder, args.repo_id, given, **options)
        else:
            address = push(args.folder, args.repo_id, given, private=args.private, token=args.token, code=code)
    if args.dry_run and args.json:
        print_json({"repo_id": args.repo_id, "card": card, "files": files})
    elif args.dry_run:
        say(f"Nothing was uploaded. To {args.repo_id} would go {', '.join(files)}.")
        print(f"Wrote the card to {args.output}." if args.output is not None else card)
    elif args.json:
        print_json({"repo_id": args.repo_id, "commit_url": address})
    else:
        print(f"Pushed to {address}")
