# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Enlarge the scanned digits of scikit-learn, in the one way that quickstart and demo share."""

import numpy as np
from PIL import Image


IMAGE_SIZE = 32


def enlarge_scan(scan: np.ndarray) -> Image.Image:
    """Make an RGB image of `IMAGE_SIZE` pixels from a scan of 8 x 8 values from 0 to 16."""
    image = Image.fromarray((scan / 16 * 255).astype(np.uint8))
    return image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC).convert("RGB")
