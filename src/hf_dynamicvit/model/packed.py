# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Linear layers that compute from a copy of their weight in oneDNN's blocked layout, faster at inference on a CPU.

They take the place of plain ones (`exchange`), under the same names and with the same parameters.
"""

from collections.abc import Generator, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from .compat import FakeTensor, has_hooks, has_packed_linear, pack_linear, packed_linear, times_written


def is_plain(layer: nn.Module) -> bool:
    """Return whether `layer` is a linear layer that computes what its weight says.

    One that is quantised, adapted, offloaded, observed or given its weight by a hook must be called.
    """
    if not isinstance(layer, PackedLinear) and type(layer) is not nn.Linear:
        return False
    if type(layer.weight) not in (Tensor, nn.Parameter, FakeTensor):
        return False
    return not (has_hooks(layer) or "forward" in vars(layer))


def can_pack(layer: nn.Module) -> bool:
    """Return whether `layer` is a plain `nn.Linear` on the CPU, in a dtype for which oneDNN has a blocked layout."""
    if type(layer) is not nn.Linear or not is_plain(layer):
        return False
    weight = layer.weight
    counts_writes = not weight.is_inference()
    known = weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16)
    return has_packed_linear() and counts_writes and known


class PackedLinear(nn.Module):
    """Stand in for a plain linear layer: its parameters under their names, and a packed copy that computes.

    The parameters compute with gradients, under autocast, in a compiled or exported graph, and from the time that the
    weight is written to, moved or exchanged. Torch counts what is written to a weight, except through its `.data`.

    Not an `nn.Linear`: what adapts or quantises those, as PEFT does, refuses it, rather than write to a weight that is
    not read.

    Args:
        linear: the layer, which `original` gives back.
    """

    packed: Tensor | None = None

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self._original = (linear,)  # in a tuple, so that it is no submodule
        self.packed = pack_linear(linear.weight)
        self._packed_from = self.written()
        self.train(linear.training)

    def original(self) -> nn.Linear:
        """Return the layer whose place this one took, with the parameters of now."""
        (linear,) = self._original
        linear.weight, linear.bias = self.weight, self.bias
        return linear

    def written(self) -> tuple[int, int, int]:
        """Which tensor the weight is, how often it was written to as far as torch counts, and where it lies."""
        return id(self.weight), times_written(self.weight), self.weight.data_ptr()

    def uses_copy(self, hidden: Tensor) -> bool:
        """Return whether the packed copy computes for `hidden`, rather than the parameters."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return False
        if self.packed is None or torch.is_autocast_enabled(hidden.device.type):
            return False
        return self._packed_from == self.written()

    def forward(self, hidden: Tensor, gelu: bool = False) -> Tensor:
        """`[..., in]` -> `[..., out]`; through the exact GELU, in the same product, if `gelu`."""
        if self.uses_copy(hidden):
            return packed_linear(hidden, cast(Tensor, self.packed), self.bias, gelu)
        output = nn.functional.linear(hidden, self.weight, self.bias)
        return nn.functional.gelu(output) if gelu else output

    def _apply(self, fn, recurse: bool = True):
        self.packed = None
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the copy out: one of the layer computes from its own parameters."""
        return {name: value for name, value in self.__dict__.items() if name != "packed"}

    def extra_repr(self) -> str:
        return "made by optimize_for_inference; undo_optimize_for_inference() of the model gives nn.Linear back"


def fuses_gelu(layer: nn.Module) -> bool:
    """Return whether `layer(hidden, gelu=True)` is possible, and nobody wants to see what is ahead of the GELU."""
    return isinstance(layer, PackedLinear) and not has_hooks(layer)


def linear_gelu(layer: nn.Module, hidden: Tensor) -> Tensor:
    """`layer` and the exact GELU behind it."""
    return layer(hidden, gelu=True) if fuses_gelu(layer) else nn.functional.gelu(layer(hidden))


class DynamicMLP(nn.Module):
    """Two linear layers and an activation; where the first is packed, it computes the GELU too."""

    config: Any
    fc1: Any
    fc2: Any

    def forward(self, hidden_states: Tensor) -> Tensor:
        if self.config.hidden_act == "gelu" and fuses_gelu(self.fc1):
            return self.fc2(self.fc1(hidden_states, gelu=True))
        return super().forward(hidden_states)


class Place(NamedTuple):
    """Where a layer is: `getattr(parent, name)`."""

    parent: nn.Module
    name: str


def layers_in(model: nn.Module, holders: tuple[type, ...]) -> Generator[tuple[Place, nn.Module]]:
    """Each layer that a module of the classes `holders` holds, itself or in a sequence, and its place.

    Not those within an adapted layer, which would be written to when it is merged.
    """
    for holder in model.modules():
        if isinstance(holder, holders):
            sequences = [child for child in holder.children() if type(child) is nn.Sequential]
            for parent in (holder, *sequences):
                for name, layer in parent.named_children():
                    yield Place(parent, name), layer


def exchange(layers: Mapping[Place, nn.Module]) -> None:
    """Put each layer in its place."""
    for place, layer in layers.items():
        setattr(place.parent, place.name, layer)
