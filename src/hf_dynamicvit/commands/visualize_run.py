# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit visualize`: figures of what a model keeps, when it drops what, and what it then predicts."""

import argparse
import hashlib
import itertools
import json
import os
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm.auto import tqdm

from ..checkpoints.checkpoint import Checkpoint, read_checkpoint
from ..data.class_folders import evenly_spaced, find_files
from ..data.samples import COST_IMAGES
from ..data.transforms import MODES, read_files
from ..folders import check_folder
from ..fonts import find_missing, make_drawable
from ..look.boxes import LEAST, Box
from ..look.drawing import card, check_seconds, overview, save_figure, save_gif, stage_frames, top_classes
from ..look.gallery import Entry, build_entry, build_gallery
from ..look.map_viewer import MapViewer
from ..look.viewer import View, Viewer
from ..machine import choose_device
from ..model.budget import check_fraction
from ..model.schedules import one_or_several
from ..training.progress import no_bars_of_weights
from .parser import only_json, print_json


# Letters that are listed where no font has them.
MOST_LETTERS = 20

# Rows of one overview, and bytes of the name of a file without its suffix.
ROWS, LONGEST = 20, 150


def name_outputs(files: Sequence[str], folders: Sequence[Path]) -> dict[str, str]:
    """Name what is written of each file: where it is in its folder, with - for /, without suffix, each its own."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for file in files:
        path = Path(file)
        inside = [path.relative_to(folder) for folder in folders if path.is_relative_to(folder)]
        plain = shortened("-".join((inside[0] if inside else Path(path.name)).with_suffix("").parts))
        name = next(name for name in numbered(plain) if name.casefold() not in taken)
        taken.add(name.casefold())
        names[file] = name
    return names


def shortened(name: str) -> str:
    """`name`, or where a file system may refuse that, its end and what tells it from others of the same end."""
    encoded = os.fsencode(name)
    if len(encoded) <= LONGEST:
        return name
    told_by = hashlib.sha256(encoded).hexdigest()[:12]
    return f"{told_by}-{encoded[-LONGEST + 13 :].decode(errors='ignore')}"


def numbered(name: str) -> Generator[str]:
    """`name`, `name-2`, `name-3`, ...; not what the page, the overviews and the record are called."""
    reserved = name.casefold() in ("views", "index") or name.casefold().startswith("overview_")
    if not reserved:
        yield name
    for number in itertools.count(2):
        yield f"{name}-{number}"


def record(file: str, view: View, labels: Sequence[str]) -> dict[str, Any]:
    """Return the entry of one image in `views.json`."""
    dense = view.dense_probabilities
    boxes = {"boxes": view.boxes, "dense_boxes": view.dense_boxes} if view.boxes is not None else {}
    maps = {"map_difference": view.map_difference} if view.map is not None else {}
    return {
        "file": readable_name(file),
        "patches": list(view.grid),
        "blocks": view.layers,
        "kept": view.counts,
        "returned": view.returned.sum(dim=1).tolist(),
        "multiply_adds": view.multiply_adds,
        "dense_multiply_adds": view.dense_multiply_adds,
        "sparse": top_classes(view.probabilities, labels),
        "dense": None if dense is None else top_classes(dense, labels),
        **{name: None if found is None else record_boxes(found, labels) for name, found in boxes.items()},
        **maps,
    }


def record_boxes(boxes: Sequence[Box], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return the entries of what a detector found in one image."""
    return [{"label": labels[box.label], "probability": box.probability, "box": list(box.corners)} for box in boxes]


def load_viewer(args: argparse.Namespace, checkpoint: Checkpoint) -> Viewer:
    """Load the model that was typed.

    Raises:
        ValueError: an option does not go with it, or it cannot be loaded.
    """
    if args.least_probability is not None and not checkpoint.detects:
        what = "a model around a backbone" if checkpoint.maps else "an image classifier"
        raise ValueError(f"--least-probability is for boxes of detectors; {args.model} is {what}.")
    if checkpoint.maps:
        if args.dense is not None or args.same_classes:
            raise ValueError(
                f"--dense and --same-classes are for classifiers and detectors; {args.model} is a model around a "
                "backbone, which is compared with its own weights and all patches kept."
            )
        return MapViewer.load_maps(checkpoint, args.reducer)
    if args.keep_ratio is not None:
        checkpoint.check_keep_ratio(args.reducer, args.keep_ratio, args.schedule)
    least = LEAST if args.least_probability is None else args.least_probability
    return Viewer.load(checkpoint, args.reducer, args.dense, args.same_classes, least)


def prepare(args: argparse.Namespace, files: Sequence[str]) -> Viewer:
    """Load the model, set to what was asked for; set thresholds of AS-ViT that are not its own on the first images.

    Raises:
        ValueError: an option is out of range.
    """
    viewer = load_viewer(args, read_checkpoint(args.model, may_detect=True, may_map=True))
    viewer.to(choose_device(args.device))
    if args.schedule is not None:
        viewer.set_schedule(args.schedule, 1.0 if args.keep_ratio is not None or args.budget is not None else None)
    first: list[Image.Image] = []
    if viewer.model.config.is_adaptive:
        readable = read_files(files, image_mode(viewer), lambda file, why: None)
        first = [image for _, image in itertools.islice(readable, COST_IMAGES)]
    if args.keep_ratio is not None:
        viewer.set_keep_ratio(one_or_several(args.keep_ratio), first)
    elif args.budget is not None:
        viewer.set_budget(args.budget, first)
    elif first:
        viewer.set_new_thresholds(first)
    if viewer.chooses_at_random:
        print(
            f"{args.model} was not trained with {viewer.model.config.reducer}: its predictors are random, and so is "
            "what they keep.",
            file=sys.stderr,
        )
    return viewer


def image_mode(viewer: Viewer) -> str:
    return MODES[viewer.model.config.num_channels]


def stages(model: Any) -> dict[str, Any]:
    """Return where tokens are reduced and how many are left there, of an image of the model's own size."""
    adaptive = model.config.is_adaptive
    counts = None if adaptive else model.token_counts()
    return {"schedule": model.config.schedule, "layers": model.decision_layers, "token_counts": counts}


def told_stages(result: dict[str, Any]) -> str:
    """Tell what `stages` returned in one line."""
    if result["token_counts"] is None:
        return f"{result['reducer']}: each image decides, at blocks {', '.join(map(str, result['layers']))}."
    left = ", ".join(
        f"{layer}: {count}" for layer, count in zip(result["layers"], result["token_counts"], strict=True)
    )
    return f"{result['reducer']}, patch tokens left at block {left}."


class Gallery:
    """What is written of the images that were looked at; whole at any time, also when something stops the rest.

    Args:
        args: the command's.
        viewer: whose views they are.
        names: what is written of each file is called.
    """

    def __init__(self, args: argparse.Namespace, viewer: Viewer, names: dict[str, str]):
        self.args, self.viewer, self.names = args, viewer, names
        self.rows: list[tuple[View, str]] = []
        self.entries: list[Entry] = []
        self.result: dict[str, Any] = {
            "model": args.model,
            "reducer": viewer.model.config.reducer,
            "untrained": viewer.untrained,
            **stages(viewer.model),
            "pictures": [],
            "skipped": [],
            "changed": 0,
            "overviews": 0,
        }

    def add(self, file: str, view: View) -> None:
        """Write a card and a GIF of `view`; add a row to the overview, and a record."""
        folder, name, title = self.args.output, self.names[file], readable_name(Path(file).name)
        folder.mkdir(parents=True, exist_ok=True)
        if not self.args.only_overview:
            drawn = card(view, self.viewer.labels, title, self.args.cover)
            save_figure(drawn, folder / f"{name}.{self.args.format}")
            save_gif(stage_frames(view, self.args.cover), folder / f"{name}.gif", self.args.seconds)
        self.result["pictures"].append({"name": name} | record(file, view, self.viewer.labels))
        self.result["changed"] += int(view.differs)
        if view.map is None:  # the page sorts by predicted classes
            told = (self.viewer.labels, readable_name(file), title, len(self.entries), self.args.cover)
            self.entries.append(build_entry(view, *told))
        self.rows.append((view, title))
        if len(self.rows) == ROWS:
            self.finish_sheet()

    def finish_sheet(self) -> None:
        self.result["overviews"] += 1
        views, titles = zip(*self.rows, strict=True)
        sheet = overview(views, self.viewer.labels, titles, self.args.cover)
        save_figure(sheet, self.args.output / f"overview_{self.result['overviews']:03}.{self.args.format}")
        self.rows.clear()

    def finish(self) -> None:
        """Write the last overview, the page, and `views.json`; nothing where no image was looked at."""
        if self.rows:
            self.finish_sheet()
        if self.result["pictures"]:
            text = json.dumps(self.result, indent=1, allow_nan=False)
            (self.args.output / "views.json").write_text(text + "\n", encoding="utf-8")
        if self.entries:
            name = readable_name(Path(self.args.model).name)
            page = build_gallery(f"What {name} keeps", told_stages(self.result), self.entries)
            (self.args.output / "index.html").write_text(page, encoding="utf-8")


def readable_name(name: str) -> str:
    """`name` without bytes that are no UTF-8, which no image and no file of text can hold."""
    return name.encode("utf-8", "backslashreplace").decode()


def draw(viewer: Viewer, args: argparse.Namespace, files: Sequence[str]) -> dict[str, Any]:
    """Look at every file, write what is to be seen of it, and return what `views.json` says.

    Raises:
        ValueError: none can be read.
    """
    gallery = Gallery(args, viewer, name_outputs(files, [path for path in args.images if path.is_dir()]))
    size = None if args.image_size is None else (args.image_size[0], args.image_size[-1])
    waiting: list[str] = []  # read, not looked at yet
    with tqdm(total=len(files), unit="image", file=sys.stderr) as bar:

        def skip(file: str, why: str) -> None:
            gallery.result["skipped"].append(readable_name(file))
            bar.write(f"skipped: {readable_name(why)}", file=sys.stderr)
            bar.update()

        def images() -> Generator[Image.Image]:
            for file, image in read_files(files, image_mode(viewer), skip):
                waiting.append(file)
                yield image

        try:
            for views in viewer.batches(images(), args.batch_size, size):
                for view in views:
                    gallery.add(waiting.pop(0), view)
                    bar.update()
        finally:  # what was seen is not lost
            gallery.finish()
    if not gallery.result["pictures"]:
        raise ValueError("None of the images can be read.")
    return gallery.result


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot be done before anything is loaded or written.

    Raises:
        ValueError: a number is out of range, an image is not there, or the output is not new.
    """
    check_folder(args.output, args.overwrite)
    if args.budget is not None:
        check_fraction(args.budget, "--budget")
    check_seconds(args.seconds)
    if args.image_size is not None and (len(args.image_size) > 2 or min(args.image_size) < 1):
        raise ValueError(f"--image-size is {' '.join(map(str, args.image_size))}; one number of pixels, or two.")
    for path in args.images:
        if not path.exists():
            raise ValueError(f"--images {path}: there is no such file or folder.")


def tell_missing_letters(result: dict[str, Any]) -> None:
    """Tell which letters of files and classes no font has, so that figures have their codes."""
    images = result["pictures"]
    labels = [label for image in images for label, _ in (*image["sparse"], *(image["dense"] or ()))]
    if missing := find_missing([*(Path(image["file"]).name for image in images), *labels]):
        some = missing if len(missing) <= MOST_LETTERS else f"{missing[:MOST_LETTERS]} and others"
        print(
            f"No font of this machine has {some}: figures have codes such as {make_drawable(missing[0])} instead; "
            "Noto Sans has most letters (of Debian: fonts-noto-core, fonts-noto-cjk)."
        )


def main(args: argparse.Namespace) -> None:
    check(args)
    files = evenly_spaced(list(dict.fromkeys(find_files(args.images))), args.limit)
    with only_json(args.json), no_bars_of_weights():
        result = draw(prepare(args, files), args, files)
    if args.json:
        print_json(result)
        return
    seen, each = len(result["pictures"]), "" if args.only_overview else ", a card and a GIF for each"
    sheets = f"overview_001.{args.format}" + (f" to {result['overviews']:03}" if result["overviews"] > 1 else "")
    print(told_stages(result))
    maps = "map_difference" in result["pictures"][0]
    page = "" if maps else "index.html to look at, "
    print(f"Wrote {args.output}: {page}{sheets}{each}, and views.json; images: {seen}.")
    if maps:
        mean = sum(each["map_difference"] for each in result["pictures"]) / seen
        print(f"Maps differ from those of the dense model by {mean:.1%} in the mean.")
    elif result["pictures"][0]["dense"] is not None:
        print(f"Predicted otherwise than by the dense model: {result['changed']} of {seen}.")
    tell_missing_letters(result)
    if result["skipped"]:
        print(f"Could not be read: {', '.join(result['skipped'])}")
