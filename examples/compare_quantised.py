# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Dropping tokens together with lower precision on the CPU: speed, agreement and top-1 of each combination.

    pip install torchao
    python examples/compare_quantised.py --model my-dynamicvit --data flowers/test.parquet --batch-size 8

MODEL is a sparse checkpoint; its dense copy stands beside it. `bfloat16` is the whole model in it, `int8` torchao's
dynamic quantisation (weights and activations) of the linear layers of the blocks, `int8 weights` of weights alone.
The first line of the result, dense in float32, is what the others are measured against.
"""

import argparse
import copy
import statistics

import torch
from datasets import Dataset, load_dataset
from torch import nn
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8WeightOnlyConfig, quantize_
from transformers import AutoImageProcessor, AutoModelForImageClassification

import hf_dynamicvit  # noqa: F401  registers the models
from hf_dynamicvit.benchmark.measure import take_turns
from hf_dynamicvit.data.transforms import ImageTransform


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


def read(data: str, split: str) -> Dataset:
    """Images in the column `image`, classes in `label`."""
    if data.endswith(".parquet"):
        return load_dataset("parquet", data_files=data, split="train")
    return load_dataset(data, split=split)


def logits_of(model, batches: list[torch.Tensor]) -> torch.Tensor:
    """`[N, num_labels]` float32."""
    with torch.inference_mode():
        return torch.cat([model(batch.to(model.dtype)).logits.float() for batch in batches])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", required=True, help="sparse checkpoint, fine-tuned")
    parser.add_argument("--data", required=True, help="folder, parquet file or Hub data set that has its classes")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=256, help="of the data set, for top-1")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()

    sparse = AutoModelForImageClassification.from_pretrained(args.model, dtype=torch.float32).eval()
    transform = ImageTransform(AutoImageProcessor.from_pretrained(args.model))
    data = read(args.data, args.split).shuffle(seed=0)
    examples = transform(data.select(range(min(args.limit, len(data))))[:])
    labels = torch.tensor(examples["labels"])
    batches = list(torch.stack(examples["pixel_values"]).split(args.batch_size))

    models = {
        (name, precision): change(copy.deepcopy(model))
        for precision, change in PRECISIONS.items()
        for name, model in (("dense", sparse.to_dense()), (sparse.config.reducer, sparse))
    }
    calls = [lambda images, model=model: model(images.to(model.dtype)) for model in models.values()]
    seconds = take_turns(calls, batches[0], args.repeats, warmup=2)
    medians = [statistics.median(times) for times in seconds]
    expected = {
        name: logits_of(model, batches) for (name, precision), model in models.items() if precision == "float32"
    }
    print(f"{len(labels)} images, batch {args.batch_size}, {torch.get_num_threads()} thread(s)\n")
    print("| model | precision | images/s | over dense float32 | same class as in float32 | top-1 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for ((name, precision), model), median in zip(models.items(), medians, strict=True):
        classes = logits_of(model, batches).argmax(dim=1)
        same = (classes == expected[name].argmax(dim=1)).float().mean()
        top1 = (classes == labels).float().mean()
        speed = f"{args.batch_size / median:.1f} | {medians[0] / median:.2f}x"
        print(f"| {name} | {precision} | {speed} | {same:.1%} | {top1:.1%} |", flush=True)


if __name__ == "__main__":
    main()
