# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""How long a training step takes beside plain dense fine-tuning, and what of it is teacher, student and images.

    python examples/measure_step_time.py --model facebook/deit-tiny-patch16-224 --batch-size 32

Forward, losses, backward, clipping and AdamW on one batch that is there already; all kinds take turns in one run, and
the medians are compared. Expect with DynamicViT 0.7 about 1.1x of dense without a teacher, 1.5x with one in float32;
docs/recipes.md has measured values.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, Trainer, TrainingArguments, ViTForImageClassification

from hf_dynamicvit import REDUCERS, DynamicViTForImageClassification, DynamicViTTrainer, DynamicViTTrainingArguments
from hf_dynamicvit.data.transforms import ImageTransform
from hf_dynamicvit.training.teacher import DENSE_COPY


def settings(args, folder: str) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "bf16": args.bf16,
        "use_cpu": args.cpu,
        "torch_compile": args.compile,
        "remove_unused_columns": False,
        "report_to": "none",
        "disable_tqdm": True,
    }


def step_of(trainer: Trainer, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    """One whole step of `trainer` on `batch`."""
    trainer.current_gradient_accumulation_steps = 1  # which the loop of the Trainer would set
    optimizer = trainer.create_optimizer()
    model, optimizer = trainer.accelerator.prepare(trainer.model, optimizer)

    def step() -> None:
        trainer.training_step(model, batch)
        trainer.accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.zero_grad()

    return step


def kinds(args, folder: str) -> dict[str, Callable[[], None]]:
    """The steps to compare, dense fine-tuning with Transformers' own Trainer first."""
    dense = ViTForImageClassification.from_pretrained(args.model)
    size = dense.config.image_size
    images = torch.randn(args.batch_size, 3, size, size)
    batch = {"pixel_values": images, "labels": torch.arange(args.batch_size) % dense.config.num_labels}
    steps = {"dense": step_of(Trainer(dense, TrainingArguments(**settings(args, folder))), batch)}
    for reducer in args.reducers:
        learns_from = any(name.endswith("_distill") for name in REDUCERS[reducer].loss_weights)
        variants: dict[str, dict[str, Any]] = {f"{reducer}, no teacher": {"teacher": None}}
        if learns_from:
            variants[f"{reducer}, teacher"] = {"teacher": DENSE_COPY}
            variants[f"{reducer}, teacher in bfloat16"] = {"teacher": DENSE_COPY, "teacher_dtype": "bfloat16"}
            variants[f"{reducer}, cached teacher"] = {"teacher": DENSE_COPY, "cached": True}
        for name, variant in variants.items():
            cached = variant.pop("cached", False)
            teacher = variant.pop("teacher")
            model = DynamicViTForImageClassification.from_pretrained(args.model, reducer=reducer)
            arguments = DynamicViTTrainingArguments(**settings(args, folder), **variant)
            trainer = DynamicViTTrainer(model, arguments, teacher=teacher)
            own = dict(batch)
            if cached:
                logits, features, _ = trainer.teacher_outputs({"pixel_values": images.to(arguments.device)})
                own |= {"teacher_logits": logits.cpu(), "teacher_features": features.half().cpu()}
            steps[name] = step_of(trainer, own)
    return steps


def seconds_of_images(args) -> float:
    """Decoded images to a batch, cropped and flipped, in this process."""
    processor = AutoImageProcessor.from_pretrained(args.model)
    generator = np.random.default_rng(0)
    images = [
        Image.fromarray(generator.integers(0, 255, (256, 256, 3), dtype=np.uint8)) for _ in range(args.batch_size)
    ]
    transform = ImageTransform(processor, augmentation="plain")
    start = time.perf_counter()
    transform({"image": images, "label": [0] * args.batch_size})
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a dense ViT classifier with its image processor")
    parser.add_argument("--reducers", nargs="+", default=["dynamicvit", "evit"])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    args = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        steps = kinds(args, folder)
        for turn in range(args.repeats + 1):
            for name, step in steps.items():
                start = time.perf_counter()
                step()
                if torch.accelerator.is_available() and not args.cpu:
                    torch.accelerator.synchronize()
                if turn:  # the first warms up
                    seconds.setdefault(name, []).append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"batch {args.batch_size}, {torch.get_num_threads()} threads, {'bfloat16' if args.bf16 else 'float32'}")
    print("| step | ms | of dense |\n| --- | --- | --- |")
    for name, median in medians.items():
        print(f"| {name} | {1000 * median:.0f} | {median / medians['dense']:.2f}x |")
    images = seconds_of_images(args)
    print(f"| images, one process | {1000 * images:.0f} | {images / medians['dense']:.2f}x |")


if __name__ == "__main__":
    main()
