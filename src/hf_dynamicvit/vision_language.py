# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Vision-language models that read fewer image tokens: which can, how many there are, and their processors."""

from typing import Any, NamedTuple

from torch import nn

from .model.cost import grid_size
from .registration import ENCODERS


class Reader(NamedTuple):
    """How a model around an image tower reads it.

    Attributes:
        layer: field of its configuration with the hidden state that it reads, `None` where it reads the last.
        crop: field that says whether it leaves out the first token, `"default"`, or `None` where it never does.
    """

    layer: str | None = None
    crop: str | None = None


# class of the model around the tower -> how it reads it: any number of tokens, in a row
READERS = {"LlavaModel": Reader("vision_feature_layer", "vision_feature_select_strategy"), "PaliGemmaModel": Reader()}

FOLDS = "it folds squares of the grid into one token each, so that every patch must be there"
TILES = "it lays the patches of an image out on their grid"
# the same -> why it cannot read fewer
WHOLE_GRID = {
    "Idefics2Model": "it resamples the tokens into a fixed number by itself",
    "Idefics3Model": FOLDS,
    "SmolVLMModel": FOLDS,
    "InternVLModel": FOLDS,
    "Gemma3Model": "it averages squares of the grid",
    "LlavaNextModel": TILES,
    "LlavaNextVideoModel": TILES,
    "LlavaOnevisionModel": TILES,
    "VipLlavaModel": "it reads several blocks side by side, which have different numbers of tokens",
}


def check_drop(hosts: list[Any], config: Any) -> None:
    """Refuse to hand fewer image tokens to what cannot read them.

    Args:
        hosts: models around the tower, the outermost first.
        config: of the tower, reduced.

    Raises:
        ValueError: says why.
    """
    names = [type(host).__name__ for host in hosts]
    known = [host for host in hosts if type(host).__name__ in READERS]
    whole = next((name for name in names if name in WHOLE_GRID), None)
    if whole is not None:
        raise ValueError(
            f"drop is True; a {whole} cannot read fewer image tokens: {WHOLE_GRID[whole]}. Leave drop out."
        )
    if not known:
        around = f"a {names[-1]} is not one" if names else "here is none around the tower"
        raise ValueError(
            f"drop is True, which is for models that hand image tokens to a language model in a row, {around}. "
            f"There are {', '.join(READERS)}."
        )
    if isinstance(getattr(known[-1].config, "vision_feature_layer", None), list):
        raise ValueError(
            "drop is True; vision_feature_layer lists several blocks, which have different numbers of tokens."
        )
    if config.is_adaptive:
        raise ValueError(f"drop is True; with reducer {config.reducer!r} images keep different numbers of tokens.")
    if config.reducer_without_memory().rest == "idle":
        raise ValueError(
            f"drop is True; reducer {config.reducer!r} brings every token back, and none would be dropped."
        )


def find_reader(model: nn.Module) -> Any:
    """Return the model around an image tower that hands its tokens to a language model in a row.

    Raises:
        ValueError: there is none in `model`.
    """
    found = next((each for each in model.modules() if type(each).__name__ in READERS), None)
    if found is None:
        raise ValueError(f"{type(model).__name__} holds none of {', '.join(READERS)}.")
    return found


def count_image_tokens(model: nn.Module) -> int:
    """Count the tokens that the language model reads for an image of the tower's size, as `model` is set now.

    Raises:
        ValueError: as `find_reader`.
    """
    host = find_reader(model)
    reader, tower = READERS[type(host).__name__], host.vision_tower
    config, depth = tower.config, tower.config.num_hidden_layers
    down, across = grid_size(config)
    patches, last = down * across, depth if reader.layer is None else getattr(host.config, reader.layer)
    behind = range(depth + 1)[last]  # so many blocks
    if hasattr(tower, "reducer") and not config.full_grid and tower.reducer.rest != "idle" and behind:
        patches = tower.reducer.token_counts(down * across, depth)[behind - 1][1]
    prefix = ENCODERS[config.model_type].config_class.num_prefix.fget(config)
    cropped = reader.crop is not None and getattr(host.config, reader.crop) == "default"
    return patches + prefix - cropped


def fit_processor(processor: Any, model: nn.Module) -> Any:
    """Let `processor` write as many placeholders for an image as `model` has image tokens now; return it.

    Call it after `reduce_tokens(model, drop=True)`, and again when that or how much is kept has changed.

    Args:
        processor: of a LLaVA or a PaliGemma, or one that works as theirs.
        model: the vision-language model.

    Raises:
        ValueError: the number of placeholders of `processor` cannot be set, or as `find_reader`.
    """
    host, count = find_reader(model), count_image_tokens(model)
    if hasattr(processor, "image_seq_length") and hasattr(processor, "image_processor"):
        processor.image_seq_length = processor.image_processor.image_seq_length = count  # which is saved
    elif hasattr(processor, "num_additional_image_tokens"):
        down, across = grid_size(host.vision_tower.config)
        cropped = processor.vision_feature_select_strategy == "default"
        processor.num_additional_image_tokens = count - down * across + cropped
    else:
        raise ValueError(f"{type(processor).__name__} has no number of image tokens that can be set.")
    return processor
