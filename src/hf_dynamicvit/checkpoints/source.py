# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Read the configuration and image processor of what a user typed for a model, or say what to type instead."""

import copy
import re
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open
from transformers import CONFIG_MAPPING, AutoConfig, AutoImageProcessor, PreTrainedConfig
from transformers.utils import IMAGE_PROCESSOR_NAME

from ..names import suggest_nearest
from .timm import is_timm


# What can be a name on the Hub: `name` or `user/name`.
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")

WANTED = "a model is the folder of a saved one, with config.json, or a name on the Hub"


def read_config(source: str | Path) -> Any:
    """Read the configuration of the checkpoint in the folder or Hub repository `source`, or in that `.json`.

    Raises:
        ValueError: there is none, it is of timm, or its weights are damaged, in one line that says what to type.
    """
    config = make_config(source, read_content(source))
    check_weights_are_whole(source)
    return config


def read_content(source: str | Path) -> dict[str, Any]:
    """Read what is written in the `config.json` of `source`, as `read_config` finds it.

    Raises:
        ValueError: there is none, or it is of timm.
    """
    check_place(source)
    try:
        content = PreTrainedConfig.get_config_dict(source)[0]
    except OSError as error:
        reason = str(error).splitlines()[0].removesuffix(".")
        if Path(source).exists():
            raise ValueError(f"the configuration of {source} cannot be read: {reason}.") from error
        raise ValueError(f"there is no folder {source}, and on the Hub: {reason}{beside(Path(source))}") from error
    check_library(str(source), content)
    return content


def make_config(source: str | Path, content: dict[str, Any]) -> Any:
    """Make the configuration of `source` that `content` describes, of the class for its model type.

    Raises:
        ValueError: there is no such model type, or a value is not allowed.
    """
    model_type = content.get("model_type", "")
    if model_type in CONFIG_MAPPING:
        return CONFIG_MAPPING[model_type].from_dict(copy.deepcopy(content), name_or_path=str(source))
    return AutoConfig.from_pretrained(source)  # refuses it, in words for what is missing


def check_place(source: str | Path) -> None:
    """Refuse what is neither a folder with a checkpoint, nor a `.json`, nor a name on the Hub.

    Raises:
        ValueError: says what it is, and what to type.
    """
    path = Path(source)
    if path.is_dir() and not (path / "config.json").is_file():
        raise ValueError(f"the folder {path} is no checkpoint, as it has no config.json{those_within(path)}")
    if path.is_file() and path.suffix != ".json":
        weights = path.suffix in (".ckpt", ".pth", ".pt", ".tar", ".safetensors")
        other = "; `hf-dynamicvit convert` reads a file of timm-style weights" if weights else ""
        raise ValueError(f"{source} is a file; {WANTED}{other}.")
    if not path.exists() and not HUB_NAME.fullmatch(str(source)):
        raise ValueError(f"there is no folder {source}{beside(path, f'; {WANTED}.')}")


def check_weights_are_whole(source: str | Path) -> None:
    """Refuse a folder with a damaged file of weights.

    Raises:
        ValueError: names the file.
    """
    for file in Path(source).glob("*.safetensors"):
        check_whole(file)


def check_library(source: str, config: dict[str, Any]) -> None:
    """Refuse the checkpoint `source`, which has that `config.json`, if it is one of timm.

    Raises:
        ValueError: it is; how to convert it.
    """
    if not is_timm(config):
        return
    path = Path(source)
    folder = path.parent if path.is_file() else path
    if path.exists():
        raise ValueError(f"{source} is a checkpoint of timm; convert it: hf-dynamicvit convert {folder} --output NEW.")
    raise ValueError(
        f"{source} is a checkpoint of timm; download and convert it: hf download {source} --local-dir FOLDER; "
        "hf-dynamicvit convert FOLDER --output NEW."
    )


def check_whole(file: Path) -> None:
    """Refuse a file that is not the `.safetensors` that its header describes.

    Raises:
        ValueError: names it.
    """
    try:
        with safe_open(file, "pt"):
            pass
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged ({error}); save or download it again.") from error


def those_within(folder: Path) -> str:
    found = sorted(str(file.parent) for file in folder.glob("*/config.json"))
    return f"; type one of those in it: {', '.join(found)}." if found else f"; {WANTED}."


def beside(path: Path, otherwise: str = ".") -> str:
    """Name the folder that `path` may have meant, as the end of a sentence."""
    if not path.parent.is_dir():
        return otherwise
    return suggest_nearest(str(path), [str(found) for found in path.parent.iterdir() if found.is_dir()], otherwise)


def find_processor(source: str | Path, config: Any | None = None) -> Any | None:
    """Load the image processor of the checkpoint `source`, of configuration `config`; return `None` where it has none.

    Raises:
        ValueError: its file cannot be read, or the Hub cannot be asked whether there is one.
    """
    try:
        return AutoImageProcessor.from_pretrained(source, config=config)  # which it else reads, where needed
    except OSError as error:
        if not has_processor_file(source):
            return None
        reason = str(error).splitlines()[0].removesuffix(".")
        raise ValueError(f"the image processor of {source} cannot be read: {reason}.") from error


def has_processor_file(source: str | Path) -> bool:
    """Return whether the folder or Hub repository `source` has the file of an image processor.

    Raises:
        ValueError: the Hub cannot be reached, and the file is not on this disk: nobody knows.
    """
    if Path(source).exists():
        return Path(source, IMAGE_PROCESSOR_NAME).is_file()
    try:
        hf_hub_download(str(source), IMAGE_PROCESSOR_NAME)
    except LocalEntryNotFoundError as error:
        raise ValueError(
            f"{IMAGE_PROCESSOR_NAME} of {source} is not on this disk, and the Hub cannot be reached to ask for it."
        ) from error
    except EntryNotFoundError:
        return False
    return True


def read_processor(source: str | Path, config: Any | None = None) -> Any:
    """Load the image processor of the checkpoint `source`, of configuration `config`.

    Raises:
        ValueError: it has none; images prepared by a guess would give wrong numbers.
    """
    processor = find_processor(source, config)
    if processor is None:
        raise ValueError(
            f"{source} has no image processor, such as {IMAGE_PROCESSOR_NAME}, so that nobody knows how it takes "
            "images; save the one of the dense checkpoint there: "
            "AutoImageProcessor.from_pretrained(DENSE).save_pretrained(FOLDER)."
        )
    return processor
