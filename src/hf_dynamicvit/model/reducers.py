# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The table of methods: `config.reducer` -> class."""

from .reducer import TokenReducer
from .reducer_dynamicvit import DynamicViTReducer
from .reducer_evit import EViTReducer
from .reducer_random import RandomReducer
from .reducer_topk import TopKReducer


REDUCERS: dict[str, type[TokenReducer]] = {
    "dynamicvit": DynamicViTReducer,
    "evit": EViTReducer,
    "random": RandomReducer,
    "topk": TopKReducer,
}
