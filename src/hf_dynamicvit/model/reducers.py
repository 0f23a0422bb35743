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


def register_reducer(name: str, reducer: type[TokenReducer]) -> None:
    """Add a method to the table, so that `reducer=name` takes it in configurations, training, tuning and commands.

    A package whose entry points have the group `hf_dynamicvit.reducers` need not call this: its methods are found.

    Args:
        name: as it stands in `config.json`; lower-case letters, digits and `_`.
        reducer: the class; its options are the arguments of its constructor after the configuration.

    Raises:
        ValueError: the name is another's or no such name, or the class is no `TokenReducer`.
    """
    if not (name.isidentifier() and name.isascii() and name == name.lower()):
        raise ValueError(f"the name of a method is {name!r}; it has lower-case letters, digits and _ only.")
    if not (isinstance(reducer, type) and issubclass(reducer, TokenReducer)):
        raise ValueError(f"the method {name} is {reducer!r}; it must be a class that derives from TokenReducer.")
    if REDUCERS.get(name, reducer) is not reducer:
        raise ValueError(f"there is a method {name} already, {REDUCERS[name].__qualname__}; choose another name.")
    REDUCERS[name] = reducer


def is_adaptive(name: str) -> bool:
    """Return whether each image decides how many patches it keeps; there is no `keep_ratio` then."""
    return issubclass(REDUCERS[name], AdaptiveReducer)
