# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Train a depth head on DINOv2, dense and then with fewer tokens in the backbone, on a photograph with true depth.

    pip download scikit-image==0.16.2 --no-deps --python-version 3.7 --only-binary :all: --platform manylinux1_x86_64
    unzip scikit_image-0.16.2*.whl 'skimage/data/motorcycle*'
    python examples/train_depth_estimation.py --model facebook/dinov2-small --data skimage/data --output depth

The photograph is the left one of the pair "motorcycle" of the Middlebury 2014 stereo data (Scharstein and others), 741
x 500 pixels, as scikit-image shipped it with its true disparity; scikit-image lists it as CC0. Depth in metres follows
by the calibration that is told there. One photograph is no benchmark: it shows that training, measuring and reducing
work together. Each third of it in turn is held out, and the head learns on what is left, so that nothing that is
measured was trained on, though it is of the same scene.

The dense backbone is frozen, unless `--train-backbone`. The model is Depth Anything's, with a small neck; it has no
loss in Transformers, so that the Trainer is given one (L1 of the logarithms). Then `reduce_tokens` puts each method
into a copy, which is measured as it is and trained on by `BackboneTrainer`: its head and, where the method learns what
to keep (SViT, DynamicViT, ...), that too, with the method's own loss. Absolute relative error and mean absolute error
are those of `torchmetrics` (`pip install "hf-dynamicvit[metrics]"`), over the pixels of all three parts together.
`median` is what one guesses who knows only the median depth of the part that is trained on.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Backbone,
    DPTImageProcessorPil,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from hf_dynamicvit import BackboneTrainer, reduce_tokens
from hf_dynamicvit.machine import describe_run


# of the calibration: pixels, metres, pixels; and how far away the model can say that something is, in metres
FOCAL, BASELINE, OFFSET, FARTHEST = 994.978, 0.193001, 31.086, 10.0
PARTS = 3


def read_photograph(folder: Path) -> tuple[Tensor, Tensor]:
    """Read the photograph `[3, height, width]`, normalised, and its depth `[height, width]`, in metres or NaN."""
    with Image.open(folder / "motorcycle_left.png") as image:
        pixels = torch.from_numpy(np.array(image.convert("RGB"))).movedim(-1, 0) / 255
    with np.load(folder / "motorcycle_disp.npz") as arrays:
        disparity = torch.from_numpy(np.array(arrays[arrays.files[0]], dtype=np.float32))
    mean, std = (torch.tensor(each)[:, None, None] for each in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    depth = BASELINE * FOCAL / (disparity + OFFSET)
    return (pixels - mean) / std, depth.where(disparity.isfinite(), torch.nan)


def split(values: Tensor, part: int) -> tuple[Tensor, list[Tensor]]:
    """Cut the columns of `values` into thirds: the one that is held out, and what is left beside it."""
    width = values.shape[-1] // PARTS
    first, last = part * width, (part + 1) * width
    return values[..., first:last], [each for each in (values[..., :first], values[..., last:]) if each.shape[-1]]


class Crops(torch.utils.data.Dataset):
    """Squares of what is not held out, anywhere, half of them mirrored; the same for the same seed."""

    def __init__(self, pixels: Sequence[Tensor], depth: Sequence[Tensor], side: int, count: int, seed: int):
        random = np.random.default_rng(seed)
        share = np.array([each.shape[-1] for each in pixels], dtype=float)
        self.items = []
        for _ in range(count):
            area = random.choice(len(pixels), p=share / share.sum())
            top, left = (int(random.integers(0, size - side + 1)) for size in pixels[area].shape[1:])
            pair = [each[area][..., top : top + side, left : left + side] for each in (pixels, depth)]
            image, truth = [each.flip(-1) for each in pair] if random.random() < 0.5 else pair
            self.items.append({"pixel_values": image, "labels": truth})

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.items[index]


def held_out_squares(values: Tensor, side: int) -> Tensor:
    """Cut squares from a part that was held out, one above the other in its middle, `[n, ..., side, side]`."""
    left = (values.shape[-1] - side) // 2
    tops = torch.linspace(0, values.shape[-2] - side, max(1, values.shape[-2] // side)).round().int().tolist()
    return torch.stack([values[..., top : top + side, left : left + side] for top in tops])


def make_dense(name: str) -> DepthAnythingForDepthEstimation:
    """Make a model with a random head on the backbone `name`, whose features are read at each quarter."""
    backbone = Dinov2Backbone.from_pretrained(name, dtype=torch.float32)
    depth, width = backbone.config.num_hidden_layers, backbone.config.hidden_size
    backbone.config.out_indices = [depth * quarter // 4 for quarter in (1, 2, 3, 4)]
    backbone.config.reshape_hidden_states = False
    config = DepthAnythingConfig(
        backbone_config=backbone.config,
        patch_size=backbone.config.patch_size,
        reassemble_hidden_size=width,
        neck_hidden_sizes=[24, 48, 96, 192],
        fusion_hidden_size=32,
        head_hidden_size=16,
        depth_estimation_type="metric",
        max_depth=int(FARTHEST),
    )
    model = DepthAnythingForDepthEstimation(config)
    model.backbone.load_state_dict(backbone.state_dict())
    return model


def log_difference(outputs: Any, labels: Tensor, **_: Any) -> Tensor:
    """Compute the mean absolute difference of the logarithms where depth is known."""
    known = labels.isfinite()
    return (outputs.predicted_depth[known].clamp(min=1e-3).log() - labels[known].log()).abs().mean()


def train(args: argparse.Namespace, model: Any, data: Crops, steps: int, rate: float) -> None:
    """Train the head, what a method learns and, where it was asked for, the backbone."""
    for key, parameter in model.named_parameters():
        parameter.requires_grad = args.train_backbone or "backbone" not in key or ".reducer." in key
    settings = TrainingArguments(
        str(args.output / "training"),
        max_steps=steps,
        learning_rate=rate,
        per_device_train_batch_size=args.batch_size,
        lr_scheduler_type="cosine",
        weight_decay=1e-4,
        save_strategy="no",
        logging_steps=20,
        report_to="none",
        seed=args.seed,
    )
    dense = model.config.backbone_config.model_type == "dinov2"
    trainer = (Trainer if dense else BackboneTrainer)(
        model, settings, train_dataset=data, compute_loss_func=log_difference
    )
    trainer.train()


@torch.inference_mode()
def estimate(model: Any, squares: Tensor) -> Tensor:
    """Estimate the depth of each of `squares` `[n, 3, side, side]`, in metres."""
    return model.eval()(squares.to(model.device)).predicted_depth.cpu()


class Part:
    """A third that is held out, and the models that have not seen it.

    Args:
        args: the command's.
        pixels, depth: of the whole photograph.
        index: of the third.
    """

    def __init__(self, args: argparse.Namespace, pixels: Tensor, depth: Tensor, index: int):
        self.args, self.folder = args, args.output / f"dense-{index}"
        (unseen, images), (truth, depths) = split(pixels, index), split(depth, index)
        self.squares, self.truth = (held_out_squares(each, args.image_size) for each in (unseen, truth))
        count = args.batch_size * args.steps
        self.learn = Crops(images, depths, args.image_size, count, args.seed)
        self.median = torch.cat([each[each.isfinite()] for each in depths]).median()

    def train_dense(self) -> Any:
        """Train the dense model and keep it for what comes."""
        model: Any = make_dense(self.args.model)
        train(self.args, model, self.learn, self.args.steps, self.args.learning_rate)
        model.save_pretrained(self.folder)
        side = {"height": self.args.image_size, "width": self.args.image_size}
        means = {"image_mean": IMAGENET_DEFAULT_MEAN, "image_std": IMAGENET_DEFAULT_STD}
        DPTImageProcessorPil(size=side, **means).save_pretrained(self.folder)
        return model

    def reduce(self, method: str, fraction: float) -> Any:
        """Put a method into a copy of the dense model."""
        model: Any = DepthAnythingForDepthEstimation.from_pretrained(self.folder)
        reduce_tokens(model, method, keep_ratio=None)
        return self.set_cost(model, fraction)

    def set_cost(self, model: Any, fraction: float) -> Any:
        """Let the backbone take `fraction` of its cost, by images that are trained on."""
        typical = torch.stack([item["pixel_values"] for item in self.learn.items[:4]])
        model.eval().backbone.set_budget(fraction=fraction, pixel_values=typical)
        return model


def measure(found: Sequence[Tensor], truth: Sequence[Tensor]) -> dict[str, float]:
    """Measure the errors of all parts together where depth is known, if torchmetrics is there."""
    if find_spec("torchmetrics") is None:
        print('No errors: pip install "hf-dynamicvit[metrics]"', file=sys.stderr)
        return {}
    from torchmetrics import MeanAbsoluteError, MeanAbsolutePercentageError, MetricCollection

    errors = MetricCollection({"abs_rel": MeanAbsolutePercentageError(), "mae": MeanAbsoluteError()})
    for each, expected in zip(found, truth, strict=True):
        known = expected.isfinite()
        errors.update(each[known], expected[known])
    return {key: round(float(value), 4) for key, value in errors.compute().items()}


class Table:
    """Rows of what was measured, each over all parts.

    Args:
        parts: those that are held out.
    """

    def __init__(self, parts: Sequence[Part]):
        self.parts, self.rows = parts, []

    def add(self, name: str, found: Sequence[Tensor], cost: float | None = None) -> None:
        """Measure what was `found`, `[n, side, side]` a part."""
        self.rows.append({"model": name, **measure(found, [part.truth for part in self.parts]), "gmacs": cost})
        print(self.rows[-1], flush=True)


def compare(args: argparse.Namespace, table: Table, method: str, fraction: float) -> list[Tensor]:
    """Measure a method as it is and with the heads trained on; return what it then finds."""
    models = [part.reduce(method, fraction) for part in table.parts]
    pairs = [*zip(models, table.parts, strict=True)]
    name = f"{method} at {fraction:g}"
    found = [estimate(model, part.squares) for model, part in pairs]
    table.add(f"{name}, not trained", found, mean_cost(pairs))
    if args.fine_steps:
        for model, part in pairs:
            train(args, model, part.learn, args.fine_steps, args.learning_rate / 2)
            part.set_cost(model, fraction)  # anew: what decides may have learnt
        found = [estimate(model, part.squares) for model, part in pairs]
        table.add(f"{name}, head trained", found, mean_cost(pairs))
    return found


def mean_cost(pairs: Sequence[tuple[Any, Part]]) -> float:
    """Count the GMACs of the backbones on what is held out."""
    return sum(model.backbone.multiply_adds(part.squares) for model, part in pairs) / len(pairs) / 1e9


def draw(file: Path, parts: Sequence[Part], columns: Sequence[Sequence[Tensor]]) -> None:
    """Draw the squares, their depth, and what was found in each column; near is light."""
    mean, std = (np.array(each) for each in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    sheet = []
    for index, part in enumerate(parts):
        image = part.squares[0].movedim(0, -1).numpy() * std + mean
        maps = [part.truth[0], *(found[index][0] for found in columns)]
        near, far = (part.truth[0].nanquantile(each).item() for each in (0.02, 0.98))
        grey = [((far - each) / (far - near)).clamp(0, 1).nan_to_num(0)[..., None].expand(-1, -1, 3) for each in maps]
        sheet.append(np.concatenate([image, *(each.numpy() for each in grey)], axis=1))
    drawn = (np.concatenate(sheet).clip(0, 1) * 255).astype(np.uint8)
    Image.fromarray(drawn).save(file, quality=85)


def main() -> None:
    args = parse()
    set_seed(args.seed)
    pixels, depth = read_photograph(args.data)
    parts = [Part(args, pixels, depth, index) for index in range(PARTS)]
    table = Table(parts)
    table.add("median", [part.median.expand(part.truth.shape) for part in parts])
    dense = [estimate(part.train_dense(), part.squares) for part in parts]
    table.add("dense", dense, parts[0].reduce("tome", 1.0).backbone.dense_multiply_adds(args.image_size) / 1e9)
    columns = [dense]
    for fraction, method in itertools.product(args.fractions, args.reducers):
        columns.append(compare(args, table, method, fraction))
        if args.figure and len(columns) == 2:
            draw(args.figure, parts, columns)
        about = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
        record = describe_run() | {"settings": about, "rows": table.rows}
        (args.output / "results.json").write_text(json.dumps(record, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a DINOv2 checkpoint")
    parser.add_argument("--data", required=True, type=Path, help="folder of motorcycle_left.png and its disparity")
    parser.add_argument("--output", required=True, type=Path, help="folder of models and results.json")
    parser.add_argument("--image-size", type=int, default=224, help="of the squares, in pixels")
    parser.add_argument("--steps", type=int, default=100, help="of the dense model's head")
    parser.add_argument("--fine-steps", type=int, default=40, help="of the head with fewer tokens; 0 for none")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--train-backbone", action="store_true", help="train the backbone too")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--reducers", nargs="+", default=["tome", "algm", "idlevit", "evit"])
    parser.add_argument("--fractions", nargs="+", type=float, default=[0.7, 0.5], help="of the backbone's cost")
    parser.add_argument("--figure", type=Path, help="image file to draw; the first method at the first fraction")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
