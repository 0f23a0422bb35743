# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Time to the first token of a LLaVA over the image tokens that its language model reads, with random weights.

    python benchmarks/image_tokens.py --output benchmarks/image_tokens.json

Time does not depend on what weights are. The tower is as large as a ViT-S with 576 patches, the language model has 8
layers of width 512: a toy, whose tower takes a good third of the time. The models take turns; seconds are CPU seconds
of one thread, medians.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from transformers import LlavaConfig, LlavaForConditionalGeneration, set_seed

from hf_dynamicvit import reduce_tokens
from hf_dynamicvit.machine import describe_run
from hf_dynamicvit.vision_language import count_image_tokens


IMAGE, WORDS = 5, 32
TOWER = {"model_type": "clip_vision_model", "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12}
TOWER |= {"num_attention_heads": 6, "image_size": 336, "patch_size": 14}
TEXT = {"model_type": "llama", "vocab_size": 32000, "hidden_size": 512, "intermediate_size": 1376}
TEXT |= {"num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 8}
# name -> options of `reduce_tokens`, `None` for the dense model
WAYS: dict[str, dict[str, Any] | None] = {
    "dense": None,
    "every patch, tome, 0.7 of the tower's cost": {"fraction": 0.7},
    "every patch, tome, 0.5 of the tower's cost": {"fraction": 0.5},
    "fewer tokens, tome, 0.7 of the tower's cost": {"fraction": 0.7, "drop": True},
    "fewer tokens, tome, 0.5 of the tower's cost": {"fraction": 0.5, "drop": True},
    "fewer tokens, topk, 0.5 of the tower's cost": {"fraction": 0.5, "drop": True, "reducer": "topk"},
}


def make_model(options: dict[str, Any] | None) -> Any:
    """Make the model, set to `options`; the same weights each time."""
    set_seed(0)
    config = LlavaConfig(vision_config=dict(TOWER), text_config=dict(TEXT), image_token_index=IMAGE)
    model = LlavaForConditionalGeneration(config).eval()
    if options is not None:
        rest = {name: value for name, value in options.items() if name != "fraction"}
        reduce_tokens(model, **rest).model.vision_tower.set_budget(fraction=options["fraction"])
    return model


@torch.inference_mode()
def first_token(model: Any) -> float:
    """Return the CPU seconds to the first token of an answer about one image."""
    ids = torch.tensor([[1] + [IMAGE] * count_image_tokens(model) + [7] * WORDS])
    images = torch.zeros(1, 3, TOWER["image_size"], TOWER["image_size"])
    start = time.process_time()
    model.generate(input_ids=ids, pixel_values=images, max_new_tokens=1, do_sample=False, pad_token_id=0)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    models = {name: make_model(options) for name, options in WAYS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(args.repeats + 1):
        for name, model in models.items():
            taken = first_token(model)
            if turn:  # the first is not counted
                seconds[name].append(taken)
    dense = statistics.median(seconds["dense"])
    rows = []
    for name, model in models.items():
        median = statistics.median(seconds[name])
        tokens = count_image_tokens(model)
        rows.append({"model": name, "image tokens": tokens, "seconds": median, "times as fast": dense / median})
    record = describe_run() | {"words": WORDS, "rows": rows}
    args.output.write_text(json.dumps(record, indent=1) + "\n")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
