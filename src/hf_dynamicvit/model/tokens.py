# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The value that travels through the encoder loop: the live tokens of a batch and what was decided about them."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Decision:
    """One reduction decision, as losses, figures and tests read it.

    Attributes:
        layer: 0-based index of the block at which the decision was taken.
        keep_ratio: fraction of the original patches that the configuration asks for.
        kept: `[B, num_patches]` bool over the original patch grid (row-major).
        owner: `[B, num_patches]` int64, the patch token that speaks for each original patch afterwards, -1 for none.
        mask: `[B, N]` float, the cumulative keep decision of each patch token with its gradient; only in the training
            of methods that mask.
    """

    layer: int
    keep_ratio: float
    kept: Tensor
    owner: Tensor
    mask: Tensor | None = None


@dataclass(frozen=True)
class Tokens:
    """The live tokens of a batch. Every step takes one and returns a new one.

    Attributes:
        hidden: `[B, P + N, D]`, the P prefix tokens (class, distillation, registers) first; they are never reduced.
        num_prefix: P.
        owner: `[B, num_patches]` int64, the index among the N patch tokens of the one that speaks for each original
            patch, -1 where none does.
        attention_mask: `[B, P + N]` bool, the user's mask (`True` = attend), or `None` when the user gave none.
        mask: `[B, N]` float32 cumulative keep decisions with their gradient, training only, `None` before the first.
        decisions: one record per decision taken so far.
    """

    hidden: Tensor
    num_prefix: int
    owner: Tensor
    attention_mask: Tensor | None = None
    mask: Tensor | None = None
    decisions: tuple[Decision, ...] = ()

    @classmethod
    def start(cls, hidden: Tensor, num_prefix: int, attention_mask: Tensor | None = None) -> "Tokens":
        """All tokens alive: `hidden` `[B, P + num_patches, D]`, `attention_mask` `[B, P + num_patches]` or `None`."""
        batch, length = hidden.shape[:2]
        owner = torch.arange(length - num_prefix, device=hidden.device).expand(batch, -1)
        return cls(hidden, num_prefix, owner, attention_mask)

    @property
    def patches(self) -> Tensor:
        """`[B, N, D]`, the patch tokens without the prefix."""
        return self.hidden[:, self.num_prefix :]

    @property
    def num_patches(self) -> int:
        """Patches of the original grid, whatever is left of them."""
        return self.owner.shape[1]

    @property
    def attended(self) -> Tensor | None:
        """`[B, N]` bool, the user's attention mask over the patch tokens, or `None`."""
        return None if self.attention_mask is None else self.attention_mask[:, self.num_prefix :]

    def gather(self, index: Tensor) -> "Tokens":
        """Keep only the patch tokens at `index` `[B, K]` (positions among the N), in that order; the prefix stays."""
        batch, count = index.shape
        prefix = torch.arange(self.num_prefix, device=index.device).expand(batch, -1)
        positions = torch.cat((prefix, index + self.num_prefix), dim=1)  # [B, P + K]
        hidden = self.hidden.gather(1, positions[..., None].expand(-1, -1, self.hidden.shape[-1]))
        attention_mask = None if self.attention_mask is None else self.attention_mask.gather(1, positions)
        # `moved` has one column more than there are tokens: patches without an owner (-1) read that last one.
        moved = index.new_full((batch, self.patches.shape[1] + 1), -1)
        moved = moved.scatter(1, index, torch.arange(count, device=index.device).expand(batch, -1))
        owner = moved.gather(1, self.owner.where(self.owner >= 0, moved.shape[1] - 1))
        return replace(self, hidden=hidden, attention_mask=attention_mask, owner=owner)

    def drop(self, index: Tensor, layer: int, keep_ratio: float, fused: Tensor | None = None) -> "Tokens":
        """Really drop every patch token that is not in `index` `[B, K]`, and record the decision.

        `fused` `[B, 1, D]`, if given, joins as the last token and speaks for all that was dropped.
        """
        # Keeping everything must cost nothing and change nothing, not even the order.
        tokens = self if index.shape[1] == self.patches.shape[1] else self.gather(index)
        kept = tokens.owner >= 0
        if tokens.attended is not None:  # what the user's mask excludes takes part in nothing
            kept = kept & tokens.attended.gather(1, tokens.owner.clamp(min=0))
        if self.decisions:  # a patch that is gone stays gone, also where a fused token speaks for it
            kept = kept & self.decisions[-1].kept
        if fused is not None:
            tokens = tokens.append(fused, (self.owner >= 0) & (tokens.owner < 0))
        decision = Decision(layer, keep_ratio, kept, tokens.owner)
        return replace(tokens, decisions=(*self.decisions, decision))

    def append(self, token: Tensor, patches: Tensor) -> "Tokens":
        """Add `token` `[B, 1, D]` as the last one; it speaks for the original `patches` `[B, num_patches]` bool."""
        owner = self.owner.masked_fill(patches, self.patches.shape[1])
        attention_mask = self.attention_mask
        if attention_mask is not None:
            attention_mask = torch.cat((attention_mask, attention_mask.new_ones(len(token), 1)), dim=1)
        return replace(self, hidden=torch.cat((self.hidden, token), 1), owner=owner, attention_mask=attention_mask)

    def mask_out(self, keep: Tensor, layer: int, keep_ratio: float) -> "Tokens":
        """Cut the patch tokens with `keep` 0 off from the others' attention and record the decision (training).

        `keep` is `[B, N]` float, 0 or 1 with a gradient. Decisions are cumulative: a dropped token never returns, and
        the gradient reaches the earlier decisions too (DynamicViT, section 3.2).
        """
        previous = self.mask if self.mask is not None or self.attended is None else self.attended.to(keep.dtype)
        mask = keep if previous is None else keep * previous
        kept = mask.detach().gather(1, self.owner) > 0.5
        decision = Decision(layer, keep_ratio, kept, self.owner, mask)
        return replace(self, mask=mask, decisions=(*self.decisions, decision))
