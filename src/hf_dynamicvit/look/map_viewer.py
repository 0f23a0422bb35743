# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Look at what a model around a reduced backbone says of every pixel, beside the dense model.

```python
viewer = MapViewer.load_maps(read_checkpoint("my-segmenter", may_map=True), "tome")
(view,) = viewer.look(["cat.jpg"])
print(view.counts, view.map.difference(view.dense_map))
```
"""

from typing import Any

import torch
from torch import Tensor

from ..adoption import restore
from ..checkpoints.checkpoint import Checkpoint, find_reduced
from ..checkpoints.labels import label_names
from ..machine import check_device
from .maps import read_maps
from .viewer import Viewer


class MapViewer(Viewer):
    """A model around a reduced backbone, its dense counterpart and its image processor.

    Args:
        host: the model around the backbone, which is reduced; put into eval mode.
        processor: its image processor.
        dense: the native one with the same weights.
        untrained: the method's own parameters are new on these weights.

    Attributes:
        model: the backbone.
        both: the model around it, reduced and dense.
    """

    def __init__(self, host: Any, processor: Any, dense: Any, untrained: bool = False):
        self.host, self.model, self.processor = host.eval(), find_reduced(host), processor
        self.dense, self.untrained, self.detects = dense, untrained, False
        self.both: tuple[Any, Any] = (self.host, dense.eval())
        self.labels = label_names(host.config)

    @classmethod
    def load_maps(cls, checkpoint: Checkpoint, reducer: str | None = None) -> "MapViewer":
        """Load the model in `checkpoint` with its image processor, reduced and dense.

        Raises:
            ValueError: as `Checkpoint.reduce_around_backbone`, or it has no image processor.
        """
        host, untrained = checkpoint.reduce_around_backbone(reducer)
        dense = checkpoint.load_around_backbone()
        return cls(host, checkpoint.processor, restore(dense) if checkpoint.is_sparse else dense, untrained)

    def to(self, device: str) -> "MapViewer":
        check_device(device)
        for model in self.both:
            model.to(torch.device(device))
        return self

    def answers(self, pixels: Tensor, outputs: Any) -> list[dict[str, Any]]:
        """Return the maps of each image, and of a segmentation how much of it each class covers."""
        size = (pixels.shape[-2], pixels.shape[-1])
        both = [read_maps(model(pixels.to(model.device, model.dtype)), self.processor, size) for model in self.both]
        return [
            {
                "probabilities": sparse.shares(len(self.labels)),
                "dense_probabilities": dense.shares(len(self.labels)),
                "map": sparse,
                "dense_map": dense,
            }
            for sparse, dense in zip(*both, strict=True)
        ]
