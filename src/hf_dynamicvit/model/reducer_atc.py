# Copyright 2026 The hf_dynamicvit authors. ATC (ECCV 2024): https://arxiv.org/abs/2409.11923
"""ATC: in some blocks the patches are clustered bottom-up, and every cluster goes on as one token. No parameters."""

from typing import Any

import torch
from torch import Tensor

from .clustering import agglomerate, cosine_distances
from .merging import merge_by_size, size_bias
from .reducer import TokenReducer
from .selection import split_top_k
from .tokens import Stage, Tokens, Trace


class ATCReducer(TokenReducer):
    """In each of `config.stage_layers`, between attention and MLP, cluster the patch tokens and merge each cluster.

    Tokens are compared by their keys; the two nearest clusters join until `int(num_patches * ratio)` are left. A
    merged token is the mean of its patches and stands where the first of its tokens stood.

    Args:
        config: a `DynamicViTConfig`.
        linkage: distance of two clusters: the `"average"` of that of their tokens, the `"complete"` (greatest) or the
            `"single"` (least) one.
        proportional_attention: add log(size) to the attention logits. Without it sizes do not weigh in later means
            either, as released.
    """

    acts, rest = "between", "merged"
    reads_patches = scores_patches = keeps_order = False  # keys are of the trace
    reduces_in_training = True

    def __init__(self, config: Any, linkage: str = "average", proportional_attention: bool = True):
        super().__init__(config)
        linkages = ("average", "complete", "single")
        self.check(
            linkage=(linkage, linkage in linkages, "'average', 'complete' or 'single'"),
            proportional_attention=(proportional_attention, isinstance(proportional_attention, bool), "true or false"),
        )
        self.linkage, self.proportional_attention = linkage, proportional_attention
        self.head_dim = config.hidden_size // config.num_attention_heads

    def reduce(self, tokens: Tokens, stage: Stage, source: Trace) -> Tokens:
        if stage.count >= tokens.num_live:  # nothing merges
            return tokens.keep_all(stage)
        metric = source.key[:, :, tokens.num_prefix :].detach().mean(dim=1)  # SCORE
        first = agglomerate(cosine_distances(metric, tokens.attended), stage.count, self.linkage)  # SELECT
        stays = first == torch.arange(tokens.num_live, device=first.device)
        index, rest = split_top_k(stays.float(), stage.count)
        host = (stays.long().cumsum(dim=1) - 1).gather(1, first.gather(1, rest))
        return merge_by_size(tokens, index, rest, host, stage, weighs=self.proportional_attention)  # REST

    def key_bias(self, tokens: Tokens) -> Tensor | None:
        return size_bias(tokens) if self.proportional_attention else None

    def multiply_adds(self, counts, num_patches, num_prefix):
        return sum(before**2 * self.head_dim for before, _ in self.reductions(counts, num_patches))
