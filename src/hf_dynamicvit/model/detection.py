# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Object detectors around a base model that reduces tokens, whose detection tokens each say a class and a box."""

from dataclasses import dataclass
from typing import Any, ClassVar, cast

from torch import Tensor
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput
from transformers.utils.generic import TransformersKwargs

from .classification import WithBaseModel
from .compat import can_return_tuple
from .outputs import Answer, DynamicViTModelOutput
from .tokens import Decision


@dataclass
class DynamicObjectDetectionOutput(ModelOutput):
    """Output of the object detectors, of Q detection tokens.

    Attributes:
        loss: the native one, when `labels` are given.
        loss_dict: its parts by name.
        logits: `[B, Q, num_labels + 1]`, the last class is no object.
        pred_boxes: `[B, Q, 4]`, centre x, centre y, width and height from 0 to 1.
        last_hidden_state: as natively, with the patch tokens that are left; at inference without gradients and
            recorded states those of the class token and the detection tokens alone, `[B, 1 + Q, D]`.
        hidden_states: as in `DynamicViTModelOutput`, and so are `attentions`.
        kept: as in `DynamicViTModelOutput`, and so are `owner`, `scores` and `decisions`.
        features: `[B, Q, D]`, what the heads read; training only.
    """

    loss: Tensor | None = None
    loss_dict: dict[str, Tensor] | None = None
    logits: Tensor | None = None
    pred_boxes: Tensor | None = None
    last_hidden_state: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    kept: Tensor | None = None
    owner: Tensor | None = None
    scores: Tensor | None = None
    decisions: tuple[Decision, ...] | None = None
    features: Tensor | None = None


class ReducedForObjectDetection(WithBaseModel):
    """A detector on a `ReducedModel`: it stands ahead of the native one, whose heads it has."""

    auto_names = ("AutoModelForObjectDetection",)
    task = "object-detection"
    heads: ClassVar[tuple[str, ...]] = ()  # linear classifiers, of which there is none
    class_labels_classifier: Any
    bbox_predictor: Any

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor | None = None,
        labels: list[dict[str, Tensor]] | None = None,
        pixel_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        output_scores: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> DynamicObjectDetectionOutput:
        """Detect objects in `pixel_values` `[B, channels, height, width]`.

        Args:
            pixel_values: of any height and width.
            labels: of each image its `class_labels` `[n]` and `boxes` `[n, 4]`, for a `loss`.
            pixel_mask: is not read, as natively.
            attention_mask: as in `DynamicViTModel`, and so are the others.

        Raises:
            ValueError: `labels` are given, and `config.auxiliary_loss` asks for what Transformers cannot compute.
        """
        outputs: DynamicViTModelOutput = self.backbone(
            pixel_values,
            attention_mask=attention_mask,
            only_prefix=True,
            output_scores=output_scores,
            return_dict=True,  # whatever the configuration says
            **kwargs,
        )
        features = cast(Tensor, outputs.features).unflatten(1, (-1, self.config.hidden_size))
        logits, boxes = self.class_labels_classifier(features), self.bbox_predictor(features).sigmoid()
        loss, parts = (None, None) if labels is None else self.detection_loss(logits, boxes, labels)
        return DynamicObjectDetectionOutput(
            loss=loss,
            loss_dict=parts,
            logits=logits,
            pred_boxes=boxes,
            last_hidden_state=outputs.last_hidden_state,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            kept=outputs.kept,
            owner=outputs.owner,
            scores=outputs.scores,
            decisions=outputs.decisions,
            features=features if self.training else None,
        )

    @classmethod
    def answer_dense(cls, dense: Any, states: Tensor) -> Answer:
        """Logits of `dense`, a native model of this family, from its final-normed `states`, the prefix first."""
        count = dense.config.num_detection_tokens
        return Answer(dense.class_labels_classifier(states[:, 1 : 1 + count]))

    def detection_loss(
        self, logits: Tensor, boxes: Tensor, labels: list[dict[str, Tensor]]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the native loss of predictions matched with `labels`, and its parts; arguments as in the outputs.

        Raises:
            ValueError: `config.auxiliary_loss` is true.
        """
        config: Any = self.config
        if config.auxiliary_loss:
            raise ValueError(
                "config.auxiliary_loss is True, which Transformers cannot compute of a YOLOS; set it to False."
            )
        loss, parts, _ = self.loss_function(logits, labels, self.device, boxes, config, None, None)
        return loss, parts

    @property
    def num_outputs(self) -> int:
        """Classes, and that of no object."""
        return (self.config.num_labels or 0) + 1
