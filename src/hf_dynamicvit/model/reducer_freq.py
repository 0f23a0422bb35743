# Copyright 2026 The hf_dynamicvit authors. Frequency-Aware Token Reduction (NeurIPS 2025), from its description alone.
"""Freq: the patches that get little attention are averaged by window of the image. No parameters, no class token."""

import itertools
from typing import Any

import torch
from torch import Tensor

from .cost import grid_size
from .merging import merge_by_size, size_bias
from .reducer import TokenReducer
from .scoring import attention_received, attention_weights
from .selection import split_top_k
from .tokens import Stage, Tokens, Trace, stable_argsort


def are_windows(windows: Any) -> bool:
    """Return whether `windows` are integers of 1 or more, each a divisor of the one before."""
    if not isinstance(windows, list | tuple) or not windows:
        return False
    whole = all(type(each) is int and each >= 1 for each in windows)
    return whole and all(before % each == 0 for before, each in itertools.pairwise(windows))


def number_windows(grid: tuple[int, int], windows: int, device: torch.device) -> Tensor:
    """Number the window of each patch, `[num_patches]`: `windows` down and as many across, as equal as can be."""
    down, across = (torch.arange(side, device=device) * windows // side for side in grid)
    return (down[:, None] * windows + across).flatten()


def choose_hosts(window: Tensor, scores: Tensor, windows: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Choose one token for each window, and for the rest of `count` the highest of the others for themselves.

    Args:
        window: `[B, R]`, of each token, 0 to `windows` - 1; the first one of each window is its host.
        scores: `[B, R]`, below 2.
        windows: that there may be.
        count: tokens to choose, as many at least.

    Returns:
        `[B, count]` positions of the hosts; `[B, R - count]` of the others; `[B, R - count]` which of the hosts takes
        each of those in.
    """
    member = torch.nn.functional.one_hot(window, windows)  # [B, R, W]
    first = member * (member.cumsum(dim=1) == 1)
    hosts, others = split_top_k(scores + 4 * first.sum(dim=2), count)
    places = torch.arange(count, device=window.device).expand(window.shape[0], -1)
    place = torch.zeros_like(window).scatter(1, hosts, places)
    of_window = place.gather(1, first.argmax(dim=1))  # [B, W]
    return hosts, others, of_window.gather(1, window.gather(1, others))


class FreqReducer(TokenReducer):
    """In each of `config.stage_layers`, between attention and MLP, keep the patches that get most attention.

    A patch's score is the attention that it gets, the mean over heads and queries; what gets little is of low
    frequency. The others become one token for each window of the image, the mean of its patches. Later stages have
    fewer windows, whose means also have the tokens of the windows before, each as often as it has patches.

    From the paper's description, which leaves open how windows lie on odd grids (here they differ by one row or
    column), how later stages change the means (here they go on over all patches), and what stands for a window of
    which nothing goes (here one more patch is kept). A stage's count has the means in it (published: they join). The
    learned weights of frequencies in attention are left out.

    Args:
        config: a `DynamicViTConfig`.
        windows: at each stage that removes tokens, along either side of the image; the last is that of all further
            ones. One window where there would be more windows than tokens.
        proportional_attention: attention counts a mean as often as it has patches.
    """

    acts, rest = "between", "merged"
    keeps_order = False
    reduces_in_training = True

    def __init__(
        self, config: Any, windows: list[int] | tuple[int, ...] = (2, 1, 1), proportional_attention: bool = False
    ):
        super().__init__(config)
        told = "a list of integers of 1 or more, each a divisor of the one before"
        self.check(
            windows=(windows, are_windows(windows), told),
            proportional_attention=(proportional_attention, isinstance(proportional_attention, bool), "true or false"),
        )
        self.windows, self.proportional_attention = [*windows], proportional_attention
        self.width, self.grid = config.hidden_size, grid_size(config)

    def plan(self, num_patches: int) -> list[tuple[int, int]]:
        """Return how many patches stay themselves at each stage, and how many windows a side of the image has."""
        plan, live, kept, acted = [], num_patches, num_patches, 0
        side = self.windows[0]
        for count in self.stage_counts(num_patches):
            if count < live:
                side = min(side, self.windows[min(acted, len(self.windows) - 1)])
                side = 1 if side**2 >= count else side
                live, kept, acted = count, min(kept, count - side**2), acted + 1
            plan.append((kept, side))
        return plan

    def reduce(self, tokens: Tokens, stage: Stage, source: Trace) -> Tokens:
        if stage.count >= tokens.num_live:  # nothing to choose
            return tokens.keep_all(stage)
        prefix, mask, bias = tokens.num_prefix, tokens.attention_mask, self.key_bias(tokens)
        with torch.no_grad():  # SCORE
            weights = attention_weights(source.query, source.key, prefix, mask, source.relative, bias)
            scores = attention_received(weights, prefix, mask)
        scores = scores if tokens.attended is None else scores.masked_fill(~tokens.attended, -1.0)
        plan = [(tokens.num_patches, 0), *self.plan(tokens.num_patches)]  # SELECT
        (before, _), (kept, side) = plan[stage.index : stage.index + 2]
        index, going = split_top_k(scores[:, :before], kept)
        if before < tokens.num_live:
            means = torch.arange(before, tokens.num_live, device=going.device).expand(going.shape[0], -1)
            going = torch.cat((going, means), dim=1)
        return self.average(tokens, index, going, side, stage, scores)

    def average(self, tokens: Tokens, index: Tensor, rest: Tensor, side: int, stage: Stage, scores: Tensor) -> Tokens:
        """REST: those at `rest` `[B, R]` become the means of their windows, behind those at `index` `[B, K]`."""
        rest = rest.gather(1, stable_argsort(scores.gather(1, rest), descending=True))
        of_patch = number_windows(tokens.grid or self.grid, side, rest.device)
        # all patches of a token are in one window
        owner = tokens.owner.remainder(tokens.num_live + 1)
        of_token = torch.nn.functional.pad(torch.zeros_like(scores, dtype=torch.int64), (0, 1))
        window = of_token.scatter(1, owner, of_patch.expand(owner.shape[0], -1)).gather(1, rest)
        count = stage.count - index.shape[1]
        hosts, others, host = choose_hosts(window, scores.gather(1, rest), side**2, count)
        stays = torch.cat((index, rest.gather(1, hosts)), dim=1)
        return merge_by_size(tokens, stays, rest.gather(1, others), index.shape[1] + host, stage, scores)

    def key_bias(self, tokens: Tokens) -> Tensor | None:
        return size_bias(tokens) if self.proportional_attention else None

    def multiply_adds(self, counts, num_patches, num_prefix):
        return sum(self.width * (before + num_prefix) ** 2 for before, _ in self.reductions(counts, num_patches))
