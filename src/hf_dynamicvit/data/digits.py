# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The handwritten digits of scikit-learn, as a data set that needs no network."""

from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature

from ..extras import require
from .scans import IMAGE_SIZE, enlarge_scan


__all__ = ["IMAGE_SIZE", "load_digits_dataset"]


def load_digits_dataset(seed: int) -> dict[str, Dataset]:
    """Load 1,437 training and 360 test images of 10 digits, 8 x 8 scans enlarged to `IMAGE_SIZE`, RGB.

    Raises:
        ValueError: scikit-learn, which ships them, is not installed.
    """
    digits = require("sklearn.datasets", "quickstart", "The digits ship with scikit-learn").load_digits()
    from sklearn.model_selection import train_test_split

    parts = train_test_split(
        digits.images, digits.target, test_size=0.2, random_state=seed, stratify=digits.target, shuffle=True
    )
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=[str(name) for name in range(10)])})
    return {
        split: Dataset.from_dict({"image": [enlarge_scan(scan) for scan in scans], "label": labels}, features=features)
        for split, scans, labels in (("train", parts[0], parts[2]), ("test", parts[1], parts[3]))
    }
