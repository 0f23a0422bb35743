# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`hf-dynamicvit push`: a saved model, its processor, its code and its card to the Hub."""

import argparse
import platform
import shutil
import tempfile
from pathlib import Path

import torch
from huggingface_hub import HfApi
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

from .benchmark import images_per_second
from .model.cost import as_pair, grid_size
from .model.modeling_dynamicvit import DynamicViTForImageClassification
from .training.card import UPLOADED, Measurements, inherited_license, model_card
from .visualize import contact_sheet, stages_row


def kept_figure(model: DynamicViTForImageClassification, processor, files: list[Path]) -> Image.Image:
    """Each picture as the model sees it, then what it keeps after each decision, a row each.

    Raises:
        ValueError: a file is no picture.
    """
    rows = []
    for file in files:
        try:
            picture = Image.open(file).convert("RGB")
        except OSError as error:
            raise ValueError(f"{file} is not a picture: {error}") from error
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
        ValueError: the folder holds no sparse checkpoint with safetensors, or no image processor.
        OSError: the upload failed; nothing was committed.
    """
    if not list(folder.glob("*.safetensors")) or not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no checkpoint: config.json and *.safetensors are needed.")
    if not (folder / "preprocessor_config.json").is_file():
        raise ValueError(
            f"{folder} holds no image processor; save the one of the dense checkpoint there: "
            "AutoImageProcessor.from_pretrained(DENSE).save_pretrained(FOLDER)."
        )
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
        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        try:
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=out,
                allow_patterns=UPLOADED,
                commit_message="Upload DynamicViT checkpoint",
            )
        except RuntimeError as error:  # how the client says that a large file did not get through
            raise OSError(f"{error} {error.__cause__ or ''} Nothing was committed to {repo_id}.") from error
    return commit.commit_url


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="a saved DynamicViT model with its image processor")
    parser.add_argument("repo_id", help="user/name on the Hub; created if it is not there")
    parser.add_argument("--base-model", help="Hub repository of the dense model it came from")
    parser.add_argument("--license", help="identifier, such as apache-2.0 (default: the base model's)")
    parser.add_argument("--dataset", help="Hub name of the data set it was evaluated on")
    parser.add_argument("--dataset-name", help="the same as people say it")
    parser.add_argument("--top1", type=float, help="measured accuracy, 0 to 1")
    parser.add_argument("--dense-top1", type=float, help="that of the dense model")
    parser.add_argument("--pictures", type=Path, nargs="+", help="pictures for the figure of kept patches")
    parser.add_argument("--measure-speed", action="store_true", help="measure images/s beside the dense model, here")
    parser.add_argument("--private", action="store_true", default=None, help="create a private repository")
    parser.add_argument("--without-code", action="store_true", help="leave out what trust_remote_code=True would run")
    parser.add_argument("--token", help="default: the one of `hf auth login` or HF_TOKEN")


def main(args: argparse.Namespace) -> None:
    measured = Measurements(
        top1=args.top1, dense_top1=args.dense_top1, dataset=args.dataset, dataset_name=args.dataset_name
    )
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
    print(f"Pushed to {address}")
