# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options of `hf-dynamicvit convert`."""

import argparse
import json
from pathlib import Path
from typing import Any

from ..names import METHODS
from .parser import add_json_option, add_overwrite_option, add_schedule_option


EXAMPLES = """
# the checkpoint that DynamicViT's authors published
hf-dynamicvit convert dynamic-vit_384_r0.7.pth --output deit-small-dynamicvit --keep-ratio 0.7
# a dense timm model, to use without training
hf-dynamicvit convert deit_tiny_patch16_224.pth --output deit-tiny-tome --reducer tome --reducer-args '{"r": 8}'
# a folder that was downloaded: hf download timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k --local-dir vit-tiny
hf-dynamicvit convert vit-tiny --output vit-tiny-dynamicvit
"""


def read_reducer_args(text: str) -> dict[str, Any]:
    """Options of a method from the command line: a JSON object."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        content = None
    if not isinstance(content, dict):
        raise argparse.ArgumentTypeError(f"""{text!r} is not a JSON object such as '{{"r": 8}}'""")
    return content


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Turn a published checkpoint with timm-style keys (DynamicViT, EViT, Evo-ViT, AS-ViT, IdleViT, or a dense "
        "ViT, DeiT or LV-ViT) into a folder with a model and its image processor. Sizes are read off the tensors."
    )
    parser.add_argument("source", help="a .pth, .ckpt, .bin or .safetensors file with timm-style keys, or its folder")
    parser.add_argument("--output", required=True, type=Path, metavar="FOLDER", help="must be new or empty")
    add_overwrite_option(parser)
    method = parser.add_argument_group("method")
    method.add_argument("--reducer", choices=METHODS, default="dynamicvit", help="token-reduction method")
    method.add_argument(
        "--keep-ratio", type=float, nargs="+", help="one number or one per stage (default: the method's; 0.7 for most)"
    )
    add_schedule_option(method, "the method's")
    method.add_argument(
        "--reducer-args", type=read_reducer_args, default={}, metavar="JSON", help="""its options: '{"r": 8}'"""
    )
    method.add_argument(
        "--reducer-layers", type=int, nargs="+", help="blocks, counted from 0 (default: of the schedule)"
    )
    model = parser.add_argument_group("what the tensors do not tell")
    model.add_argument(
        "--num-attention-heads", type=int, help="of each block (default: as timm's config.json says, or usual)"
    )
    model.add_argument("--image-size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="pixels (default: found)")
    model.add_argument("--label-names", metavar="FILE", help="names of the classes: a JSON list or one name a line")
    model.add_argument(
        "--image-mean", type=float, nargs="+", help="of the normalisation: one number, or one a channel"
    )
    model.add_argument(
        "--image-std",
        type=float,
        nargs="+",
        help="the same (default of both: as config.json of timm beside the file says, else ImageNet's)",
    )
    model.add_argument("--weights", metavar="KEY", help="of a file with several state dicts (default: model, ...)")
    add_json_option(parser)


def main(args: argparse.Namespace) -> None:
    from .convert_run import main

    main(args)
