# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Second copies of weights in layouts that run faster at inference; the parameters themselves stay as they are."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor  # what torch.export traces with


def is_plain(layer: nn.Module) -> bool:
    """Whether `layer` is a linear layer that computes what its weight says.

    One that is quantised, adapted, offloaded, observed or given its weight by a hook must be called.
    """
    if type(layer) is not nn.Linear or type(layer.weight) not in (Tensor, nn.Parameter, FakeTensor):
        return False
    return not (layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer))


def can_copy(*layers: nn.Module) -> bool:
    """Whether all `layers` are plain and torch counts what is written to their weights."""
    return all(is_plain(layer) and not cast(nn.Linear, layer).weight.is_inference() for layer in layers)


def can_pack(weight: Tensor) -> bool:
    """Whether oneDNN has a blocked layout for `weight`: on the CPU, in float32 or bfloat16."""
    has_operators = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return has_operators and weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16)


class RelaidWeight:
    """The weights of plain linear layers of one input, below each other, in another layout.

    Args:
        layers: one or several.
        packed: in oneDNN's blocked layout (`can_pack`), else as usual.
    """

    def __init__(self, layers: Sequence[nn.Linear], packed: bool):
        self.packed = packed
        self.parameters = parameters_of(layers)
        self.versions = versions_of(self.parameters)
        with torch.no_grad():
            weight = torch.cat([layer.weight for layer in layers])
            self.bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
            self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, None) if packed else weight

    def allowed(self, hidden: Tensor) -> bool:
        """Not with gradients, autocast or a compiler."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return False
        return not torch.is_autocast_enabled(hidden.device.type)

    def stands_for(self, layers: Sequence[nn.Module]) -> bool:
        """Whether it is still a copy of `layers`: none, nor its weight, was exchanged or written to."""
        if not all(map(is_plain, layers)):
            return False
        same = all(ours is theirs for ours, theirs in zip(self.parameters, parameters_of(layers), strict=True))
        return same and self.versions == versions_of(self.parameters)

    def __call__(self, hidden: Tensor, gelu: bool = False) -> Tensor:
        """The layers' outputs side by side, `[..., D]`; through the exact GELU, if asked and packed."""
        if not self.packed:
            return nn.functional.linear(hidden, self.weight, self.bias)
        activation = ("gelu", [], "none") if gelu else ("none", [], "")
        return torch.ops.mkldnn._linear_pointwise(hidden, self.weight, self.bias, *activation)


def parameters_of(layers: Sequence[Any]) -> list[Tensor | None]:
    """Weight and bias of each."""
    return [parameter for layer in layers for parameter in (layer.weight, layer.bias)]


def versions_of(parameters: Sequence[Tensor | None]) -> list[tuple[int, int]]:
    """How often each was written to, as far as torch counts, and where it is."""
    return [(0, 0) if each is None else (each._version, each.data_ptr()) for each in parameters]


class Relaid(nn.Module):
    """A module that may have relaid copies of its linear layers' weights; moving or copying it drops them."""

    relaid: dict[str, RelaidWeight] = {}

    def copy_of(self, name: str, hidden: Tensor, *layers: nn.Module) -> RelaidWeight | None:
        """The copy called `name` where it may stand for `layers`, or `None`."""
        relaid = self.relaid.get(name)
        if relaid is None or not relaid.allowed(hidden):
            return None
        if not relaid.stands_for(layers):  # and never again
            self.relaid = {}
            return None
        return relaid

    def _apply(self, fn, recurse: bool = True):
        self.relaid = {}
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "relaid"}


class DynamicMLP(Relaid):
    """Two linear layers and an activation; with packed weights the first layer computes the GELU too."""

    config: Any
    fc1: Any
    fc2: Any

    def relay(self) -> None:
        """Make packed copies, if both layers are plain ones and the activation is the exact GELU."""
        layers = [self.fc1, self.fc2]
        if can_copy(*layers) and can_pack(self.fc1.weight) and self.config.hidden_act == "gelu":
            self.relaid = {"fc1": RelaidWeight(layers[:1], True), "fc2": RelaidWeight(layers[1:], True)}

    def forward(self, hidden_states: Tensor) -> Tensor:
        native: Any = super()
        first = self.copy_of("fc1", hidden_states, self.fc1)
        second = self.copy_of("fc2", hidden_states, self.fc2)
        if first is None or second is None:
            return native.forward(hidden_states)
        return second(first(hidden_states, gelu=True))
