# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Search a folder of images by image or by text, with embeddings of an encoder that reduces tokens.

    python examples/retrieve.py index --model facebook/dinov2-small --images my_images --output my_index --fraction 0.7
    python examples/retrieve.py query --index my_index --image cat.jpg
    python examples/retrieve.py compare --model facebook/dinov2-small --images my_images --output retrieval.json

`index` writes the embedding of every image; `query` embeds an image, or a text where the model is a CLIP or a SigLIP,
as the index was made, and names the nearest images. `compare` says what an index of fewer tokens is worth before one
is made: the images that each image finds among the others, beside those that the dense model finds. Recall is the
share of the dense model's ten that are found, where the index is reduced too ("own index"), and where it is the dense
one that exists already ("dense index"). Where images lie in a folder for each class, it also counts how often the
nearest one is of the same class. The models take turns, batch by batch, and speed is in images a second of CPU time.

The published comparison, on 736 photographs of flowers, is in docs/retrieval.md.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from hf_dynamicvit import reduce_tokens
from hf_dynamicvit.checkpoints.checkpoint import read_checkpoint
from hf_dynamicvit.data.class_folders import evenly_spaced, find_files
from hf_dynamicvit.data.transforms import read_image
from hf_dynamicvit.machine import describe_run


NEIGHBOURS = 10


@dataclass(frozen=True)
class Encoder:
    """A model that embeds images, and its image processor.

    Attributes:
        model: a base model, or one of two towers.
        processor: of its images.
        source: folder or Hub name of the dense checkpoint.
    """

    model: Any
    processor: Any
    source: str

    @classmethod
    def load(cls, source: str) -> "Encoder":
        """Load a dense encoder."""
        return cls(AutoModel.from_pretrained(source).eval(), read_checkpoint(source).processor, source)

    def reduced(self, reducer: str, fraction: float, images: Tensor) -> "Encoder":
        """Load it again, set to a `fraction` of the dense multiply-adds for images as large as `images`."""
        model = reduce_tokens(AutoModel.from_pretrained(self.source).eval(), reducer)
        model.set_budget(fraction=fraction, pixel_values=images)
        return Encoder(model, self.processor, self.source)

    def prepare(self, images: Sequence[Image.Image]) -> Tensor:
        """Prepare images as pixels `[B, C, H, W]`."""
        return self.processor(images=[*images], return_tensors="pt")["pixel_values"]

    @torch.inference_mode()
    def embed(self, pixels: Tensor) -> Tensor:
        """Embed images as vectors of length 1, `[B, D]`: with text, those that text is compared with."""
        if hasattr(self.model, "get_image_features"):
            found = self.model.get_image_features(pixel_values=pixels)
        else:
            found = self.model(pixel_values=pixels)
        return as_unit(found)

    @torch.inference_mode()
    def embed_text(self, text: str) -> Tensor:
        """Embed a text, `[1, D]`.

        Raises:
            ValueError: the model has no text tower.
        """
        if not hasattr(self.model, "get_text_features"):
            raise ValueError(
                f"{self.source} has no text tower; search it with --image, or index with a CLIP or SigLIP."
            )
        tokens = AutoTokenizer.from_pretrained(self.source)(text, return_tensors="pt", padding="max_length")
        return as_unit(self.model.get_text_features(**tokens))


def as_unit(found: Any) -> Tensor:
    """Scale the embedding in the outputs `found` to length 1."""
    vectors = found if isinstance(found, Tensor) else found.pooler_output
    return torch.nn.functional.normalize(vectors.float(), dim=-1)


def batches(files: Sequence[str], size: int) -> Iterator[tuple[list[str], list[Image.Image]]]:
    """Read the images, `size` at a time."""
    for start in range(0, len(files), size):
        names = [*files[start : start + size]]
        yield names, [read_image(name).convert("RGB") for name in names]


# ----- an index


def make_index(args: argparse.Namespace) -> None:
    """Embed every image of a folder and write them, with what made them."""
    files, encoder = find_files([args.images]), Encoder.load(args.model)
    if args.fraction < 1:
        first = encoder.prepare(next(batches(files, args.batch_size))[1])
        encoder = encoder.reduced(args.reducer, args.fraction, first)
    embeddings = [encoder.embed(encoder.prepare(images)) for _, images in batches(files, args.batch_size)]
    args.output.mkdir(parents=True, exist_ok=True)
    save_file({"embeddings": torch.cat(embeddings)}, args.output / "embeddings.safetensors")
    about = {"model": args.model, "reducer": args.reducer, "fraction": args.fraction, "files": files}
    (args.output / "index.json").write_text(json.dumps(about, indent=1))
    print(f"Wrote {args.output}: {len(files)} images.")


def query(args: argparse.Namespace) -> None:
    """Print the images of an index that are nearest to an image or a text."""
    about = json.loads((args.index / "index.json").read_text())
    embeddings = load_file(args.index / "embeddings.safetensors")["embeddings"]
    encoder = Encoder.load(about["model"])
    if args.image is None:
        asked = encoder.embed_text(args.text)
    else:
        pixels = encoder.prepare([read_image(args.image).convert("RGB")])
        if about["fraction"] < 1:
            encoder = encoder.reduced(about["reducer"], about["fraction"], pixels)
        asked = encoder.embed(pixels)
    alike, nearest = (asked @ embeddings.T)[0].topk(min(args.top, len(embeddings)))
    for value, index in zip(alike.tolist(), nearest.tolist(), strict=True):
        print(f"{value:.3f}  {about['files'][index]}")


# ----- a comparison


def find_nearest(queries: Tensor, index: Tensor, count: int) -> Tensor:
    """Find the nearest of `index` `[N, D]` to each of `queries` `[N, D]` but itself: `[N, count]`."""
    alike = queries @ index.T
    return alike.fill_diagonal_(-torch.inf).topk(count).indices


def recall(found: Tensor, dense: Tensor) -> float:
    """Return the share of the `dense` neighbours `[N, K]` that are among `found` `[N, K]`."""
    return (found[:, :, None] == dense[:, None]).any(dim=1).float().mean().item()


def same_class(found: Tensor, files: Sequence[str]) -> float | None:
    """Return how often the nearest image lies in the same folder; `None` where there is one folder."""
    folders = [Path(file).parent for file in files]
    names = [*dict.fromkeys(folders)]
    if len(names) < 2:
        return None
    classes = torch.tensor([names.index(folder) for folder in folders])
    return (classes[found[:, 0]] == classes).float().mean().item()


def embed_all(
    encoders: dict[str, Encoder], files: Sequence[str], size: int
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Embed every image with all `encoders`, which take turns; return embeddings and CPU seconds by name."""
    found: dict[str, list[Tensor]] = {name: [] for name in encoders}
    seconds = dict.fromkeys(encoders, 0.0)
    for _, images in batches(files, size):
        pixels = next(iter(encoders.values())).prepare(images)
        for name, encoder in encoders.items():
            start = time.process_time()
            found[name].append(encoder.embed(pixels))
            seconds[name] += time.process_time() - start
    return {name: torch.cat(each) for name, each in found.items()}, seconds


def compare(args: argparse.Namespace) -> None:
    """Measure what is found with fewer tokens beside what the dense model finds; write and print it."""
    files, dense = evenly_spaced(find_files([args.images]), args.limit), Encoder.load(args.model)
    count = min(NEIGHBOURS, len(files) - 1)
    first = dense.prepare(next(batches(files, args.batch_size))[1])
    encoders = {"dense": dense}
    for reducer in args.methods:
        for fraction in args.fractions:
            encoders[f"{reducer} at {fraction:g}"] = dense.reduced(reducer, fraction, first)
    for encoder in encoders.values():  # not measured: the first call makes room
        encoder.embed(first[:1])
    embeddings, seconds = embed_all(encoders, files, args.batch_size)
    expected = find_nearest(embeddings["dense"], embeddings["dense"], count)
    rows = []
    for name, own in embeddings.items():
        found = find_nearest(own, own, count)
        rows.append(
            {
                "model": name,
                "gmacs": None if name == "dense" else encoders[name].model.multiply_adds(first) / 1e9,
                "recall, own index": recall(found, expected),
                "recall, dense index": recall(find_nearest(own, embeddings["dense"], count), expected),
                "same class": same_class(found, files),
                "cosine": (own * embeddings["dense"]).sum(-1).mean().item(),
                "images a CPU second": len(files) / seconds[name],
                "times as fast": seconds["dense"] / seconds[name],
            }
        )
    rows[0]["gmacs"] = encoders[rows[-1]["model"]].model.dense_multiply_adds(first) / 1e9
    settings = {"images": len(files), "neighbours": count, "pixels": [*first.shape[-2:]]}
    settings |= {"threads": torch.get_num_threads()}
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(describe_run() | {"settings": settings, "rows": rows}, indent=1) + "\n")
    print(table(rows))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Draw the rows as a table in Markdown."""
    names = [name for name in rows[0] if rows[0][name] is not None]
    lines = [" | ".join(names), " | ".join(["---"] * len(names))]
    for row in rows:
        values = [row[name] if isinstance(row[name], str) else f"{row[name]:.3f}" for name in names]
        lines.append(" | ".join(values))
    return "\n".join(f"| {line} |" for line in lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    made, asked, compared = (commands.add_parser(name) for name in ("index", "query", "compare"))
    for each, run in ((made, make_index), (asked, query), (compared, compare)):
        each.set_defaults(run=run)
    for each in (made, compared):
        each.add_argument("--model", required=True, help="folder or Hub name of a dense encoder, as DINOv2 or CLIP")
        each.add_argument("--images", required=True, type=Path, help="folder of images, at any depth")
        each.add_argument("--output", required=True, type=Path, help="folder of the index, or file of the comparison")
        each.add_argument("--batch-size", type=int, default=16)
    made.add_argument("--reducer", default="tome", help="method")
    made.add_argument("--fraction", type=float, default=0.7, help="of the dense multiply-adds; 1 is the dense model")
    asked.add_argument("--index", required=True, type=Path)
    what = asked.add_mutually_exclusive_group(required=True)
    what.add_argument("--image", type=Path)
    what.add_argument("--text")
    asked.add_argument("--top", type=int, default=5, help="images to name")
    compared.add_argument("--limit", type=int, help="at most so many images, at even distances in the list of files")
    compared.add_argument("--methods", nargs="+", default=["tome"])
    compared.add_argument("--fractions", nargs="+", type=float, default=[0.7, 0.5])
    return parser.parse_args()


def main() -> None:
    args = parse()
    try:
        args.run(args)
    except ValueError as error:
        sys.exit(f"retrieve.py: {error}")


if __name__ == "__main__":
    main()
