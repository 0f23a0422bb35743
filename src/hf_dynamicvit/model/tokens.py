# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The value that travels through the encoder loop: the live tokens of a batch and what was decided about them."""

from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor


@dataclass(frozen=True)
class Decision:
    """One reduction decision, as losses, figures and tests read it.

    Attributes:
        layer: 0-based index of the block at which the decision was taken.
        keep_ratio: fraction of the original patches that the configuration asks for, `None` where each image decides.
        kept: `[B, num_patches]` bool over the original patch grid (row-major).
        owner: `[B, num_patches]` int64, the patch token that speaks for each original patch afterwards, -1 for none;
            of no meaning for patches that a user's mask excludes.
        mask: `[B, N]` float, the cumulative keep decision of each patch token with its gradient; only in the training
            of methods that mask.
        loss: scalar, a term of the training loss that the method computed while it decided (IdleViT's token cut).
    """

    layer: int
    keep_ratio: float | None
    kept: Tensor
    owner: Tensor
    mask: Tensor | None = None
    loss: Tensor | None = None


@dataclass(frozen=True)
class Waiting:
    """What `Tokens.split_off` sets aside until `Tokens.rejoin`.

    Attributes:
        hidden: `[B, P + N, D]`, every token as it was when some went on alone.
        attention_mask: `[B, P + N]` bool or `None`, as it was.
        index: `[B, K]` int64, positions among the N patch tokens of those that went on.
        representative: `[B, 1, D]`, a token that went along for those that wait, as it was then, or `None`.
    """

    hidden: Tensor
    attention_mask: Tensor | None
    index: Tensor
    representative: Tensor | None = None


@dataclass(frozen=True)
class Tokens:
    """The live tokens of a batch. Every step takes one and returns a new one.

    Attributes:
        hidden: `[B, P + N, D]`, the P prefix tokens (class, distillation, registers) first; they are never reduced.
        num_prefix: P.
        owner: `[B, num_patches]` int64, the index among the N patch tokens of the one that speaks for each original
            patch, -1 where none does; with the waiting tokens back in place.
        attention_mask: `[B, P + N]` bool, false for what the user's mask excludes and for padding, or `None`.
        mask: `[B, N]` float32 cumulative keep decisions with their gradient, training only, `None` before the first.
        size: `[B, N]` float32, how many patches were merged into each token; only of methods that count them.
        importance: `[B, N]` float32, a score that a method carries from block to block.
        waiting: tokens that sit out these blocks, or `None`.
        rows: `[sum of lengths]` int64, where the real tokens stand in the flattened `[B * (P + N)]` when images have
            different numbers of them, or `None`. Everything but attention computes these rows only.
        decisions: one record per decision taken so far.
    """

    hidden: Tensor
    num_prefix: int
    owner: Tensor
    attention_mask: Tensor | None = None
    mask: Tensor | None = None
    size: Tensor | None = None
    importance: Tensor | None = None
    waiting: Waiting | None = None
    rows: Tensor | None = None
    decisions: tuple[Decision, ...] = ()

    @classmethod
    def start(cls, hidden: Tensor, num_prefix: int, attention_mask: Tensor | None = None) -> "Tokens":
        """All tokens alive: `hidden` `[B, P + num_patches, D]`, `attention_mask` `[B, P + num_patches]` or `None`."""
        batch, length = hidden.shape[:2]
        owner = torch.arange(length - num_prefix, device=hidden.device).expand(batch, -1)
        return cls(hidden, num_prefix, owner, attention_mask)

    def to(self, device: torch.device | str | int, non_blocking: bool = False) -> "Tokens":
        """The same on another device: where blocks are spread over several, Accelerate moves what they hand on."""
        return move(self, device, non_blocking)

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
        """`[B, N]` bool, the attention mask over the patch tokens, or `None`."""
        return None if self.attention_mask is None else self.attention_mask[:, self.num_prefix :]

    @property
    def last_kept(self) -> Tensor | None:
        """`[B, num_patches]` bool, `kept` of the last decision, or `None` before the first."""
        return self.decisions[-1].kept if self.decisions else None

    def pack(self, states: Tensor) -> Tensor:
        """`[B, T, ...]` -> `[1, sum of lengths, ...]` without the padding; as it is where there is none."""
        return states if self.rows is None else states.flatten(0, 1)[self.rows][None]

    def unpack(self, states: Tensor) -> Tensor:
        """The reverse of `pack`, padding 0."""
        if self.rows is None:
            return states
        batch, length = self.hidden.shape[:2]
        padded = states.new_zeros(batch * length, *states.shape[2:]).index_copy(0, self.rows, states[0])
        return padded.unflatten(0, (batch, length))

    def add(self, output: Tensor) -> "Tokens":
        """The residual connection: `output` is shaped as `pack(hidden)`."""
        return replace(self, hidden=self.hidden + self.unpack(output))

    def positions(self, index: Tensor) -> Tensor:
        """`[B, P + K]` positions in `hidden` of the prefix and of the patch tokens at `index` `[B, K]`."""
        prefix = torch.arange(self.num_prefix, device=index.device).expand(len(index), -1)
        return torch.cat((prefix, index + self.num_prefix), dim=1)

    def record(self, decision: Decision) -> "Tokens":
        """The same tokens with one decision more."""
        return replace(self, decisions=(*self.decisions, decision))

    def gather(self, index: Tensor, owners: Tensor | None = None) -> "Tokens":
        """Keep only the patch tokens at `index` `[B, K]` (positions among the N), in that order; the prefix stays.

        `owners` `[B, N]` says at which of the K positions each of the N goes on, -1 for none; by default, where it is.
        """
        positions = self.positions(index)  # [B, P + K]
        hidden = self.hidden.gather(1, positions[..., None].expand(-1, -1, self.hidden.shape[-1]))
        attention_mask = None if self.attention_mask is None else self.attention_mask.gather(1, positions)
        owners = self.new_positions(index) if owners is None else owners
        # one column more than there are tokens: patches without an owner (-1) read that last one
        owners = torch.cat((owners, owners.new_full((len(owners), 1), -1)), dim=1)
        owner = owners.gather(1, self.owner.where(self.owner >= 0, owners.shape[1] - 1))
        return replace(self, hidden=hidden, attention_mask=attention_mask, owner=owner, rows=None)

    def new_positions(self, index: Tensor, valid: Tensor | None = None) -> Tensor:
        """`[B, N]` int64: at which place of `index` `[B, K]` each patch token stands, -1 for none or not `valid`."""
        places = torch.arange(index.shape[1], device=index.device).expand(len(index), -1)
        places = places if valid is None else places.where(valid, -1)
        return index.new_full((len(index), self.patches.shape[1]), -1).scatter(1, index, places)

    def drop(
        self,
        index: Tensor,
        layer: int,
        keep_ratio: float | None,
        fused: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> "Tokens":
        """Really drop every patch token that is not in `index` `[B, K]`, and record the decision.

        `fused` `[B, 1, D]`, if given, joins as the last token and speaks for all that was dropped. `valid` `[B, K]`
        bool, if given, is false where `index` is only padding, of images that keep fewer than K.
        """
        if valid is not None:
            tokens = self.gather(index, self.new_positions(index, valid)).pad(valid)
        else:  # keeping everything must cost nothing and change nothing, not even the order
            tokens = self if index.shape[1] == self.patches.shape[1] else self.gather(index)
        kept = tokens.owner >= 0
        if tokens.attended is not None and tokens.patches.shape[1]:  # excluded by the user: takes part in nothing
            kept = kept & tokens.attended.gather(1, tokens.owner.clamp(min=0))
        if self.last_kept is not None:  # a patch that is gone stays gone, also where a fused token speaks for it
            kept = kept & self.last_kept
        if fused is not None:
            attended = None
            if self.attended is not None:  # a token that speaks for nobody is attended by nobody
                attended = self.attended.sum(1, keepdim=True) > self.attended.gather(1, index).sum(1, keepdim=True)
            tokens = tokens.append(fused, (self.owner >= 0) & (tokens.owner < 0), attended)
        return tokens.record(Decision(layer, keep_ratio, kept, tokens.owner))

    def pad(self, valid: Tensor) -> "Tokens":
        """Turn the patch tokens not `valid` `[B, N]` into padding: 0, attended by none, left out of `rows`."""
        real = torch.cat((valid.new_ones(len(valid), self.num_prefix), valid), dim=1)  # [B, P + N]
        attended = real if self.attention_mask is None else real & self.attention_mask
        rows = real.flatten().nonzero()[:, 0]
        return replace(self, hidden=self.hidden.masked_fill(~real[..., None], 0.0), attention_mask=attended, rows=rows)

    def merge(
        self, index: Tensor, rest: Tensor, host: Tensor, weights: Tensor, layer: int, keep_ratio: float | None
    ) -> "Tokens":
        """Let each patch token at `rest` `[B, R]` go into a kept one by a weighted mean, and record the decision.

        Args:
            index: `[B, K]` positions of the tokens that stay; with `rest`, all N.
            rest: `[B, R]` positions of the tokens that go.
            host: `[B, R]` which of the K takes each in.
            weights: `[B, N]`, of every token in the mean of its group.
            layer, keep_ratio: as in `Decision`.
        """
        stays = self.new_positions(index)
        goes = host
        if self.attended is not None:  # what the user's mask excludes weighs nothing, and nothing speaks for it
            weights = weights * self.attended
            goes = host.where(self.attended.gather(1, rest), -1)
        tokens = self.gather(index, stays.scatter(1, rest, goes))
        merged = weighted_merge(
            tokens.patches, gather_tokens(self.patches, rest), host, weights.gather(1, index), weights.gather(1, rest)
        )
        kept = (self.owner >= 0) & (stays.gather(1, self.owner.clamp(min=0)) >= 0)
        if self.attended is not None:
            kept = kept & self.attended.gather(1, self.owner.clamp(min=0))
        if self.last_kept is not None:
            kept = kept & self.last_kept
        hidden = torch.cat((tokens.hidden[:, : self.num_prefix], merged), dim=1)
        attention_mask = tokens.attention_mask
        if self.attended is not None:  # a group is attended where one of its members is
            attended = self.attended.int()
            members = attended.gather(1, index).scatter_add(1, host, attended.gather(1, rest))
            prefix = cast(Tensor, self.attention_mask)[:, : self.num_prefix]
            attention_mask = torch.cat((prefix, members > 0), dim=1)
        decision = Decision(layer, keep_ratio, kept, tokens.owner)
        return replace(tokens, hidden=hidden, attention_mask=attention_mask).record(decision)

    def append(self, token: Tensor, patches: Tensor | None = None, attended: Tensor | None = None) -> "Tokens":
        """Add `token` `[B, 1, D]` as the last one; it speaks for the original `patches` `[B, num_patches]` bool.

        `attended` `[B, 1]` bool says in which images it may be attended to; it counts where there is a mask.
        """
        owner = self.owner if patches is None else self.owner.masked_fill(patches, self.patches.shape[1])
        attention_mask = self.attention_mask
        if attention_mask is not None:
            attended = attention_mask.new_ones(len(token), 1) if attended is None else attended
            attention_mask = torch.cat((attention_mask, attended), dim=1)
        return replace(self, hidden=torch.cat((self.hidden, token), 1), owner=owner, attention_mask=attention_mask)

    def split_off(self, index: Tensor, layer: int, keep_ratio: float, loss: Tensor | None = None) -> "Tokens":
        """Go on with the prefix and the patch tokens at `index` `[B, K]`; the others wait. Records the decision."""
        kept = torch.zeros_like(self.owner, dtype=torch.bool).scatter(1, index, True)
        kept = kept if self.attended is None else kept & self.attended
        tokens = self.record(Decision(layer, keep_ratio, kept, self.owner, loss=loss))
        if index.shape[1] == self.num_patches:  # nobody waits
            return tokens
        gone_on = tokens.gather(index)
        return replace(gone_on, owner=self.owner, waiting=Waiting(self.hidden, self.attention_mask, index))

    def represent(self, token: Tensor, attended: Tensor | None) -> "Tokens":
        """Let `token` `[B, 1, D]` go along, as the last one, for the tokens that wait; `attended` as in `append`."""
        waiting = None if self.waiting is None else replace(self.waiting, representative=token)
        return replace(self.append(token, attended=attended), waiting=waiting)

    def rejoin(self) -> "Tokens":
        """Put the tokens that went on alone back to their places among those that waited.

        Those are unchanged to the bit; if a token represented them, each has added to it what the blocks did to that.
        """
        if self.waiting is None:
            return self
        hidden, positions = self.waiting.hidden, self.positions(self.waiting.index)
        if self.waiting.representative is not None:
            update = self.hidden[:, -1:] - self.waiting.representative
            hidden = torch.cat((hidden[:, : self.num_prefix], hidden[:, self.num_prefix :] + update), dim=1)
        moved = self.hidden[:, : positions.shape[1]]
        hidden = hidden.scatter(1, positions[..., None].expand(-1, -1, hidden.shape[-1]), moved)
        return replace(self, hidden=hidden, attention_mask=self.waiting.attention_mask, waiting=None)

    def mask_out(self, keep: Tensor, layer: int, keep_ratio: float | None, through_earlier: bool = True) -> "Tokens":
        """Cut the patch tokens with `keep` 0 off from the others' attention and record the decision (training).

        `keep` is `[B, N]` float, 0 or 1 with a gradient. Decisions are cumulative: a dropped token never returns, and
        with `through_earlier` the gradient reaches the earlier decisions too (DynamicViT, section 3.2).
        """
        previous = self.mask if self.mask is not None or self.attended is None else self.attended.to(keep.dtype)
        mask = keep if previous is None else keep * (previous if through_earlier else previous.detach())
        kept = mask.detach().gather(1, self.owner) > 0.5
        return replace(self, mask=mask).record(Decision(layer, keep_ratio, kept, self.owner, mask))


def move(value: Any, device: torch.device | str | int, non_blocking: bool) -> Any:
    """Every tensor of a dataclass, or of a tuple of them, on `device`."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=non_blocking)
    if isinstance(value, tuple):
        return tuple(move(item, device, non_blocking) for item in value)
    if not is_dataclass(value):
        return value
    return replace(value, **{f.name: move(getattr(value, f.name), device, non_blocking) for f in fields(value)})


def gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """The tokens `[B, K, D]` of `[B, N, D]` at `index` `[B, K]`."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


def weighted_merge(kept: Tensor, rest: Tensor, host: Tensor, own: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of each kept token and those that go into it: `[B, K, D]`.

    Args:
        kept, rest: `[B, K, D]` and `[B, R, D]`.
        host: `[B, R]`, which of the K takes each of the R in.
        own, weights: `[B, K]` and `[B, R]`. A group of weight 0 gives 0.
    """
    total = own.float().scatter_add(1, host, weights.float())  # [B, K]
    summed = kept.float() * own[..., None]
    summed = summed.scatter_add(1, host[..., None].expand_as(rest), rest.float() * weights[..., None])
    return (summed / total.clamp(min=torch.finfo(total.dtype).tiny)[..., None]).to(kept.dtype)
