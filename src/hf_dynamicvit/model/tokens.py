# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The value that travels through the encoder loop: the live tokens of a batch and what was decided about them."""

import math
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from .decisions import Decision, Stage, Waiting
from .gathering import as_number, flat_rows, gather_tokens, weighted_merge
from .gathering import stable_argsort as stable_argsort
from .products import merge_by_product, multiplies
from .ragged import Layout
from .traces import GroupedAttention
from .traces import Trace as Trace


@dataclass(frozen=True)
class Tokens:
    """The live tokens of a batch. Every step takes one and returns a new one.

    Attributes:
        hidden: `[B, P + N, D]`, the P prefix tokens (class, distillation, registers) first; they are never reduced.
            Packed `[1, L, D]` when `layout` is set; `padded` restores `[B, P + N, D]`.
        num_prefix: P, 0 where a family has neither class token nor registers.
        owner: `[B, num_patches]` int64, the index among the N patch tokens of the one that speaks for each original
            patch, -1 where none does; with the waiting tokens back in place.
        attention_mask: `[B, P + N]` bool, false for what the user's mask excludes and for padding, or `None`.
        mask: `[B, N]` float32 cumulative keep decisions with their gradient, training only, `None` before the first.
        size: `[B, N]` float32, how many patches were merged into each token; only of methods that count them.
        importance: `[B, N]` float32, a score that a method carries from block to block.
        predicted: `[B, T, T]` float32, what a method predicts of the next attention; training only.
        shares: `[B, P + N]` float32, how much of each token's label is that of the image itself, where images are
            mixed and labels follow the tokens; training only.
        place: `[B, N]` int64, at which patch of the grid each token stands, -1 for nowhere, as a fused one; only of
            families whose blocks know positions. A merged token keeps its host's.
        table: what the blocks know of the places of the grid, a tensor whose meaning is the family's, or `None`.
        grid: patches `(down, across)` of the images, `None` where tokens are not of the embedding of images.
        attention: what the next attention computes from in place of queries and keys, or `None`; for one block.
        waiting: tokens that sit out these blocks, or `None`.
        layout: where each image's tokens stand when the images have different numbers of them and `hidden` is one row
            without padding, or `None`.
        unobserved: no gradients and no recorded states: padding may be packed, the last block may skip patches.
        keeps_scores: decisions are to say what each patch scored.
        decisions: one record per decision taken so far.
    """

    hidden: Tensor
    num_prefix: int
    owner: Tensor
    attention_mask: Tensor | None = None
    mask: Tensor | None = None
    size: Tensor | None = None
    importance: Tensor | None = None
    predicted: Tensor | None = None
    shares: Tensor | None = None
    place: Tensor | None = None
    table: Tensor | None = None
    grid: tuple[int, int] | None = None
    attention: GroupedAttention | None = None
    waiting: Waiting | None = None
    layout: Layout | None = None
    unobserved: bool = False
    keeps_scores: bool = False
    decisions: tuple[Decision, ...] = ()

    @classmethod
    def start(cls, hidden: Tensor, num_prefix: int, attention_mask: Tensor | None = None) -> "Tokens":
        """All tokens alive: `hidden` `[B, P + num_patches, D]`, `attention_mask` `[B, P + num_patches]` or `None`."""
        batch, length = hidden.shape[:2]
        owner = torch.arange(length - num_prefix, device=hidden.device).expand(batch, -1)
        return cls(hidden, num_prefix, owner, attention_mask)

    def on_grid(self, grid: tuple[int, int], table: Tensor | None) -> "Tokens":
        """Let each token know its place in the `grid`, before any is gone, and the blocks a `table` of the places."""
        place = torch.arange(self.num_patches, device=self.hidden.device).expand(self.hidden.shape[0], -1)
        return self.change(place=place, table=table, grid=grid)

    @property
    def places(self) -> Tensor | None:
        """`[B, P + N]` int64: P + its place for each patch token, -1 for nowhere; `None` while all are there in order.

        The prefix is at 0 to P - 1.
        """
        if not self.decisions or self.place is None:
            return None
        prefix = torch.arange(self.num_prefix, device=self.place.device).expand(self.place.shape[0], -1)
        return torch.cat((prefix, torch.where(self.place < 0, -1, self.place + self.num_prefix)), dim=1)

    def change(self, **fields: Any) -> "Tokens":
        """`dataclasses.replace`, without the checks that cost more than a small step of a block."""
        if torch.compiler.is_compiling():
            return replace(self, **fields)
        assert fields.keys() <= self.__dict__.keys(), fields
        changed = object.__new__(Tokens)
        changed.__dict__.update(self.__dict__, **fields)
        return changed

    def to(self, device: torch.device | str | int, non_blocking: bool = False) -> "Tokens":
        """Move all to another device: where blocks are spread over several, Accelerate moves what they hand on."""
        return move(self, device, non_blocking)

    @property
    def padded(self) -> Tensor:
        """`[B, P + N, D]`, with padding 0 where an image has fewer tokens than another."""
        return self.hidden if self.layout is None else self.layout.unpack(self.hidden)

    @property
    def patches(self) -> Tensor:
        """`[B, N, D]`, the patch tokens without the prefix."""
        return self.padded[:, self.num_prefix :]

    @property
    def prefix(self) -> Tensor:
        """`[B, P, D]`, the prefix tokens."""
        if self.layout is None:
            return self.hidden[:, : self.num_prefix]
        return self.hidden[0, self.layout.first(self.num_prefix)].unflatten(
            0, (self.layout.padded[0], self.num_prefix)
        )

    @property
    def num_live(self) -> int:
        """N, the patch tokens there are now."""
        length = self.hidden.shape[1] if self.layout is None else self.layout.padded[1]
        return as_number(length) - self.num_prefix

    @property
    def num_patches(self) -> int:
        """Patches of the original grid, whatever is left of them."""
        return as_number(self.owner.shape[1])

    @property
    def attended(self) -> Tensor | None:
        """`[B, N]` bool, the attention mask over the patch tokens, or `None`."""
        return None if self.attention_mask is None else self.attention_mask[:, self.num_prefix :]

    @property
    def weights(self) -> Tensor | None:
        """`[B, N]` float32, of each patch token in a mean over the image: its patches, 0 for one that is out."""
        present = [each.float() for each in (self.attended, self.mask, self.size) if each is not None]
        return math.prod(present[1:], start=present[0]) if present else None

    @property
    def last_kept(self) -> Tensor | None:
        """`[B, num_patches]` bool, `kept` of the last decision, or `None` before the first."""
        return self.decisions[-1].kept if self.decisions else None

    def positions(self, index: Tensor) -> Tensor:
        """`[B, P + K]` positions in `hidden` of the prefix and of the patch tokens at `index` `[B, K]`."""
        prefix = torch.arange(self.num_prefix, device=index.device).expand(index.shape[0], -1)
        return torch.cat((prefix, index + self.num_prefix), dim=1)

    def decide(self, stage: Stage, kept: Tensor, **fields: Tensor | None) -> "Tokens":
        """Record a decision with `kept` `[B, num_patches]` bool and other fields of `Decision`."""
        decision = Decision(stage.layer, stage.keep_ratio, kept, self.owner, **fields)
        return self.change(decisions=(*self.decisions, decision))

    def gather(self, index: Tensor, owners: Tensor | None = None, hidden: Tensor | None = None) -> "Tokens":
        """Keep only the patch tokens at `index` `[B, K]` (positions among the N), in that order; the prefix stays.

        `size`, `importance` and `place` go with them.

        `owners` `[B, N + 1]` says at which of the K positions each of the N goes on, -1 for none, as `new_positions`;
        by default, where it is. `hidden` `[B, P + K, D]` takes the place of what they are.
        """
        positions = self.positions(index)  # [B, P + K]
        hidden = gather_tokens(self.padded, positions) if hidden is None else hidden
        attention_mask = None if self.attention_mask is None else self.attention_mask.gather(1, positions)
        owners = self.new_positions(index) if owners is None else owners
        riders = {"size": self.size, "importance": self.importance, "place": self.place}
        riders = {name: value.gather(1, index) for name, value in riders.items() if value is not None}
        owner = self.map_to_patches(owners)
        shares = None if self.shares is None else self.shares.gather(1, positions)
        changed = self.change(hidden=hidden, attention_mask=attention_mask, owner=owner, layout=None, **riders)
        return changed if shares is None else changed.change(shares=shares)

    def new_positions(self, index: Tensor, valid: Tensor | None = None) -> Tensor:
        """`[B, N + 1]` int64: at which place of `index` `[B, K]` each patch token stands, -1 for none or not `valid`.

        The last column is -1, for patches without an owner.
        """
        places = torch.arange(index.shape[1], device=index.device).expand(index.shape[0], -1)
        places = places if valid is None else places.where(valid, -1)
        return index.new_full((index.shape[0], self.num_live + 1), -1).scatter(1, index, places)

    def map_to_patches(self, values: Tensor) -> Tensor:
        """Map values of tokens `[B, N + 1]` to patches through `owner`; column N is for patches without an owner."""
        return values.gather(1, self.owner.remainder(values.shape[1]))  # -1 becomes N

    def scores_by_patch(self, scores: Tensor | None) -> Tensor | None:
        """`scores` `[B, N]` of the tokens for `Decision.scores`, `None` where nobody asked or tokens have none."""
        if scores is None or not self.keeps_scores:
            return None
        scores = scores.float()
        scores = scores if self.attended is None else scores.masked_fill(~self.attended, torch.nan)
        return self.map_to_patches(torch.nn.functional.pad(scores, (0, 1), value=torch.nan))

    def drop(
        self,
        index: Tensor,
        stage: Stage,
        scores: Tensor | None = None,
        fused: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> "Tokens":
        """Drop all patch tokens but those at `index` `[B, K]` and record the decision.

        Args:
            index: `[B, K]` positions among the N patch tokens.
            stage: at which they are dropped.
            scores: `[B, N]` by which the tokens were selected, if each has one.
            fused: `[B, 1, D]`, a token that joins as the last one and speaks for all that were dropped, or `None`.
            valid: `[B, K]` bool, false where `index` is padding of images that keep fewer than K, or `None`.
        """
        if valid is None and index.shape[1] == self.num_live:
            return self.keep_all(stage, scores)
        tokens = self.gather(index, None if valid is None else self.new_positions(index, valid))
        tokens = tokens if valid is None else tokens.without_padding(valid)
        kept = tokens.kept_so_far()
        if fused is not None:
            attended = None
            if self.attended is not None:  # a token that speaks for nobody is attended by nobody
                attended = self.attended.sum(1, keepdim=True) > self.attended.gather(1, index).sum(1, keepdim=True)
            spoken_for = (self.owner >= 0) & (tokens.owner < 0)
            tokens = tokens.append(fused, spoken_for, attended, self.mean_share(spoken_for))
        return tokens.decide(stage, kept, scores=self.scores_by_patch(scores))

    def keep_all(self, stage: Stage, scores: Tensor | None = None) -> "Tokens":
        """Record that all go on, which costs nothing and changes nothing, not even the order."""
        return self.decide(stage, self.kept_so_far(), scores=self.scores_by_patch(scores))

    def kept_so_far(self) -> Tensor:
        """`[B, num_patches]` bool, the patches whose own token is alive."""
        kept = self.owner >= 0
        if self.attended is not None and self.num_live:  # excluded by the user: takes part in nothing
            kept = kept & self.attended.gather(1, self.owner.clamp(min=0))
        if self.last_kept is not None:  # a patch that is gone stays gone, also where a fused token speaks for it
            kept = kept & self.last_kept
        return kept

    def without_padding(self, valid: Tensor) -> "Tokens":
        """Remove padding, the patch tokens not `valid` `[B, N]`: pack if unobserved, else zero and mask it."""
        real = torch.nn.functional.pad(valid, (self.num_prefix, 0), value=True)  # [B, P + N]
        attended = real if self.attention_mask is None else real & self.attention_mask
        masked_prefix = self.attention_mask is not None and not self.attention_mask[:, : self.num_prefix].all()
        if not self.unobserved or masked_prefix:  # packed, every token is attended
            return self.change(hidden=self.hidden.masked_fill(~real[..., None], 0.0), attention_mask=attended)
        layout = Layout.of(real)
        return self.change(hidden=layout.pack(self.hidden), attention_mask=attended, layout=layout)

    def merge(
        self,
        index: Tensor,
        rest: Tensor,
        host: Tensor,
        weights: Tensor,
        stage: Stage,
        scores: Tensor | None = None,
    ) -> "Tokens":
        """Let each patch token at `rest` `[B, R]` go into a kept one by a weighted mean, and record the decision.

        Tokens at neither `index` nor `rest` are dropped.

        Args:
            index: `[B, K]` positions of the tokens that stay.
            rest: `[B, R]` positions of the tokens that go.
            host: `[B, R]` which of the K takes each in.
            weights: `[B, N]`, of every token in the mean of its group.
            stage: at which they merge.
            scores: `[B, N]` by which the tokens were selected, if each has one.
        """
        stays = self.new_positions(index)
        goes = host
        if self.attended is not None:  # what the user's mask excludes weighs nothing, and nothing speaks for it
            weights = weights * self.attended
            goes = host.where(self.attended.gather(1, rest), -1)
        hidden = self.merged_hidden(index, rest, host, weights)
        tokens = self.gather(index, stays.scatter(1, rest, goes), hidden)
        kept = self.map_to_patches(stays) >= 0
        if self.attended is not None:
            kept = kept & self.attended.gather(1, self.owner.clamp(min=0))
        if self.last_kept is not None:
            kept = kept & self.last_kept
        if self.shares is not None:
            tokens = tokens.change(shares=tokens.merged_shares(self.shares, index, rest, host, weights.detach()))
        attention_mask = tokens.attention_mask
        if self.attended is not None:  # a group is attended where one of its members is
            attended = self.attended.int()
            members = attended.gather(1, index).scatter_add(1, host, attended.gather(1, rest))
            prefix = cast(Tensor, self.attention_mask)[:, : self.num_prefix]
            attention_mask = torch.cat((prefix, members > 0), dim=1)
        tokens = tokens.change(attention_mask=attention_mask)
        return tokens.decide(stage, kept, scores=self.scores_by_patch(scores))

    def merged_hidden(self, index: Tensor, rest: Tensor, host: Tensor, weights: Tensor) -> Tensor:
        """Return the prefix and the weighted means of `merge`, `[B, P + K, D]`."""
        if multiplies(self.hidden):
            places = torch.arange(index.shape[1], device=index.device).expand(index.shape[0], -1)
            into = torch.zeros_like(weights, dtype=torch.int64).scatter(1, index, places).scatter(1, rest, host)
            if index.shape[1] + rest.shape[1] < self.num_live:
                weights = weights * torch.zeros_like(weights).scatter(1, torch.cat((index, rest), dim=1), 1.0)
            return merge_by_product(self.padded, self.num_prefix, into, weights, index.shape[1])
        hidden = gather_tokens(self.padded, self.positions(index))
        prefix, own = hidden[:, : self.num_prefix], hidden[:, self.num_prefix :]
        added = gather_tokens(self.patches, rest)
        means = weighted_merge(own, added, host, weights.gather(1, index), weights.gather(1, rest))
        return torch.cat((prefix, means), dim=1)

    def merged_shares(self, shares: Tensor, index: Tensor, rest: Tensor, host: Tensor, weights: Tensor) -> Tensor:
        """Average the `shares` of all tokens as `merge` averages the tokens, whose arguments the others are."""
        prefix, patches = shares[:, : self.num_prefix], shares[:, self.num_prefix :]
        kept, gone = (patches.gather(1, places)[..., None] for places in (index, rest))
        merged = weighted_merge(kept, gone, host, weights.gather(1, index), weights.gather(1, rest))
        return torch.cat((prefix, merged[..., 0]), dim=1)

    def mean_share(self, patches: Tensor) -> Tensor | None:
        """Average the shares of the tokens that speak for `patches` `[B, num_patches]` bool: `[B, 1]`, if any has."""
        if self.shares is None:
            return None
        by_patch = self.map_to_patches(torch.nn.functional.pad(self.shares[:, self.num_prefix :], (0, 1)))
        return (by_patch * patches).sum(dim=1, keepdim=True) / patches.sum(dim=1, keepdim=True).clamp(min=1)

    def append(
        self,
        token: Tensor,
        patches: Tensor | None = None,
        attended: Tensor | None = None,
        share: Tensor | None = None,
    ) -> "Tokens":
        """Add `token` `[B, 1, D]` as the last one; it speaks for the original `patches` `[B, num_patches]` bool.

        `attended` `[B, 1]` bool says in which images it may be attended to; it counts where there is a mask. `share`
        `[B, 1]` is its share, where tokens have one.
        """
        owner = self.owner if patches is None else self.owner.masked_fill(patches, self.num_live)
        attention_mask = self.attention_mask
        if attention_mask is not None:
            attended = attention_mask.new_ones(token.shape[0], 1) if attended is None else attended
            attention_mask = torch.cat((attention_mask, attended), dim=1)
        place = None if self.place is None else torch.nn.functional.pad(self.place, (0, 1), value=-1)
        hidden = torch.cat((self.hidden, token), dim=1)
        shares = None if self.shares is None else torch.cat((self.shares, cast(Tensor, share)), dim=1)
        return self.change(hidden=hidden, owner=owner, attention_mask=attention_mask, place=place, shares=shares)

    def split_off(
        self, index: Tensor, stage: Stage, scores: Tensor, loss: Tensor | None = None, valid: Tensor | None = None
    ) -> "Tokens":
        """Go on with the prefix and the patch tokens at `index` `[B, K]`, let the others wait, record the decision.

        `scores` `[B, N]` are those by which the tokens were selected, `loss` is as in `Decision`, `valid` as in
        `drop`; no position is twice in `index`.
        """
        ones = torch.ones_like(index) if valid is None else valid.to(index.dtype)
        kept = torch.zeros_like(self.owner).scatter(1, index, ones).bool()
        kept = kept if self.attended is None else kept & self.attended
        tokens = self.decide(stage, kept, loss=loss, scores=self.scores_by_patch(scores))
        if valid is None and index.shape[1] == self.num_patches:  # nobody waits
            return tokens
        gone_on = tokens.gather(index)
        gone_on = gone_on if valid is None else gone_on.without_padding(valid)
        waiting = Waiting(self.hidden, self.attention_mask, index, self.place, valid=valid)
        return gone_on.change(owner=self.owner, importance=self.importance, waiting=waiting)

    def blend_later(self, keep: Tensor, stage: Stage) -> "Tokens":
        """Go on with all, those with `keep` 0 hidden from the others, and record the decision, for this block alone.

        `keep` `[B, N]` is float, 0 or 1; `rejoin` gives those with 0 back what they were, and `keep` its gradient.
        """
        kept = keep.detach() > 0.5
        tokens = self.decide(stage, kept if self.attended is None else kept & self.attended, mask=keep)
        waiting = Waiting(self.hidden, self.attention_mask, None, self.place, blend=keep)
        return tokens.change(mask=keep.detach(), waiting=waiting)

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
        hidden = self.waiting.hidden
        if self.waiting.index is None:
            keep = cast(Tensor, self.waiting.blend)[..., None].to(hidden.dtype)
            patches = keep * self.hidden[:, self.num_prefix :] + (1 - keep) * hidden[:, self.num_prefix :]
            return self.change(hidden=torch.cat((self.prefix, patches), dim=1), mask=None, waiting=None)
        positions = self.positions(self.waiting.index)
        if self.waiting.representative is not None:
            update = self.hidden[:, -1:] - self.waiting.representative
            hidden = torch.cat((hidden[:, : self.num_prefix], hidden[:, self.num_prefix :] + update), dim=1)
        moved = self.padded[:, : positions.shape[1]]
        if self.waiting.valid is not None:
            real = torch.nn.functional.pad(self.waiting.valid, (self.num_prefix, 0), value=True)
            moved = torch.where(real[..., None], moved, gather_tokens(hidden, positions))
        flat = hidden.flatten(0, 1).index_copy(0, flat_rows(positions, hidden.shape[1]), moved.flatten(0, 1))
        hidden = flat.view_as(hidden)
        mask, place = self.waiting.attention_mask, self.waiting.place
        return self.change(hidden=hidden, attention_mask=mask, place=place, layout=None, waiting=None)

    def mask_out(self, keep: Tensor, stage: Stage, through_earlier: bool = True) -> "Tokens":
        """Hide the patch tokens with `keep` 0 from the others' attention and record the decision (training).

        `keep` is `[B, N]` float, 0 or 1 with a gradient. Decisions are cumulative: a dropped token never returns, and
        with `through_earlier` the gradient reaches the earlier decisions too (DynamicViT, section 3.2).
        """
        previous = self.mask if self.mask is not None or self.attended is None else self.attended.to(keep.dtype)
        mask = keep if previous is None else keep * (previous if through_earlier else previous.detach())
        kept = mask.detach().gather(1, self.owner) > 0.5
        return self.change(mask=mask).decide(stage, kept, mask=mask)


def move(value: Any, device: torch.device | str | int, non_blocking: bool) -> Any:
    """Every tensor of a dataclass, or of a tuple of them, on `device`."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=non_blocking)
    if isinstance(value, tuple):
        return tuple(move(item, device, non_blocking) for item in value)
    if not is_dataclass(value):
        return value
    return replace(value, **{f.name: move(getattr(value, f.name), device, non_blocking) for f in fields(value)})
