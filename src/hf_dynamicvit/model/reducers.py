# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The table of methods: `config.reducer` -> class."""

from .adaptive import AdaptiveReducer
from .reducer import TokenReducer
from .reducer_algm import ALGMReducer
from .reducer_asvit import ASViTReducer
from .reducer_atc import ATCReducer
from .reducer_ats import ATSReducer
from .reducer_bat import BATReducer
from .reducer_diffrate import DiffRateReducer
from .reducer_dtem import DTEMReducer
from .reducer_dynamicvit import DynamicViTReducer
from .reducer_evit import EViTReducer
from .reducer_evovit import EvoViTReducer
from .reducer_freq import FreqReducer
from .reducer_idlevit import IdleViTReducer
from .reducer_mctf import MCTFReducer
from .reducer_mstm import MSTMReducer
from .reducer_pitome import PiToMeReducer
from .reducer_random import RandomReducer
from .reducer_svit import SViTReducer
from .reducer_tome import ToMeReducer
from .reducer_topk import TopKReducer
from .reducer_tosa import ToSAReducer
from .reducer_tps import TPSReducer


REDUCERS: dict[str, type[TokenReducer]] = {
    "algm": ALGMReducer,
    "asvit": ASViTReducer,
    "atc": ATCReducer,
    "ats": ATSReducer,
    "bat": BATReducer,
    "diffrate": DiffRateReducer,
    "dtem": DTEMReducer,
    "dynamicvit": DynamicViTReducer,
    "evit": EViTReducer,
    "evovit": EvoViTReducer,
    "freq": FreqReducer,
    "idlevit": IdleViTReducer,
    "mctf": MCTFReducer,
    "mstm": MSTMReducer,
    "pitome": PiToMeReducer,
    "random": RandomReducer,
    "svit": SViTReducer,
    "tome": ToMeReducer,
    "topk": TopKReducer,
    "tosa": ToSAReducer,
    "tps": TPSReducer,
}


def is_adaptive(name: str) -> bool:
    """Return whether each image decides how many patches it keeps; there is no `keep_ratio` then."""
    return issubclass(REDUCERS[name], AdaptiveReducer)
