# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Push a saved model, its processor, its code and its card to the Hub."""

import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from huggingface_hub.utils import HFValidationError, validate_repo_id
from PIL import Image

from ..benchmark.measure import images_per_second
from ..checkpoints.checkpoint import Checkpoint, read_checkpoint
from ..checkpoints.results import RESULTS, change_since, read_results
from ..checkpoints.source import beside
from ..data.class_folders import find_files
from ..data.transforms import MODES, read_all
from ..folders import check_folder, whole_folder
from ..look.drawing import contact_sheet, stage_images
from ..look.viewer import Viewer
from ..model.classification import ReducedForImageClassification
from ..model.cost import as_pair
from .card import UPLOADED, Measurements, inherited_license, model_card
from .errors import hub_errors_in_words


CARD, FIGURE = "README.md", "kept.png"

# What can only stand beside an accuracy -> the option that gives it.
OPTIONS = {"dense_top1": "--dense-top1", "num_pictures": "--num-images", "dataset_name": "--dataset-name"}

# Accuracies that differ by less are the same one, typed with fewer digits.
ROUNDED = 5e-4


@dataclass(frozen=True)
class CardContent:
    """What the user gives for the card of a model, and asks to be measured for it.

    Attributes:
        measured: accuracy, of what.
        base_model: Hub repository of the dense model it came from.
        license: identifier; `None` is that of the base model.
        pictures: files for the figure of kept patches.
        speed: measure images per second here.
    """

    measured: Measurements = field(default_factory=Measurements)
    base_model: str | None = None
    license: str | None = None
    pictures: tuple[Path, ...] = ()
    speed: bool = False


def say(text: str) -> None:
    """Print a line for people, apart from what the command prints."""
    print(text, file=sys.stderr)


def kept_figure(model: ReducedForImageClassification, processor: Any, files: Sequence[Path]) -> Image.Image:
    """Draw what the model sees of each image, then what it keeps after each decision, a row each.

    A warning names files that cannot be read.

    Raises:
        ValueError: none can be; a file is not there, or a folder has no images.
    """
    images = [image for _, image in read_all(find_files(files), MODES[model.config.num_channels])]
    views = Viewer(model, processor).look(images, batch_size=1)
    return contact_sheet([stage_images(view) for view in views])


def measure_speed(
    model: ReducedForImageClassification, batches: tuple[int, ...] = (1, 8)
) -> dict[int, tuple[float, float]]:
    """Measure images per second of the dense copy and of `model`, interleaved, on the model's device.

    Nothing for models without a dense copy (Evo-ViT with mean pooling).
    """
    if not model.reducer.reads_class_token:
        return {}
    dense, config = model.to_dense().eval(), model.config
    height, width = as_pair(config.image_size)
    speeds = {}
    for batch in batches:
        images = torch.rand(batch, config.num_channels, height, width, device=model.device, dtype=model.dtype)
        result = images_per_second({"dense": dense, "sparse": model}, images)
        speeds[batch] = (result["dense"], result["sparse"])
    return speeds


def check_upload(folder: Path, repo_id: str, given: CardContent) -> Checkpoint:
    """Read the checkpoint in `folder`; refuse what cannot be uploaded, or not there, before anything is loaded.

    Raises:
        ValueError: `folder` holds no sparse checkpoint with safetensors, or no image processor, or a card beside which
            something else is `given`; `repo_id` is no name.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}{beside(folder)}")
    checkpoint = read_checkpoint(folder)
    if not checkpoint.is_sparse:
        raise ValueError(f"{folder} holds a dense model ({checkpoint.config.model_type}); push uploads sparse ones.")
    if not list(folder.glob("*.safetensors")):
        raise ValueError(f"{folder} holds no weights: *.safetensors are needed.")
    if not (folder / "preprocessor_config.json").is_file():
        raise ValueError(
            f"{folder} holds no image processor; save the one of the dense checkpoint there: "
            "AutoImageProcessor.from_pretrained(DENSE).save_pretrained(FOLDER)."
        )
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"repo_id is {repo_id!r}; a name on the Hub is user/name.") from error
    if (folder / CARD).is_file() and given != CardContent():
        raise ValueError(f"{folder / CARD} is the card as it is; remove it, or give nothing to say in another.")
    return checkpoint


def measured_by_training(folder: Path, model: ReducedForImageClassification) -> Measurements:
    """Read what `train` measured of `model`; say why, and return nothing, where the model has changed since."""
    results = read_results(folder)
    if results is None:
        return Measurements()
    changed = change_since(results, folder, model)
    if changed is not None:
        say(
            f"{folder / RESULTS} is not of this model any more, as {changed}; the card goes without it. "
            "`hf-dynamicvit evaluate` measures what --top1 takes."
        )
        return Measurements()
    num_pictures, dataset = results.get("images"), results.get("dataset")
    taught, dense_copy = results.get("teacher_top1"), results.get("teacher_is_dense_copy")
    found = Measurements(
        top1=results["top1"],
        dense_top1=taught if dense_copy else None,
        teacher_top1=None if dense_copy else taught,
        num_pictures=num_pictures,
        dataset_name=Path(dataset).name or None if dataset else None,
        multiply_adds=round(results["gmacs"] * 1e9),
        multiply_adds_of="images of the evaluation" if model.config.is_adaptive else None,
        recipe=describe_results(results),
    )
    of = f" of {num_pictures} images" if num_pictures else ""
    say(f"The card has what training measured, from {folder / RESULTS}: top-1 {100 * results['top1']:.2f} %{of}.")
    return found


def describe_results(results: dict[str, Any]) -> str:
    """Tell in a sentence how it was trained, as far as `results` know."""
    facts = {"steps": "{:d} steps", "epochs": "{:g} epochs", "seed": "seed {:d}", "seconds": "{:.0f} s"}
    if "resumed_after_step" in results:  # the seconds are of the last process alone, the steps of all
        del facts["seconds"]
    known = [text.format(results[name]) for name, text in facts.items() if results.get(name) is not None]
    return f"By `hf-dynamicvit train` with `{results['reducer']}`: {', '.join(known)}."


def combine_measurements(typed: Measurements, trained: Measurements) -> Measurements:
    """Add to what the user typed what training measured; say where the two do not agree.

    Raises:
        ValueError: something is typed that only an accuracy could stand beside, and there is none.
    """
    another = typed.top1 is not None and trained.top1 is not None and abs(typed.top1 - trained.top1) > ROUNDED
    if another:
        say(f"The card has --top1 {typed.top1:g}, as typed, in place of the {trained.top1:.4f} of {RESULTS}.")
        accuracies = ("top1", "dense_top1", "teacher_top1", "num_pictures", "dataset_name")
        trained = replace(trained, **dict.fromkeys(accuracies))
    name = typed.dataset_name or typed.dataset
    if None not in (name, trained.dataset_name) and name != trained.dataset_name:
        say(f"The card names the data set {name}, as typed, in place of the {trained.dataset_name} of {RESULTS}.")
    overriding = {name: value for name, value in vars(typed).items() if value not in (None, {})}
    if name is not None:
        overriding["dataset_name"] = typed.dataset_name
    known = replace(trained, **overriding)
    alone = [name for name in OPTIONS if getattr(typed, name) is not None]
    if known.top1 is None and alone:
        option = OPTIONS[alone[0]]
        raise ValueError(f"{option} is {getattr(typed, alone[0])}, of an accuracy; type --top1 too.")
    return known


def collect_facts(folder: Path, model: ReducedForImageClassification, given: CardContent) -> Measurements:
    """Collect what the card says but for figure and speed; nothing where the folder has a card."""
    if (folder / CARD).is_file():
        return Measurements()
    return combine_measurements(given.measured, measured_by_training(folder, model))


def stage(
    checkpoint: Checkpoint, out: Path, model: ReducedForImageClassification, given: CardContent, code: bool
) -> None:
    """Write to `out` all that goes up but the card that is to be made.

    Raises:
        ValueError: an image for the figure cannot be read.
    """
    folder = Path(checkpoint.source)
    model.save_pretrained(out, with_remote_code=code)
    shutil.copy(folder / "preprocessor_config.json", out)
    if given.pictures:
        kept_figure(model, checkpoint.processor, given.pictures).save(out / FIGURE)
    if (folder / CARD).is_file():
        for name in (CARD, FIGURE):
            if (folder / name).is_file():
                shutil.copy(folder / name, out)


def write_card(
    out: Path,
    model: ReducedForImageClassification,
    repo_id: str,
    known: Measurements,
    given: CardContent,
    code: bool,
) -> None:
    """Make the card in `out` unless there is one, after measuring the speed where that is asked for."""
    if (out / CARD).is_file():
        return
    if given.speed:
        speeds = measure_speed(model)
        threads = torch.get_num_threads()
        device = f"a {platform.machine()} CPU, {threads} threads, torch {torch.__version__}" if speeds else None
        known = replace(known, images_per_second=speeds, device=device)
        if not speeds:
            say("The card has no speed, as this model has no dense copy to measure it beside.")
    if given.pictures:
        known = replace(known, figure=FIGURE)
    license = given.license or inherited_license(given.base_model)
    model_card(model, repo_id, known, given.base_model, license, remote_code=code).save(out / CARD)


def push(
    folder: Path,
    repo_id: str,
    given: CardContent,
    *,
    private: bool | None = None,
    token: str | None = None,
    code: bool = True,
) -> str:
    """Upload the checkpoint in `folder` with a card; returns the address of the commit.

    The folder is read, never written. A `README.md` in it is taken as the card, with nothing to add; else one is made
    of what is given, and of the `results.json` of `hf-dynamicvit train`. The Hub is asked who the user is ahead of all
    else, and for the repository ahead of measuring.

    Raises:
        ValueError: the folder holds no sparse checkpoint with safetensors, or no image processor; no name on the Hub.
        OSError: the upload failed; nothing was committed.
    """
    checkpoint = check_upload(folder, repo_id, given)
    api = HfApi(token=token)
    with hub_errors_in_words(repo_id):
        api.whoami()
    model = checkpoint.load_as_saved().eval()
    known = collect_facts(folder, model, given)
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        stage(checkpoint, out, model, given, code)
        with hub_errors_in_words(repo_id):
            repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        write_card(out, model, repo_id, known, given, code)
        return upload(out, repo_id, api)


def dry_run(
    folder: Path,
    repo_id: str,
    given: CardContent,
    *,
    output: Path | None = None,
    overwrite: bool = False,
    code: bool = True,
) -> tuple[str, list[str]]:
    """Make the card that `push` would upload and list the files, asking the Hub for nothing but a licence.

    The card and its figure are written to the folder `output`, if given.

    Raises:
        ValueError: as `push`, and as `folders.check_folder`.
    """
    if output is not None:
        check_folder(output, overwrite)
    checkpoint = check_upload(folder, repo_id, given)
    model = checkpoint.load_as_saved().eval()
    known = collect_facts(folder, model, given)
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        stage(checkpoint, out, model, given, code)
        write_card(out, model, repo_id, known, given, code)
        if output is not None:
            with whole_folder(output, overwrite) as written:
                for name in (CARD, FIGURE):
                    if (out / name).is_file():
                        shutil.copy(out / name, written)
        names = sorted(path.name for path in out.iterdir())
        goes_up = [name for name in names if any(fnmatch(name, pattern) for pattern in UPLOADED)]
        return (out / CARD).read_text(encoding="utf-8"), goes_up


def upload(folder: Path, repo_id: str, api: HfApi) -> str:
    """Commit `folder` to `repo_id`; returns the address of the commit.

    Raises:
        OSError: that failed; nothing was committed.
    """
    message = "Upload DynamicViT checkpoint"
    with hub_errors_in_words(repo_id):
        return api.upload_folder(
            repo_id=repo_id, folder_path=folder, allow_patterns=UPLOADED, commit_message=message
        ).commit_url
