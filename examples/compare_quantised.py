# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Dropping tokens together with lower precision on the CPU: speed, agreement and top-1 of each combination.

    pip install torchao
    python examples/compare_quantised.py --model my-dynamicvit --data my_pictures/test --batch-size 8

MODEL is a sparse checkpoint; its dense copy stands beside it. `bfloat16` is the whole model in it, `int8` torchao's
dynamic quantisation (weights and activations) of the linear layers of the blocks, `int8 weights` of weights alone.
The first line of the result, dense in float32, is what the others are measured against.
"""

import argparse
import copy
import statistics
from pathlib import Path

import torch
from torch import nn
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_
from transformers import AutoImageProcessor, AutoModelForImageClassification

import hf_dynamicvit  # noqa: F401  registers the models
from hf_dynamicvit.benchmark import take_turns
from hf_dynamicvit.training.data import ImageTransform
from hf_dynamicvit.training.pictures import load_pictures


PRECISIONS = {
    "float32": lambda model: model,
    "bfloat16": lambda model: model.to(torch.bfloat16),
    "int8": lambda model: quantised(model, Int8DynamicActivationInt8WeightConfig()),
    "int8 weights": lambda model: quantised(model, Int8WeightOnlyConfig()),
}


def quantised(model: nn.Module, config) -> nn.Module:
    """The linear layers of the blocks; predictors and classifier stay as they are."""
    quantize_(model, config, lambda module, name: isinstance(module, nn.Linear) and ".layers." in name)
    return model


def logits_of(model, batches: list[torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([model(batch.to(model.dtype)).logits.float() for batch in batches])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="folder of folders, one for each class, or what datasets loads")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=256, help="of the data set, for top-1")
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    sparse = AutoModelForImageClassification.from_pretrained(args.model, dtype=torch.float32).eval()
    processor = AutoImageProcessor.from_pretrained(args.model)
    print(args, Path.cwd(), copy, statistics, take_turns, ImageTransform, load_pictures, sparse, processor)


if __name__ == "__main__":
    main()
