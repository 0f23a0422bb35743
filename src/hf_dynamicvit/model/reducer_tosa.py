# Copyright 2026 The hf_dynamicvit authors. ToSA (2024), from its description alone: https://arxiv.org/abs/2406.08816
"""ToSA: from the attention of one block that of the next is predicted; tokens that get little of it sit that out."""

import itertools
from typing import Any, cast

import torch
from torch import Tensor, nn

from .reducer import TokenReducer
from .scoring import attention_logits, attention_received, attention_weights, masked_mean
from .selection import top_k
from .tokens import Decision, Stage, Tokens, Trace


# Wider than any row of attention is of use to; a file from anywhere must not ask for more.
WIDEST_KERNEL = 1024


class MirroredConvolution(nn.Conv1d):
    """A convolution that starts as its input and the negative of that, or as the first channel less the second."""

    def start(self) -> Tensor:
        """Return the weight `[out, in, kernel]` that it starts with, of 1 and 2 channels in either order."""
        taps = torch.zeros_like(self.weight)
        taps[..., self.kernel_size[0] // 2] = taps.new_tensor([1.0, -1.0]).view(self.out_channels, self.in_channels)
        return taps


class AttentionPredictor(nn.Module):
    """Logits of the attention of one block -> log-probabilities of that of the next, both `[B, T, T]`.

    Two convolutions along the keys, with two channels and a ReLU between them. Untrained, the next attention is this
    one.

    Args:
        kernel: width of the convolutions, odd.
    """

    def __init__(self, kernel: int):
        super().__init__()
        self.hidden = MirroredConvolution(1, 2, kernel, padding=kernel // 2)
        self.output = MirroredConvolution(2, 1, kernel, padding=kernel // 2)

    def forward(self, logits: Tensor, attended: Tensor | None = None) -> Tensor:
        if attended is not None:  # what the user's mask excludes has nothing to say to its neighbours
            logits = logits.masked_fill(~attended[:, None], 0.0)
        rows = logits.flatten(0, 1)[:, None].to(self.hidden.weight.dtype)  # [B * T, 1, T]
        found = self.output(nn.functional.relu(self.hidden(rows))).float().view_as(logits)
        if attended is not None:
            found = found.masked_fill(~attended[:, None], torch.finfo(found.dtype).min)
        return found.log_softmax(dim=-1)

    @staticmethod
    def multiply_adds(kernel: int, length: int) -> int:
        """Multiply-adds for one image of `length` tokens."""
        return 4 * kernel * length**2


class ToSAReducer(TokenReducer):
    """In each of `config.stage_layers`, only the patches that are predicted to get most attention take part.

    Ahead of such a block is a plain one, of whose attention logits a learned predictor makes the attention of the next
    one. A patch's score is what it gets of that, the mean over queries; the others keep their features and are back
    behind the block. Training computes what inference computes, and the loss `attention`, the KL divergence of the
    predicted attention from that which the block would have on all tokens, teaches the predictors alone.

    From the paper's description, which leaves open how wide the convolutions are and what becomes of heads (here: the
    mean over heads is predicted from their mean logits), how attention becomes a score, how many patches take part,
    and how long the predictors learn alone.

    Args:
        config: a `DynamicViTConfig`.
        kernel: width of the convolutions, odd.
    """

    _no_split_modules = ["AttentionPredictor"]

    rest = "idle"
    default_schedule = "alternate"
    default_keep_ratio = 0.5
    loss_weights = {"classification": 1.0, "attention": 1.0}
    frozen_fraction = 1 / 6

    def __init__(self, config: Any, kernel: int = 3):
        super().__init__(config)
        odd = type(kernel) is int and 0 < kernel < WIDEST_KERNEL and kernel % 2 == 1
        self.check(kernel=(kernel, odd, f"an odd integer from 1 to {WIDEST_KERNEL - 1}"))
        if self.layers[0] == 0 or any(after == before + 1 for before, after in itertools.pairwise(self.layers)):
            raise ValueError(
                f"the blocks that reduce are {self.layers}; tosa predicts from the attention of the block ahead of "
                "each, in which all tokens take part: the first must be 1 or more, and no two may be neighbours."
            )
        self.kernel, self.width = kernel, config.hidden_size
        self.selectors = nn.ModuleList([AttentionPredictor(kernel) for _ in self.layers])

    @property
    def returns_in_every_block(self) -> bool:
        return True

    def between(self, tokens: Tokens, trace: Trace, layer: int) -> Tokens:
        """SCORE for the next block, if it is a stage."""
        stage = self.stage_at(layer + 1, tokens.num_patches)
        if stage is None or (stage.count >= tokens.num_patches and not self.training):
            return tokens
        with torch.no_grad():
            logits = attention_logits(trace.query, trace.key, trace.relative).mean(dim=1)
        predicted = self.selectors[stage.index](logits, tokens.attention_mask)
        weights = predicted.detach().exp()[:, None]
        received = attention_received(weights, tokens.num_prefix, tokens.attention_mask)
        return tokens.change(importance=received, predicted=predicted if self.training else None)

    def reduce(self, tokens: Tokens, stage: Stage, source: Any) -> Tokens:
        scores, predicted = tokens.importance, tokens.predicted
        if scores is None:  # nobody waits
            return tokens.keep_all(stage)
        loss = None if predicted is None else self.prediction_loss(tokens, predicted, source)
        active = top_k(scores, stage.count, tokens.attended)  # SELECT
        tokens = tokens.change(importance=None, predicted=None)
        return tokens.split_off(active, stage, scores, loss)  # REST

    def prediction_loss(self, tokens: Tokens, predicted: Tensor, block: Any) -> Tensor:
        """KL divergence of `predicted` `[B, T, T]` from the attention of `block` on all `tokens`: a scalar."""
        mask = tokens.attention_mask
        with torch.no_grad():
            query, key = block.attention.queries_and_keys(block.layernorm_before(tokens.hidden), tokens)
            weights = attention_weights(query, key, tokens.num_prefix, mask, block.relative(tokens)).mean(dim=1)
        divergence = nn.functional.kl_div(predicted, weights, reduction="none").sum(dim=-1)  # [B, T]
        return masked_mean(divergence[..., None], mask).mean()

    def after(self, tokens: Tokens, layer: int) -> Tokens:
        return tokens.rejoin()

    def losses(self, decisions: tuple[Decision, ...]) -> dict[str, Tensor]:
        return {"attention": torch.stack([cast(Tensor, decision.loss) for decision in decisions]).mean()}

    def token_counts(self, num_patches, depth, kept=None):
        stages = dict(zip(self.layers, self.stage_counts(num_patches), strict=True))
        return [(stages.get(layer, num_patches),) * 2 for layer in range(depth)]

    def multiply_adds(self, counts, num_patches, num_prefix):
        length, choosing = num_prefix + num_patches, sum(count < num_patches for count, _ in counts)
        predicting = AttentionPredictor.multiply_adds(self.kernel, length)
        return choosing * (length**2 * self.width + predicting)
