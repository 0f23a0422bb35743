# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Vision transformers that are not served, with the reason and what to take instead."""

NAFLEX = (
    "SigLIP 2 NaFlex takes an image as a list of patches of any shape, whose grid a reducer does not know. Take a "
    "SigLIP 2 checkpoint of fixed size, such as google/siglip2-base-patch16-224, whose model type is 'siglip'."
)
WINDOWS = (
    "it attends within windows of the grid, which are broken once tokens go. Take a backbone that attends to the "
    "whole image, such as DINOv2."
)

VERSION_2 = (
    "its blocks are others than those of version 1, for which slow and fast paths were published. Take a Swin or "
    "ConvNeXt of version 1."
)

# model type -> why
REFUSED = {
    "siglip2": NAFLEX,
    "siglip2_vision_model": NAFLEX,
    "sam": WINDOWS,
    "sam_vision_model": WINDOWS,
    "vitdet": WINDOWS,
    "swinv2": VERSION_2,
    "convnextv2": VERSION_2,
    "vit_mae": (
        "ViT-MAE shuffles and masks the patches in every call. Save its encoder as a ViT first: "
        "ViTModel.from_pretrained({source!r}).save_pretrained(NEW)."
    ),
    "data2vec-vision": "Data2Vec-Vision names the parts of its blocks as no other model does. Take BEiT, its twin.",
}


# model types whose sparse models have weights that dense ones lack -> what to do
NEEDS_TRAINING = {
    "levit": (
        "Evo-ViT's has a class token and positions that it lacks, and no biases of attention. Train a "
        "DynamicLevitForImageClassification from random weights (hf-dynamicvit train --from-scratch), or convert a "
        "published file."
    ),
}


def refusal(source: object, model_type: str, served: str) -> str:
    """Return what to say of the checkpoint `source`; `served` says what is taken instead, where there is no reason."""
    if model_type == "timm_wrapper":  # as Transformers reads the configuration of a checkpoint of timm
        return f"{source} is a checkpoint of timm; convert it: hf-dynamicvit convert {source} --output NEW."
    start = f"{source} is of model type {model_type!r}"
    if model_type not in REFUSED:
        return f"{start}; {served}."
    return f"{start}: {REFUSED[model_type].format(source=str(source))}"
