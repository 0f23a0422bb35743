# Copyright 2026 The hf_dynamicvit authors. TPS (CVPR 2023): https://arxiv.org/abs/2304.10716
"""TPS: token pruning and squeezing. Every dropped token goes into the kept token that is most similar to it."""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from .reducer import TokenReducer
from .reducer_dynamicvit import DynamicViTReducer
from .reducer_topk import TopKReducer
from .selection import split_top_k
from .tokens import Stage, Tokens, gather_tokens


def cosine_similarity(tokens: Tensor, others: Tensor) -> Tensor:
    """`[B, N, D]` and `[B, M, D]` -> `[B, N, M]` float32."""
    with torch.autocast(tokens.device.type, enabled=False):
        tokens, others = (nn.functional.normalize(states.float(), dim=-1) for states in (tokens, others))
        return tokens @ others.transpose(1, 2)


def match(kept: Tensor, pruned: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Find the most similar kept token `[B, P]` of each pruned one, and its weight exp(cosine / temperature) `[B, P]`.

    Args:
        kept, pruned: `[B, K, D]` and `[B, P, D]`.
        temperature: of the weight; a kept token weighs e in its own mean whatever it is, as released.
    """
    similarity, host = cosine_similarity(pruned, kept).max(dim=-1)
    return host, (similarity / temperature).exp()


def squeeze_masked(patches: Tensor, mask: Tensor, previous: Tensor, temperature: float) -> Tensor:
    """Squeezing with every token still there (training): `[B, N, D]`.

    Tokens dropped now go into the most similar kept one; all but the kept are returned as they are. The gradient
    reaches the decisions through the weight exp(m cosine / temperature) m with m = (1 - mask) previous, as released.

    Args:
        patches: `[B, N, D]`.
        mask, previous: `[B, N]` keep decisions after and before this stage.
    """
    similarity = cosine_similarity(patches, patches)
    itself = torch.eye(patches.shape[1], dtype=torch.bool, device=patches.device)
    stays = mask.detach() > 0.5
    similarity, host = similarity.masked_fill(itself | ~stays[:, None], -100.0).max(dim=-1)
    pruned = (1 - mask) * previous  # [B, N]
    # where no other token is kept, nothing is squeezed: -100 keeps weight and gradient at 0 or close to it
    weights = (pruned * similarity / temperature).exp() * pruned
    total = torch.full_like(weights, math.e).scatter_add(1, host, weights)
    added = (patches.float() * weights[..., None]).to(total.dtype)
    summed = (patches.float() * math.e).scatter_add(1, host[..., None].expand_as(added), added)
    return torch.where(stays[..., None], (summed / total[..., None]).to(patches.dtype), patches)


def squeeze(tokens: Tokens, stage: Stage, scores: Tensor, temperature: float) -> Tokens:
    """SELECT the highest `scores` `[B, N]`; REST squeezed into the nearest kept token."""
    kept, rest = split_top_k(scores, stage.count, tokens.attended)
    host, weights = match(gather_tokens(tokens.patches, kept), gather_tokens(tokens.patches, rest), temperature)
    weights = weights.new_full(scores.shape, math.e).scatter(1, rest, weights)
    return tokens.merge(kept, rest, host, weights, stage, scores)


def squeeze_multiply_adds(reductions: list[tuple[int, int]], width: int) -> int:
    """Multiply-adds of the similarities, for the patch tokens before and after each stage."""
    return sum((before - after) * after * width for before, after in reductions)


class Squeezing(TokenReducer):
    """What dTPS and eTPS share: REST squeezed into the nearest kept token."""

    rest = "merged"

    def __init__(self, config: Any, temperature: float, *options: Any):
        super().__init__(config, *options)
        self.temperature, self.width = temperature, config.hidden_size

    def take_out(self, tokens: Tokens, stage: Stage, scores: Tensor) -> Tokens:
        return squeeze(tokens, stage, scores, self.temperature)

    def multiply_adds(self, counts, num_patches, num_prefix):
        squeezing = squeeze_multiply_adds(self.reductions(counts, num_patches), self.width)
        return super().multiply_adds(counts, num_patches, num_prefix) + squeezing


class DTPSReducer(Squeezing, DynamicViTReducer):
    """dTPS: DynamicViT's predictors choose, masked in training."""

    loss_weights = {"classification": 1.0, "ratio": 2.0, "class_distill": 0.5}
    frozen_fraction = 0.0

    @property
    def aligns_labels(self) -> bool:
        return False  # squeezing is masked too

    def mask_out(self, tokens: Tokens, stage: Stage, keep: Tensor) -> Tokens:
        """REST squeezed, but still there."""
        alive = tokens.attended if tokens.mask is None else tokens.mask
        previous = torch.ones_like(keep) if alive is None else alive.to(keep.dtype)
        masked = tokens.mask_out(keep, stage)
        patches = squeeze_masked(tokens.patches, cast(Tensor, masked.mask), previous, self.temperature)
        return masked.change(hidden=torch.cat((tokens.prefix, patches), dim=1))


class ETPSReducer(Squeezing, TopKReducer):
    """eTPS: EViT's class attention chooses, between attention and MLP; no parameters, training as inference."""

    reads_patches = True


class TPSReducer(TokenReducer):
    """DynamicViT's or EViT's choice of patches; what they drop is squeezed into the nearest kept patch.

    Calling it makes a `DTPSReducer` or an `ETPSReducer`.

    Args:
        config: a `DynamicViTConfig`.
        score: `"dynamicvit"` (dTPS): learned predictors before each of `config.stage_layers`, masked in training;
            `"evit"` (eTPS): class attention between attention and MLP, no parameters, training as inference.
        temperature: of the squeezing weights (published: 1), at least 0.02, where exp(1 / temperature) is 5e21.
        tau, start_at_target: as for DynamicViT, with `score="dynamicvit"` only.
    """

    rest = "merged"

    def __new__(
        cls,
        config: Any,
        score: str = "dynamicvit",
        temperature: float = 1.0,
        tau: float = 1.0,
        start_at_target: bool = False,
    ) -> TokenReducer:
        cls.check(
            score=(score, score in ("dynamicvit", "evit"), "'dynamicvit' or 'evit'"),
            temperature=(temperature, isinstance(temperature, int | float) and temperature >= 0.02, "0.02 or more"),
            tau=(tau, isinstance(tau, int | float) and tau > 0, "a number above 0"),
            start_at_target=(start_at_target, isinstance(start_at_target, bool), "true or false"),
        )
        if score == "evit":
            return ETPSReducer(config, temperature)
        return DTPSReducer(config, temperature, tau, start_at_target)
