# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The options that `DynamicViTTrainingArguments` adds to `TrainingArguments`, without importing torch."""

from dataclasses import dataclass, field


TEACHER_DTYPES = ("float32", "bfloat16", "float16")


@dataclass
class DynamicViTOptions:
    """Loss weights, rates, an average of the weights, and how the teacher runs."""

    loss_weights: dict[str, float] | str | None = field(
        default=None,
        metadata={
            "help": "Weights of loss terms by name, in place of the published ones of the method: classification, "
            "class_distill, token_distill, feature_distill, second_classification and consistency (a second pass that "
            "removes fewer tokens), and the method's own (DynamicViT: ratio). As JSON on a "
            """command line: '{"ratio": 4.0}'."""
        },
    )
    second_pass_share: float = field(
        default=1.0,
        metadata={
            "help": "Where loss_weights has consistency or second_classification (MCTF), each step passes the images "
            "a second time, and its stages remove a random share, 0 to this, of what they remove in the first pass."
        },
    )
    consistency_threshold: float = field(
        default=0.4,
        metadata={
            "help": "The consistency term counts images whose class has a higher probability than this, 0 to 1."
        },
    )
    align_labels: bool = field(
        default=False,
        metadata={
            "help": "Labels of images mixed by CutMix follow the tokens through attention and merging (TL-Align), in "
            "place of the mixed area; images are cut along patches. Needs cutmix."
        },
    )
    backbone_lr_scale: float | None = field(
        default=None,
        metadata={
            "help": "Learning rate of everything but the reducer, as a fraction of learning_rate. Default: as "
            "published for the method (DynamicViT: 0.01). Without effect on methods that have nothing to learn."
        },
    )
    head_learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Learning rate of the classifier. Default: that of the backbone, or 5e-3 for a new classifier on "
            "a trained backbone."
        },
    )
    freeze_backbone_epochs: float | None = field(
        default=None,
        metadata={
            "help": "Epochs at the start in which only the reducer learns. Default: as published for the method "
            "(DynamicViT: a sixth of the training, 5 of 30 epochs; the others none)."
        },
    )

    layer_lr_decay: float = field(
        default=1.0,
        metadata={
            "help": "Each block learns at this fraction of the rate of the next one (layer-wise decay), the "
            "embeddings at the least. In (0, 1]; 1: all alike."
        },
    )
    frozen: list[str] | None = field(
        default=None,
        metadata={
            "help": "Parameters that do not learn: parts of their names, such as position_embeddings cls_token."
        },
    )
    ema_decay: float | None = field(
        default=None,
        metadata={
            "help": "Keep an exponential moving average of the weights with this decay, 0 to 1 (published for "
            "DynamicViT: 0.9999). Every checkpoint and the final model hold it as a model of its own in ema/."
        },
    )
    evaluate_ema: bool = field(
        default=False, metadata={"help": "Evaluate the averaged weights too: metrics eval_ema_*. Needs ema_decay."}
    )
    teacher_dtype: str | None = field(
        default=None,
        metadata={
            "help": "Arithmetic of the teacher. Default: that of the training, so half precision with bf16 or fp16.",
            "choices": TEACHER_DTYPES,
        },
    )
    cache_teacher: bool = field(
        default=False,
        metadata={
            "help": "Ask the teacher once for each training image, before training. Needs images that are the "
            "same in every epoch (no augmentation) and remove_unused_columns=False; takes memory: of DeiT-Tiny 75 KiB "
            "an image where features are distilled."
        },
    )
