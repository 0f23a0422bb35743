# Copyright 2026 The hf_dynamicvit authors. IdleViT (AJCAI 2023): https://arxiv.org/abs/2310.05654
"""IdleViT: every block chooses its patches anew among all; the others sit it out, unchanged. No parameters."""

from typing import Any

import torch
from torch import Tensor

from .reducer import TokenReducer
from .scoring import class_query_logits
from .selection import top_k
from .tokens import Decision, Stage, Tokens


def token_cut_loss(weights: Tensor, active: Tensor, kind: str = "both", has_class_token: bool = True) -> Tensor:
    """Normalised cut between active and idle tokens (IdleViT, section 3.3): a scalar.

    Active tokens should attend to active ones only (inter), and with all their attention (intra).

    Args:
        weights: `[B, T, T]` softmax over all keys of the head-mean logits.
        active: `[B, T]` 0 or 1, always 1 for prefix tokens.
        kind: `"both"`, `"inter"` or `"intra"`.
        has_class_token: token 0 is one, whose column the inter term leaves out.
    """
    different = (active[:, :, None] - active[:, None, :]).abs()
    if has_class_token:
        different = torch.cat((torch.zeros_like(different[..., :1]), different[..., 1:]), dim=-1)
    inter = (different * weights).sum(dim=-1).square().mean()
    both_active = active[:, :, None] * active[:, None, :]
    intra = ((both_active * weights).sum(dim=-1) - active).square().mean()
    return {"both": inter + intra, "inter": inter, "intra": intra}[kind]


def head_mean_attention(attention: Any, hidden: Tensor, tokens: Tokens, relative: Tensor | None = None) -> Tensor:
    """Softmax over all keys of the mean of the heads' logits: normalised `[B, T, D]` -> `[B, T, T]` float32."""
    query, key = (
        attention.turn(project(hidden).unflatten(-1, (-1, attention.head_dim)), tokens).flatten(2)
        for project in (attention.q_proj, attention.k_proj)
    )
    # the mean over heads of the products is the product over the whole width
    logits = (query @ key.transpose(1, 2)).float() * attention.scaling / attention.num_attention_heads
    if relative is not None:
        logits = logits + relative.float().mean(dim=1)
    if tokens.attention_mask is not None:
        logits = logits.masked_fill(~tokens.attention_mask[:, None], torch.finfo(logits.dtype).min)
    return logits.softmax(dim=-1)


class IdleViTReducer(TokenReducer):
    """In each of `config.stage_layers`, only the patches that the class query matches best take part.

    The layers are a third of them each at ratio, ratio^2 and ratio^3 of all patches; a list gives each layer's
    fraction. Training computes what inference computes.

    Args:
        config: a `DynamicViTConfig`.
        cut: parts of the token cut loss, `"both"`, `"intra"`, `"inter"` or `"none"`.
        cut_layers: `"all"` idle layers, or every other one, `"alternate"`, as the released code does by mistake; the
            sum is divided by the number of idle layers either way.
    """

    rest = "idle"
    default_schedule = "idlevit"
    loss_weights = {"classification": 1.0, "cut": 20.0, "class_distill": 10.0, "feature_distill": 1000.0}

    def __init__(self, config: Any, cut: str = "both", cut_layers: str = "all"):
        super().__init__(config)
        kinds = ("both", "intra", "inter", "none")
        self.check(
            cut=(cut, cut in kinds, "'both', 'intra', 'inter' or 'none'"),
            cut_layers=(cut_layers, cut_layers in ("all", "alternate"), "'all' or 'alternate'"),
        )
        self.cut, self.cut_layers = cut, cut_layers
        self.width, self.turns = config.hidden_size, config.turns

    @property
    def returns_in_every_block(self) -> bool:
        return True

    def reduce(self, tokens: Tokens, stage: Stage, source: Any) -> Tokens:
        if not self.training and stage.count == tokens.num_patches:  # nobody idles
            return tokens.keep_all(stage)
        normed = source.layernorm_before(tokens.hidden)
        relative = source.relative(tokens)
        scores = class_query_logits(  # SCORE
            source.attention, normed, tokens.num_prefix, tokens.attention_mask, tokens, relative
        )
        active = top_k(scores, stage.count, tokens.attended)  # SELECT
        loss = None
        if self.training and self.cut != "none" and (self.cut_layers == "all" or stage.index % 2 == 0):
            mask = torch.zeros_like(normed[..., 0], dtype=torch.float32).scatter(1, tokens.positions(active), 1.0)
            weights = head_mean_attention(source.attention, normed, tokens, relative)
            loss = token_cut_loss(weights, mask, self.cut, tokens.num_prefix > 0)
        return tokens.split_off(active, stage, scores, loss)  # REST

    def after(self, tokens: Tokens, layer: int) -> Tokens:
        return tokens.rejoin()

    def losses(self, decisions: tuple[Decision, ...]) -> dict[str, Tensor]:
        terms = [decision.loss for decision in decisions if decision.loss is not None]
        return {"cut": torch.stack(terms).sum() / len(decisions)} if terms else {}

    def token_counts(self, num_patches, depth, kept=None):
        stages = dict(zip(self.layers, self.stage_counts(num_patches), strict=True))
        return [(stages.get(layer, num_patches),) * 2 for layer in range(depth)]

    def multiply_adds(self, counts, num_patches, num_prefix):
        # the class query, folded into the key projection (unless keys know their places), times every patch
        choosing = sum(count < num_patches for count, _ in counts)
        projected = 1 + (num_prefix + num_patches if self.turns else 1)
        return choosing * (projected * self.width**2 + num_patches * self.width)
