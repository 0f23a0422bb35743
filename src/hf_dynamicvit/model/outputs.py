# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What the models return."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from transformers.modeling_outputs import BackboneOutput, BaseModelOutputWithPooling, ImageClassifierOutput

from .tokens import Decision, Tokens


@dataclass
class DynamicViTModelOutput(BaseModelOutputWithPooling):
    """Output of the base models.

    Attributes:
        last_hidden_state: `[B, P + N, D]`, final-normed tokens. At inference N is what the last stage kept (AS-ViT: of
            the image that keeps most, padded); `owner` says which patch is where, `scatter_to_grid` puts them there.
        kept: `[B, S, num_patches]` bool over the original grid, the patches alive after each of the S decisions
            (`model.decision_layers`).
        owner: `[B, S, num_patches]` int64, which of the patch tokens speaks for each original patch, -1 for none.
        scores: `[B, S, num_patches]` float32, with `output_scores=True` at inference: what the token that spoke for a
            patch scored at each decision, NaN where none did or nothing was scored. Their meaning is the method's;
            after the first decision they have none for patches that a user's mask excludes.
        decisions: the differentiable records that losses read; training only.
        features: `[B, D]`, what a classifier reads: for most methods the class token of `last_hidden_state`.
        auxiliary_logits: `[B, K]` of a second classifier that a method has in training only (Evo-ViT).
        label_shares: `[B]` float32, with `patch_shares` in training: how much of the label of what a classifier reads
            is that of the image itself.
        weights: `[B, N]` float32, of each patch token in a mean, 0 for one that is out; `None` for all alike.
        tokens: with `output_tokens=True`, the tokens that enter the first block and those that leave each.
        pooler_output: as in ViT.
        hidden_states: as in ViT; with tokens dropped, lengths differ from layer to layer.
        attentions: as in ViT; with tokens dropped, sizes differ from layer to layer.
    """

    kept: Tensor | None = None
    owner: Tensor | None = None
    scores: Tensor | None = None
    decisions: tuple[Decision, ...] | None = None
    features: Tensor | None = None
    auxiliary_logits: Tensor | None = None
    weights: Tensor | None = None
    tokens: tuple[Tokens, ...] | None = None
    label_shares: Tensor | None = None


class Answer(NamedTuple):
    """What the classifiers of a model say of a batch; all but `logits` is `None` where a family or method has none.

    Attributes:
        logits: `[B, K]`, the prediction.
        token_logits: `[B, 1 + N, K]` of the class token and of each patch token.
        auxiliary_logits: `[B, K]`, a second prediction that training has.
        head_logits: `[B, H, K]` of each classifier by itself, where some learn labels and others a teacher's answers:
            those two of the prediction, and those two of the second one, in training.
    """

    logits: Tensor
    token_logits: Tensor | None = None
    auxiliary_logits: Tensor | None = None
    head_logits: Tensor | None = None


@dataclass
class DynamicViTImageClassifierOutput(ImageClassifierOutput):
    """Output of the image classifiers.

    Attributes:
        loss: the classification loss, when `labels` are given; its mean with that of `auxiliary_logits`, if any.
        logits: `[B, num_labels]`.
        kept: as in `DynamicViTModelOutput`, and so are `owner`, `scores`, `decisions`, `auxiliary_logits`
            and `label_shares`.
        last_hidden_state: `[B, P + N, D]`, the features that distillation compares; training only.
        features: `[B, D]`, what the first classifier reads; training only.
        token_logits: `[B, 1 + N, K]` of the class token and of each patch token, where the family classifies those
            (LV-ViT); training only.
        head_logits: `[B, H, K]` of each classifier by itself, where some learn labels and others a teacher's answers
            (LeViT); training only.
        hidden_states: as in ViT, and so are `attentions`.
    """

    kept: Tensor | None = None
    owner: Tensor | None = None
    scores: Tensor | None = None
    decisions: tuple[Decision, ...] | None = None
    last_hidden_state: Tensor | None = None
    features: Tensor | None = None
    auxiliary_logits: Tensor | None = None
    label_shares: Tensor | None = None
    token_logits: Tensor | None = None
    head_logits: Tensor | None = None


@dataclass
class DynamicViTBackboneOutput(BackboneOutput):
    """Output of the backbones.

    Attributes:
        feature_maps: of the whole grid, one for each of `out_features`: `[B, D, down, across]`, or as natively with
            `reshape_hidden_states=False`.
        hidden_states: as in `DynamicViTModelOutput`, where asked for: of the tokens that there are; so `attentions`.
        kept: as in `DynamicViTModelOutput`, and so are `owner`, `scores` and `decisions`.
        cls_tokens: `[B, D]` each, the class tokens of those stages, where the configuration asks for them (DINOv3).
    """

    kept: Tensor | None = None
    owner: Tensor | None = None
    scores: Tensor | None = None
    decisions: tuple[Decision, ...] | None = None
    cls_tokens: tuple[Tensor, ...] | None = None


def stacked_scores(decisions: tuple[Decision, ...]) -> Tensor:
    """`[B, S, num_patches]` float32, NaN where a decision scored nothing."""
    nothing = torch.full(decisions[0].kept.shape, torch.nan, device=decisions[0].kept.device)
    return torch.stack([nothing if d.scores is None else d.scores for d in decisions], dim=1)
