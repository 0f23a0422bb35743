# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The base class of every token-reduction method: SCORE -> SELECT -> REST, in up to three places of a block."""

import copy
import inspect
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .selection import compounding_counts, keep_count, scaled_counts, within_reach
from .tokens import Decision, Stage, Tokens, Trace


class Constants(nn.ParameterList):
    """Learned numbers, one parameter `[1]` each, that start at given values. Called with an index it gives that one.

    Where Accelerate offloads parameters, only those of a module that is called are there. `from_pretrained` builds
    models without memory and afterwards initialises what a checkpoint lacks, module by module; it must find the values
    here.
    """

    def __init__(self, values: list[float]):
        super().__init__(nn.Parameter(torch.full((1,), value)) for value in values)
        self.start = values

    __call__ = nn.Module.__call__  # which a list of parameters has not

    def forward(self, index: int) -> Tensor:
        return self[index]


class TokenReducer(nn.Module):
    """A token-reduction method. A subclass says what it is, and overrides `reduce` and what else it needs.

    A method is `reducer_<name>.py` with one subclass, and its row in `reducers.py`; its options are its constructor
    arguments. Methods without parameters add no key to a checkpoint; parameters of the others live under `reducer.*`.

    Attributes:
        acts: where `reduce` runs in the block of a stage, `"before"` the attention or `"between"` attention and MLP.
        rest: what becomes of the tokens that were not selected: `"dropped"`, `"merged"` into the one that owns them,
            or `"idle"`, out for some blocks and then back.
        scores_patches: each patch token has a score of its own, which `outputs.scores` has; pairs have where tokens
            merge by similarity alone.
        keeps_order: patch tokens stay in the order of the grid.
        reads_patches: `reduce` between attention and MLP reads the patch tokens there, not only the trace; a last
            block at such a stage computes them all.
        needs: what else of an attention `reduce` needs in the trace: `"value"`, `"normed"`.
        num_representatives: tokens that join, behind the others, for those that were not selected.
        rounds_up: a stage keeps `ceil(rate * current)`, one token at least, whatever its ratio. Others keep
            `int(num_patches * ratio)`; the configuration refuses a ratio that gives none.
        reads_class_token: the classifier reads the class token, as that of any dense checkpoint does.
        least_left: fraction of the tokens that enter a stage which it must leave: half where pairs merge.
        numbers_per_stage: patch counts that say what a stage leaves: 2 where it drops some and then merges some.
        default_schedule: `config.schedule` when none is given, a name in `schedules.py`.
        default_keep_ratio: `config.keep_ratio` when none is given.
        count_options: options that set how much is kept in place of `keep_ratio`.
        sought: fraction of the dense multiply-adds for which training finds how much is kept, or `None` where the
            configuration says it, or each image.
        reduces_in_training: training removes as many tokens as inference, by the same rule: none masked or relaxed.
        loss_weights: published weights of the loss terms, the method's own and those of the Trainer (`classification`,
            `class_distill`, `token_distill`, `feature_distill`, `auxiliary`, `second_classification`, `consistency`);
            a term that is not here weighs 0.
        backbone_lr_scale: published learning rate of the backbone as a fraction of the reducer's.
        frozen_fraction: published fraction of the training in which only the reducer learns.
    """

    acts: Literal["before", "between"] = "before"
    rest: Literal["dropped", "merged", "idle"] = "dropped"
    scores_patches: bool = True
    keeps_order: bool = True
    reads_patches: bool = True
    needs: frozenset[str] = frozenset()
    num_representatives: int = 0
    rounds_up: bool = False
    reads_class_token: bool = True
    least_left: float = 0.0
    numbers_per_stage: int = 1
    default_schedule: str = "three-stage"
    default_keep_ratio: float | None = 0.7
    count_options: tuple[str, ...] = ()
    sought: float | None = None
    reduces_in_training: bool = False
    loss_weights: dict[str, float] = {"classification": 1.0}
    backbone_lr_scale: float = 1.0
    frozen_fraction: float = 0.0

    def __init__(self, config: Any):
        super().__init__()
        self.layers: list[int] = config.stage_layers
        self.keep_ratios: list[float] = config.stage_keep_ratios
        self.counts: list[int] | None = config.given_counts
        self.counted_patches: int = config.num_patches
        self._check_reach(config)

    def _check_reach(self, config: Any) -> None:
        for layer, before, ratio in zip(self.layers, [1.0, *self.keep_ratios], self.keep_ratios, strict=False):
            if ratio < before * self.least_left - 1e-6:
                most = "half" if self.least_left == 0.5 else f"{1 - self.least_left:g}"
                raise ValueError(
                    f"keep_ratio is {config.keep_ratio}: {config.reducer} cannot go from {before:.4g} of the patches "
                    f"to {ratio:.4g} in block {layer}, where at most {most} of them merge."
                )

    @staticmethod
    def check(**options: tuple[Any, bool, str]) -> None:
        """Refuse an option: each is (value, whether it is allowed, what is).

        Raises:
            ValueError: names the first that is not allowed.
        """
        for name, (value, allowed, what) in options.items():
            if not allowed:
                raise ValueError(f"reducer_args: {name} is {value!r}, it must be {what}.")

    @classmethod
    def options(cls) -> list[str]:
        """Names that `config.reducer_args` may hold."""
        return [name for name in inspect.signature(cls).parameters if name != "config"]

    def set_keep_ratios(self, keep_ratios: list[float], counts: list[int] | None = None) -> None:
        """Keep another fraction at each stage from now on, or `counts` of an image of the configuration's size."""
        self.keep_ratios, self.counts = keep_ratios, counts

    def milder(self, share: float) -> "TokenReducer":
        """Copy this reducer, same parameters, as one that removes `share`, 0 to 1, as many patches at each stage."""
        other, num_patches = copy.copy(self), self.counted_patches
        counts = [num_patches - int(share * (num_patches - count)) for count in self.stage_counts(num_patches)]
        other.set_keep_ratios([count / num_patches for count in counts], counts)
        return other

    @property
    def unread(self) -> list[str]:
        """Names of parameters that no classifier's gradient reaches, as it does not read what they decide."""
        return []

    @property
    def aligns_labels(self) -> bool:
        """Return whether labels of mixed images can follow the tokens in training: none wait, none merge in part."""
        return self.reduces_in_training

    @property
    def returns_in_every_block(self) -> bool:
        """Return whether every block hands on all patches, in their places, to whoever reads hidden states."""
        return False

    @property
    def loses_patches(self) -> bool:
        """Return whether some patches are in no token any more: dropped, neither merged nor idle."""
        return self.rest == "dropped"

    @property
    def decision_layers(self) -> list[int]:
        """The layer of each decision, in the order of `outputs.kept`."""
        return self.layers

    def stage_counts(self, num_patches: int) -> list[int]:
        """Patch tokens to keep at each stage of an image of `num_patches`."""
        if self.counts is not None:
            counts = scaled_counts(self.counts, self.counted_patches, num_patches)
        elif self.rounds_up:
            counts = compounding_counts(num_patches, self.keep_ratios, self.num_representatives)
        else:
            counts = [keep_count(num_patches, keep_ratio) for keep_ratio in self.keep_ratios]
        return within_reach(counts, num_patches, self.least_left) if self.least_left else counts

    def stage_at(self, layer: int, num_patches: int) -> Stage | None:
        """Return the stage at `layer` for an image of `num_patches`, or `None`."""
        if layer not in self.layers:
            return None
        index = self.layers.index(layer)
        keep_ratio = self.keep_ratios[index] if self.keep_ratios else None
        return Stage(layer, index, keep_ratio, self.stage_counts(num_patches)[index])

    def reduce(self, tokens: Tokens, stage: Stage, source: Any) -> Tokens:
        """SCORE, SELECT, REST: reduce `tokens` at a stage and record the decision.

        Args:
            tokens: that enter the attention, or leave it where `acts` is `"between"`.
            stage: what the configuration asks for here.
            source: the block, or the `Trace` of its attention where `acts` is `"between"`.
        """
        raise NotImplementedError

    def before(self, tokens: Tokens, block: nn.Module, layer: int) -> Tokens:
        """Run ahead of the attention of `block`."""
        stage = self.stage_at(layer, tokens.num_patches) if self.acts == "before" else None
        return tokens if stage is None else self.reduce(tokens, stage, block)

    def between(self, tokens: Tokens, trace: Trace, layer: int) -> Tokens:
        """Run between attention and MLP; `trace` holds query, key and per-head context of this block's attention.

        Not in a block whose attention `before` handed in (`Tokens.attention`).
        """
        stage = self.stage_at(layer, tokens.num_patches) if self.acts == "between" else None
        return tokens if stage is None else self.reduce(tokens, stage, trace)

    def after(self, tokens: Tokens, layer: int) -> Tokens:
        """Run behind the MLP."""
        return tokens

    def decides_between(self, layer: int) -> bool:
        """Return whether a decision is taken between attention and MLP of `layer`."""
        return self.acts == "between" and layer in self.decision_layers

    def prefix_suffices(self, layer: int) -> bool:
        """Return whether `layer`, the last one, need compute only the prefix tokens for a classifier.

        Then `after` is not called there, and `between` only for a decision, with the patch tokens as they were ahead
        of the attention.
        """
        return self.reads_class_token and not (self.decides_between(layer) and self.reads_patches)

    def key_bias(self, tokens: Tokens) -> Tensor | None:
        """`[B, N]` float32, added to the attention logits of each patch token as a key, or `None`."""
        return None

    def auxiliary_logits(self, tokens: Tokens) -> Tensor | None:
        """`[B, K]` of a second classifier that only training has, from the tokens that leave the last block."""
        return None

    def losses(self, decisions: tuple[Decision, ...]) -> dict[str, Tensor]:
        """Return the method's own training losses by name, unweighted, from the decisions of a training forward."""
        return {}

    def token_counts(self, num_patches: int, depth: int, kept: list[int] | None = None) -> list[tuple[int, int]]:
        """Patch tokens in the attention and in the MLP of each of the `depth` blocks, at inference, for one image.

        `kept` is how many patches it keeps at each decision; only adaptive methods need it.
        """
        counts, current = [], num_patches
        for layer in range(depth):
            entering, stage = current, self.stage_at(layer, num_patches)
            if stage is not None and stage.count < entering:
                current = stage.count + self.num_representatives
            counts.append((current if self.acts == "before" else entering, current))
        return counts

    def counts_behind(self, counts: list[tuple[int, int]], num_patches: int) -> list[int]:
        """Patch tokens behind each decision; `counts` as from `token_counts`."""
        return [counts[layer][1] for layer in self.decision_layers]

    def num_left(self, counts: list[tuple[Any, Any]], num_patches: int) -> Any:
        """Patch tokens that leave the last block; `counts` as from `token_counts`."""
        return num_patches if self.rest == "idle" else counts[-1][1]

    def reductions(self, counts: list[tuple[int, int]], num_patches: int) -> list[tuple[int, int]]:
        """Patch tokens before and after each stage that removes some; `counts` as from `token_counts`."""
        entering = [num_patches, *(mlp for _, mlp in counts)]
        pairs = [(entering[layer], counts[layer][self.acts == "between"]) for layer in self.layers]
        return [(before, after) for before, after in pairs if after < before]

    def multiply_adds(self, counts: list[tuple[int, int]], num_patches: int, num_prefix: int) -> int:
        """Multiply-adds that the method itself adds for one image, at inference; `counts` as from `token_counts`."""
        return 0
