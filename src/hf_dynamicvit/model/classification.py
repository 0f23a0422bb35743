# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Models around a base model that reduces tokens: image classifiers, and the base of models of two towers."""

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils.generic import TransformersKwargs

from .compat import (
    attention_implementation,
    can_return_tuple,
    register_recording,
)
from .cost import grid_size
from .legacy_keys import conversion_mapping, rename_root_keys
from .outputs import Answer, DynamicViTImageClassifierOutput, DynamicViTModelOutput
from .pretrained import ReducedPreTrainedModel
from .reduction import ReducedModel


class WithBaseModel(ReducedPreTrainedModel):
    """A model around a `ReducedModel`, the attribute `base_model_prefix`: it stands ahead of the native one.

    Attributes:
        model_class: of the base model.
        dense_class: the native model.
        task: of the pipeline of Transformers that takes it.
    """

    model_class: ClassVar[type[ReducedModel]]
    dense_class: ClassVar[type[PreTrainedModel]]
    task: ClassVar[str] = "image-classification"

    def adopt(self) -> None:
        base = self.native_base(self)
        base.__class__ = self.model_class
        if conversion_mapping(type(self)):
            self.register_load_state_dict_pre_hook(rename_root_keys)
        base._no_split_modules = set(self.model_class._no_split_modules)
        register_recording(base)
        base.adopt()

    @property
    def backbone(self) -> Any:
        """The base model, with the loop and the reducer."""
        return self.native_base(self)

    @property
    def reducer(self) -> Any:
        """The method, a part of the base model."""
        return self.backbone.reducer

    @classmethod
    def native_base(cls, model: Any) -> Any:
        """Return the base model of `model`, of this family or native."""
        return getattr(model, cls.base_model_prefix)

    @classmethod
    def interpolate_any_grid(cls, dense: Any) -> Any:
        """Let the positions of `dense`, a native model of this family, interpolate between any two grids; return it.

        Natively they take the grid of the configuration for a square one and are silently wrong where it is not. Such
        a model's embeddings change class in place; their parameters stay.
        """
        base = cls.native_base(dense)
        down, across = grid_size(base.config)
        if cls.embeddings_class is not None and (down != across or not isinstance(base.config.patch_size, int)):
            base.embeddings.__class__ = cls.embeddings_class
        return dense

    @classmethod
    def like(cls, dense: PreTrainedModel) -> Any:
        """Build a model of this family with the sizes of `dense`, a native one, without memory."""
        config: Any = cls.config_class
        with torch.device("meta"):
            return cls(config(**dense.config.to_dict()))

    def dense_like(self) -> PreTrainedModel:
        """Build a dense model of the same sizes and labels, with random weights, for images of any size."""
        config_class: Any = self.dense_class.config_class
        return self.interpolate_any_grid(self.dense_class(config_class(**self.config.to_native_dict())))

    def to_dense(self, weights: dict[str, Tensor] | None = None) -> PreTrainedModel:
        """Copy these weights into a dense model, without the reducer: same device, dtype, labels and training mode.

        Args:
            weights: whole tensors by name, where this model holds only its process's part of them.

        Raises:
            ValueError: the classifier reads something else than the class token, as Evo-ViT's with mean pooling.
        """
        if not self.reducer.reads_class_token:
            raise ValueError(
                f"the classifier of {self.config.reducer} does not read the class token, as a dense ViT's does; "
                "there is no dense copy of it."
            )
        dense = self.dense_like()
        weights = self.state_dict() if weights is None else weights
        dense.load_state_dict({name: value for name, value in weights.items() if ".reducer." not in name})
        dense.set_attn_implementation(attention_implementation(self.config))
        return dense.to(device=self.device, dtype=self.dtype).train(self.training)

    @classmethod
    def answer_dense(cls, dense: Any, states: Tensor) -> Answer:
        """Answer as `dense`, a native model of this family, from its final-normed `states`, the prefix first."""
        raise NotImplementedError

    @classmethod
    def ask_dense(cls, dense: Any, inputs: dict[str, Any]) -> tuple[Answer, Tensor]:
        """Return the answer of `dense`, a native model of this family, and its final-normed features."""
        base: Any = cls.native_base(dense)
        features = cls.model_class.prefix_first(base, base(**inputs).last_hidden_state)
        return cls.answer_dense(dense, features), features


class ReducedForImageClassification(WithBaseModel):
    """The classifiers on a `ReducedModel`: it stands ahead of the native image classification model.

    Attributes:
        heads: names of the linear classifiers, whose mean is the logits.
    """

    heads: ClassVar[tuple[str, ...]] = ("classifier",)
    auto_names = ("AutoModelForImageClassification",)

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        attention_mask: Tensor | None = None,
        output_scores: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> DynamicViTImageClassifierOutput:
        """Classify `pixel_values` `[B, channels, height, width]`; the other arguments as in `DynamicViTModel`.

        With `labels` (`[B]` classes, or `[B, num_labels]` for multi-label and regression) the output has a `loss`, by
        `config.problem_type` as in ViT; the losses of distillation and keep ratio are the Trainer's.
        """
        return self._classify(
            pixel_values, labels, interpolate_pos_encoding, attention_mask, output_scores=output_scores, **kwargs
        )

    @classmethod
    def classify_with(cls, model: Any, inputs: Sequence[Tensor]) -> Tensor:
        """Mean of the linear classifiers of `model`, of this family or native, each of its own input `[B, D]`."""
        logits = [getattr(model, name)(each) for name, each in zip(cls.heads, inputs, strict=True)]
        return logits[0] if len(logits) == 1 else sum(logits[1:], logits[0]) / len(logits)

    @classmethod
    def answer_dense(cls, dense: Any, states: Tensor) -> Answer:
        """As `answer` of `dense`, a native model of this family, from its final-normed `states` `[B, P + N, D]`."""
        base: Any = cls.native_base(dense)
        num_prefix = cls.model_class.config_class.num_prefix.fget(base.config)
        features = cls.model_class.read(base, states, None, num_prefix)
        return Answer(cls.classify_with(dense, [features, *states.unbind(1)[1 : len(cls.heads)]]))

    def answer(self, outputs: DynamicViTModelOutput) -> Answer:
        """Classify the `outputs` of the base model."""
        features, states = cast(Tensor, outputs.features), cast(Tensor, outputs.last_hidden_state)
        return Answer(self.classify_features(features, states), auxiliary_logits=outputs.auxiliary_logits)

    def classify_features(self, features: Tensor, last_hidden_state: Tensor) -> Tensor:
        """Logits `[B, num_labels]`: the first classifier reads `features` `[B, D]`, others the next prefix tokens."""
        others = range(1, len(self.heads))
        reads_tokens = self.backbone.reducer.reads_class_token
        inputs = [last_hidden_state[:, index] if reads_tokens else features for index in others]
        return self.classify_with(self, [features, *inputs])

    def _classify(
        self, pixel_values, labels, interpolate_pos_encoding, attention_mask, **kwargs
    ) -> DynamicViTImageClassifierOutput:
        outputs: DynamicViTModelOutput = self.backbone(
            pixel_values,
            interpolate_pos_encoding=interpolate_pos_encoding,
            attention_mask=attention_mask,
            only_prefix=True,
            return_dict=True,  # whatever the configuration says
            **kwargs,
        )
        answer = self.answer(outputs)
        logits, auxiliary = answer.logits, answer.auxiliary_logits
        loss = None
        if labels is not None:
            labels = self._targets(labels, logits)
            loss = self.loss_function(labels, logits, self.config, **kwargs)
            if auxiliary is not None:  # the published weights, one half each
                loss = (loss + self.loss_function(labels, auxiliary, self.config, **kwargs)) / 2
        return DynamicViTImageClassifierOutput(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            kept=outputs.kept,
            owner=outputs.owner,
            scores=outputs.scores,
            decisions=outputs.decisions,
            last_hidden_state=outputs.last_hidden_state if self.training else None,
            features=outputs.features if self.training else None,
            auxiliary_logits=auxiliary,
            label_shares=outputs.label_shares,
            token_logits=answer.token_logits if self.training else None,
            head_logits=answer.head_logits if self.training else None,
        )

    def _targets(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Cast whole-numbered `labels` to the dtype of `logits` where the loss takes numbers, not classes."""
        problem = self.config.problem_type
        numbers = problem in ("multi_label_classification", "regression") or (
            problem is None and self.config.num_labels == 1
        )
        return labels.to(logits.dtype) if numbers and not labels.is_floating_point() else labels
