# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Small models, images and files under the names that README and docs use."""

import json
from pathlib import Path

import numpy as np
import torch
from datasets import Array2D, ClassLabel, Dataset, Features, Sequence, Value
from datasets import Image as ImageFeature
from paths import ROOT
from PIL import Image
from pyramids import native_pyramid
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from toys import TOY, toy_dense, toy_model
from transformers import (
    CLIPImageProcessorPil,
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    Dinov2Model,
    DPTImageProcessorPil,
    LevitConfig,
    LevitForImageClassificationWithTeacher,
    LevitImageProcessorPil,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    UperNetConfig,
    UperNetForSemanticSegmentation,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessorPil,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil


LABELS = {"num_labels": 2, "id2label": {0: "cat", 1: "dog"}, "label2id": {"cat": 0, "dog": 1}}
SIZES = {"image_size": 224, "patch_size": 16}


def save_dense(folder: Path, depth: int) -> None:
    toy_dense(**SIZES, **LABELS, num_hidden_layers=depth).save_pretrained(folder)
    save_processor(folder)


def save_processor(folder: Path, size: int = 224) -> None:
    ViTImageProcessorPil(size={"height": size, "width": size}).save_pretrained(folder)


def save_timm(folder: Path, published: dict[str, torch.Tensor]) -> None:
    folder.mkdir()
    dense = {name: tensor for name, tensor in published.items() if not name.startswith("score_predictor.")}
    save_file(dense, folder / "model.safetensors")
    prepared = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "crop_pct": 0.9, "interpolation": "bicubic"}
    about = {"architecture": "vit_tiny_patch16_224", "pretrained_cfg": prepared}
    (folder / "config.json").write_text(json.dumps(about))


def save_depth(folder: Path, kind: str = "relative") -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "mlp_ratio": 2}
    encoder = Dinov2Config(**sizes, image_size=56, out_indices=[1, 2, 3, 4], reshape_hidden_states=False)
    neck = {"neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8, "head_hidden_size": 8}
    told = {"depth_estimation_type": kind, "max_depth": 20}
    config = DepthAnythingConfig(backbone_config=encoder, reassemble_hidden_size=32, **neck, **told)
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessorPil(size={"height": 56, "width": 56}).save_pretrained(folder)


def save_detector(folder: Path) -> None:
    sizes = {name: TOY[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    config = YolosConfig(**sizes, intermediate_size=64, image_size=[64, 96], num_detection_tokens=5, num_labels=3)
    YolosForObjectDetection(config).save_pretrained(folder)
    YolosImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96}).save_pretrained(folder)


def save_llava(folder: Path) -> None:
    tower = {name: TOY[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    tower |= {"model_type": "clip_vision_model", "intermediate_size": 64, "image_size": 56, "patch_size": 14}
    text = {"model_type": "llama", "vocab_size": 60, "hidden_size": 32, "intermediate_size": 64}
    text |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4}
    LlavaForConditionalGeneration(
        LlavaConfig(vision_config=tower, text_config=text, image_token_index=4)
    ).save_pretrained(folder)
    words = ["<unk>", "<pad>", "<s>", "</s>", "<image>", "USER:", "ASSISTANT:", "what", "is", "this", "?"]
    words += [f"word{index}" for index in range(60 - len(words))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}),
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=["<image>"], **names),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)


def save_levit(folder: Path) -> None:
    sizes = {"hidden_sizes": (16, 24, 32), "num_attention_heads": (2, 3, 4), "depths": (2, 1, 1), "key_dim": (8, 8, 8)}
    LevitForImageClassificationWithTeacher(LevitConfig(**sizes, **LABELS)).save_pretrained(folder)
    size = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
    LevitImageProcessorPil(**size).save_pretrained(folder)


def save_pyramids(folder: Path) -> None:
    names = {"dynamicswin": "microsoft/swin-tiny-patch4-window7-224", "dynamicconvnext": "facebook/convnext-tiny-224"}
    for key, name in names.items():
        native_pyramid(key, **LABELS).save_pretrained(folder / name)
        save_processor(folder / name)


def noise(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 48, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def save_images(folder: Path, count: int) -> None:
    for seed in range(2 * count):
        file = folder / ("cat", "dog")[seed % 2] / f"{seed}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        noise(seed).save(file)


def save_parquet(folder: Path, *splits: str) -> None:
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["cat", "dog"])})
    folder.mkdir(exist_ok=True)
    for split in splits:
        rows = {"image": [noise(seed) for seed in range(6)], "label": [0, 1] * 3}
        Dataset.from_dict(rows, features).to_parquet(folder / f"{split}.parquet")


def save_scenes(folder: Path) -> None:
    """Photographs with the class of each pixel, and one with disparity, unknown in places."""
    (folder / "scenes").mkdir()
    features = Features({"image": ImageFeature(), "mask": ImageFeature()})
    for split in ("train", "test"):
        masks = [Image.fromarray(np.array(noise(seed))[..., 0] // 90) for seed in range(8)]
        rows = {"image": [noise(seed) for seed in range(8)], "mask": masks}
        Dataset.from_dict(rows, features).to_parquet(folder / "scenes" / f"{split}.parquet")
    (folder / "skimage" / "data").mkdir(parents=True)
    noise(0).resize((180, 60)).save(folder / "skimage" / "data" / "motorcycle_left.png")
    disparity = np.random.default_rng(0).uniform(5, 60, (60, 180)).astype(np.float32)
    disparity[::7] = np.inf
    np.savez(folder / "skimage" / "data" / "motorcycle_disp.npz", disparity)


def save_annotated(folder: Path) -> None:
    """Photographs with the objects in them, the class of each pixel, or its depth."""
    images, (width, height) = [noise(seed) for seed in range(4)], noise(0).size
    boxes = {"bbox": Sequence(Sequence(Value("float32"), 4)), "category": Sequence(Value("int64"))}
    objects = [{"bbox": [[2, 3, 20, 10]], "category": [seed % 3]} for seed in range(4)]
    masks = [Image.fromarray(np.array(image)[..., 0] // 90) for image in images]
    depths = [np.array(image)[..., 0].astype(np.float32) / 50 for image in images]
    columns = {"boxes": ("objects", objects, boxes), "masks": ("mask", masks, ImageFeature())}
    columns |= {"depth": ("depth", depths, Array2D((height, width), "float32"))}
    for name, (column, values, feature) in columns.items():
        (folder / f"my_{name}").mkdir()
        rows = Dataset.from_dict(
            {"image": images, column: values}, Features({"image": ImageFeature(), column: feature})
        )
        rows.to_parquet(folder / f"my_{name}" / "test.parquet")


def save_segmenter(folder: Path) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "mlp_ratio": 2}
    encoder = Dinov2Config(**sizes, image_size=56, out_indices=[1, 2, 3, 4])
    names = {0: "sky", 1: "tree", 2: "road"}
    config = UperNetConfig(
        backbone_config=encoder,
        hidden_size=16,
        use_auxiliary_head=False,
        id2label=names,
        label2id={name: index for index, name in names.items()},
    )
    UperNetForSemanticSegmentation(config).save_pretrained(folder)
    DPTImageProcessorPil(size={"height": 56, "width": 56}).save_pretrained(folder)


def fill_shelf(folder: Path) -> None:
    """Write everything that pages take for granted."""
    depths = {"facebook/deit-small-patch16-224": 3, "facebook/deit-tiny-patch16-224": 4}
    depths |= {"my-dense-vit": 4, "output/flowers/dense": 4, "my-dynamicvit/teacher": 2}
    for name, depth in depths.items():
        save_dense(folder / name, depth)
    distilled = DeiTForImageClassificationWithTeacher(DeiTConfig(**TOY | SIZES))
    distilled.save_pretrained(folder / "facebook" / "deit-tiny-distilled-patch16-224")
    encoder = Dinov2Config(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, image_size=56)
    Dinov2Model(encoder).save_pretrained(folder / "facebook" / "dinov2-small")
    save_processor(folder / "facebook" / "dinov2-small")
    save_llava(folder / "llava-hf" / "llava-1.5-7b-hf")
    save_detector(folder / "hustvl" / "yolos-tiny")
    save_levit(folder / "facebook" / "levit-128S")
    save_pyramids(folder)
    save_depth(folder / "depth-anything" / "Depth-Anything-V2-Small-hf")
    save_depth(folder / "depth-anything" / "Depth-Anything-V2-Metric-Indoor-Small-hf", "metric")
    save_segmenter(folder / "my-segmenter")
    save_scenes(folder)
    save_annotated(folder)
    for name in ("my-dynamicvit", "me/my-dynamicvit"):
        small = toy_model(**SIZES, **LABELS, num_hidden_layers=2)
        small.save_pretrained(folder / name, with_remote_code=name.startswith("me"))
        save_processor(folder / name)
    for split in ("train", "test"):
        save_images(folder / "my_images" / split, 3)
    for name in ("imagenet", "imagenet-1k"):
        save_images(folder / name, 3)
    save_parquet(folder / "imagenet", "test")
    save_parquet(folder / "flowers", "train", "test")
    noise(0).save(folder / "cat.jpg")
    for name in ("keep05", "keep09"):
        (folder / name).mkdir()
        log = [{"step": 1, "loss_classification": 1.0, "kept_stage_3": 0.5}, {"step": 2, "eval_accuracy": 0.9}]
        (folder / name / "results.json").write_text(json.dumps({"log": log}))
    published = load_file(ROOT / "tests" / "fixtures" / "dynamicvit_eval" / "weights.safetensors")
    torch.save({"model": published}, folder / "dynamic-vit_384_r0.7.pth")
    save_timm(folder / "vit-tiny", published)
    for name in ("examples", "src"):
        (folder / name).symlink_to(ROOT / name)
