# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What one attention computed, and what another is to compute from."""

from dataclasses import dataclass

from torch import Tensor

from .gathering import gather_tokens
from .ragged import Layout


@dataclass(frozen=True)
class Trace:
    """What one attention computed, for scores: never the T x T matrix.

    Attributes:
        query, key: `[B, H, T, d]`. In the last block there may be the queries of the prefix only.
        context: `[B, T, H, d]`, the per-head output before the output projection, as many as queries.
        relative: `[B, H, T, T]`, what the places of tokens added to the logits, or `None`; as many rows as queries.
        value: `[B, H, T, d]`, for a method that needs `"value"`, else `None`.
        normed: `[B, T, D]`, the normalised tokens that entered, for a method that needs `"normed"`, else `None`.
    """

    query: Tensor
    key: Tensor
    context: Tensor
    relative: Tensor | None = None
    value: Tensor | None = None
    normed: Tensor | None = None

    def only(self, needs: frozenset[str]) -> "Trace":
        """Let go of what no score needs, `value` and `normed` unless they are in `needs`."""
        value, normed = (self.value if "value" in needs else None), (self.normed if "normed" in needs else None)
        return Trace(self.query, self.key, self.context, self.relative, value, normed)

    def padded(self, layout: Layout | None) -> "Trace":
        """Restore `[B, H, T, d]` and `[B, T, H, d]` from packed tokens, which have a `layout`."""
        if layout is None:
            return self

        def by_head(states: Tensor) -> Tensor:
            return layout.unpack(states.transpose(1, 2)).transpose(1, 2)

        context, query = self.context, self.query
        if context.shape[1] == layout.rows.shape[0]:  # of all tokens
            context, query = layout.unpack(context), by_head(query)
        else:  # of the prefix, as many of each image
            context = context.reshape(query.shape[0], -1, *context.shape[2:])
        value = None if self.value is None else by_head(self.value)
        normed = None if self.normed is None else layout.unpack(self.normed)
        return Trace(query, by_head(self.key), context, self.relative, value, normed)


@dataclass(frozen=True)
class GroupedAttention:
    """An attention among T tokens, for the K groups in which they go on; `before` hands it in.

    Attributes:
        weights: `[B, H, T, T]`, how much each of the T tokens attends to each.
        group: `[B, T]` int64, which of the K each of the T is in, itself alone in the case of the prefix.
        share: `[B, T]` float32, of each token in its group's mean of what its members attend to; 1 in each group.
    """

    weights: Tensor
    group: Tensor
    share: Tensor

    def attend(self, value: Tensor, count: int | None = None) -> Tensor:
        """Return the context `[B, K, H, d]` of the groups, whose values are `[B, K, H, d]`.

        `count` is how many tokens of the prefix are wanted alone, or `None` for all groups.
        """
        heads, length = value.shape[2], value.shape[1]
        spread = gather_tokens(value.flatten(2), self.group).unflatten(2, (heads, -1)).transpose(1, 2)  # [B, H, T, d]
        weights = self.weights if count is None else self.weights[:, :, :count]
        context = (weights.to(value.dtype) @ spread).transpose(1, 2).flatten(2)
        if count is not None:
            return context.unflatten(2, (heads, -1))
        parts = context.float() * self.share[..., None]
        group = self.group[..., None].expand_as(parts)
        summed = parts.new_zeros(parts.shape[0], length, parts.shape[2]).scatter_add(1, group, parts)
        return summed.to(value.dtype).unflatten(2, (heads, -1))

    def between_groups(self, count: int) -> Tensor:
        """Return how much each of the `count` = K groups attends to each, `[B, H, K, K]`."""
        by_row = self.weights * self.share[:, None, :, None]  # [B, H, T, T]
        keys = self.group[:, None, None].expand_as(by_row)
        by_key = by_row.new_zeros(*by_row.shape[:3], count).scatter_add(3, keys, by_row)  # [B, H, T, K]
        queries = self.group[:, None, :, None].expand_as(by_key)
        return by_row.new_zeros(*by_row.shape[:2], count, count).scatter_add(2, queries, by_key)
