# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Find out that a loss or a gradient is not finite, ahead of the step that would spoil the weights."""

import math
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.distributed.tensor import DTensor


def explain_not_finite(terms: dict[str, Tensor], accelerator: Accelerator) -> str | None:
    """Name the first of `terms` that is not finite on any process, the same on all; `None` where all are."""
    values = torch.stack([term.detach().float() for term in terms.values()])
    bad = accelerator.reduce((~values.isfinite()).int(), "sum")
    if not bad.any():
        return None
    name = list(terms)[int(bad.nonzero()[0])]
    here = terms[name].item()
    return f"loss term {name!r} is {here if not math.isfinite(here) else 'not finite on another process'}"


def explain_gradient_norm(grad_norm: Tensor | float) -> str | None:
    """Say that the norm of the gradient is not finite; `None` where it is."""
    norm = torch.as_tensor(grad_norm)
    norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
    return None if norm.isfinite() else f"all loss terms are finite, but the norm of their gradient is {norm.item()}"


def stop_error(step: int, reason: str, checkpoint: Path) -> FloatingPointError:
    """Return the error that ends a training in `step`, with `checkpoint` holding the weights before it."""
    return FloatingPointError(
        f"Training stopped in step {step}: {reason}. The last good weights are in {checkpoint}. A lower "
        "learning_rate, max_grad_norm=1.0, bf16 in place of fp16, or another seed may help."
    )
