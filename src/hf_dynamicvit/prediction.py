# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A classifier, sparse or dense, that names the classes of images: for commands, servers and scripts.

```python
classifier = Classifier.load("my-dynamicvit")
(classes,) = classifier.classify([classifier.prepare(image)], top_k=3)
print(classes[0].label, classes[0].probability)
```
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .checkpoints.checkpoint import Checkpoint, read_checkpoint
from .checkpoints.cost import multiply_adds
from .checkpoints.labels import label_names
from .data.transforms import MODES, ImageTransform
from .machine import choose_device
from .model.cost import image_tower
from .registration import CLASSIFIERS


@dataclass(frozen=True)
class NamedClass:
    """A class and how probable it is, 0 to 1: of all classes, or for itself where an image has several."""

    label: str
    probability: float


class Classifier:
    """An image classifier with its image processor and the names of its classes.

    Args:
        model: sparse or dense, of any family; put into eval mode.
        processor: its image processor.

    Attributes:
        labels: names of the classes.
        mode: the PIL mode of the images that it takes.

    Raises:
        ValueError: its logits are no probabilities of classes.
    """

    def __init__(self, model: Any, processor: Any):
        self.config = model.config
        if self.config.problem_type == "regression":
            raise ValueError("config.problem_type is 'regression'; a classifier is wanted.")
        if not self.config.num_labels:
            raise ValueError("The model has no classifier (config.num_labels is 0).")
        self.model = model.eval()
        self.labels = label_names(self.config)
        channels = image_tower(self.config).num_channels
        self.mode, self.transform = MODES[channels], ImageTransform(processor, num_channels=channels)

    @classmethod
    def load(cls, source: str | Checkpoint, device: str | None = None, dtype: str = "float32") -> "Classifier":
        """Load the checkpoint `source` as it was saved, onto `device` (`None`: the fastest) in the arithmetic `dtype`.

        Raises:
            ValueError: there is no such checkpoint or device, it is no classifier of our families, or has no image
                processor.
        """
        checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source)
        device = choose_device(device)
        checkpoint.check_family()
        processor = checkpoint.processor
        model: Any = checkpoint.load()
        if not checkpoint.is_sparse:
            model = CLASSIFIERS[checkpoint.config.model_type].interpolate_any_grid(model)
        return cls(model.to(device=device, dtype=getattr(torch, dtype)), processor)

    @property
    def gmacs(self) -> float:
        """Multiply-adds of an image of the model's own size, in units of 10^9."""
        return multiply_adds(self.model) / 1e9

    def prepare(self, image: Image.Image) -> Tensor:
        """Make an image the model's input, `[channels, height, width]`.

        Raises:
            ValueError: it cannot be read, or has more than 8 bits a channel.
        """
        return self.transform({"image": [image]})["pixel_values"][0]

    @torch.inference_mode()
    def probabilities(self, pixel_values: Tensor) -> Tensor:
        """Compute `[B, K]` float32 on the CPU from a batch `[B, channels, height, width]`.

        Raises:
            FloatingPointError: logits are not finite.
        """
        moved = pixel_values.to(self.model.device, self.model.dtype)
        logits = self.model(moved, interpolate_pos_encoding=True).logits.float().cpu()
        if not logits.isfinite().all():
            raise FloatingPointError("the logits are not finite: the weights are damaged, or half precision overflows")
        several = self.config.problem_type == "multi_label_classification"
        return logits.sigmoid() if several else logits.softmax(dim=-1)

    def classify(self, inputs: Sequence[Tensor], top_k: int = 1) -> list[list[NamedClass]]:
        """Name the `top_k` most probable classes of each of `inputs`, the most probable first.

        Inputs of different sizes are run one size after the other; a model of fewer classes names all of them.
        """
        found: list[list[NamedClass]] = [[] for _ in inputs]
        for shape in dict.fromkeys(pixels.shape for pixels in inputs):
            places = [place for place, pixels in enumerate(inputs) if pixels.shape == shape]
            probabilities = self.probabilities(torch.stack([inputs[place] for place in places]))
            best = probabilities.topk(min(top_k, len(self.labels)), dim=-1)
            for place, values, indices in zip(places, best.values.tolist(), best.indices.tolist(), strict=True):
                found[place] = [
                    NamedClass(self.labels[index], value) for value, index in zip(values, indices, strict=True)
                ]
        return found
