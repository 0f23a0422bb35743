# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What a model does with a picture: which patches it keeps and when, how it scores them, what it predicts.

```python
viewer = Viewer.load("my-dynamicvit")
(view,) = viewer.look([Image.open("cat.jpg")])
print(view.counts, viewer.labels[view.probabilities.argmax()])
visualize.card(view, viewer.labels).save("seen.png")
```
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import logging

from .devices import check_device
from .export import load, processor_of
from .model.cost import grid_size
from .model.modeling_dynamicvit import DynamicViTForImageClassification
from .model.reducers import REDUCERS
from .model_source import read_config
from .start import FAMILIES, label_names
from .training.data import ImageTransform, read_picture


# The longer edge of a picture that is shown, in pixels: small ones are enlarged, large ones made smaller.
SHOWN = 224


@dataclass(frozen=True)
class View:
    """What a model did with one picture.

    Attributes:
        picture: RGB, what the model saw of it; in its own aspect ratio where it was only resized.
        grid: patches down and across.
        layers: the block of each of the S decisions.
        kept: `[S, num_patches]` bool, the patches that took part after each decision.
        owner: `[S, num_patches]` int64, which token speaks for each patch, -1 for none.
        scores: `[S, num_patches]` float32, what each patch scored, or the token that it was merged into; NaN where
            neither was there. `None` where the method scores no patches (ToMe).
        merging: dropped patches live on in the token that `owner` names (ToMe, TPS).
        probabilities: `[K]`, of the sparse model.
        dense_probabilities: `[K]`, of the dense one, if there is one.
        multiply_adds: of this picture.
        dense_multiply_adds: the same through the dense model.
    """

    picture: Image.Image
    grid: tuple[int, int]
    layers: list[int]
    kept: Tensor
    owner: Tensor
    scores: Tensor | None
    merging: bool
    probabilities: Tensor
    dense_probabilities: Tensor | None
    multiply_adds: int
    dense_multiply_adds: int

    @property
    def counts(self) -> list[int]:
        """Patches kept after each decision."""
        return self.kept.sum(dim=1).tolist()

    @property
    def before(self) -> Tensor:
        """`[S, num_patches]` bool, the patches that took part before each decision."""
        return torch.cat((torch.ones_like(self.kept[:1]), self.kept[:-1]))

    @property
    def returned(self) -> Tensor:
        """`[S, num_patches]` bool: takes part again after it had sat out (IdleViT, Evo-ViT)."""
        return self.kept & ~self.before

    @property
    def last_kept(self) -> Tensor:
        """`[num_patches]` int64: the last decision that kept each patch, -1 for none."""
        decisions = torch.arange(1, len(self.kept) + 1)[:, None]
        return (self.kept * decisions).amax(dim=0) - 1


class Viewer:
    """A sparse classifier, its dense counterpart and its image processor, ready to look at pictures.

    Args:
        model: a `DynamicViTForImageClassification` or its like; put into eval mode.
        processor: its image processor.
        dense: the model to compare with, with the same labels, or `None`.
        untrained: the method's own parameters are new on these weights, so that its choice means nothing yet.

    Raises:
        ValueError: the model is dense, or its logits are no classes.
    """

    def __init__(
        self,
        model: DynamicViTForImageClassification,
        processor: Any,
        dense: PreTrainedModel | None = None,
        untrained: bool = False,
    ):
        if not isinstance(model, DynamicViTForImageClassification):
            raise ValueError(f"model is a {type(model).__name__}; a sparse model is wanted, as Viewer.load makes one.")
        if model.config.problem_type == "regression":
            raise ValueError("config.problem_type is 'regression'; pictures are shown with probabilities of classes.")
        if dense is not None and dense.config.num_labels != model.config.num_labels:
            raise ValueError(
                f"the dense model has {dense.config.num_labels} classes, the sparse one {model.config.num_labels}."
            )
        self.model, self.processor, self.untrained = model.eval(), processor, untrained
        self.dense = None if dense is None else dense.eval()
        self.labels = label_names(model.config)

    @classmethod
    def load(cls, source: str, reducer: str | None = None, dense: str | None = None) -> "Viewer":
        """The classifier in `source` with its image processor.

        Args:
            source: folder or Hub name of a ViT or DeiT classifier, sparse or dense.
            reducer: another method on the same weights (default: its own; of a dense model, `"dynamicvit"`).
            dense: folder or Hub name of a dense model to compare with (default: `source` if that is dense, else the
                dense copy of the sparse weights where there is one).

        Raises:
            ValueError: there is no such method, no such checkpoint, or it is of another family or lacks weights.
        """
        model, untrained = load_sparse(source, reducer)
        processor, _ = processor_of(source, model.config)
        if dense is not None or not hasattr(read_config(source), "reducer"):
            return cls(model, processor, load_dense(source if dense is None else dense), untrained)
        return cls(model, processor, model.to_dense() if model.encoder.reducer.reads_class_token else None, untrained)

    def to(self, device: str) -> "Viewer":
        """Move both models.

        Raises:
            ValueError: this machine has no such device.
        """
        check_device(device)
        for model in (self.model, self.dense):
            if model is not None:
                model.to(torch.device(device))
        return self

    def set_keep_ratio(self, keep_ratio: float | list[float], pictures: Sequence[Image.Image] = ()) -> None:
        """Keep another fraction of the patches from now on; AS-ViT sets its thresholds on `pictures`.

        Raises:
            ValueError: as `model.set_keep_ratio`.
        """
        self.model.set_keep_ratio(keep_ratio, self._typical(pictures))

    def set_budget(self, fraction: float, pictures: Sequence[Image.Image] = ()) -> None:
        """Take that fraction of the dense multiply-adds from now on; AS-ViT sets its thresholds on `pictures`.

        Raises:
            ValueError: as `model.set_budget`.
        """
        self.model.set_budget(fraction=fraction, pixel_values=self._typical(pictures))

    def set_new_thresholds(self, pictures: Sequence[Image.Image]) -> None:
        """Where AS-ViT's thresholds are new on these weights, set them so that `pictures` meet its budget.

        A fine-tuned model, and every other method, stays as it is.

        Raises:
            ValueError: as `model.set_budget`.
        """
        reducer = self.model.encoder.reducer
        if reducer.adaptive and self.untrained:
            self.set_budget(reducer.budget, pictures)

    @property
    def chooses_at_random(self) -> bool:
        """The method has predictors, and nobody trained them: what they keep means nothing."""
        return self.untrained and not self.model.encoder.reducer.adaptive

    def _typical(self, pictures: Sequence[Image.Image]) -> Tensor | None:
        if not (self.model.encoder.reducer.adaptive and pictures):
            return None
        return self.pixel_values(pictures).to(self.model.device, self.model.dtype)

    def pixel_values(self, pictures: Sequence[Image.Image], image_size: tuple[int, int] | None = None) -> Tensor:
        """`[N, channels, height, width]` for the model, stretched to `image_size` `(height, width)` if given."""
        transform = ImageTransform(self.processor, num_channels=self.model.config.num_channels)
        if image_size is not None:
            height, width = image_size
            pictures = [picture.resize((width, height), Image.Resampling.BICUBIC) for picture in pictures]
            options = {"do_resize": False, "do_center_crop": False, "return_tensors": "pt"}
            upright = [read_picture(picture, mode=transform.mode) for picture in pictures]
            return self.processor(upright, do_convert_rgb=False, **options)["pixel_values"]
        pixels = transform({"image": list(pictures), "label": list(pictures)})["pixel_values"]
        return torch.stack(pixels)

    def look(
        self,
        pictures: Sequence[Image.Image],
        batch_size: int = 32,
        image_size: tuple[int, int] | None = None,
    ) -> list[View]:
        """What the model does with each of `pictures`, in their order.

        Args:
            pictures: PIL pictures of any size and mode.
            batch_size: so many at a time; it does not change what is seen.
            image_size: `(height, width)` in pixels to stretch them to, in place of what the image processor does.

        Raises:
            ValueError: there are none, or `image_size` has no room for a patch.
        """
        return [view for views in self.batches(pictures, batch_size, image_size) for view in views]

    def batches(
        self, pictures: Sequence[Image.Image], batch_size: int = 32, image_size: tuple[int, int] | None = None
    ) -> Generator[list[View]]:
        """As `look`, batch by batch."""
        if not pictures:
            raise ValueError("there are no pictures to look at.")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; at least 1.")
        if image_size is not None and min(grid_size(self.model.config, image_size)) < 1:
            raise ValueError(f"image_size is {image_size}; patches are of {self.model.config.patch_size} pixels.")
        for start in range(0, len(pictures), batch_size):
            yield self._look(pictures[start : start + batch_size], image_size)

    @torch.inference_mode()
    def _look(self, pictures: Sequence[Image.Image], image_size: tuple[int, int] | None) -> list[View]:
        model, reducer = self.model, self.model.encoder.reducer
        pixels = self.pixel_values(pictures, image_size)
        inputs = pixels.to(model.device, model.dtype)
        outputs = model(inputs, interpolate_pos_encoding=True, output_scores=True)
        dense = None
        if self.dense is not None:
            moved = pixels.to(self.dense.device, self.dense.dtype)
            dense = self.probabilities(self.dense(moved, interpolate_pos_encoding=True).logits)
        kept, owner, scores = (values.cpu() for values in (outputs.kept, outputs.owner, outputs.scores))
        if not reducer.merging:  # what is gone is gone, also where a fused token is scored for it
            scores[:, 1:].masked_fill_(~kept[:, :-1], torch.nan)
        size = (pixels.shape[-2], pixels.shape[-1])
        probabilities, grid = self.probabilities(outputs.logits), grid_size(model.config, size)
        views = []
        for index, picture in enumerate(pictures):
            cost = model.multiply_adds(inputs[index : index + 1] if reducer.adaptive else size)
            views.append(
                View(
                    picture=self.seen(picture, pixels[index], image_size is not None),
                    grid=grid,
                    layers=list(model.decision_layers),
                    kept=kept[index],
                    owner=owner[index],
                    scores=None if scores[index].isnan().all() else scores[index],
                    merging=reducer.merging and not reducer.returning,
                    probabilities=probabilities[index],
                    dense_probabilities=None if dense is None else dense[index],
                    multiply_adds=cost,
                    dense_multiply_adds=model.dense_multiply_adds(size),
                )
            )
        return views

    def probabilities(self, logits: Tensor) -> Tensor:
        """`[N, K]` float32 on the CPU: of one class for a picture, or of each for itself (multi-label)."""
        logits = logits.float().cpu()
        several = self.model.config.problem_type == "multi_label_classification"
        return logits.sigmoid() if several else logits.softmax(dim=-1)

    def seen(self, picture: Image.Image, pixels: Tensor, stretched: bool = False) -> Image.Image:
        """What `pixels` `[C, height, width]` show, from the picture itself where the processor only resized it."""
        processor = self.processor
        whole = stretched or (
            processor.do_resize and not processor.do_center_crop and not getattr(processor, "do_pad", 0)
        )
        if whole and (stretched or processor.size.get("height")):
            return at_size(read_picture(picture))
        image = pixels.float().cpu()
        if processor.do_normalize:
            mean, std = (torch.tensor(values)[:, None, None] for values in (processor.image_mean, processor.image_std))
            image = image * std + mean
        image = image / processor.rescale_factor if processor.do_rescale else image
        array = image.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
        return at_size(Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).convert("RGB"))


def at_size(picture: Image.Image, shown: int = SHOWN) -> Image.Image:
    """`picture` with its longer edge `shown` pixels, as squares where it is tiny and enlarged."""
    scale = shown / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    tiny = max(picture.size) * 2 < shown
    return picture.resize(size, Image.Resampling.NEAREST if tiny else Image.Resampling.LANCZOS)


def load_sparse(source: str, reducer: str | None = None) -> tuple[Any, bool]:
    """A sparse model of the weights in `source`, in eval mode, and whether its method's parameters are new."""
    if reducer is not None and reducer not in REDUCERS:
        raise ValueError(f"reducer is {reducer!r}; it can be {', '.join(REDUCERS)}.")
    config = read_config(source)
    if config.model_type not in FAMILIES:
        raise ValueError(f"{source} is of model type {config.model_type!r}; this takes {', '.join(FAMILIES)}.")
    own = getattr(config, "reducer", None)
    changes: dict[str, Any] = {}
    if reducer is not None and reducer != own:
        with torch.device("meta"):
            if own is not None and not REDUCERS[own](config, **config.reducer_args).reads_class_token:
                raise ValueError(
                    f"the classifier of {source} ({own}) does not read the class token, which {reducer} needs; "
                    "look at it with its own method."
                )
        changes = {"reducer": reducer, "reducer_args": {}, "reducer_layers": None, "keep_ratio": None}
        if reducer == "evovit":  # the classifier was trained on the class token
            changes["reducer_args"] = {"pooling": "class"}
    family: Any = FAMILIES[config.model_type]
    with without_load_report():
        model, found = family.from_pretrained(source, output_loading_info=True, **changes)
    missing = [key for key in found["missing_keys"] if ".reducer." not in key]
    if missing:
        raise ValueError(f"{source} lacks weights, which would be random: {', '.join(sorted(missing))}.")
    return model.eval(), bool(found["missing_keys"])


@contextmanager
def without_load_report() -> Generator[None]:
    """Within it Transformers does not list keys: of another method they are left over or new, which is as it is."""
    reports = logging.get_logger("transformers.modeling_utils")
    level = reports.level
    reports.setLevel(logging.ERROR)
    try:
        yield
    finally:
        reports.setLevel(level)


def load_dense(source: str) -> PreTrainedModel:
    """The dense classifier in `source`.

    Raises:
        ValueError: it is sparse, of another family, or lacks weights.
    """
    if hasattr(read_config(source), "reducer"):
        raise ValueError(f"{source} holds a sparse model; name a dense one to compare with.")
    return load(source)
