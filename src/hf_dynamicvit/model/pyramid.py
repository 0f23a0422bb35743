# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The loop over the stages of a pyramid, one of which a method reduces: the small one beside `reduction.py`.

Adoption is as there: the native constructor builds the model, blocks change class in place, and only `reducer.*` is
new.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from transformers.processing_utils import Unpack
from transformers.utils.generic import TransformersKwargs

from .budget import Counts, Images
from .checkpointing import check_checkpointing
from .classification import ReducedForImageClassification
from .compat import capture_outputs, merge_with_config_defaults
from .cost import as_pair
from .legacy_keys import rename_legacy_keys
from .outputs import Answer, DynamicViTModelOutput, stacked_scores
from .positions import Positions
from .pretrained import ReducedPreTrainedModel
from .pyramid_config import PyramidConfig
from .pyramid_reducer import PyramidReducer
from .tokens import Decision, as_number


Grid = tuple[int, int]


class StageOutput(NamedTuple):
    """What leaves a stage.

    Attributes:
        hidden: the map, as the next stage takes it.
        grid: its positions `(down, across)`.
        shaped: `[B, C, down, across]`, the same for who reads hidden states, or `None` where `hidden` is that.
        decisions: taken in it.
    """

    hidden: Tensor
    grid: Grid
    shaped: Tensor | None = None
    decisions: tuple[Decision, ...] = ()


@dataclass
class PyramidModelOutput(DynamicViTModelOutput):
    """Output of the base models of pyramids.

    Attributes:
        last_hidden_state: as natively, of the last stage: final-normed `[B, N, C]` of Swin, the map `[B, C, H, W]`
            ahead of the norm of ConvNeXt.
        reshaped_hidden_states: as natively (Swin).
        kept: `[B, S, num_patches]` bool over the map of the reduced stage: which positions take the slow path after
            each of the S decisions.
        owner: `[B, S, num_patches]` int64: every position speaks for itself.
    """

    reshaped_hidden_states: tuple[Tensor, ...] | None = None


class PyramidBlock(nn.Module):
    """One block: its first half mixes positions, its second is their feed-forward. It stands ahead of the native one.

    Where the residual connection around the feed-forward starts is the family's: `residual`.
    """

    drop_path: Any

    def mix(self, hidden: Tensor, grid: Grid, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """Run the first half on `hidden` `[B, N, C]`; return it, and attention weights where there are any."""
        raise NotImplementedError

    def feed_forward(self, mixed: Tensor) -> Tensor:
        """Return what the second half adds to the positions `mixed` `[..., C]`."""
        raise NotImplementedError

    def residual(self, entered: Tensor, mixed: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return what `feed_forward` is added to: of `mixed`, or of those `rows` of `entered` that it is of."""
        raise NotImplementedError

    def reduce(self, positions: Positions, reducer: Any, index: int, **kwargs: Any) -> tuple[Positions, Tensor | None]:
        """Run the block at `index` of the reduced stage, where a method may decide; return attention weights too."""
        positions = reducer.before(positions, self, index)
        mixed, weights = self.mix(positions.hidden, positions.grid, **kwargs)
        return reducer.feed_forward(positions, index, self, mixed), weights


class PyramidPreTrainedModel(ReducedPreTrainedModel):
    """What the base model and the classifier of a pyramid share: it stands ahead of the native one.

    Attributes:
        stage_class: what the reduced stage becomes.
    """

    config: PyramidConfig
    stage_class: ClassVar[type]
    hands_out_patches = True

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "stage_class"):
            cls._no_split_modules = [*dict.fromkeys([*cls._no_split_modules, cls.stage_class.__name__])]

    def dense_multiply_adds(self, images: Images = None) -> int:
        return self.config.dense_multiply_adds(*self.image_pixels(images), self.num_outputs)

    def multiply_adds_at(self, reducer: Any, counts: Counts, num_patches: int, images: Images = None) -> int:
        spared = self.config.mlp_size - reducer.fast_multiply_adds  # of each position on the fast path
        fast = sum(attention - slow for attention, slow in counts)
        return self.dense_multiply_adds(images) - fast * spared + reducer.multiply_adds(counts, num_patches, 0)

    def scatter_to_grid(self, outputs: Any, image_size: int | tuple[int, int] | None = None) -> Tensor:
        """Refuse: no position of a pyramid leaves its map."""
        raise ValueError(
            f"no position of a {self.config.dense_model_type} leaves its map: hidden_states, or Swin's "
            "reshaped_hidden_states, of a call with output_hidden_states=True are the maps."
        )

    def tokens_to_grid(
        self, tokens: Tensor, outputs: Any, layer: int, image_size: int | tuple[int, int] | None = None
    ) -> Tensor:
        """Refuse, as `scatter_to_grid`."""
        return self.scatter_to_grid(outputs, image_size)

    def image_pixels(self, images: Images) -> tuple[int, int]:
        """Height and width of `images`, as in `multiply_adds`."""
        native: Any = self.config
        if isinstance(images, Tensor):
            return as_number(images.shape[-2]), as_number(images.shape[-1])
        return as_pair(native.image_size if images is None else images)


class PyramidModel(PyramidPreTrainedModel):
    """The loop over stages: it stands ahead of the native base model, whose stages they are."""

    renamed_by_type: ClassVar[bool] = True
    embeddings: Any
    encoder: Any
    layernorm: Any
    reducer: PyramidReducer
    auto_names = ("AutoModel",)

    @property
    def backbone(self) -> Any:
        """Itself."""
        return self

    @classmethod
    def native_stages(cls, base: Any) -> nn.ModuleList:
        """Return the stages of `base`, of this family or native."""
        raise NotImplementedError

    @classmethod
    def stage_blocks(cls, stage: Any) -> nn.ModuleList:
        """Return the blocks of a `stage`, of this family or native."""
        raise NotImplementedError

    @property
    def layers(self) -> nn.ModuleList:
        """The blocks of the reduced stage."""
        stages = self.native_stages(self)
        return self.stage_blocks(stages[max(0, len(stages) - 2)])

    @classmethod
    def exchanged_modules(cls, base: Any) -> Iterator[tuple[str, Any, type]]:
        for number, stage in enumerate(cls.native_stages(base)):
            for index, block in enumerate(cls.stage_blocks(stage)):
                yield f"block {index} of stage {number}", block, cls.layer_class

    def adopt(self) -> None:
        if self.embeddings_class is not None:
            self.embeddings.__class__ = self.embeddings_class
        for _, module, ours in [*self.exchanged_modules(self)]:
            module.__class__ = ours
        stages: Any = self.native_stages(self)
        stages[self.config.reduced_stage].__class__ = self.stage_class
        method: Any = self.config.methods[self.config.reducer]
        self.reducer = method(self.config, **self.config.reducer_args)
        self.register_load_state_dict_pre_hook(rename_legacy_keys)

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        pixel_values: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        output_scores: bool = False,
        attention_mask: Tensor | None = None,
        only_prefix: bool = False,
        patch_shares: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> PyramidModelOutput:
        """Embed, run the stages, normalise.

        Args:
            pixel_values: `[B, channels, height, width]`, of any size.
            interpolate_pos_encoding: accept other image sizes also where there are absolute positions.
            output_scores: the output has `scores`, at inference.
            attention_mask: must be `None`.
            only_prefix: changes nothing, as there is none.
            patch_shares: must be `None`.

        Raises:
            ValueError: `pixel_values` has the wrong shape or is too small; an `attention_mask` or `patch_shares`.
        """
        if patch_shares is not None:
            raise ValueError(f"patch_shares are given, but labels cannot follow a {self.config.dense_model_type}.")
        pixel_values = self.check_inputs(pixel_values, attention_mask)
        check_checkpointing(self)
        stages: Any = self.native_stages(self)
        output = self.embed(pixel_values, bool(interpolate_pos_encoding))
        shaped, decisions = [output.shaped], ()
        for index, stage in enumerate(stages):
            reduction = {}
            if index == self.config.reduced_stage:
                reduction = {"reducer": self.reducer, "keeps_scores": output_scores and not self.training}
            output = self.run_stage(stage, output, **reduction, **kwargs)
            shaped.append(output.shaped)
            decisions += output.decisions
        last_hidden_state, features = self.read_out(output.hidden)
        return PyramidModelOutput(
            last_hidden_state=last_hidden_state,
            pooler_output=self.pool_features(features),
            kept=torch.stack([decision.kept for decision in decisions], dim=1),
            owner=torch.stack([decision.owner for decision in decisions], dim=1),
            scores=stacked_scores(decisions) if output_scores and not self.training else None,
            decisions=decisions if self.training else None,
            features=features,
            reshaped_hidden_states=self.reshaped(shaped, kwargs),
        )

    def check_inputs(self, pixel_values: Tensor | None, attention_mask: Tensor | None) -> Tensor:
        """Refuse inputs that are none; return the images in the dtype of the weights."""
        if attention_mask is not None:
            raise ValueError(f"attention_mask is given; a {self.config.dense_model_type} takes whole images only.")
        if pixel_values is None or pixel_values.ndim != 4:
            shape = None if pixel_values is None else tuple(pixel_values.shape)
            raise ValueError(f"pixel_values has shape {shape}; it must be [batch, channels, height, width].")
        height, width = self.image_pixels(pixel_values)
        if min(min(grid) for grid in self.config.stage_grids(height, width)) < 1:
            raise ValueError(f"an image of {height} x {width} pixels is too small: a stage would have no position.")
        return pixel_values.to(self.embedding_weight.dtype)

    @property
    def embedding_weight(self) -> Tensor:
        """The weight of the patch embedding."""
        raise NotImplementedError

    def embed(self, pixel_values: Tensor, interpolate: bool) -> StageOutput:
        """Embed the images as the native base model does."""
        raise NotImplementedError

    def weights_at(self, height: int, width: int) -> dict[str, Tensor]:
        """Interpolate the weights that are others for images of `height` x `width` pixels; return them by name."""
        return {}

    def run_stage(self, stage: Any, entering: StageOutput, **kwargs: Any) -> StageOutput:
        """Run one stage; `reducer` and `keeps_scores` are among `kwargs` where it is the reduced one."""
        raise NotImplementedError

    def read_out(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the native `last_hidden_state` of the last map, and what a classifier reads of it, `[B, C]`."""
        raise NotImplementedError

    def pool_features(self, features: Tensor) -> Tensor | None:
        """Return the native `pooler_output`."""
        return features

    def reshaped(self, shaped: list[Tensor | None], kwargs: Any) -> tuple[Tensor, ...] | None:
        """Return the native `reshaped_hidden_states`, where there are any and hidden states were asked for."""
        return None

    def normed_positions(self, last_hidden_state: Tensor) -> Tensor:
        """Final-normed positions of the last stage `[B, N, C]`; a native base model may stand for `self`."""
        raise NotImplementedError

    def compared_features(self, outputs: Any, teacher_features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All positions of the last stage, as published."""
        features = self.normed_positions(outputs.last_hidden_state)
        return features, teacher_features, torch.ones_like(features[..., 0], dtype=torch.bool)


class PyramidForImageClassification(ReducedForImageClassification):
    """The classifier on a `PyramidModel`: it stands ahead of the native image classification model."""

    model_class: ClassVar[Any]

    @classmethod
    def ask_dense(cls, dense: Any, inputs: dict[str, Any]) -> tuple[Answer, Tensor]:
        base = cls.native_base(dense)
        outputs = base(inputs["pixel_values"])
        features = cls.model_class.normed_positions(base, outputs.last_hidden_state)
        return Answer(dense.classifier(outputs.pooler_output)), features

    @classmethod
    def interpolate_any_grid(cls, dense: Any) -> Any:
        """Let `dense`, a native model, take images of any size; return it.

        A native Swin fails with those smaller than a window, and stays changed. Blocks change class in place.
        """
        base, tower = cls.native_base(dense), cls.model_class
        if tower.embeddings_class is not None:
            base.embeddings.__class__ = tower.embeddings_class
        for _, module, ours in [*tower.exchanged_modules(base)]:
            module.__class__ = ours
        return dense
