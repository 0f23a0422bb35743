# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The base class of every token-reduction method: SCORE -> SELECT -> REST, in up to three places of a block."""

import inspect

from torch import Tensor, nn
from transformers.models.vit.configuration_vit import ViTConfig

from .selection import keep_count
from .tokens import Decision, Tokens


class TokenReducer(nn.Module):
    """A token-reduction method. A subclass overrides the hooks it needs; its options are its constructor arguments.

    A method is `reducer_<name>.py` with one subclass, and its row in `reducers.py`. Methods without parameters add no
    key to a checkpoint; parameters of the others live under `reducer.*`.
    """

    def __init__(self, config: ViTConfig):
        super().__init__()
        self.layers: list[int] = config.stage_layers
        self.keep_ratios: list[float] = config.stage_keep_ratios

    @classmethod
    def options(cls) -> list[str]:
        """Names that `config.reducer_args` may hold."""
        return [name for name in inspect.signature(cls.__init__).parameters if name not in ("self", "config")]

    @staticmethod
    def default_layers(depth: int) -> list[int]:
        """Where to reduce when `config.reducer_layers` is `None`: a quarter, half and three quarters of the depth."""
        return sorted({max(min(1, depth - 1), depth * stage // 4) for stage in (1, 2, 3)})

    @staticmethod
    def stage_keep_ratios(keep_ratio: float, num_stages: int) -> list[float]:
        """Fraction of the original patches after each stage when `config.keep_ratio` is one number: its powers."""
        return [keep_ratio ** (stage + 1) for stage in range(num_stages)]

    @property
    def decision_layers(self) -> list[int]:
        """The layer of each decision, in the order of `outputs.kept`."""
        return self.layers

    def before(self, tokens: Tokens, block: nn.Module, layer: int) -> Tokens:
        """Ahead of the attention of `block`."""
        return tokens

    def between(self, tokens: Tokens, trace, layer: int) -> Tokens:
        """Between attention and MLP; `trace` holds query, key and per-head context of this block's attention."""
        return tokens

    def after(self, tokens: Tokens, layer: int) -> Tokens:
        """Behind the MLP."""
        return tokens

    def losses(self, decisions: tuple[Decision, ...]) -> dict[str, Tensor]:
        """The method's own training losses by name, unweighted, from the decisions of a training forward."""
        return {}

    def token_counts(self, num_patches: int, depth: int) -> list[tuple[int, int]]:
        """Patch tokens in the attention and in the MLP of each of the `depth` blocks, at inference."""
        return [(num_patches, num_patches)] * depth

    def fixed_counts(self, num_patches: int, depth: int) -> list[tuple[int, int]]:
        """`token_counts` of a method that keeps `keep_count` patches from each of its layers on."""
        counts, current = [], num_patches
        for layer in range(depth):
            if layer in self.layers:
                current = keep_count(num_patches, self.keep_ratios[self.layers.index(layer)])
            counts.append((current, current))
        return counts

    def multiply_adds(self, num_patches: int, num_prefix: int) -> int:
        """Multiply-adds that the method itself adds for one image, at inference."""
        return 0
