# Copyright 2026 The hf_dynamicvit authors. ALGM (CVPR 2024): https://arxiv.org/abs/2406.09936
"""ALGM: alike windows of 2 x 2 patches become one token, later alike tokens of the whole image. No parameters."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .adaptive import AdaptiveReducer
from .cost import grid_size
from .merging import merge_groups
from .tokens import Stage, Tokens, Trace, stable_argsort


# A threshold that no cosine reaches, and as many deviations that no cosine is off its mean: nothing merges.
NO_COSINE, NO_DEVIATIONS = 2.0, 1000.0


def window_positions(grid: tuple[int, int], device: torch.device) -> Tensor:
    """`[W, 4]` int64, the patches of each window of 2 x 2; an odd last row or column is in none."""
    down, across = grid
    places = torch.arange(down * across, device=device).view(down, across)[: down // 2 * 2, : across // 2 * 2]
    return places.unflatten(0, (-1, 2)).unflatten(2, (-1, 2)).transpose(1, 2).reshape(-1, 4)


def window_similarity(patches: Tensor, windows: Tensor) -> Tensor:
    """Mean cosine of the pairs of patches in each window: `[B, N, D]`, `[W, 4]` -> `[B, W]` float32."""
    units = normalize(patches.float(), dim=-1)[:, windows]  # [B, W, 4, D]
    return (units.sum(dim=2).square().sum(dim=-1) - units.square().sum(dim=(2, 3))) / 12


class ALGMReducer(AdaptiveReducer):
    """Adaptive local-then-global merging: the first stage merges within windows, the others across the image.

    Between attention and MLP, by the cosine of the tokens there. The first of `config.stage_layers` merges each window
    of 2 x 2 patches whose mean cosine is at least `threshold`. The others pair as ToMe does and merge a token into its
    most similar one where their cosine is at least the mean of these cosines in the image plus `deviations` of their
    standard deviations. A merged token is the mean of its patches; attention does not count them. Training computes
    what inference computes.

    Args:
        config: a `DynamicViTConfig`, its `keep_ratio` `None`.
        threshold: of the first stage (published: 0.88 for small, 0.9 tiny, 0.94 base, 0.95 large models).
        deviations: of the other stages, a list; `None` is 1 / number of the block, counted from 1 (published).
        batch_mode: `"exact"`, or `"minimum"`: all images of a batch merge as many as the one that merges least, by the
            mean threshold of the batch, as released, so that an image's result depends on its batch-mates.
        budget: the multiply-adds that training starts from, as a fraction of the dense model's.
    """

    acts, rest = "between", "merged"
    scores_patches = keeps_order = False
    default_schedule = "algm"

    def __init__(
        self,
        config: Any,
        threshold: float = 0.88,
        deviations: list[float] | None = None,
        batch_mode: str = "exact",
        budget: float = 0.65,
    ):
        super().__init__(config, budget)
        others = len(self.layers) - 1
        listed = isinstance(deviations, list | tuple) and len(deviations) == others
        self.check(
            threshold=(threshold, isinstance(threshold, int | float) and -1 <= threshold <= 2, "from -1 to 2"),
            deviations=(deviations, deviations is None or listed, f"a list of {others} numbers"),
            batch_mode=(batch_mode, batch_mode in ("exact", "minimum"), "'exact' or 'minimum'"),
        )
        self.threshold, self.batch_mode = threshold, batch_mode
        self.deviations = [1 / (layer + 1) for layer in self.layers[1:]] if deviations is None else list(deviations)

    def reduce(self, tokens: Tokens, stage: Stage, source: Trace) -> Tokens:
        if stage.index == 0:
            return self.merge_windows(tokens, stage)
        return self.merge_pairs(tokens, stage)

    def windows(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Return the windows `[W, 4]` and their similarity `[B, W]`, below any where a patch is excluded."""
        windows = window_positions(tokens.grid or grid_size(self.config), tokens.hidden.device)
        similarity = window_similarity(tokens.patches.detach(), windows)
        if tokens.attended is not None:
            similarity = similarity.masked_fill(~tokens.attended[:, windows].all(dim=2), -torch.inf)
        return windows, similarity

    def merge_windows(self, tokens: Tokens, stage: Stage) -> Tokens:
        """Merge alike windows; they stand first, the most alike ahead, then the other patches as they stood."""
        windows, similarity = self.windows(tokens)  # SCORE
        merges = self.agree(similarity, similarity >= self.calibrated.get("threshold", self.threshold))  # SELECT
        place = torch.arange(tokens.num_live, device=windows.device).expand(similarity.shape[0], -1)
        first = torch.where(merges[..., None], windows[:, :1], windows).flatten(1)
        into = place.scatter(1, windows.flatten().expand(first.shape[0], -1), first)
        rank = stable_argsort(stable_argsort(similarity, descending=True))
        behind = place[:, windows[:, 0]] + len(windows)
        order = (place + len(windows)).scatter(1, windows[:, 0].expand(rank.shape[0], -1), rank.where(merges, behind))
        return merge_groups(tokens, into, order, stage)  # REST

    def merge_pairs(self, tokens: Tokens, stage: Stage) -> Tokens:
        """Merge alike pairs; those of the first half that stay stand first, then the second half, each as it stood."""
        even, odd, best, partner = self.pairs(tokens)  # SCORE
        counted = best.isfinite()
        mean, deviation = self.spread(best, counted)
        deviations = self.calibrated.get("deviations", self.deviations)[stage.index - 1]
        if self.batch_mode == "minimum":
            mean, deviation = mean.mean(), deviation.mean()
        merges = self.agree(best, counted & (best >= mean + deviation * deviations))  # SELECT
        place = torch.arange(tokens.num_live, device=best.device).expand(best.shape[0], -1)
        goes = even.expand(best.shape[0], -1)
        into = place.scatter(1, goes, odd[partner].where(merges, goes))
        behind = tokens.num_live * place.new_zeros(tokens.num_live).index_fill(0, odd, 1)
        order = place + behind * merges.any(dim=1, keepdim=True)  # an image of which nothing merges stays as it is
        return merge_groups(tokens, into, order, stage)  # REST

    @staticmethod
    def pairs(tokens: Tokens) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return positions of both halves and, of each token of the first, its best cosine and who has it, `[B, A]`.

        What is excluded has -infinity.
        """
        length, parity = tokens.num_live, tokens.num_prefix % 2
        even, odd = (torch.arange(first, length, 2, device=tokens.hidden.device) for first in (parity, 1 - parity))
        with torch.autocast(tokens.hidden.device.type, enabled=False):
            units = normalize(tokens.patches.detach().float(), dim=-1)
            similarity = units[:, even] @ units[:, odd].transpose(1, 2)
        if not even.numel() or not odd.numel():
            return (
                even,
                odd,
                similarity.new_full(similarity.shape[:2], -torch.inf),
                even.expand(units.shape[0], -1) * 0,
            )
        if tokens.attended is not None:
            out = ~tokens.attended
            similarity = similarity.masked_fill(out[:, even, None] | out[:, None, odd], -torch.inf)
        best, partner = similarity.max(dim=2)
        return even, odd, best, partner

    @staticmethod
    def spread(best: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and unbiased standard deviation `[B, 1]` of those of `best` `[B, A]` that are `counted`."""
        number = counted.sum(dim=1, keepdim=True)
        values = best.masked_fill(~counted, 0.0)
        mean = values.sum(dim=1, keepdim=True) / number.clamp(min=1)
        squares = (values - mean).square().masked_fill(~counted, 0.0).sum(dim=1, keepdim=True)
        return mean, (squares / (number - 1).clamp(min=1)).sqrt()

    def agree(self, scores: Tensor, merges: Tensor) -> Tensor:
        """Return what `merges` `[B, M]`; in the mode `"minimum"` the best `scores`, as many in every image."""
        if self.batch_mode == "exact":
            return merges
        count = merges.sum(dim=1).min()
        return stable_argsort(stable_argsort(scores, descending=True)) < count

    @torch.no_grad()
    def calibrate(self, tokens: Tokens, stage: Stage, source: Trace, keep_ratio: float) -> None:
        alive = (
            tokens.hidden.new_ones(len(tokens.owner), tokens.num_live) if tokens.attended is None else tokens.attended
        )
        gone = int(alive.sum()) - round(keep_ratio * tokens.num_patches * len(alive))
        if stage.index == 0:
            cut = highest(self.windows(tokens)[1], gone // 3, NO_COSINE)
            self.calibrated = {**self.calibrated, "threshold": cut}
            return
        _, _, best, _ = self.pairs(tokens)
        mean, deviation = self.spread(best, best.isfinite())
        deviations = [*self.calibrated.get("deviations", self.deviations)]
        deviations[stage.index - 1] = highest((best - mean) / deviation.clamp(min=1e-12), gone, NO_DEVIATIONS)
        self.calibrated = {**self.calibrated, "deviations": deviations}

    def multiply_adds(self, counts, num_patches, num_prefix):
        entering = [counts[layer][0] for layer in self.layers[1:]]
        return sum((count // 2) * (count - count // 2) * self.config.hidden_size for count in entering)


def highest(scores: Tensor, count: int, otherwise: float) -> float:
    """Return the number that `count` of the finite `scores` reach, or all there are; `otherwise` for none."""
    found = scores[scores.isfinite()].sort(descending=True).values
    count = min(count, len(found))
    if count < 1:
        return otherwise
    cut = found[count - 1 : count + 1].double().mean() if count < len(found) else found[-1].double() - 1e-4
    return float(cut)
