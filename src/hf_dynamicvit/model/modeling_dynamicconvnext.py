# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""ConvNeXt in one stage of which positions take a fast path."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers.models.convnext.modeling_convnext import (
    ConvNextForImageClassification,
    ConvNextLayer,
    ConvNextModel,
    ConvNextPreTrainedModel,
    ConvNextStage,
)

from .configuration_dynamicconvnext import DynamicConvNextConfig
from .positions import Positions
from .pyramid import (
    Grid,
    PyramidBlock,
    PyramidForImageClassification,
    PyramidModel,
    PyramidPreTrainedModel,
    StageOutput,
)
from .tokens import Decision


class DynamicConvNextLayer(PyramidBlock, ConvNextLayer):
    """`ConvNextLayer` that can also take its positions in two halves: the convolution, and the rest."""

    def forward(self, features: Tensor, run: Callable[[Any], Any] | None = None) -> Any:
        """As natively; in the reduced stage `run` does it, so that Accelerate's hooks here find no module to move."""
        return super().forward(features) if run is None else run(self)

    def mix(self, hidden: Tensor, grid: Grid, **kwargs: Any) -> tuple[Tensor, None]:
        image = self.dwconv(hidden.transpose(1, 2).unflatten(2, grid))
        return image.flatten(2).transpose(1, 2).contiguous(), None  # rows of it are gathered

    def feed_forward(self, mixed: Tensor) -> Tensor:
        hidden = self.pwconv2(self.act(self.pwconv1(self.layernorm(mixed))))
        if self.layer_scale_parameter is not None:
            hidden = self.layer_scale_parameter * hidden
        return self.drop_path(hidden)

    def residual(self, entered: Tensor, mixed: Tensor, rows: Tensor | None = None) -> Tensor:
        return entered if rows is None else entered[rows]


class DynamicConvNextStage(ConvNextStage):
    """`ConvNextStage` whose positions a method sends on slow and fast paths."""

    def forward(
        self, features: Tensor, reducer: Any = None, keeps_scores: bool = False
    ) -> tuple[Tensor, tuple[Decision, ...]]:
        """As natively, and what was decided."""
        for layer in self.downsampling_layer:
            features = layer(features)
        down, across = features.shape[-2:]
        hidden = features.flatten(2).transpose(1, 2).contiguous()
        positions = Positions(hidden, (down, across), keeps_scores=keeps_scores)
        layers: Any = self.layers
        for index, layer in enumerate(layers):
            step = partial(PyramidBlock.reduce, positions=positions, reducer=reducer, index=index)
            positions, _ = layer(positions.hidden, step)
        return positions.hidden.transpose(1, 2).unflatten(2, (down, across)).contiguous(), positions.decisions


class DynamicConvNextPreTrainedModel(PyramidPreTrainedModel, ConvNextPreTrainedModel):
    config: DynamicConvNextConfig
    config_class = DynamicConvNextConfig
    layer_class, stage_class = DynamicConvNextLayer, DynamicConvNextStage

    @classmethod
    def recorded_outputs(cls) -> dict[str, Any]:
        return {"hidden_states": ConvNextStage}


class DynamicConvNextModel(DynamicConvNextPreTrainedModel, PyramidModel, ConvNextModel):
    """ConvNeXt in whose stage before the last positions take slow and fast paths. See `DynamicConvNextConfig`."""

    @classmethod
    def native_stages(cls, base: Any) -> nn.ModuleList:
        return base.encoder.stages

    @classmethod
    def stage_blocks(cls, stage: Any) -> nn.ModuleList:
        return stage.layers

    @property
    def embedding_weight(self) -> Tensor:
        return self.embeddings.patch_embeddings.weight

    def embed(self, pixel_values: Tensor, interpolate: bool) -> StageOutput:
        hidden = self.embeddings(pixel_values)
        return StageOutput(hidden, (hidden.shape[-2], hidden.shape[-1]))

    def run_stage(self, stage: Any, entering: StageOutput, **kwargs: Any) -> StageOutput:
        reduction = {name: kwargs[name] for name in ("reducer", "keeps_scores") if name in kwargs}
        output = stage(entering.hidden, **reduction)
        hidden, *decisions = output if reduction else (output,)
        return StageOutput(hidden, (hidden.shape[-2], hidden.shape[-1]), None, *decisions)

    def read_out(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return hidden, self.layernorm(hidden.mean([-2, -1]))

    def normed_positions(self, last_hidden_state: Tensor) -> Tensor:
        return self.layernorm(last_hidden_state.flatten(2).transpose(1, 2))


class DynamicConvNextForImageClassification(
    DynamicConvNextPreTrainedModel, PyramidForImageClassification, ConvNextForImageClassification
):
    """DynamicConvNeXt with a linear classifier on the norm of the mean of the positions.

    ```python
    name = "facebook/convnext-tiny-224"
    model = DynamicConvNextForImageClassification.from_pretrained(name)
    ```
    """

    convnext: DynamicConvNextModel
    model_class, dense_class = DynamicConvNextModel, ConvNextForImageClassification


__all__ = ["DynamicConvNextForImageClassification", "DynamicConvNextModel", "DynamicConvNextPreTrainedModel"]
