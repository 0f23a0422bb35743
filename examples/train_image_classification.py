# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Fine-tune a token-reducing ViT on your own images: `hf-dynamicvit train` as a script to copy and change.

    python examples/train_image_classification.py --model facebook/deit-tiny-patch16-224 \\
        --dataset my_images --teacher-epochs 3 --output-dir my-model
    accelerate launch --config_file examples/accelerate/ddp_8_gpu.yaml examples/train_image_classification.py ...

`my_images` holds a folder a class, alone or in train/ and test/. Expect a dense model in my-model/teacher, a sparse
one in my-model, and both accuracies; docs/recipes.md has measured ones.
"""

import sys

from hf_dynamicvit.commands.train_arguments import parse
from hf_dynamicvit.commands.train_run import report, train


def main() -> None:
    # three dataclasses, filled by transformers.HfArgumentParser: TrainingArguments and what is ours
    model_args, data_args, training_args = parse(sys.argv[1:])
    results = train(model_args, data_args, training_args)
    if training_args.should_log:
        print(report(results, training_args.output_dir))


if __name__ == "__main__":
    main()
