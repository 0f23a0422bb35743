# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit push`: a saved model, its processor, its code and its card to the Hub."""

import argparse
import platform
import shutil
import tempfile
from pathlib import Path

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import HFValidationError, validate_repo_id
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from .benchmark import images_per_second
from .command_line import only_json, print_json
from .model.cost import as_pair, grid_size
from .model.modeling_dynamicvit import DynamicViTForImageClassification
from .model_source import beside, read_config
from .training.card import UPLOADED, Measurements, inherited_license, model_card
from .training.data import read_all
from .training.picture_sources import files_of
from .visualize import contact_sheet, stages_row


def kept_figure(model: DynamicViTForImageClassification, processor, files: list[Path]) -> Image.Image:
    """Each picture as the model sees it, then what it keeps after each decision, a row each.

    A warning names files that cannot be read.

    Raises:
        ValueError: none can be; a file is not there, or a folder has no pictures.
    """
    rows = []
    for _, picture in read_all(files_of(files), "RGB"):
        pixel_values = processor(picture, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            kept = model(pixel_values).kept[0]
        height, width = pixel_values.shape[-2:]
        grid = grid_size(model.config, (height, width))
        rows.append(stages_row(picture.resize((width, height)), kept.cpu(), grid))
    return contact_sheet(rows)


def measure_speed(
    model: DynamicViTForImageClassification, batches: tuple[int, ...] = (1, 8)
) -> dict[int, tuple[float, float]]:
    """Images per second of the dense copy and of `model`, interleaved, on the model's device; nothing for models
    without a dense copy (Evo-ViT with mean pooling)."""
    if not model.encoder.reducer.reads_class_token:
        return {}
    dense, config = model.to_dense().eval(), model.config
    height, width = as_pair(config.image_size)
    speeds = {}
    for batch in batches:
        images = torch.rand(batch, config.num_channels, height, width, device=model.device, dtype=model.dtype)
        result = images_per_second({"dense": dense, "sparse": model}, images)
        speeds[batch] = (result["dense"], result["sparse"])
    return speeds


def check_folder(folder: Path, repo_id: str) -> None:
    """Refuse what cannot be uploaded, or not there, before anything is loaded.

    Raises:
        ValueError: `folder` holds no checkpoint with safetensors or no image processor; `repo_id` is no name.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}{beside(folder)}")
    read_config(folder)
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


def push(
    folder: Path,
    repo_id: str,
    measured: Measurements,
    *,
    base_model: str | None = None,
    license: str | None = None,
    pictures: list[Path] | None = None,
    speed: bool = False,
    private: bool | None = None,
    token: str | None = None,
    code: bool = True,
) -> str:
    """Upload the checkpoint in `folder` with a card; returns the address of the commit.

    The folder is read, never written. A `README.md` in it is taken as the card, with nothing to add; else one is made
    of what is given.

    Raises:
        ValueError: the folder holds no sparse checkpoint with safetensors, or no image processor; no name on the Hub.
        OSError: the upload failed; nothing was committed.
    """
    check_folder(folder, repo_id)
    own_card = (folder / "README.md").is_file()
    if own_card and (measured != Measurements() or base_model or license or pictures or speed):
        raise ValueError(f"{folder / 'README.md'} is the card as it is; remove it, or give nothing to say in another.")
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    if not isinstance(model, DynamicViTForImageClassification):
        raise ValueError(f"{folder} holds a {type(model).__name__}; push uploads sparse models.")
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary)
        model.save_pretrained(out, with_remote_code=code)
        shutil.copy(folder / "preprocessor_config.json", out)
        changes: dict = {}
        if speed:
            changes["images_per_second"] = measure_speed(model)
            if changes["images_per_second"]:
                threads = torch.get_num_threads()
                changes["device"] = f"a {platform.machine()} CPU, {threads} threads, torch {torch.__version__}"
        if pictures:
            processor = AutoImageProcessor.from_pretrained(folder)
            kept_figure(model, processor, pictures).save(out / "kept.png")
            changes["figure"] = "kept.png"
        if own_card:
            for name in ("README.md", "kept.png"):
                if (folder / name).is_file():
                    shutil.copy(folder / name, out)
        else:
            known = Measurements(**(vars(measured) | changes))
            license = license or inherited_license(base_model)
            model_card(model, repo_id, known, base_model, license, remote_code=code).save(out / "README.md")
        return upload(out, repo_id, HfApi(token=token), private)


def upload(folder: Path, repo_id: str, api: HfApi, private: bool | None) -> str:
    """Commit `folder` to `repo_id`, created if it is not there; returns the address of the commit.

    Raises:
        OSError: that failed; nothing was committed.
    """
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        message = "Upload DynamicViT checkpoint"
        return api.upload_folder(
            repo_id=repo_id, folder_path=folder, allow_patterns=UPLOADED, commit_message=message
        ).commit_url
    except OSError:  # what the Hub answered
        raise
    except HTTPError as error:
        raise OSError(f"the Hub cannot be reached ({error}); nothing was committed to {repo_id}.") from error
    except RuntimeError as error:  # how the client says that a large file did not get through
        raise OSError(f"{error} {error.__cause__ or ''} Nothing was committed to {repo_id}.") from error


def main(args: argparse.Namespace) -> None:
    measured = Measurements(
        top1=args.top1, dense_top1=args.dense_top1, dataset=args.dataset, dataset_name=args.dataset_name
    )
    with only_json(args.json):
        address = push(
            args.folder,
            args.repo_id,
            measured,
            base_model=args.base_model,
            license=args.license,
            pictures=args.pictures,
            speed=args.measure_speed,
            private=args.private,
            token=args.token,
            code=not args.without_code,
        )
    if args.json:
        print_json({"repo_id": args.repo_id, "commit_url": address})
    else:
        print(f"Pushed to {address}")
