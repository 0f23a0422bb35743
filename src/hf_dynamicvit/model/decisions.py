# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What a reduction is asked for, what it decided, and what it set aside."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Stage:
    """What the configuration asks of a reduction.

    Attributes:
        layer: 0-based index of the block at which tokens are reduced.
        index: position in `config.stage_layers`.
        keep_ratio: fraction of the original patches to keep, `None` where none is configured.
        count: patch tokens to keep; where each image decides, the most that it may.
    """

    layer: int
    index: int
    keep_ratio: float | None
    count: int


@dataclass(frozen=True)
class Decision:
    """One reduction decision, as losses, figures and tests read it.

    Attributes:
        layer: 0-based index of the block at which the decision was taken.
        keep_ratio: fraction of the original patches that the configuration asks for, `None` where each image decides.
        kept: `[B, num_patches]` bool over the original patch grid (row-major).
        owner: `[B, num_patches]` int64, the patch token that speaks for each original patch afterwards, -1 for none;
            undefined for patches that the attention mask excludes.
        mask: `[B, N]` float, the cumulative keep decision of each patch token with its gradient; only in the training
            of methods that mask.
        loss: scalar, a term of the training loss that the method computed while it decided (IdleViT's token cut).
        scores: `[B, num_patches]` float32, what the token that spoke for each patch scored, NaN where none did; at
            inference, where somebody asked and the method scored.
    """

    layer: int
    keep_ratio: float | None
    kept: Tensor
    owner: Tensor
    mask: Tensor | None = None
    loss: Tensor | None = None
    scores: Tensor | None = None


@dataclass(frozen=True)
class Waiting:
    """What `Tokens.split_off` sets aside until `Tokens.rejoin`.

    Attributes:
        hidden: `[B, P + N, D]`, every token as it was when some went on alone.
        attention_mask: `[B, P + N]` bool or `None`, as it was.
        index: `[B, K]` int64, positions among the N patch tokens of those that went on.
        place: `[B, N]` int64 or `None`, as it was.
        representative: `[B, 1, D]`, a token that went along for those that wait, as it was then, or `None`.
        valid: `[B, K]` bool, false where `index` is padding of images of which fewer than K went on, or `None`.
        blend: `[B, N]` float, 0 or 1 with a gradient: all went along, and those with 0 go back to what they were.
    """

    hidden: Tensor
    attention_mask: Tensor | None
    index: Tensor | None
    place: Tensor | None = None
    representative: Tensor | None = None
    valid: Tensor | None = None
    blend: Tensor | None = None
