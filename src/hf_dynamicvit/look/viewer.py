# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Look at what a model does with an image: what it keeps and when, how it scores, what it predicts.

```python
viewer = Viewer.load("my-dynamicvit")
(view,) = viewer.look(["cat.jpg"])
print(view.counts, viewer.labels[view.probabilities.argmax()])
drawing.card(view, viewer.labels).save("seen.png")
```
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..checkpoints.checkpoint import Checkpoint, read_checkpoint
from ..checkpoints.labels import find_class_order, label_names
from ..data.preparation import check_same_input
from ..data.transforms import ImageTransform, channel_values, read_image
from ..machine import check_device
from ..model.classification import ReducedForImageClassification
from ..model.cost import grid_size, patch_pixels
from ..model.detection import ReducedForObjectDetection
from ..registration import CLASSIFIERS
from .boxes import LEAST, Box, class_probabilities, find_boxes
from .maps import PixelMap


# The longer edge of an image that is shown, in pixels: small ones are enlarged, large ones made smaller; and the
# shorter edge at least, so that patches of a very long one can be told apart.
LONG_EDGE, SHORT_EDGE = 224, 56


@dataclass(frozen=True)
class View:
    """What a model did with one image.

    Attributes:
        picture: RGB, what the model saw of it; in its own aspect ratio where it was only resized.
        grid: patches down and across.
        layers: the block of each of the S decisions.
        kept: `[S, num_patches]` bool, the patches that took part after each decision.
        owner: `[S, num_patches]` int64, which token speaks for each patch, -1 for none.
        scores: `[S, num_patches]` float32, what each patch scored, or the token that it was merged into; NaN where
            neither was there. `None` where the method scores no patches (ToMe).
        merging: dropped patches live on in the token that `owner` names (ToMe, TPS).
        probabilities: `[K]`, of the sparse model; of a detector the highest of any of its tokens.
        dense_probabilities: `[K]`, of the dense one, if there is one.
        multiply_adds: of this image.
        dense_multiply_adds: the same through the dense model.
        boxes: of the objects that a detector found, likeliest first; `None` of a classifier.
        dense_boxes: the same of the dense one, if there is one.
        map: classes or depth of the pixels, of a model around a backbone, whose `probabilities` are the shares of the
            pixels that each class has (none of depth); `None` of all others.
        dense_map: the same of the dense one.
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
    boxes: tuple[Box, ...] | None = None
    dense_boxes: tuple[Box, ...] | None = None
    map: PixelMap | None = None
    dense_map: PixelMap | None = None

    @property
    def differs(self) -> bool:
        """Return whether the dense model, where there is one, predicts another class, or objects of other classes.

        Of a segmentation, whether another class has most pixels; never of depth.
        """
        if self.dense_probabilities is None or not len(self.probabilities):
            return False
        if self.boxes is None or self.dense_boxes is None:
            return bool(self.dense_probabilities.argmax() != self.probabilities.argmax())
        found, dense = (sorted(box.label for box in boxes) for boxes in (self.boxes, self.dense_boxes))
        return found != dense

    @property
    def map_difference(self) -> float | None:
        """Compare the map with the dense one: the share of pixels of another class, or the relative error of depth."""
        if self.map is None or self.dense_map is None:
            return None
        return self.map.difference(self.dense_map)

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
    """A sparse classifier or detector, its dense counterpart and its image processor, ready to look at images.

    Args:
        model: a sparse image classifier, or object detector, of any family; put into eval mode.
        processor: its image processor.
        dense: the model to compare with, or `None`. Its classes may be in another order. One whose grid is not
            square is made to interpolate its positions as `model` does, without which other image sizes are wrong.
        untrained: the method's own parameters are new on these weights, so that its choice means nothing yet.
        same_classes: classes of `dense` with other names are the same in the same order.
        least: probability from which on a box of a detector is shown.

    Attributes:
        labels: names of the classes of `model`, in its order.
        dense_order: `[K]` int64, where they are in the logits of `dense`; `None` where the order is the same.

    Raises:
        ValueError: the model is dense, its logits are no classes, or `dense` has others.
    """

    def __init__(
        self,
        model: ReducedForImageClassification | ReducedForObjectDetection,
        processor: Any,
        dense: PreTrainedModel | None = None,
        untrained: bool = False,
        same_classes: bool = False,
        least: float = LEAST,
    ):
        self.detects, self.least = isinstance(model, ReducedForObjectDetection), least
        if not self.detects and not isinstance(model, ReducedForImageClassification):
            raise ValueError(f"model is a {type(model).__name__}; a sparse model is wanted, as Viewer.load makes one.")
        if model.config.problem_type == "regression":
            raise ValueError("config.problem_type is 'regression'; images are shown with probabilities of classes.")
        if not model.config.num_labels:
            raise ValueError(
                "The model has no classifier (config.num_labels is 0). `hf-dynamicvit train --model FOLDER --reducer "
                "none --dataset IMAGES` fine-tunes it with one."
            )
        single = len(label_names(model.config)) < 2 and not self.detects
        if single and model.config.problem_type != "multi_label_classification":
            raise ValueError(f"config.num_labels is {model.config.num_labels}; two classes or more are wanted.")
        self.model, self.processor, self.untrained = model.eval(), processor, untrained
        if dense is not None and dense.config.model_type in CLASSIFIERS:
            dense = CLASSIFIERS[dense.config.model_type].interpolate_any_grid(dense)
        self.dense = None if dense is None else dense.eval()
        self.labels = label_names(model.config)
        dense_labels = self.labels if dense is None else label_names(dense.config)
        self.dense_order = find_class_order(self.labels, dense_labels, same_classes)

    @classmethod
    def load(
        cls,
        source: str | Checkpoint,
        reducer: str | None = None,
        dense: str | None = None,
        same_classes: bool = False,
        least: float = LEAST,
    ) -> "Viewer":
        """Load the classifier or detector in `source` with its image processor, in float32.

        Args:
            source: folder or Hub name of a classifier or detector, sparse or dense, or the same as a `Checkpoint`.
            reducer: another method on the same weights (default: its own; of a dense model, `"dynamicvit"`).
            dense: folder or Hub name of a dense model to compare with (default: `source` if that is dense, else the
                dense copy of the sparse weights where there is one).
            same_classes, least: as in `Viewer`.

        Raises:
            ValueError: there is no such method, no such checkpoint, or it is of another family, lacks weights or an
                image processor; `dense` has other classes, or an image processor that prepares images otherwise.
        """
        checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source, may_detect=True)
        model, untrained = checkpoint.load_sparse(reducer)
        processor = checkpoint.processor
        compared = None
        if dense is not None:
            check_same_input(checkpoint.source, processor, dense)
            compared = read_checkpoint(dense, may_detect=checkpoint.detects).load_dense()
        elif not checkpoint.is_sparse:
            compared = checkpoint.load_dense()
        elif model.reducer.reads_class_token:
            compared = model.to_dense()
        return cls(model, processor, compared, untrained, same_classes, least)

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

    def set_schedule(self, schedule: str, keep_ratio: float | None = None) -> None:
        """Reduce in other blocks from now on, at `keep_ratio` or the model's own.

        Raises:
            ValueError: as `model.set_schedule`.
        """
        self.model.set_schedule(schedule, keep_ratio)

    def set_budget(self, fraction: float, pictures: Sequence[Image.Image] = ()) -> None:
        """Take that fraction of the dense multiply-adds from now on; AS-ViT sets its thresholds on `pictures`.

        Raises:
            ValueError: as `model.set_budget`.
        """
        self.model.set_budget(fraction=fraction, pixel_values=self._typical(pictures))

    def set_new_thresholds(self, pictures: Sequence[Image.Image]) -> None:
        """Set AS-ViT's thresholds so that `pictures` meet its budget, where they are new on these weights.

        A fine-tuned model, and every other method, stays as it is.

        Raises:
            ValueError: as `model.set_budget`.
        """
        reducer = self.model.reducer
        if self.model.config.is_adaptive and self.untrained:
            self.set_budget(reducer.budget, pictures)

    @property
    def chooses_at_random(self) -> bool:
        """The method has predictors, and nobody trained them: what they keep means nothing."""
        return self.untrained and not self.model.config.is_adaptive

    def _typical(self, images: Sequence[Image.Image]) -> Tensor | None:
        if not (self.model.config.is_adaptive and images):
            return None
        return self.pixel_values(images).to(self.model.device, self.model.dtype)

    def pixel_values(self, pictures: Sequence[Image.Image], image_size: tuple[int, int] | None = None) -> Tensor:
        """Prepare images, `[N, channels, height, width]`, stretched to `image_size` `(height, width)` if given.

        Raises:
            ValueError: the image processor gives the images different sizes.
        """
        transform = ImageTransform(self.processor, num_channels=self.model.config.num_channels)
        found = []
        for image in pictures:  # one by one: they may be large
            upright = read_image(image, mode=transform.mode)
            if image_size is None:
                found += transform({"image": [upright], "label": [None]})["pixel_values"]
            else:
                resized = upright.resize(image_size[::-1], Image.Resampling.BICUBIC)
                options = {"do_resize": False, "do_center_crop": False, "do_convert_rgb": False}
                found += self.processor([resized], return_tensors="pt", **options)["pixel_values"]
        sizes = sorted({tuple(pixels.shape[1:]) for pixels in found})
        if len(sizes) > 1:
            listed = ", ".join(f"{height} x {width}" for height, width in sizes)
            raise ValueError(f"the image processor gives images of different sizes ({listed}); one batch has one.")
        return torch.stack(found)

    def look(
        self,
        pictures: Iterable[Image.Image | str | PathLike[str]],
        batch_size: int = 32,
        image_size: tuple[int, int] | None = None,
    ) -> list[View]:
        """Return what the model does with each of `pictures`, in their order.

        Args:
            pictures: PIL images of any size and mode, or paths of files, taken one by one.
            batch_size: so many at a time; it does not change what is seen (AS-ViT with `batch_mode="mean_topk"`
                apart, which decides by batch).
            image_size: `(height, width)` in pixels to stretch them to, in place of what the image processor does.

        Raises:
            ValueError: there are none, one cannot be read, or `image_size` has no room for a patch.
            FloatingPointError: logits are not finite.
        """
        views = [view for views in self.batches(pictures, batch_size, image_size) for view in views]
        if not views:
            raise ValueError("there are no images to look at.")
        return views

    def batches(
        self,
        pictures: Iterable[Image.Image | str | PathLike[str]],
        batch_size: int = 32,
        image_size: tuple[int, int] | None = None,
    ) -> Generator[list[View]]:
        """As `look`, batch by batch; images of other sizes than the one before, for the model, start a batch."""
        if isinstance(pictures, (str, PathLike, Image.Image)):
            raise ValueError(f"pictures is one {type(pictures).__name__}; a list of images is wanted: [image].")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; at least 1.")
        if image_size is not None and min(grid_size(self.model.config, image_size)) < 1:
            raise ValueError(f"image_size is {image_size}; patches are of {self.model.config.patch_size} pixels.")
        shown: list[Image.Image] = []
        inputs: list[Tensor] = []
        for image in (read_image(image, mode=None) for image in pictures):
            pixels = self.pixel_values([image], image_size)[0]
            if inputs and (len(inputs) == batch_size or pixels.shape != inputs[0].shape):
                yield self._look(torch.stack(inputs), shown)
                shown, inputs = [], []
            shown.append(self.seen(image, pixels, image_size is not None))
            inputs.append(pixels)
        if inputs:
            yield self._look(torch.stack(inputs), shown)

    @torch.inference_mode()
    def _look(self, pixels: Tensor, shown: list[Image.Image]) -> list[View]:
        model, reducer = self.model, self.model.reducer
        outputs = self.run(model, pixels.to(model.device, model.dtype), output_scores=True)
        kept, owner, scores = (values.cpu() for values in (outputs.kept, outputs.owner, outputs.scores))
        if reducer.rest == "dropped":  # what is gone is gone, also where a fused token is scored for it
            scores[:, 1:].masked_fill_(~kept[:, :-1], torch.nan)
        size = (pixels.shape[-2], pixels.shape[-1])
        answers, grid = self.answers(pixels, outputs), grid_size(model.config, size)
        costs = count_costs(model, kept, size)
        return [
            View(
                picture=image,
                grid=grid,
                layers=list(model.decision_layers),
                kept=kept[index],
                owner=owner[index],
                scores=None if scores[index].isnan().all() else scores[index],
                merging=reducer.rest == "merged",
                multiply_adds=costs[index],
                dense_multiply_adds=model.dense_multiply_adds(size),
                **answers[index],
            )
            for index, image in enumerate(shown)
        ]

    def run(self, model: Any, pixels: Tensor, **options: Any) -> Any:
        """Run one of the two models, with its `options`, on pixels of any size."""
        return model(pixels, interpolate_pos_encoding=True, **options)

    def answers(self, pixels: Tensor, outputs: Any) -> list[dict[str, Any]]:
        """Return what both models say of each image, as fields of its `View`; `outputs` are the sparse one's."""
        dense, dense_boxes = None, None
        if self.dense is not None:
            moved = pixels.to(self.dense.device, self.dense.dtype)
            dense, dense_boxes = self.predictions(self.run(self.dense, moved), self.dense_order)
        probabilities, boxes = self.predictions(outputs)
        return [
            {
                "probabilities": probabilities[index],
                "dense_probabilities": None if dense is None else dense[index],
                "boxes": None if boxes is None else boxes[index],
                "dense_boxes": None if dense_boxes is None else dense_boxes[index],
            }
            for index in range(len(pixels))
        ]

    def predictions(self, outputs: Any, order: Tensor | None = None) -> tuple[Tensor, list[tuple[Box, ...]] | None]:
        """Return probabilities `[N, K]` of a batch, of the classes in another `order`, and the boxes of a detector."""
        found = self.probabilities(outputs.logits)
        found = found if order is None else found[..., order]
        if not self.detects:
            return found, None
        pairs = zip(found, outputs.pred_boxes, strict=True)
        return found.amax(dim=1), [find_boxes(each, boxes, self.least) for each, boxes in pairs]

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return `[N, K]` float32 on the CPU: of one class for an image, or of each for itself (multi-label).

        Those of a detector are by token, `[N, Q, K]`.
        """
        logits = logits.float().cpu()
        if not logits.isfinite().all():
            raise FloatingPointError(
                "the logits are not finite: the weights are damaged, or half precision overflows."
            )
        if self.detects:
            return class_probabilities(logits)
        several = self.model.config.problem_type == "multi_label_classification"
        return logits.sigmoid() if several else logits.softmax(dim=-1)

    def seen(self, picture: Image.Image, pixels: Tensor, stretched: bool = False) -> Image.Image:
        """Draw what the patches of `pixels` `[C, height, width]` show, from the image where it was only resized."""
        processor, (height, width) = self.processor, pixels.shape[1:]
        down, across = grid_size(self.model.config, (height, width))
        patch_height, patch_width = patch_pixels(self.model.config)
        bottom, right = down * patch_height, across * patch_width  # what is beyond is in no patch, or padded (Swin)
        whole = processor.do_resize and not processor.do_center_crop and not getattr(processor, "do_pad", False)
        if stretched or (whole and processor.size.get("height")):
            image = read_image(picture)
            box = (0, 0, max(1, round(image.width * right / width)), max(1, round(image.height * bottom / height)))
            return scale_to_show(image.crop(box))
        values = nn.functional.pad(pixels.float().cpu(), (0, max(0, right - width), 0, max(0, bottom - height)))
        values = values[:, :bottom, :right]
        if processor.do_normalize:
            given = [channel_values(each, len(values)) for each in (processor.image_mean, processor.image_std)]
            mean, std = torch.tensor(given)[..., None, None]  # [C, 1, 1] each
            values = values * std + mean
        values = values / processor.rescale_factor if processor.do_rescale else values
        array = values.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
        return scale_to_show(Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).convert("RGB"))


def scale_to_show(image: Image.Image) -> Image.Image:
    """Scale `image` to a longer edge of `LONG_EDGE` and a shorter of `SHORT_EDGE` or more; tiny ones in squares."""
    scale, tiny = LONG_EDGE / max(image.size), max(image.size) * 2 < LONG_EDGE
    size = (max(SHORT_EDGE, round(image.width * scale)), max(SHORT_EDGE, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if tiny else Image.Resampling.LANCZOS)


def count_costs(model: Any, kept: Tensor, size: tuple[int, int]) -> list[int]:
    """Count the multiply-adds of each image, of `size`, from what was kept of it: `[B, S, num_patches]` bool."""
    reducer, num_patches = model.reducer, kept.shape[-1]
    if not model.config.is_adaptive:
        return [model.multiply_adds(size)] * len(kept)
    counts = [reducer.token_counts(num_patches, model.config.num_hidden_layers, own) for own in kept.sum(-1).tolist()]
    return [model.multiply_adds_at(reducer, own, num_patches) for own in counts]
