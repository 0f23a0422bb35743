# Copyright 2026 The hf_dynamicvit authors. AS-ViT (IJCAI 2023): https://arxiv.org/abs/2209.13802
"""AS-ViT: learned thresholds on the class attention decide for each image how many patches it keeps."""

from typing import Any, cast

import torch
from torch import Tensor

from .adaptive import AdaptiveReducer
from .reducer import Constants
from .scoring import head_weighted_class_attention
from .selection import top_k
from .tokens import Decision, Stage, Tokens, Trace


# Published for 196 patches: 0.001, 0.002, 0.003. Scores are shares of an attention row, about 1 / patches each.
FIRST_THRESHOLD = 0.001 * 196
# Below every score but 0.
LEAST_THRESHOLD = 1e-12


class ASViTReducer(AdaptiveReducer):
    """Before each of `config.stage_layers`, drop the patches whose score in the block before is not above a threshold.

    One threshold a stage is learned with the backbone, steered by the cost alone: the loss `budget` is how far the
    mean cost of the batch is from `budget` x the dense model's. Training masks, inference drops; every image keeps
    its own number of patches, whatever its batch-mates.

    Args:
        config: a `DynamicViTConfig`, its `keep_ratio` `None`.
        budget: the multiply-adds to train for, as a fraction of the dense model's.
        tau: temperature of the straight-through gradient.
        batch_mode: `"exact"`, or `"mean_topk"`: every image of a batch keeps as many patches as they would on average,
            as released, so that an image's result depends on its batch-mates.
    """

    default_schedule = "asvit"
    loss_weights = {"classification": 1.0, "budget": 2.0, "class_distill": 0.5}

    def __init__(self, config: Any, budget: float = 0.65, tau: float = 1e-4, batch_mode: str = "exact"):
        super().__init__(config, budget)
        self.check(
            tau=(tau, isinstance(tau, int | float) and tau > 0, "a number above 0"),
            batch_mode=(batch_mode, batch_mode in ("exact", "mean_topk"), "'exact' or 'mean_topk'"),
        )
        if self.layers[0] == 0:
            raise ValueError(
                f"reducer_layers is {self.layers}; asvit scores in the block before, so the first must be 1 or more, "
                "in a model of at least 2 blocks."
            )
        self.tau, self.batch_mode = tau, batch_mode
        self.num_patches = config.num_patches
        self.thresholds = Constants(
            [FIRST_THRESHOLD * (stage + 1) / self.num_patches for stage in range(len(self.layers))]
        )

    def threshold(self, stage: int, num_patches: int) -> Tensor:
        """`[1]` float32, above 0, for an image of `num_patches`: more of them have less attention each.

        The parameter is for images of the configuration's size; it gets its gradient also where it became negative.
        """
        value = self.thresholds(stage).float()
        positive = value.clamp(min=LEAST_THRESHOLD).detach() + (value - value.detach())
        return positive * (self.num_patches / num_patches)

    @property
    def aligns_labels(self) -> bool:
        return True  # masks say who is attended to

    def reduce(self, tokens: Tokens, stage: Stage, source: Any) -> Tokens:
        scores = cast(Tensor, tokens.importance)  # SCORE, in the block before
        threshold = self.threshold(stage.index, tokens.num_patches)
        keep = scores > threshold  # SELECT
        tokens = tokens.change(importance=None)
        if self.training:  # REST: masked
            soft = ((scores - threshold) / self.tau).sigmoid()
            return tokens.mask_out(keep.float() - soft.detach() + soft, stage, through_earlier=False)
        return self.drop_rest(tokens, keep, stage, scores)

    def drop_rest(self, tokens: Tokens, keep: Tensor, stage: Stage, scores: Tensor) -> Tokens:
        """As in `AdaptiveReducer`, unless all images of the batch are to keep the same number.

        Raises:
            ValueError: that is asked for in a trace, which has no batch.
        """
        if self.batch_mode == "exact":
            return super().drop_rest(tokens, keep, stage, scores)
        if torch.jit.is_tracing():
            raise ValueError(
                f"batch_mode is {self.batch_mode!r}: what an image keeps depends on its batch, which no trace has; "
                "load the model with reducer_args={'batch_mode': 'exact'}."
            )
        keep = keep if tokens.attended is None else keep & tokens.attended
        count = int(keep.sum()) // len(keep)
        return tokens.drop(top_k(scores, count, tokens.attended), stage, scores)

    def between(self, tokens: Tokens, trace: Trace, layer: int) -> Tokens:
        if layer + 1 not in self.layers:
            return tokens
        return tokens.change(importance=head_weighted_class_attention(trace.padded(tokens.layout), tokens))

    def losses(self, decisions: tuple[Decision, ...]) -> dict[str, Tensor]:
        return {"budget": self.budget_loss(decisions)}

    @torch.no_grad()
    def after_optimizer_step(self) -> None:
        for threshold in self.thresholds:
            threshold.clamp_(min=LEAST_THRESHOLD)

    def multiply_adds(self, counts, num_patches, num_prefix):
        return sum(self.config.hidden_size * (counts[layer - 1][0] + num_prefix) for layer in self.layers)

    @torch.no_grad()
    def calibrate(self, tokens: Tokens, stage: Stage, source: Any, keep_ratio: float) -> None:
        scores = cast(Tensor, tokens.importance)
        alive = torch.ones_like(scores, dtype=torch.bool) if tokens.attended is None else tokens.attended
        scores = scores[alive].sort(descending=True).values
        count = round(keep_ratio * tokens.num_patches * len(alive))
        between = scores[max(0, count - 1) : count + 1]  # the last that is kept and the first that is not
        everything = count >= len(scores)  # of other images too
        native = between.mean() * (tokens.num_patches / self.num_patches)
        self.thresholds[stage.index].fill_(LEAST_THRESHOLD if everything else native.clamp(min=LEAST_THRESHOLD))
