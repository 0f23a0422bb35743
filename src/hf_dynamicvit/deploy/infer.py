# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Name the classes of images with an exported model: `python infer.py MODEL.onnx cat.jpg dog.jpg --top-k 3`.

Takes numpy, Pillow and the runtime of the file: onnxruntime for .onnx, openvino for .xml, torch for .pt2. What the
model takes and what its classes are called is read from MODEL.json beside it, which `hf-dynamicvit export` wrote.

    model = Model("model.onnx")
    print(model.classify([Image.open("cat.jpg")], top_k=3))
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps


def resize(image: Image.Image, about: dict[str, Any]) -> Image.Image:
    """Resize to the height and width, or the shortest edge, that `about` has."""
    if "height" in about["size"]:
        return image.resize((about["size"]["width"], about["size"]["height"]), about["resample"])
    short, edge = min(image.size), about["size"]["shortest_edge"]
    width, height = (edge if side == short else int(edge * side / short) for side in image.size)
    return image.resize((width, height), about["resample"])


def crop(image: Image.Image, size: dict[str, int]) -> Image.Image:
    """Crop the middle; what is beyond the image is black."""
    left, top = (image.width - size["width"]) // 2, (image.height - size["height"]) // 2
    return image.crop((left, top, left + size["width"], top + size["height"]))


def prepare(image: Image.Image, about: dict[str, Any]) -> np.ndarray:
    """Make an image the model's input, `[channels, height, width]`; `about` is `preprocessing` of MODEL.json."""
    image = ImageOps.exif_transpose(image).convert(about["mode"])
    if about["size"] is not None:
        image = resize(image, about)
    if about["crop"] is not None:
        image = crop(image, about["crop"])
    pixels = np.asarray(image, dtype=np.float32).reshape(image.height, image.width, -1) * about["scale"]
    pixels = (pixels - np.float32(about["mean"])) / np.float32(about["std"])
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)


def probabilities(logits: np.ndarray, kind: str) -> np.ndarray:
    """Compute `[N, classes]` from logits: of one class an image (`softmax`), or of each for itself (`sigmoid`)."""
    if kind == "sigmoid":
        return 1 / (1 + np.exp(-logits))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def open_onnx(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    onnxruntime: Any = import_module("onnxruntime")
    session = onnxruntime.InferenceSession(file)
    return lambda pixels: session.run(["logits"], {"pixel_values": pixels})[0]


def open_openvino(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    openvino: Any = import_module("openvino")
    model = openvino.compile_model(file)
    return lambda pixels: model({"pixel_values": pixels})["logits"]


def open_torch(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    torch: Any = import_module("torch")
    model = torch.export.load(file).module()

    def run(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(pixels)).numpy()

    return run


RUNTIMES = {".onnx": open_onnx, ".xml": open_openvino, ".pt2": open_torch}


class Model:
    """An exported file, ready to run.

    Args:
        file: `MODEL.onnx`, `.xml` or `.pt2`, with `MODEL.json` beside it.
    """

    def __init__(self, file: str | Path):
        file = Path(file)
        if file.suffix not in RUNTIMES:
            raise ValueError(f"{file} is no exported file; its name ends in {', '.join(RUNTIMES)}.")
        self.about = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        self.run = RUNTIMES[file.suffix](file)

    def classify(self, images: Sequence[Image.Image], top_k: int = 1) -> list[list[tuple[str, float]]]:
        """Name the most probable classes of each image, with their probabilities."""
        pixels = np.stack([prepare(image, self.about["preprocessing"]) for image in images])
        found = probabilities(self.run(pixels), self.about["probabilities"])
        best = np.argsort(-found, axis=1, kind="stable")[:, :top_k]
        labels = self.about["labels"]
        return [
            [(labels[index], float(row[index])) for index in order] for row, order in zip(found, best, strict=True)
        ]


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--top-k", type=int, default=1)
    args = parser.parse_args(argv)
    model = Model(args.model)
    for file in args.images:
        (classes,) = model.classify([Image.open(file)], args.top_k)
        print(f"{file}: {', '.join(f'{label} {probability:.1%}' for label, probability in classes)}")


if __name__ == "__main__":
    main(sys.argv[1:])
