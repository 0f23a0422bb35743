# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""An exponential moving average of the weights (EMA), kept beside the training."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import TrainerCallback

from ..model.legacy_keys import rename_legacy_keys
from ..model.logger import logger
from .adapters import is_adapted, load_adapters


# The folder beside a checkpoint's own files that holds the averaged model.
EMA_FOLDER = "ema"


class WeightAverage(TrainerCallback):
    """average <- decay * average + (1 - decay) * weights, after every step of the optimizer.

    Args:
        decay: published for DynamicViT 0.9999; the average then reaches back about 1 / (1 - decay) steps.
    """

    def __init__(self, decay: float):
        self.decay = decay
        self.update = get_ema_multi_avg_fn(decay)
        self.average: list[Tensor] = []
        self._start: Path | None = None

    def start_from(self, checkpoint: Path | None) -> None:
        """Let the next training go on from the average in `checkpoint`; from the weights themselves with `None`."""
        self._start = checkpoint

    def on_train_begin(self, args, state, control, *, model, **kwargs):
        self.average = [parameter.detach().clone() for parameter in learned_parameters(model)]
        if self._start is not None:
            self.load(model, self._start)
        if (1 - self.decay) * state.max_steps < 1:
            logger.warning(
                f"ema_decay is {self.decay}, which averages over {1 / (1 - self.decay):.0f} steps; this training has "
                f"only {state.max_steps}, so that the average stays close to the start."
            )

    def on_optimizer_step(self, args, state, control, *, model, **kwargs):
        with torch.no_grad():
            self.update(self.average, [parameter.detach() for parameter in learned_parameters(model)], 0)

    @contextmanager
    def in_place(self, model: torch.nn.Module) -> Generator[None]:
        """Put the averaged weights into the model for a while."""
        own = [parameter.detach().clone() for parameter in learned_parameters(model)]
        copy_into(model, self.average)
        try:
            yield
        finally:
            copy_into(model, own)

    def load(self, model: Any, checkpoint: Path) -> None:
        """Take up the average that `checkpoint` was saved with.

        Raises:
            ValueError: it was saved without one.
        """
        files = sorted((checkpoint / EMA_FOLDER).glob("*.safetensors"))
        if not files:
            raise ValueError(f"ema_decay is {self.decay}, but {checkpoint} was saved without an average.")
        if is_adapted(model):  # PEFT knows the names that it writes
            with self.in_place(model):
                load_adapters(model, checkpoint / EMA_FOLDER)
                self.average = [parameter.detach().clone() for parameter in learned_parameters(model)]
            return
        tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
        rename_legacy_keys(model.backbone, tensors, f"{model.base_model_prefix}.")
        names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        self.average = [place_like(tensors[name], mean) for name, mean in zip(names, self.average, strict=True)]


def learned_parameters(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return what the average is of; of a sharded model (FSDP2) the shards, also where a forward has gathered them."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@torch.no_grad()
def copy_into(model: torch.nn.Module, values: list[Tensor]) -> None:
    """Replace the learned parameters of `model` by `values`."""
    for parameter, value in zip(learned_parameters(model), values, strict=True):
        parameter.copy_(value)


def place_like(tensor: Tensor, other: Tensor) -> Tensor:
    """Move `tensor` to the device of `other`, and shard it as that is."""
    tensor = tensor.to(other.device, other.dtype)
    return distribute_tensor(tensor, other.device_mesh, other.placements) if isinstance(other, DTensor) else tensor
