# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Configuration of DynamicViT: a ViT configuration plus where, how and how much tokens are reduced."""

from huggingface_hub.dataclasses import strict
from transformers.models.vit.configuration_vit import ViTConfig

from .reduction_config import ReductionConfig


@strict
class DynamicViTConfig(ReductionConfig, ViTConfig):
    """A `ViTConfig` plus a token reducer.

    Args:
        reducer: name of the method, a key of `REDUCERS`.
        schedule: in which blocks tokens are reduced and along which curve, a name in `SCHEDULES`; `None` becomes the
            method's own, `"three-stage"` for most.
        reducer_layers: 0-based blocks before (or in) which tokens are reduced, strictly increasing. `None` leaves
            them to the schedule, `[3, 6, 9]` of 12 for `"three-stage"`, and stays `None` in `config.json`.
        keep_ratio: how many patches are kept. A number r means r, r^2, r^3, ... after the successive stages, as in the
            DynamicViT paper, with schedule `"three-stage"`, and what is left at the end with those of every block
            (see `SCHEDULES`). A list gives each stage's fraction of the *original* patches, in (0, 1], or its number
            of patches for images of `image_size`, integers of which one is above 1; other sizes keep the same
            fractions. Not increasing. `None` becomes the method's own default, 0.7 for most, and stays `None` for
            AS-ViT, where each image decides. `model.set_keep_ratio` and `set_schedule` change it on a model.
        reducer_args: the method's own options, the keyword arguments of its class.
        drop_path_rate: stochastic depth, training only: the chance that the last block's attention or MLP is skipped
            for an image, from 0 at the first block on. In [0, 1).
        full_grid: a base model hands out every patch in `last_hidden_state` and `hidden_states`, whatever became of
            its token, for what reads all of them. Other models are as without.
        **kwargs: every field of `ViTConfig`.

    Raises:
        ValueError: a value is out of its range; the message names it and what is allowed.
        StrictDataclassFieldValidationError: a value has another type, as in every configuration of Transformers.
    """

    model_type = "dynamicvit"
    dense_model_type = "vit"
