# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Which functions may checkpoint the blocks, so that no gradient is cut off."""

from collections.abc import Callable
from functools import partial
from typing import Any

from .compat import checkpointing_function


def with_gradients(checkpointing: Callable[..., Any]) -> Callable[..., Any]:
    """Return the checkpointing function with `use_reentrant=False` if it does not say, as in Transformers.

    Torch's reentrant form knows tensors among the inputs and outputs only: what blocks hand on in `Tokens` would be
    cut off, and the gradients ahead of it silently wrong. So would they be if a block sampled anew.

    Raises:
        ValueError: it asks for one of the two.
    """
    asked = getattr(checkpointing, "keywords", {})
    reentrant = asked.get("use_reentrant")
    if reentrant not in (None, False):
        raise ValueError(
            f"gradient checkpointing with use_reentrant={reentrant!r} cuts what blocks hand on beside their output "
            "off from its gradient; leave it out, or use use_reentrant=False."
        )
    if not asked.get("preserve_rng_state", True):
        raise ValueError(
            f"gradient checkpointing with preserve_rng_state={asked['preserve_rng_state']!r} samples other decisions "
            "when a block is computed again; leave it out, or use preserve_rng_state=True."
        )
    return checkpointing if reentrant is False else partial(checkpointing, use_reentrant=False)


def check_checkpointing(model: Any) -> None:
    """Refuse what was enabled elsewhere: on a model that holds this one, or on the blocks themselves."""
    layers = [layer for layer in model.layers if getattr(layer, "gradient_checkpointing", False)]
    functions = [checkpointing_function(layer) for layer in layers]
    if model.training and any(with_gradients(function) is not function for function in functions):
        raise ValueError(
            "gradient checkpointing that does not say use_reentrant=False cuts what blocks hand on beside their "
            "output off from its gradient; enable it with use_reentrant=False."
        )
