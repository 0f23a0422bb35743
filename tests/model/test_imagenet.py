# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Real weights on real images: our loader against the native one. Skips where neither is at hand."""

import pytest
import torch
from datasets import load_dataset
from paths import SHARED
from transformers import AutoImageProcessor, ViTForImageClassification

from hf_dynamicvit import DynamicViTForImageClassification


WEIGHTS = SHARED / "weights" / "deit-tiny-hf"
IMAGES = SHARED / "data" / "imagenet1k_sample224" / "test.parquet"


@pytest.mark.skipif(not WEIGHTS.is_dir() or not IMAGES.is_file(), reason=f"needs {WEIGHTS} and {IMAGES}")
@pytest.mark.long
def test_dense_accuracy_is_the_native_models():
    data = load_dataset("parquet", data_files=str(IMAGES), split="train").shuffle(seed=0).select(range(32))
    processor = AutoImageProcessor.from_pretrained(WEIGHTS, size={"height": 224, "width": 224}, do_center_crop=False)
    native = ViTForImageClassification.from_pretrained(WEIGHTS).eval()
    ours = DynamicViTForImageClassification.from_pretrained(WEIGHTS, keep_ratio=1.0).eval()
    hits = {"native": 0, "ours": 0}
    with torch.inference_mode():
        for start in range(0, len(data), 32):
            batch = data[start : start + 32]
            images = [image.convert("RGB") for image in batch["image"]]
            pixel_values = processor(images, return_tensors="pt")["pixel_values"]
            expected, actual = native(pixel_values).logits, ours(pixel_values).logits
            torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
            for name, logits in (("native", expected), ("ours", actual)):
                hits[name] += (logits.argmax(-1) == torch.tensor(batch["label"])).sum().item()
    assert hits["ours"] == hits["native"]
    assert hits["native"] / len(data) > 0.7  # 78.0 % on all 1,000; labels and preprocessing are the right ones
