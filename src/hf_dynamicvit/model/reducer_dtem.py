# Copyright 2026 The hf_dynamicvit authors. DTEM (NeurIPS 2024): https://arxiv.org/abs/2412.10569
"""DTEM: ToMe with a learned metric. Training merges softly; the metric alone need be trained."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from .merging import patch_sizes
from .reducer_tome import ToMeReducer
from .reducer_tps import cosine_similarity
from .tokens import Stage, Tokens, Trace


# The least part of a token that can still go in the soft grouping, as released (the spacing of float32 at 1).
LEAST_LEFT = 1.19e-7
# Size as which a token that is gone counts in the logarithm; its gradient is that at any size.
LEAST_SIZE = 1e-12

# A file from anywhere must not ask for more.
WIDEST_METRIC = 65536


def clamp_through(values: Tensor, least: float, most: float | None = None) -> Tensor:
    """Clamp `values`, with the gradient of the identity."""
    return values + (values.clamp(least, most) - values).detach()


def grouping(similarity: Tensor, r: int, num_candidates: int, tau: float, tau_choice: float) -> Tensor:
    """Relaxed choice of `r` sources and where they go (DTEM, section 3.2): `[B, A, C]`, each row summing to 1 at most.

    Args:
        similarity: `[B, A, C]` of sources and destinations.
        r: sources to choose.
        num_candidates: the most similar destinations of a source among which it chooses.
        tau: temperature of the similarities.
        tau_choice: temperature of each of the `r` choices.
    """
    best, column = similarity.topk(min(num_candidates, similarity.shape[2]), dim=2)
    logits, groups = best / tau, torch.zeros_like(best)
    for _ in range(r):
        chosen = (logits / tau_choice).flatten(1).softmax(dim=1).view_as(logits)
        groups = groups + chosen
        logits = logits + (1 - chosen.sum(dim=2, keepdim=True)).clamp(min=LEAST_LEFT).log()
    excess = (groups.detach().sum(dim=2, keepdim=True) - 1).clamp(min=0)
    return torch.zeros_like(similarity).scatter(2, column, groups / (excess + 1))


def largest_first(sizes: Tensor) -> Tensor:
    """Sort `sizes` `[B, N]` in descending order, equal ones as they stand: their positions `[B, N]`."""
    return sizes.argsort(dim=1, descending=True, stable=True)


class DTEMReducer(ToMeReducer):
    """ToMe whose similarity is that of a learned linear metric of the normalised tokens that enter the attention.

    Inference merges as ToMe does. In training all tokens stay: of each pair a part merges, the gradient reaches the
    metric through means and sizes, attention weighs every token by its size, and those of least size drop out of the
    merging. The input of the metric is detached, so that its training leaves the backbone alone.

    Args:
        config: a `DynamicViTConfig`.
        r: as for ToMe.
        metric_size: outputs of the metric; `None` is the width of a head, twice that from a width of 1024 on.
        num_candidates: destinations among which a token chooses in training.
        tau: temperature of the similarities in training.
        tau_choice: temperature of the choice of who goes, in training.
    """

    needs = frozenset({"normed"})
    reduces_in_training = False
    frozen_fraction = 1.0  # "modular": nothing but the metric learns

    def __init__(
        self,
        config: Any,
        r: int | list[int | float] | None = None,
        metric_size: int | None = None,
        num_candidates: int = 3,
        tau: float = 0.1,
        tau_choice: float = 0.1,
    ):
        super().__init__(config, r)
        is_count = [type(value) is int and value > 0 for value in (metric_size, num_candidates)]
        self.check(
            metric_size=(
                metric_size,
                metric_size is None or (is_count[0] and metric_size <= WIDEST_METRIC),
                f"an integer from 1 to {WIDEST_METRIC}",
            ),
            num_candidates=(num_candidates, is_count[1], "an integer above 0"),
            tau=(tau, isinstance(tau, int | float) and tau > 0, "a number above 0"),
            tau_choice=(tau_choice, isinstance(tau_choice, int | float) and tau_choice > 0, "a number above 0"),
        )
        self.metric_size = metric_size or self.metric_size * (2 if config.hidden_size >= 1024 else 1)
        self.num_candidates, self.tau, self.tau_choice = num_candidates, tau, tau_choice
        self.width, self.depth = config.hidden_size, config.num_hidden_layers
        self.reads_prefix = config.classifies_class_token
        self.metrics = nn.ModuleList([nn.Linear(config.hidden_size, self.metric_size) for _ in self.layers])

    @property
    def unread(self) -> list[str]:
        last = [index for index, layer in enumerate(self.layers) if layer == self.depth - 1]
        return [f"metrics.{index}.{name}" for index in last for name in ("weight", "bias") if self.reads_prefix]

    def metric(self, tokens: Tokens, stage: Stage, trace: Trace) -> Tensor:
        return self.metrics[stage.index](cast(Tensor, trace.normed)[:, tokens.num_prefix :].detach())

    def reduce(self, tokens: Tokens, stage: Stage, source: Trace) -> Tokens:
        if not self.training:
            return super().reduce(tokens, stage, source)
        before = [tokens.num_patches, *self.stage_counts(tokens.num_patches)][stage.index]
        if stage.count < before:
            tokens = self.merge_softly(tokens, self.metric(tokens, stage, source), before, stage.count)
        kept = tokens.kept_so_far() & (tokens.owner < stage.count)
        return tokens.decide(stage, kept)

    def merge_softly(self, tokens: Tokens, metric: Tensor, before: int, count: int) -> Tokens:
        """Merge parts of the first `before` patch tokens and put them in the order of their sizes, greatest first.

        `metric` is `[B, N, d]`; `count` tokens take part in the next merging.
        """
        sizes, patches = patch_sizes(tokens), tokens.patches
        even, odd = (torch.arange(first, before, 2, device=metric.device) for first in (0, 1))
        groups = self.groups(metric, tokens.attended, before, before - count)  # [B, A, C]
        own, others = sizes[:, even, None], sizes[:, odd, None]
        total = others + groups.transpose(1, 2) @ own
        moved = groups.transpose(1, 2) @ (patches[:, even].float() * own)
        merged = (patches[:, odd].float() * others + moved) / total.clamp(min=LEAST_SIZE)
        left = own * clamp_through(1 - groups.sum(dim=2, keepdim=True), 0.0, 1.0)
        hidden = tokens.hidden.index_copy(1, odd + tokens.num_prefix, merged.to(patches.dtype))
        sizes = sizes.index_copy(1, odd, total[..., 0]).index_copy(1, even, left[..., 0])
        order = torch.cat((even, odd))
        order = order[largest_first(sizes[:, order].detach())]
        behind = torch.arange(before, tokens.num_live, device=order.device).expand(len(order), -1)
        return tokens.change(hidden=hidden, size=sizes).gather(torch.cat((order, behind), dim=1))

    def groups(self, metric: Tensor, attended: Tensor | None, before: int, r: int) -> Tensor:
        """Group `r` of the even ones of the first `before` tokens with odd ones: `[B, A, C]`, as `grouping`."""
        similarity = cosine_similarity(metric[:, 0:before:2], metric[:, 1:before:2])
        if attended is not None:  # as at inference: what is excluded goes first, and is nobody's destination
            similarity = similarity.masked_fill(~attended[:, None, 1:before:2], -2.0)
            similarity = similarity.masked_fill(~attended[:, 0:before:2, None], 2.0)
        return grouping(similarity, r, self.num_candidates, self.tau, self.tau_choice)

    def key_bias(self, tokens: Tokens) -> Tensor | None:
        if not self.training or tokens.size is None:
            return super().key_bias(tokens)
        return clamp_through(tokens.size, LEAST_SIZE).log()

    def multiply_adds(self, counts, num_patches, num_prefix):
        measured = sum(before for before, _ in self.reductions(counts, num_patches))
        return super().multiply_adds(counts, num_patches, num_prefix) + measured * self.width * self.metric_size
