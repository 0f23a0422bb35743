# Copyright 2026 The hf_dynamicvit authors. Dynamic spatial sparsification (T-PAMI 2023): https://arxiv.org/abs/2207.01580
"""Methods for pyramids: no position leaves the map, each takes the block's own feed-forward or something lighter."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from .positions import Positions
from .reducer import TokenReducer
from .reducer_dynamicvit import keep_ratio_loss
from .schedules import SCHEDULES, Schedule
from .scoring import MOST_KEPT, TokenScorePredictor
from .selection import gumbel_keep
from .tokens import Decision, Stage


STREAMS = ("merged", "separate")


def thirds_from_the_first(depth: int) -> list[int]:
    """Three blocks a ninth of the depth apart: 1, 2, 3 of 6 and of 9, 2, 4, 6 of 18, 3, 6, 9 of 27."""
    step = max(1, depth // 9)
    return sorted({min(depth - 1, stage * step) for stage in (1, 2, 3)})


def fifths(keep_ratio: float, num_stages: int) -> list[float]:
    """Keep a fifth of all positions less at each stage than at the one before; from 0.9 up to 1 ever less of that."""
    step = 0.2 if keep_ratio <= 0.9 else 2 * (1 - keep_ratio)
    return [max(keep_ratio - step * stage, 1e-9) for stage in range(num_stages)]  # the configuration refuses none


PYRAMID_SCHEDULES: dict[str, Schedule] = {
    "slow-fast": Schedule(
        thirds_from_the_first, fifths, "blocks a ninth of the stage apart; the number, and a fifth of all less at each"
    ),
    **SCHEDULES,
}


class FastPath(nn.Module):
    """The light feed-forward: a norm, one linear layer and, where blocks scale their branches, such a scale.

    Args:
        width: C.
        eps: of the norm.
        scale: every channel's first factor, or `None`.
    """

    def __init__(self, width: int, eps: float, scale: float | None):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=eps)
        self.project = nn.Linear(width, width)
        self.start = scale or 0.0
        self.scale = None if scale is None else nn.Parameter(torch.full((width,), scale))

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.project(self.norm(hidden))
        return hidden if self.scale is None else self.scale * hidden


def sample(log_probs: Tensor, tau: float) -> Tensor:
    """Sample decisions `[B, N]`, 0 or 1 to the bit with a gradient, from `log_probs` `[B, N, 2]`."""
    sampled = gumbel_keep(log_probs, tau)
    return sampled + (sampled.round() - sampled).detach()  # a sampled 1 is off by a rounding error


class PyramidReducer(TokenReducer):
    """A method for the reduced stage of a pyramid: `reduce` decides ahead of a block, `feed_forward` acts on it.

    Patches are the positions of that stage's map. Decisions are of all of them anew, so that any may return.

    Attributes:
        fast_multiply_adds: of one position on the light path.
    """

    rest = "idle"
    default_schedule = "slow-fast"
    width: int

    @property
    def fast_multiply_adds(self) -> int:
        """Multiply-adds of one position on the light path."""
        return 0

    @property
    def returns_in_every_block(self) -> bool:
        return True

    @property
    def aligns_labels(self) -> bool:
        """Return that they cannot: a position may wait on its way, and hears of all its window."""
        return False

    def token_counts(self, num_patches: int, depth: int, kept: list[int] | None = None) -> list[tuple[int, int]]:
        counts, slow = [], num_patches
        for layer in range(depth):
            stage = self.stage_at(layer, num_patches)
            slow = slow if stage is None else min(num_patches, stage.count)
            counts.append((num_patches, slow))
        return counts

    def reduce(self, tokens: Any, stage: Stage, source: Any) -> Any:
        """SCORE and SELECT: decide about the `Positions` at a stage and record it."""
        raise NotImplementedError

    def start_light(self, block: Any, entered: Tensor, mixed: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return what `light` adds to: arguments as of `PyramidBlock.residual`, which it is by default."""
        return block.residual(entered, mixed, rows)

    def light(self, layer: int, block: Any, base: Tensor, mixed: Tensor) -> Tensor:
        """Return what positions become on the light path.

        Args:
            layer: index of the block in its stage.
            block: it.
            base: `[..., C]`, of `start_light`.
            mixed: `[..., C]`, what attention or convolution made of them.
        """
        raise NotImplementedError

    def feed_forward(self, positions: Positions, layer: int, block: Any, mixed: Tensor) -> Positions:
        """Run the second half of `block` on what its first half `mixed` `[B, N, C]`."""
        if positions.streams is not None:
            return self.both_paths(positions, layer, block, mixed)
        if positions.split is None:
            output = block.residual(positions.hidden, mixed) + block.feed_forward(mixed)
            return positions.change(hidden=output)
        flat, entered = mixed.flatten(0, 1), positions.hidden.flatten(0, 1)
        slow, fast = positions.split.slow, positions.split.fast
        rows = flat[slow]
        own = block.residual(entered, rows, slow) + block.feed_forward(rows)
        rows = flat[fast]
        light = self.light(layer, block, self.start_light(block, entered, rows, fast), rows)
        light = light.to(own.dtype)  # they differ under autocast
        output = own.new_empty(flat.shape).index_copy_(0, slow, own).index_copy_(0, fast, light)
        return positions.change(hidden=output.view(mixed.shape))

    def both_paths(self, positions: Positions, layer: int, block: Any, mixed: Tensor) -> Positions:
        """Run both paths for all positions, as training does.

        The input of a path is what was mixed where the position takes it, and its old stream elsewhere.
        """
        slow, fast = cast(tuple[Tensor, Tensor], positions.streams)
        slow_input, fast_input = positions.merge(mixed, slow), positions.merge(fast, mixed)
        slow = block.residual(slow, mixed) + block.feed_forward(slow_input)
        fast = self.light(layer, block, self.start_light(block, fast, mixed), fast_input)
        return positions.change(streams=(slow, fast), hidden=positions.merge(slow, fast))


class SlowFastReducer(PyramidReducer):
    """DynamicViT on pyramids: predictors send each position to the block's own MLP or to one linear layer.

    Args:
        config: a `PyramidConfig`.
        tau: temperature of the Gumbel-softmax sampling in training (published: 1).
        streams: in training both paths run for all positions. `"merged"` lets both start from the chosen map at
            each predictor, so that training computes what inference does; `"separate"` never, as released.
        start_at_target: untrained predictors keep as much as their stage asks for instead of one half (published).
    """

    _no_split_modules = ["TokenScorePredictor", "FastPath"]

    loss_weights = {"classification": 1.0, "ratio": 10.0, "class_distill": 0.5, "token_distill": 0.5}
    backbone_lr_scale = 0.2
    frozen_fraction = 1 / 24  # 5 of 120 epochs

    def __init__(self, config: Any, tau: float = 1.0, streams: str = "merged", start_at_target: bool = False):
        super().__init__(config)
        self.check(
            tau=(tau, isinstance(tau, int | float) and tau > 0, "a number above 0"),
            streams=(streams, streams in STREAMS, " or ".join(map(repr, STREAMS))),
            start_at_target=(start_at_target, isinstance(start_at_target, bool), "true or false"),
        )
        self.tau, self.streams, self.width = tau, streams, config.reduced_width
        eps = config.reducer_norm_eps
        starts = [min(ratio, MOST_KEPT) if start_at_target else 0.5 for ratio in self.keep_ratios]
        self.predictors = nn.ModuleList([TokenScorePredictor(self.width, start, eps) for start in starts])
        paths = range(self.layers[0], config.depth)
        scale = config.fast_path_scale
        self.fast_paths = nn.ModuleDict({str(layer): FastPath(self.width, eps, scale) for layer in paths})

    def reduce(self, tokens: Any, stage: Stage, source: Any) -> Any:
        if not self.training and stage.count >= tokens.num_patches:  # nothing to choose
            return tokens.all_slow(stage)
        log_probs = self.predictors[stage.index](tokens.hidden)  # SCORE: [B, N, 2], slow is column 0
        if self.training:  # SELECT
            return tokens.mix_by(stage, sample(log_probs, self.tau), self.streams == "merged")
        return tokens.take_highest(stage, log_probs[..., 0])

    def light(self, layer: int, block: Any, base: Tensor, mixed: Tensor) -> Tensor:
        return base + block.drop_path(self.fast_paths[str(layer)](mixed))

    def losses(self, decisions: tuple[Decision, ...]) -> dict[str, Tensor]:
        return {"ratio": keep_ratio_loss(decisions)}

    @property
    def fast_multiply_adds(self) -> int:
        return self.width**2

    def multiply_adds(self, counts, num_patches, num_prefix):
        choosing = sum(count < num_patches for count in self.stage_counts(num_patches))
        return choosing * num_patches * TokenScorePredictor.multiply_adds(self.width)


class IdlePositionsReducer(PyramidReducer):
    """IdleViT on pyramids, as we read its abstract, for which no code exists: the others skip the block as a whole.

    They are keys and values of its attention, or neighbours in its convolution, but take neither its output nor the
    MLP's; each stage chooses anew, and a choice holds up to the next.

    Args:
        config: a `PyramidConfig`.
        score: `"norm"`, the length of a position's features, without parameters; or `"predictor"`, as `dynamicvit`.
        tau: temperature of the predictors' sampling in training.
    """

    _no_split_modules = ["TokenScorePredictor"]

    default_schedule = "idlevit"
    loss_weights = {"classification": 1.0, "class_distill": 0.5, "token_distill": 0.5}

    def __init__(self, config: Any, score: str = "norm", tau: float = 1.0):
        super().__init__(config)
        self.check(
            score=(score, score in ("norm", "predictor"), "'norm' or 'predictor'"),
            tau=(tau, isinstance(tau, int | float) and tau > 0, "a number above 0"),
        )
        self.tau, self.width = tau, config.reduced_width
        if score == "predictor":
            eps, count = config.reducer_norm_eps, len(self.keep_ratios)
            self.predictors = nn.ModuleList([TokenScorePredictor(self.width, eps=eps) for _ in range(count)])
            self.loss_weights = SlowFastReducer.loss_weights
            self.backbone_lr_scale = SlowFastReducer.backbone_lr_scale

    def reduce(self, tokens: Any, stage: Stage, source: Any) -> Any:
        learned = hasattr(self, "predictors")
        if stage.count >= tokens.num_patches and not (self.training and learned):
            return tokens.all_slow(stage)
        if not learned:
            scores = tokens.hidden.detach().float().norm(dim=-1)  # SCORE: [B, N]
        else:
            log_probs = self.predictors[stage.index](tokens.hidden)
            scores = log_probs[..., 0]
        if self.training:  # SELECT
            mask = sample(log_probs, self.tau) if learned else mark_highest(scores, stage.count)
            return tokens.mix_by(stage, mask, True)
        return tokens.take_highest(stage, scores)

    def start_light(self, block: Any, entered: Tensor, mixed: Tensor, rows: Tensor | None = None) -> Tensor:
        return entered if rows is None else entered[rows]

    def light(self, layer: int, block: Any, base: Tensor, mixed: Tensor) -> Tensor:
        return base

    def losses(self, decisions: tuple[Decision, ...]) -> dict[str, Tensor]:
        return {"ratio": keep_ratio_loss(decisions)} if hasattr(self, "predictors") else {}

    def multiply_adds(self, counts, num_patches, num_prefix):
        if not hasattr(self, "predictors"):
            return 0
        choosing = sum(count < num_patches for count in self.stage_counts(num_patches))
        return choosing * num_patches * TokenScorePredictor.multiply_adds(self.width)


def mark_highest(scores: Tensor, count: int) -> Tensor:
    """Mark the `count` highest `scores` `[B, N]` of each image with 1."""
    return torch.zeros_like(scores).scatter(1, scores.topk(count, dim=1).indices, 1.0)


PYRAMID_REDUCERS: dict[str, type[TokenReducer]] = {"dynamicvit": SlowFastReducer, "idlevit": IdlePositionsReducer}
