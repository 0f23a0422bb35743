# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The numbers that options of `hf-dynamicvit train` take."""

from .ranges import BELOW_ONE, COUNT, FRACTION, KEEP_RATIO, NOT_NEGATIVE, SOME_FRACTION, Range


SEED = Range(0, 2**32 - 1)
# of steps; a number below 1 is a fraction of all
INTERVAL = Range(0, above=True)

# What every option that takes numbers takes, by name: our own and those of TrainingArguments.
RANGES = {
    "keep_ratio": KEEP_RATIO,
    "budget": Range(0, 1, above=True, meaning=", a fraction of the dense model's multiply-adds"),
    "reducer_layers": Range(0, meaning=", as blocks are counted from 0"),
    "drop_path_rate": BELOW_ONE,
    "teacher_epochs": NOT_NEGATIVE,
    "teacher_learning_rate": NOT_NEGATIVE,
    "keep_ratio_warmup_epochs": NOT_NEGATIVE,
    "layer_grouping_fraction": FRACTION,
    "validation_fraction": Range(0, 1, above=True, below=True, meaning=", a fraction of each class"),
    "max_train_samples": COUNT,
    "max_eval_samples": COUNT,
    "crop_scale": SOME_FRACTION,
    "randaugment_magnitude": Range(0, 10),
    "random_erasing": FRACTION,
    "color_jitter": NOT_NEGATIVE,
    "mixup": NOT_NEGATIVE,
    "cutmix": NOT_NEGATIVE,
    "second_pass_share": FRACTION,
    "consistency_threshold": FRACTION,
    "backbone_lr_scale": NOT_NEGATIVE,
    "head_learning_rate": NOT_NEGATIVE,
    "freeze_backbone_epochs": NOT_NEGATIVE,
    "layer_lr_decay": SOME_FRACTION,
    "ema_decay": BELOW_ONE,
    "num_train_epochs": Range(0, above=True),
    "max_steps": Range(1, besides=-1, meaning=" for no limit"),
    "per_device_train_batch_size": COUNT,
    "per_device_eval_batch_size": COUNT,
    "gradient_accumulation_steps": COUNT,
    "eval_accumulation_steps": COUNT,
    "learning_rate": NOT_NEGATIVE,
    "warmup_steps": NOT_NEGATIVE,
    "weight_decay": NOT_NEGATIVE,
    "adam_beta1": BELOW_ONE,
    "adam_beta2": BELOW_ONE,
    "adam_epsilon": NOT_NEGATIVE,
    "max_grad_norm": NOT_NEGATIVE,
    "label_smoothing_factor": FRACTION,
    "neftune_noise_alpha": NOT_NEGATIVE,
    "torch_empty_cache_steps": COUNT,
    "logging_steps": INTERVAL,
    "eval_steps": INTERVAL,
    "eval_delay": NOT_NEGATIVE,
    "save_steps": INTERVAL,
    "save_total_limit": COUNT,
    "seed": SEED,
    "data_seed": SEED,
    "dataloader_num_workers": NOT_NEGATIVE,
    "dataloader_prefetch_factor": COUNT,
    "ddp_bucket_cap_mb": COUNT,
    "ddp_timeout": COUNT,
}
