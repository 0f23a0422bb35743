# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Where DynamicViT's untrained predictors start: at one half, as released, or at what their stage asks for.

    python examples/compare_predictor_start.py --keep-ratios 0.9 0.7 0.5 --seeds 0 1 2

The quickstart's model on handwritten digits, dense once for each seed, then fine-tuned from both starts with the same
noise. Needs scikit-learn, no network. docs/recipes.md has the result.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from transformers import set_seed
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from hf_dynamicvit import DynamicViTForImageClassification, DynamicViTTrainer, DynamicViTTrainingArguments
from hf_dynamicvit.commands.quickstart_run import measure_accuracy, train_dense, training_arguments
from hf_dynamicvit.data.digits import IMAGE_SIZE, load_digits_dataset
from hf_dynamicvit.data.transforms import ImageTransform


def fine_tune(dense: Path, train, keep_ratio: float, at_target: bool, epochs: float, output: Path, seed: int):
    set_seed(seed)
    model = DynamicViTForImageClassification.from_pretrained(
        dense, keep_ratio=keep_ratio, reducer_args={"start_at_target": at_target}
    )
    arguments = DynamicViTTrainingArguments(
        **training_arguments(output, seed), num_train_epochs=epochs, learning_rate=1e-3, backbone_lr_scale=0.2
    )
    DynamicViTTrainer(model, arguments, train_dataset=train).train()
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep-ratios", type=float, nargs="+", default=[0.9, 0.7, 0.5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=float, default=3)
    args = parser.parse_args()
    processor = ViTImageProcessorPil(size={"height": IMAGE_SIZE, "width": IMAGE_SIZE})
    results: dict[tuple[float, bool], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            set_seed(seed)
            dense = Path(folder) / f"dense{seed}"
            data = load_digits_dataset(seed)
            train, test = (data[split].with_transform(ImageTransform(processor)) for split in ("train", "test"))
            train_dense(train, processor, dense, seed)
            for keep_ratio in args.keep_ratios:
                for at_target in (False, True):
                    model = fine_tune(dense, train, keep_ratio, at_target, args.epochs, Path(folder) / "sparse", seed)
                    accuracy = measure_accuracy(model, test, Path(folder) / "sparse")
                    results.setdefault((keep_ratio, at_target), []).append(accuracy)
                    start = "its target" if at_target else "one half"
                    print(f"seed {seed}, keep ratio {keep_ratio}, start at {start}: {accuracy:.2%}", flush=True)
    print("| keep ratio | start at one half | start at target |\n| --- | --- | --- |")
    for keep_ratio in args.keep_ratios:
        cells = [
            f"{statistics.mean(values):.2%} ({', '.join(f'{value:.2%}' for value in values)})"
            for values in (results[keep_ratio, False], results[keep_ratio, True])
        ]
        print(f"| {keep_ratio} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
