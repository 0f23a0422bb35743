# Copyright 2026 The hf_dynamicvit authors. SViT (WACV 2024): https://arxiv.org/abs/2306.07050
"""SViT: ahead of a block a selector picks the patches of each image that take part; the others wait for the next."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from .adaptive import AdaptiveReducer
from .selection import gumbel_keep, kept_first
from .tokens import Decision, Stage, Tokens


# How far calibration puts the lowest logit on the side of selecting where everything shall be selected.
SAFE_MARGIN = 50.0


class TokenSelector(nn.Module):
    """`[B, N, D]` patch tokens -> log-probabilities `[B, N, 2]` of taking part (column 0) and of waiting."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.hidden = nn.Linear(width, width // 4)
        self.choose = nn.Linear(width // 4, 2)

    def forward(self, patches: Tensor) -> Tensor:
        hidden = nn.functional.gelu(self.hidden(self.norm(patches)))
        return self.choose(hidden).float().log_softmax(dim=-1)

    @staticmethod
    def multiply_adds(width: int) -> int:
        """Multiply-adds for one token."""
        return (width + 2) * (width // 4)


class SViTReducer(AdaptiveReducer):
    """In each of `config.stage_layers` a selector picks the patch tokens that go through the block, among themselves.

    The others keep their features and may be picked in the next block; every image has its own number of them.
    Training samples, hides the others from the attention and blends what the block gave with what it got, through
    which the gradient reaches the selectors; the loss `ratio` holds the fraction that each picks at its target.

    Args:
        config: a `DynamicViTConfig`, its `keep_ratio` `None`.
        target: fraction of the patches that selectors are trained to pick, with its square and its cube in thirds of
            the blocks (published: 0.7), or a list with one a block.
        tau: temperature of the sampling.
        share: how many of the blocks in a row take the pick of one selector, ahead of the first of them.
        budget: the multiply-adds to set untrained selectors to, as a fraction of the dense model's.
    """

    _no_split_modules = ["TokenSelector"]

    rest = "idle"
    default_schedule = "idlevit"
    loss_weights = {"classification": 1.0, "ratio": 4.0}

    def __init__(
        self, config: Any, target: float | list[float] = 0.7, tau: float = 1.0, share: int = 1, budget: float = 0.65
    ):
        super().__init__(config, budget)
        each = target if isinstance(target, list | tuple) else [target]
        ratios = all(isinstance(ratio, int | float) and 0 < ratio <= 1 for ratio in each)
        self.check(
            target=(
                target,
                ratios and (len(each) == len(self.layers) or not isinstance(target, list | tuple)),
                f"a number above 0, at most 1, or a list of {len(self.layers)}",
            ),
            tau=(tau, isinstance(tau, int | float) and tau > 0, "a number above 0"),
            share=(share, type(share) is int and share > 0, "an integer above 0"),
        )
        several = isinstance(target, list | tuple)
        self.target_ratios = list(each) if several else config.named_schedule.keep_ratios(target, len(self.layers))
        self.tau, self.share = tau, share
        self.selectors = nn.ModuleList([TokenSelector(config.hidden_size) for _ in self.layers[::share]])

    @property
    def returns_in_every_block(self) -> bool:
        return True

    def reduce(self, tokens: Tokens, stage: Stage, source: Any) -> Tokens:
        if stage.index % self.share:  # as the block before picked, without its gradient
            return self.set_aside(tokens, tokens.decisions[-1].kept.float(), stage)
        log_probs = self.selectors[stage.index // self.share](tokens.patches)  # SCORE
        if self.training:  # SELECT, REST
            return tokens.blend_later(gumbel_keep(log_probs, self.tau), stage)
        return self.set_aside(tokens, log_probs[..., 0] - log_probs[..., 1], stage)

    def set_aside(self, tokens: Tokens, scores: Tensor, stage: Stage) -> Tokens:
        """Let the patch tokens wait whose `scores` `[B, N]` are not above 0."""
        keep = scores > 0
        if self.training or torch.jit.is_tracing():  # which would fix how many there are
            return tokens.blend_later(keep.float(), stage)
        index, valid = kept_first(keep if tokens.attended is None else keep & tokens.attended)
        return tokens.split_off(index, stage, scores, valid=valid)

    def after(self, tokens: Tokens, layer: int) -> Tokens:
        return tokens.rejoin()

    def losses(self, decisions: tuple[Decision, ...]) -> dict[str, Tensor]:
        picked = torch.stack([cast(Tensor, decision.mask).mean() for decision in decisions[:: self.share]])
        return {"ratio": (picked - picked.new_tensor(self.target_ratios[:: self.share])).square().mean()}

    @torch.no_grad()
    def calibrate(self, tokens: Tokens, stage: Stage, source: Any, keep_ratio: float) -> None:
        if stage.index % self.share:
            return
        selector = cast(TokenSelector, self.selectors[stage.index // self.share])
        selector.choose.bias[0] = 0.0  # what was set before leaves no trace
        log_probs = selector(tokens.patches)
        scores = log_probs[..., 0] - log_probs[..., 1]
        scores = (
            (scores.flatten() if tokens.attended is None else scores[tokens.attended]).sort(descending=True).values
        )
        count = round(keep_ratio * tokens.num_patches * len(tokens.hidden))
        between = scores[max(0, count - 1) : count + 1].mean()  # the last that is picked and the first that is not
        threshold = scores[-1] - SAFE_MARGIN if count >= len(scores) else between
        selector.choose.bias[0] = -threshold

    def token_counts(self, num_patches, depth, kept=None):
        super().token_counts(num_patches, depth, kept)  # which refuses to do without images
        stages = dict(zip(self.layers, cast(list[int], kept), strict=True))
        return [(stages.get(layer, num_patches),) * 2 for layer in range(depth)]

    def multiply_adds(self, counts, num_patches, num_prefix):
        return len(self.selectors) * num_patches * TokenSelector.multiply_adds(self.config.hidden_size)
