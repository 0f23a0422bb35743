# Copyright 2026 The hf_dynamicvit authors. Evo-ViT (AAAI 2022): https://arxiv.org/abs/2108.01390
"""Evo-ViT: the patches of highest global class attention take the slow path; the others wait and may come back."""

from dataclasses import replace
from typing import Any, cast

from torch import Tensor, nn

from .reducer import TokenReducer
from .scoring import class_attention
from .selection import top_k
from .tokens import Stage, Tokens, Trace


class EvoViTReducer(TokenReducer):
    """From the first of `config.stage_layers` on, each group of blocks works on `int(num_patches * ratio)` patches.

    The global class attention is the class attention of the block before the first selection; then, for the selected
    patches, the running average of it and each block's own. After its group of blocks, everything is put back.

    Args:
        config: a `DynamicViTConfig`.
        grouping: `"stage"` selects at each of `config.stage_layers` for all blocks up to the next; `"layer"` selects
            anew in every block. Published training takes `"layer"` for its first two thirds (`GroupingSwitch`).
        pooling: `"mean"`, as published: the classifier reads the mean of all patches, and training has a second one on
            the class token. `"class"`: the classifier reads what that of a dense checkpoint does. `None` is `"mean"`
            where a dense one reads the class token, and `"class"` in all other families.
        representative_token: the waiting patches go along as one token, their mean weighted with the global class
            attention, and receive what the blocks did to it (the paper's slow update; the released DeiT code leaves
            them unchanged).
        alpha: weight of the block's own attention in the running average.
    """

    rest = "idle"
    default_schedule = "evovit"
    default_keep_ratio = 0.5

    def __init__(
        self,
        config: Any,
        grouping: str = "stage",
        pooling: str | None = None,
        representative_token: bool = False,
        alpha: float = 0.5,
    ):
        super().__init__(config)
        poolings = ("mean", "class") if config.classifies_class_token else ("class",)
        self.check(
            grouping=(grouping, grouping in ("stage", "layer"), "'stage' or 'layer'"),
            pooling=(pooling, pooling in (None, *poolings), " or ".join(map(repr, poolings))),
            representative_token=(representative_token, isinstance(representative_token, bool), "true or false"),
            alpha=(alpha, isinstance(alpha, int | float) and 0 <= alpha <= 1, "a number from 0 to 1"),
        )
        if self.layers[0] == 0:
            raise ValueError(
                f"reducer_layers is {self.layers}; evovit selects by the attention of the block before, so the first "
                "must be 1 or more, in a model of at least 2 blocks."
            )
        self.grouping, self.alpha = grouping, alpha
        self.representative_token = representative_token
        self.num_representatives = int(representative_token)
        self.depth, self.width = config.num_hidden_layers, config.hidden_size
        self.class_norm = self.class_head = None
        self.reads_class_token = (pooling or poolings[0]) == "class"
        if not self.reads_class_token:
            self.loss_weights = {"classification": 0.5, "auxiliary": 0.5}
            if config.num_labels:
                self.class_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
                self.class_head = nn.Linear(config.hidden_size, config.num_labels)

    def set_grouping(self, grouping: str) -> None:
        """Select anew at each stage (`"stage"`) or in every block (`"layer"`) from now on."""
        self.grouping = grouping

    @property
    def returns_in_every_block(self) -> bool:
        return self.grouping == "layer"

    @property
    def decision_layers(self) -> list[int]:
        return self.layers if self.grouping == "stage" else list(range(self.layers[0], self.depth))

    def stage_at(self, layer: int, num_patches: int) -> Stage | None:
        if layer not in self.decision_layers:
            return None
        start = max(start for start in self.layers if start <= layer)
        return replace(cast(Stage, super().stage_at(start, num_patches)), layer=layer)

    def reduce(self, tokens: Tokens, stage: Stage, source: Any) -> Tokens:
        scores = cast(Tensor, tokens.importance)  # SCORE, by the blocks before
        selected = top_k(scores, stage.count, tokens.attended)  # SELECT
        gone_on = tokens.split_off(selected, stage, scores)  # REST
        if gone_on.waiting is None or not self.representative_token:
            return gone_on
        waits = None
        if tokens.attended is not None:  # a representative of nobody is attended by nobody
            waits = (tokens.attended & ~gone_on.decisions[-1].kept).any(dim=1, keepdim=True)
        return gone_on.represent(self.representative(tokens, selected), waits)

    def representative(self, tokens: Tokens, selected: Tensor) -> Tensor:
        """Average the patches not `selected` `[B, K]`, weighted with the global class attention: `[B, 1, D]`."""
        weights = cast(Tensor, tokens.importance).scatter(1, selected, 0.0)  # [B, N]
        if tokens.attended is not None:
            weights = weights * tokens.attended
        weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-12)
        return weights[:, None].to(tokens.hidden.dtype) @ tokens.patches

    def between(self, tokens: Tokens, trace: Trace, layer: int) -> Tokens:
        later = [start for start in self.decision_layers if start > layer]
        if layer < self.layers[0] - 1 or not later:  # nobody reads it
            return tokens
        prefix, mask = tokens.num_prefix, tokens.attention_mask
        attention = class_attention(trace.query, trace.key, prefix, mask, relative=trace.relative).sum(dim=1)
        if layer < self.layers[0]:
            return tokens.change(importance=attention)
        importance = cast(Tensor, tokens.importance)
        if tokens.waiting is None:
            return tokens.change(importance=(1 - self.alpha) * importance + self.alpha * attention)
        index = cast(Tensor, tokens.waiting.index)
        attention = attention[:, : index.shape[1]]  # without the representative token
        average = (1 - self.alpha) * importance.gather(1, index) + self.alpha * attention
        return tokens.change(importance=importance.scatter(1, index, average))

    def after(self, tokens: Tokens, layer: int) -> Tokens:
        last = layer == self.depth - 1 or layer + 1 in self.decision_layers
        return tokens.rejoin() if last else tokens

    def auxiliary_logits(self, tokens: Tokens) -> Tensor | None:
        if self.class_head is None or self.class_norm is None or not self.training:
            return None
        return self.class_head(self.class_norm(tokens.hidden[:, 0]))

    def multiply_adds(self, counts, num_patches, num_prefix):
        scored = range(self.layers[0] - 1, self.decision_layers[-1])
        total = sum(self.width * (counts[layer][0] + num_prefix) for layer in scored)
        if self.representative_token:
            total += sum(self.width * num_patches for layer in self.decision_layers if counts[layer][0] < num_patches)
        return total
