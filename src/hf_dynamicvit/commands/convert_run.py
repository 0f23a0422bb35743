# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit convert`: a published checkpoint with timm-style keys -> a saved DynamicViT model and processor."""

import argparse
from typing import Any

from ..checkpoints.convert import Converted, convert, read_label_names
from ..checkpoints.convert_config import DIVISORS, heads_beside
from ..checkpoints.labels import list_first
from ..checkpoints.published import Published, has_stem, rename_keys
from ..model.classification import ReducedForImageClassification
from ..model.pyramid_config import PyramidConfig
from ..model.schedules import one_or_several
from ..training.progress import no_bars_of_weights
from .parser import only_json, print_json


def main(args: argparse.Namespace) -> None:
    with only_json(args.json), no_bars_of_weights():
        done = convert(
            args.source,
            args.output,
            overwrite=args.overwrite,
            place=args.weights,
            num_attention_heads=args.num_attention_heads,
            image_size=tuple(args.image_size) if args.image_size else None,
            label_names=read_label_names(args.label_names) if args.label_names else None,
            image_mean=args.image_mean,
            image_std=args.image_std,
            reducer=args.reducer,
            schedule=args.schedule,
            reducer_layers=args.reducer_layers,
            reducer_args=args.reducer_args,
            keep_ratio=one_or_several(args.keep_ratio) if args.keep_ratio else None,
        )
    model = done.model
    written, notes = what_was_done(model), notes_on(model, done.published)
    if args.json:
        assumed = args.num_attention_heads is None and heads_beside(done.published) is None
        numbers = {"image_mean": done.processor.image_mean, "image_std": done.processor.image_std}
        said = {"heads_assumed": assumed, "preparation": done.preparation, "notes": notes}
        print_json({"output": str(args.output)} | written | numbers | said)
        return
    for note in describe_sizes(args, done, written):
        print(note)
    for note in [done.preparation, *notes]:
        print(note)


def describe_sizes(args: argparse.Namespace, done: Converted, written: dict[str, Any]) -> list[str]:
    """Say in a few lines what was written."""
    config, decided = done.model.config, f"reducer {written['reducer']} at blocks {written['decision_layers']}"
    if isinstance(config, PyramidConfig):
        return [
            f"Wrote {args.output}: {config.stage_depths} blocks of widths {config.stage_widths}, {config.num_labels} "
            f"classes, for images of {config.image_size} pixels,",
            f"{decided} of stage {config.reduced_stage + 1}, where {written['patches']} of {config.num_patches} "
            "positions take the slow path.",
        ]
    heads = "as config.json says" if heads_beside(done.published) else "assumed: as usual for the width"
    heads = "given" if args.num_attention_heads else f"{heads}; else set --num-attention-heads"
    kept = "what each image needs" if written["patches"] is None else f"{written['patches']} patches"
    return [
        f"Wrote {args.output}: {config.num_hidden_layers} blocks of width {config.hidden_size},",
        f"{config.num_attention_heads} attention heads ({heads}), {config.num_labels} classes,",
        f"{decided} keeping {kept}.",
    ]


def what_was_done(model: ReducedForImageClassification) -> dict[str, Any]:
    """Sizes and method of what was written."""
    config = model.config
    pyramid = isinstance(config, PyramidConfig)
    return {
        "blocks": config.stage_depths if pyramid else config.num_hidden_layers,
        "width": config.stage_widths if pyramid else config.hidden_size,
        "attention_heads": list(getattr(config, "num_heads", ())) if pyramid else config.num_attention_heads,
        "classes": config.num_labels,
        "reducer": config.reducer,
        "decision_layers": model.decision_layers,
        "patches": None if model.config.is_adaptive else model.token_counts(),
    }


def notes_on(model: ReducedForImageClassification, published: Published) -> list[str]:
    """List what the user should know before using the converted model."""
    notes, config, state_dict = [], model.config, published.tensors
    if published.others:
        took = f"The weights are those under {published.place!r}"
        notes.append(f"{took}; the file also has {', '.join(map(repr, published.others))}, which --weights takes.")
    if published.left_out:
        notes.append(f"Left out, as it is outside of the model: {list_first(published.left_out)}.")
    if not config.reads_class_token and not any(name.startswith("qks.") for name in state_dict):
        notes.append("The classifier reads the mean of the patches, but was trained on the class token: fine-tune it.")
    predictors = any("score_predictor." in name for name in state_dict)  # of a pyramid
    learned = predictors or any(".reducer." in name for name in rename_keys(state_dict))
    if not learned and any(True for _ in model.reducer.parameters()):
        why = "it serves in training only" if config.reducer == "evovit" else "they need training"
        notes.append(f"The file has none of the reducer's parameters: they are freshly initialised; {why}.")
    if has_stem(state_dict) and config.hidden_size not in DIVISORS:
        notes.append(
            f"What attention and MLP add is divided by {config.branch_divisor:g}: assumed, as the file does not tell; "
            "else set branch_divisor in config.json."
        )
    if not config.num_labels:
        notes.append(
            "The file has no classifier: fine-tune the model, first `hf-dynamicvit train --model FOLDER --reducer "
            "none`."
        )
    return notes
