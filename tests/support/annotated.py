# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Toy detectors, segmenters and depth models in folders, and images with boxes, masks and depth in parquet files."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Array2D, ClassLabel, Dataset, Features, Sequence, Value
from datasets import Image as ImageFeature
from native_toys import native_model
from PIL import Image


NAMES = ["sky", "tree", "road"]
LABELS = {"id2label": dict(enumerate(NAMES)), "label2id": {name: index for index, name in enumerate(NAMES)}}
WIDTH, HEIGHT, COUNT = 48, 40, 6


def stirred(model: Any) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def encoder(**options: Any) -> Any:
    return native_model("dynamicdinov2", "backbone", out_indices=[1, 2, 3, 4], **options).config


def make_segmenter() -> Any:
    torch.manual_seed(0)
    config = transformers.UperNetConfig(backbone_config=encoder(), hidden_size=16, use_auxiliary_head=False, **LABELS)
    return stirred(transformers.UperNetForSemanticSegmentation(config))


def make_depth_model(kind: str = "metric") -> Any:
    torch.manual_seed(0)
    head = {"neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8, "reassemble_hidden_size": 32, "head_hidden_size": 8}
    head |= {"depth_estimation_type": kind, "max_depth": 4}
    config = transformers.DepthAnythingConfig(
        backbone_config=encoder(reshape_hidden_states=False), patch_size=4, **head
    )
    return stirred(transformers.DepthAnythingForDepthEstimation(config))


def save_models(folder: Path) -> None:
    """Save `segmenter`, `depth`, `relative` and `detector` with their image processors."""
    makers = {
        "segmenter": make_segmenter,
        "depth": make_depth_model,
        "relative": lambda: make_depth_model("relative"),
    }
    for name, make in makers.items():
        make().save_pretrained(folder / name)
        transformers.DPTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder / name)
    native_model("dynamicyolos", "detector", num_labels=3, **LABELS).save_pretrained(folder / "detector")
    size = {"shortest_edge": 32, "longest_edge": 48}
    transformers.YolosImageProcessorPil(size=size).save_pretrained(folder / "detector")


def make_pictures(count: int = COUNT) -> list[Image.Image]:
    """Images of noise, every third of them upright."""
    random = np.random.default_rng(0)
    shapes = [(HEIGHT, WIDTH) if index % 3 else (WIDTH, HEIGHT) for index in range(count)]
    return [
        Image.fromarray(random.integers(0, 255, shape, dtype=np.uint8)) for shape in [(*each, 3) for each in shapes]
    ]


def save_rows(file: Path, images: list[Image.Image], column: str, values: list[Any], feature: Any) -> str:
    features = Features({"image": ImageFeature(), column: feature})
    Dataset.from_dict({"image": images, column: values}, features).to_parquet(file)
    return str(file)


def save_masks(file: Path, masks: list[Any]) -> str:
    return save_rows(
        file, make_pictures(len(masks)), "mask", [Image.fromarray(each) for each in masks], ImageFeature()
    )


def save_depths(file: Path, depths: list[Any]) -> str:
    images = [Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8) + 40 * index) for index in range(len(depths))]
    return save_rows(file, images, "depth", depths, Array2D((HEIGHT, WIDTH), "float32"))


def save_boxes(file: Path, objects: list[dict[str, Any]], names: list[str] | None = NAMES) -> str:
    kind = Value("int64") if names is None else ClassLabel(names=names)
    feature = {"bbox": Sequence(Sequence(Value("float32"), 4)), "category": Sequence(kind)}
    return save_rows(file, make_pictures(len(objects)), "objects", objects, feature)
