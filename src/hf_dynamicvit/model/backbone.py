# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Backbones: feature maps of the whole grid for heads that read every patch, from blocks that see fewer tokens."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, ClassVar, cast

from torch import Tensor
from transformers.processing_utils import Unpack
from transformers.utils.generic import TransformersKwargs

from .compat import can_return_tuple
from .cost import grid_size
from .logger import logger
from .outputs import DynamicViTBackboneOutput, DynamicViTModelOutput
from .pretrained import ReducedPreTrainedModel
from .reducer import TokenReducer
from .spatial import follow_patches
from .tokens import Tokens


def leaves_patches_behind(reducer: TokenReducer) -> bool:
    """Return whether some patches are in no token of a later block, neither merged nor represented."""
    return reducer.loses_patches or (reducer.rest == "idle" and not reducer.num_representatives)


def warn_of_patches_left_behind(name: str, reducer: TokenReducer, where: str) -> None:
    """Say once that patches which the method `name` leaves out have earlier features `where` all are handed out."""
    if leaves_patches_behind(reducer):
        logger.warning_once(
            f"reducer is {name!r}: in the {where}, a patch that it leaves out keeps the features of an earlier block, "
            "which the head that reads them has not been trained on. Without training take 'tome', which merges "
            "patches and gives each the features of its group; or fine-tune."
        )


class ReducedBackbone(ReducedPreTrainedModel):
    """A model that hands out feature maps of the whole grid: it stands ahead of the native backbone.

    The costs that it counts are those of the encoder.
    """

    stage_names: list[str]
    out_features: list[str]
    auto_names = ("AutoBackbone",)
    hands_out_patches: ClassVar[bool] = True

    def adopt(self) -> None:
        super().adopt()
        warn_of_patches_left_behind(self.config.reducer, self.backbone.reducer, "feature maps")

    @property
    def num_outputs(self) -> int:
        """There is no classifier."""
        return 0

    @can_return_tuple
    def forward(self, pixel_values: Tensor, **kwargs: Unpack[TransformersKwargs]) -> DynamicViTBackboneOutput:
        """Return a feature map for each of `out_features`.

        In every map a patch whose token was merged has its group's features. One that sits out has its own, as it
        would come back then; one that was dropped those that it left its last block with.

        Args:
            pixel_values: `[B, channels, height, width]`.
            **kwargs: those of `DynamicViTModel.forward`.
        """
        outputs = self.encode(pixel_values, output_tokens=True, return_dict=True, **kwargs)
        stages = [self.stage_names.index(name) for name in self.out_features]
        followed = follow_patches(cast(tuple[Tokens, ...], outputs.tokens), stages, self.backbone.reducer)
        states = [self.normalise(each, stage) for each, stage in zip(followed, stages, strict=True)]
        height, width = pixel_values.shape[-2:]
        maps = tuple(self.shape_map(each, grid_size(self.config, (height, width))) for each in states)
        return DynamicViTBackboneOutput(
            feature_maps=cast(Any, self.finish(maps)),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            kept=outputs.kept,
            owner=outputs.owner,
            scores=outputs.scores,
            decisions=outputs.decisions,
            cls_tokens=tuple(each[:, 0] for each in states) if self.returns_class_tokens else None,
        )

    def encode(self, *args: Any, **kwargs: Any) -> DynamicViTModelOutput:
        """Run the encoder, which is this model itself or a part of it."""
        return super().forward(*args, **kwargs)

    def normalise(self, states: Tensor, stage: int) -> Tensor:
        """Normalise the `states` `[B, P + num_patches, D]` of a stage, where the native backbone does."""
        return states

    def shape_map(self, states: Tensor, grid: tuple[int, int]) -> Tensor:
        """Shape the states of a stage as the native backbone does."""
        if not self.config.reshape_hidden_states:
            return states
        return states[:, self.config.num_prefix :].transpose(1, 2).unflatten(2, grid).contiguous()

    def finish(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Run what the native backbone has behind its feature maps."""
        return maps

    @property
    def returns_class_tokens(self) -> bool:
        """Return whether the class tokens of the stages are handed out too."""
        return False


@contextmanager
def recorded_outputs(backbone: ReducedBackbone) -> Generator[list[Any]]:
    """Record what `backbone` hands to the head within the block: the head's own outputs lack kept and decisions."""
    outputs: list[Any] = []
    handle = backbone.register_forward_hook(lambda _module, _inputs, found: outputs.append(found))
    try:
        yield outputs
    finally:
        handle.remove()
