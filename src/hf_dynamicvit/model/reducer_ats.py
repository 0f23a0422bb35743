# Copyright 2026 The hf_dynamicvit authors. ATS (ECCV 2022): https://arxiv.org/abs/2111.15667
"""ATS: tokens are sampled by inverse transform of their scores; each image keeps as many as are hit. No parameters."""

from typing import Any, cast

import torch
from torch import Tensor

from .adaptive import AdaptiveReducer
from .scoring import class_attention
from .tokens import Stage, Tokens, Trace


# The most samples that calibration tries: above it, all but the lowest of a few hundred tokens are hit.
MOST_SAMPLES = 1 << 20


def cumulate(scores: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
    """Sort ascending, cumulate and scale to 0 at the lowest, 1 at the highest (ATS, section 3.2): `[B, N]` each.

    Args:
        scores: `[B, N]` float32, 0 or more.
        alive: `[B, N]` bool; the others come first, at 0.

    Returns:
        the cumulated scores, and which token each is of.
    """
    ordered, order = scores.masked_fill(~alive, -1.0).sort(dim=1)
    total = ordered.clamp(min=0).cumsum(dim=1)
    lowest = total.gather(1, (~alive).sum(dim=1, keepdim=True).clamp(max=scores.shape[1] - 1))
    span = (total[:, -1:] - lowest).clamp(min=torch.finfo(total.dtype).tiny)
    return ((total - lowest) / span).clamp(min=0), order


def hit(cumulated: Tensor, samples: int) -> Tensor:
    """Find the sorted tokens that are nearest to one of evenly spaced samples: `[B, N]` bool.

    The samples stand from the smallest `cumulated` `[B, N]` above 0 to 1. The lowest token, at 0, is never hit, as
    published. A token is hit where a sample lies up to half the way to its neighbours; how many samples lie below such
    a point is known without making them.
    """
    first = cumulated.masked_fill(cumulated <= 0, torch.inf).amin(dim=1, keepdim=True)
    step = ((1 - first) / (samples - 1)).clamp(min=torch.finfo(cumulated.dtype).tiny)
    middles = (cumulated[:, 1:] + cumulated[:, :-1]) / 2
    below = ((middles - first) / step).floor() + 1  # samples up to each, 0 or less for none
    below = torch.nn.functional.pad(below.clamp(min=0, max=samples), (1, 0))
    below = torch.cat((below, first.isfinite() * float(samples)), dim=1)
    return below[:, 1:] > below[:, :-1]


class ATSReducer(AdaptiveReducer):
    """In each of `config.stage_layers`, between attention and MLP, keep the patch tokens that samples of scores hit.

    A token scores the class attention that it gets, summed over heads, times the norm of its value. Samples are evenly
    spaced over the cumulated scores, so that a token of high score is hit by several and one of low score by none; an
    image keeps each token that is hit, once. Dropped tokens still serve the attention of this block as keys and
    values. Training computes what inference computes.

    Args:
        config: a `DynamicViTConfig`, its `keep_ratio` `None`.
        samples: for an image of the configuration's size, one number for all stages or one a stage, 2 or more, or 0
            for a stage that keeps all; `None` is the number of patches (published).
        budget: the multiply-adds that training starts from, as a fraction of the dense model's, unless `samples` are
            given.
    """

    acts = "between"
    reads_patches = False  # scores are of the trace
    needs = frozenset({"value"})
    default_schedule = "late"

    def __init__(self, config: Any, samples: int | list[int] | None = None, budget: float = 0.65):
        super().__init__(config, budget)
        each = samples if isinstance(samples, list | tuple) else [samples] * len(self.layers)
        counts = all(type(value) is int and (value == 0 or 2 <= value <= MOST_SAMPLES) for value in each)
        self.check(
            samples=(
                samples,
                samples is None or (counts and len(each) == len(self.layers)),
                f"an integer of 2 to {MOST_SAMPLES}, 0 to keep all, or a list of {len(self.layers)}",
            )
        )
        self.num_patches = config.num_patches
        if samples is not None:
            self.calibrated = {"samples": list(each)}

    @property
    def samples(self) -> list[int]:
        """Samples of each stage, for an image of the configuration's size."""
        return self.calibrated.get("samples", [max(2, self.num_patches)] * len(self.layers))

    def reduce(self, tokens: Tokens, stage: Stage, source: Trace) -> Tokens:
        samples = self.samples[stage.index]
        if not samples:
            return tokens.keep_all(stage)
        scores, alive = self.score(tokens, source)  # SCORE
        keep = self.choose(scores, alive, max(2, round(samples * tokens.num_patches / self.num_patches)))  # SELECT
        return self.drop_rest(tokens, keep, stage, scores)  # REST

    @staticmethod
    def score(tokens: Tokens, source: Trace) -> tuple[Tensor, Tensor]:
        """`[B, N]` float32, what each patch token scores, and `[B, N]` bool, whether it is there."""
        trace = source.padded(tokens.layout)
        attention = class_attention(
            trace.query, trace.key, tokens.num_prefix, tokens.attention_mask, tokens.mask, trace.relative
        )
        value = cast(Tensor, trace.value)[:, :, tokens.num_prefix :].float()
        scores = attention.sum(dim=1) * value.square().sum(dim=(1, 3)).sqrt()
        alive = torch.ones_like(scores, dtype=torch.bool) if tokens.attended is None else tokens.attended
        return scores, alive if tokens.mask is None else alive & (tokens.mask > 0.5)

    @staticmethod
    def choose(scores: Tensor, alive: Tensor, samples: int) -> Tensor:
        """Return the tokens `[B, N]` bool that are hit; of two or fewer none is dropped."""
        cumulated, order = cumulate(scores.detach(), alive)
        keep = torch.zeros_like(alive).scatter(1, order, hit(cumulated, samples))
        return alive & (keep | (alive.sum(dim=1, keepdim=True) <= 2))

    @torch.no_grad()
    def calibrate(self, tokens: Tokens, stage: Stage, source: Trace, keep_ratio: float) -> None:
        scores, alive = self.score(tokens, source)
        cumulated, _ = cumulate(scores, alive)
        target, low, high = keep_ratio * tokens.num_patches * len(alive), 2, MOST_SAMPLES
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if hit(cumulated, middle).sum() <= target else (low, middle)
        native = max(2, round(low * self.num_patches / tokens.num_patches))
        samples = [*self.samples]
        samples[stage.index] = 0 if target >= alive.sum() else min(native, MOST_SAMPLES)
        self.calibrated = {"samples": samples}

    def multiply_adds(self, counts, num_patches, num_prefix):
        sampling = [layer for layer, samples in zip(self.layers, self.samples, strict=True) if samples]
        return sum(self.config.hidden_size * (counts[layer][0] + num_prefix) for layer in sampling)
