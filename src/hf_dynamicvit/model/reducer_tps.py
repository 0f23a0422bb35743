# Copyright 2026 The hf_dynamicvit authors. TPS (CVPR 2023): https://arxiv.org/abs/2304.10716
"""TPS: token pruning and squeezing. Every dropped token goes into the kept token that is most similar to it."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTLayer

from .reducer import TokenReducer
from .reducer_dynamicvit import keep_ratio_loss
from .scoring import TokenScorePredictor, class_attention, predictors_for
from .selection import compounding_counts, gumbel_keep, keep_count, split_top_k
from .tokens import Decision, Tokens, gather_tokens


def cosine_similarity(tokens: Tensor, others: Tensor) -> Tensor:
    """`[B, N, D]` and `[B, M, D]` -> `[B, N, M]` float32."""
    with torch.autocast(tokens.device.type, enabled=False):
        tokens, others = (nn.functional.normalize(states.float(), dim=-1) for states in (tokens, others))
        return tokens @ others.transpose(1, 2)


def match(kept: Tensor, pruned: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The most similar kept token `[B, P]` of each pruned one, and its weight exp(cosine / temperature) `[B, P]`.

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


class TPSReducer(TokenReducer):
    """DynamicViT's or EViT's choice of patches; what they drop is squeezed into the nearest kept patch.

    Args:
        config: a `DynamicViTConfig`.
        score: `"dynamicvit"` (dTPS): learned predictors before each of `config.stage_layers`, masked in training;
            `"evit"` (eTPS): class attention between attention and MLP, no parameters, training as inference.
        temperature: of the squeezing weights (published: 1), at least 0.02, where exp(1 / temperature) is 5e21.
        tau, start_at_target: as for DynamicViT, with `score="dynamicvit"` only.
    """

    merging = True

    def __init__(
        self,
        config: ViTConfig,
        score: str = "dynamicvit",
        temperature: float = 1.0,
        tau: float = 1.0,
        start_at_target: bool = False,
    ):
        super().__init__(config)
        self.check(
            score=(score, score in ("dynamicvit", "evit"), "'dynamicvit' or 'evit'"),
            temperature=(temperature, isinstance(temperature, int | float) and temperature >= 0.02, "0.02 or more"),
            tau=(tau, isinstance(tau, int | float) and tau > 0, "a number above 0"),
            start_at_target=(start_at_target, isinstance(start_at_target, bool), "true or false"),
        )
        self.score, self.temperature, self.tau = score, temperature, tau
        self.width = config.hidden_size
        self.rounds_up = score == "evit"
        if score == "dynamicvit":
            self.predictors = predictors_for(config.hidden_size, self.keep_ratios, start_at_target)
            self._no_split_modules = ["TokenScorePredictor"]
            self.loss_weights = {"classification": 1.0, "ratio": 2.0, "class_distill": 0.5}
            self.backbone_lr_scale = 0.01

    def before(self, tokens: Tokens, block: ViTLayer, layer: int) -> Tokens:
        if layer not in self.layers or self.score == "evit":
            return tokens
        stage = self.layers.index(layer)
        count = keep_count(tokens.num_patches, self.keep_ratios[stage])
        if not self.training and count >= tokens.num_live:  # nothing to choose
            return tokens.keep_all(layer, self.keep_ratios[stage])
        # SCORE
        alive = tokens.attended if tokens.mask is None else tokens.mask
        log_probs = self.predictors[stage](tokens.patches, alive)  # [B, N, 2], keep is column 0
        if not self.training:
            return self.squeeze(tokens, log_probs[..., 0], count, layer)
        # SELECT by sampling, REST squeezed, but still there
        previous = log_probs.new_ones(log_probs.shape[:2]) if alive is None else alive.to(log_probs.dtype)
        masked = tokens.mask_out(gumbel_keep(log_probs, self.tau), layer, self.keep_ratios[stage])
        patches = squeeze_masked(tokens.patches, cast(Tensor, masked.mask), previous, self.temperature)
        return masked.change(hidden=torch.cat((tokens.hidden[:, : tokens.num_prefix], patches), dim=1))

    def between(self, tokens: Tokens, trace, layer: int) -> Tokens:
        if layer not in self.layers or self.score == "dynamicvit":
            return tokens
        stage = self.layers.index(layer)
        count = compounding_counts(tokens.num_patches, self.keep_ratios)[stage]
        if count >= tokens.num_live:  # nothing to choose
            return tokens.keep_all(layer, self.keep_ratios[stage])
        scores = class_attention(trace.query, trace.key, tokens.num_prefix, tokens.attention_mask).mean(dim=1)
        return self.squeeze(tokens, scores, count, layer)

    def decides_between(self, layer: int) -> bool:
        return self.score == "evit" and layer in self.layers

    def prefix_suffices(self, layer: int) -> bool:
        return self.score == "dynamicvit" or layer not in self.layers

    def squeeze(self, tokens: Tokens, scores: Tensor, count: int, layer: int) -> Tokens:
        """SELECT the `count` highest scores; REST squeezed."""
        keep_ratio = self.keep_ratios[self.layers.index(layer)]
        kept, rest = split_top_k(scores, count, tokens.attended)
        host, weights = match(
            gather_tokens(tokens.patches, kept), gather_tokens(tokens.patches, rest), self.temperature
        )
        weights = weights.new_full(scores.shape, math.e).scatter(1, rest, weights)
        return tokens.merge(kept, rest, host, weights, layer, keep_ratio, scores)

    def losses(self, decisions: tuple[Decision, ...]) -> dict[str, Tensor]:
        return {"ratio": keep_ratio_loss(decisions)} if self.score == "dynamicvit" else {}

    def token_counts(self, num_patches, depth, kept=None):
        if self.score == "dynamicvit":
            return self.fixed_counts(num_patches, depth)
        return self.compounding_counts(num_patches, depth)

    def multiply_adds(self, counts, num_patches, num_prefix):
        total, entering = 0, num_patches
        for layer in self.layers:
            before, after = counts[layer] if self.score == "evit" else (entering, counts[layer][0])
            entering = after
            if after == before:  # nothing to choose
                continue
            scored = before * TokenScorePredictor.multiply_adds(self.width) if self.score == "dynamicvit" else 0
            total += scored or self.width * (before + num_prefix)
            total += (before - after) * after * self.width  # similarities
        return total
