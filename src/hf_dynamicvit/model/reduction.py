# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Adoption: a native vision transformer whose blocks change class in place, with a reducer, under the one loop.

The native constructor builds the model. So parameters are named as in it plus `reducer.*`: a dense checkpoint loads
with only those new, a sparse one loads into the dense class with only those left over. A family is a short file that
names its classes, and says what differs from ViT.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.processing_utils import Unpack
from transformers.utils.generic import TransformersKwargs

from .block import DynamicAttention, DynamicLayer
from .budget import BudgetMixin
from .checkpointing import with_gradients
from .compat import (
    Chunk,
    WeightConverter,
    WeightRenaming,
    attention_implementation,
    can_return_tuple,
    capture_outputs,
    checkpointing_function,
    get_checkpoint_conversion_mapping,
    merge_with_config_defaults,
    register_checkpoint_conversion_mapping,
    register_recording,
)
from .cost import grid_size
from .inference import InferenceMixin
from .outputs import DynamicViTImageClassifierOutput, DynamicViTModelOutput, stacked_scores
from .packed import DynamicMLP
from .reducer import Constants, TokenReducer
from .reducers import REDUCERS
from .reduction_config import ReductionConfig
from .remote_code import PLACE, code_stays, code_travels, copy_processor
from .scoring import KeepLogits, masked_mean
from .spatial import scatter_to_grid, tokens_to_grid
from .tokens import Tokens


def conversion_mapping(cls: type) -> list | None:
    """Find how Transformers renames the keys of Hub files: of `cls`, a base with a mapping, or its model type."""
    names = [base.__name__ for base in cls.__mro__]
    if issubclass(cls, ReducedModel):
        names.append(cls.config_class.dense_model_type)
    mappings = (get_checkpoint_conversion_mapping(name) for name in names)
    return next((mapping for mapping in mappings if mapping), None)


def rename_legacy_keys(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_) -> None:
    """`load_state_dict` pre-hook: accept the key layout that `save_pretrained` writes.

    The Trainer resumes, and reloads its best model, by a raw `load_state_dict(strict=False)` of a saved file. Saving
    writes the layout from before Transformers 5, so without this every encoder weight would silently stay as it was.
    Can go when `Trainer._load_from_checkpoint` converts keys (transformers issue 43701).
    """
    own = module.state_dict()
    mapping = conversion_mapping(type(module)) or []
    renamings = [renaming for renaming in mapping if isinstance(renaming, WeightRenaming)]
    splits = [converter for converter in mapping if isinstance(converter, WeightConverter)]
    for key in [key for key in state_dict if key.startswith(prefix) and key[len(prefix) :] not in own]:
        name = key[len(prefix) :]
        for renaming in renamings:
            name, _ = renaming.rename_source_key(name)
        for part, tensor in split_weights(name, state_dict[key], splits).items():
            if part in own and prefix + part not in state_dict:
                state_dict[prefix + part] = tensor
                state_dict.pop(key, None)


def rename_root_keys(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_) -> None:
    """`load_state_dict` pre-hook of a model around a base model, whose names `rename_legacy_keys` then sees."""
    own, renamings = module.state_dict(), conversion_mapping(type(module)) or []
    for key in [key for key in state_dict if key.startswith(prefix) and key[len(prefix) :] not in own]:
        name = key[len(prefix) :]
        for renaming in renamings:
            name, _ = renaming.rename_source_key(name)
        state_dict[prefix + name] = state_dict.pop(key)


def split_weights(name: str, tensor: Tensor, converters: Sequence[WeightConverter]) -> dict[str, Tensor]:
    """Split a `tensor` that older files hold as one, such as a gated MLP's, into those that have taken its place."""
    for converter in converters:
        source, targets = converter.source_patterns[0], converter.target_patterns
        if source in name and isinstance(converter.operations[0], Chunk):
            parts = tensor.chunk(len(targets), dim=converter.operations[0].dim)
            return {name.replace(source, target): part for target, part in zip(targets, parts, strict=True)}
    return {name: tensor}


# configuration -> its models, by the names of their Auto classes
FOUND_BY: dict[type, dict[str, type]] = {}


class ReducedPreTrainedModel(InferenceMixin, BudgetMixin, PreTrainedModel):
    """What the base model and the classifier of a family share: it stands ahead of the native one.

    Attributes:
        config_class: the configuration.
        processor_place: arguments of `from_pretrained` that say where the image processor is.
        auto_names: the Auto classes that find it.
        layer_class, attention_class: what the native modules become.
        embeddings_class, mlp_class: the same, `None` where they stay native.
    """

    config: ReductionConfig
    config_class: type[Any]
    processor_place: dict[str, str] = {}
    auto_names: ClassVar[tuple[str, ...]] = ()
    embeddings_class: ClassVar[type | None] = None
    layer_class: ClassVar[type[DynamicLayer]]
    attention_class: ClassVar[type[DynamicAttention]]
    mlp_class: ClassVar[type[DynamicMLP] | None] = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name in cls.auto_names if hasattr(cls, "layer_class") or hasattr(cls, "model_class") else ():
            FOUND_BY.setdefault(cls.config_class, {}).setdefault(name, cls)
        if not hasattr(cls, "layer_class"):
            return
        whole = [each.__name__ for each in (cls.embeddings_class, cls.layer_class) if each is not None]
        cls._no_split_modules = [*dict.fromkeys([*(cls._no_split_modules or []), *whole])]  # and the reducer's
        cls._can_record_outputs = {"hidden_states": cls.layer_class, "attentions": cls.attention_class}
        # Hub files written before Transformers 5 name the encoder's tensors differently. Transformers renames them by
        # the name of the class; without this ours would load them with random weights.
        if mapping := conversion_mapping(cls):
            register_checkpoint_conversion_mapping(cls.__name__, mapping, overwrite=True)

    def __init__(self, config: ReductionConfig, *args, **kwargs):
        self.check_config(config)
        super().__init__(config, *args, **kwargs)

    def post_init(self) -> None:
        """Adopt what the native constructor has built, before Transformers initialises the weights."""
        self.adopt()
        super().post_init()

    def adopt(self) -> None:
        """Let native modules become ours, in place."""
        raise NotImplementedError

    def _initialize_weights(self, module: nn.Module, is_custom_code: bool = False) -> None:
        """Initialise as native code: CLIP and SigLIP do so from modules without parameters, skipped in other code."""
        super()._initialize_weights(module, False)

    @classmethod
    def check_config(cls, config: ReductionConfig) -> None:
        """Refuse a configuration of another family.

        Raises:
            ValueError: it is; the message names its class.
        """
        takes = cls.config_class  # not isinstance: remote code has classes of its own
        if config.model_type != takes.model_type:
            raise ValueError(f"config is a {type(config).__name__}; {cls.__name__} takes a {takes.__name__}.")

    @classmethod
    def auto_classes(cls) -> dict[str, type]:
        """Return the classes for this configuration, by the Auto class that finds each where code travels."""
        return {"AutoConfig": cls.config_class, **FOUND_BY[cls.config_class]}

    def _set_gradient_checkpointing(
        self, enable: bool = True, gradient_checkpointing_func: Callable[..., Any] = checkpoint, **kwargs
    ) -> None:
        """Check the function first: everything that enables checkpointing ends here, the Trainer and PEFT too."""
        if enable:
            gradient_checkpointing_func = with_gradients(gradient_checkpointing_func)
        super()._set_gradient_checkpointing(enable, gradient_checkpointing_func, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """Load as in `PreTrainedModel`, and remember where in the repository the image processor is."""
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.processor_place = {name: kwargs[name] for name in PLACE if kwargs.get(name)}
        return loaded

    def save_pretrained(
        self, save_directory, is_main_process: bool = True, *args, with_remote_code: bool = False, **kwargs
    ):
        """As in `PreTrainedModel`, with the image processor of the checkpoint that the model came from, if any.

        `with_remote_code` adds the code that `trust_remote_code=True` runs.
        """
        if is_main_process:
            copy_processor(self.config.name_or_path or "", Path(save_directory), self.processor_place)
        code: AbstractContextManager[None] = nullcontext()  # as the class has it: pushed, or itself remote code
        if with_remote_code:
            code = code_travels(self.config, self.auto_classes())
        elif not self.is_remote_code():
            code = code_stays(self.config)
        with code:
            return super().save_pretrained(save_directory, is_main_process, *args, **kwargs)

    def push_to_hub(self, repo_id: str, *, with_remote_code: bool = True, **kwargs):
        """As in `PreTrainedModel`; the code travels too unless `with_remote_code=False`."""
        with code_travels(self.config, self.auto_classes()) if with_remote_code else nullcontext():
            return super().push_to_hub(repo_id, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Constants):
            for parameter, value in zip(module, module.start, strict=True):
                init.constant_(parameter, value)
        if isinstance(module, KeepLogits):
            init.copy_(module.bias, torch.tensor(module.start))

    def scatter_to_grid(self, outputs: Any, image_size: int | tuple[int, int] | None = None) -> Tensor:
        """Final-normed features of every patch where it is, for dense tasks: `[B, D, down, across]`.

        A patch whose token was merged has its group's, one that sat out or came back its own, a dropped one those that
        it left its last block with.

        Args:
            outputs: of this model in eval mode, called with `output_hidden_states=True`.
            image_size: of the images, in pixels; `None` is the configuration's.

        Raises:
            ValueError: `outputs` lack the hidden states, or are of images with another number of patches.
        """
        features = scatter_to_grid(self.config, self.backbone.reducer, outputs, image_size)
        return self.backbone.layernorm(features).transpose(1, 2).unflatten(2, grid_size(self.config, image_size))

    def tokens_to_grid(
        self, tokens: Tensor, outputs: Any, layer: int, image_size: int | tuple[int, int] | None = None
    ) -> Tensor:
        """Place the tokens of one block where their patches are: `[B, D, down, across]`, 0 for patches without one.

        For saliency maps such as Grad-CAM, whose `reshape_transform` it is:
        `lambda tokens: model.tokens_to_grid(tokens, model(images), layer)`. Merged patches share their token; one that
        was fused with others, or represents them, is nowhere.

        Args:
            tokens: `[B, P + N, D]`, as they enter, are in, or leave the block `layer`: the output of one of its norms,
                or `hidden_states[layer + 1]`.
            outputs: of this model in eval mode for the same images.
            layer: index of the block, 0-based.
            image_size: of the images, in pixels; `None` is the configuration's.

        Raises:
            ValueError: `tokens` and `outputs` are not of the same images, or `layer` has another number of tokens.
        """
        return tokens_to_grid(self.config, self.backbone.reducer, tokens, outputs, layer, image_size)


class ReducedModel(ReducedPreTrainedModel):
    """The encoder loop: it stands ahead of the native base model, which its blocks and parts are those of."""

    embeddings: Any
    layers: nn.ModuleList
    layernorm: Any
    pooler: Any
    reducer: TokenReducer
    auto_names = ("AutoModel",)

    @property
    def backbone(self) -> Any:
        """Itself."""
        return self

    def adopt(self) -> None:
        if self.embeddings_class is not None:
            self.embeddings.__class__ = self.embeddings_class
        depth = len(self.layers)
        for index, layer in enumerate(cast(list[Any], self.layers)):
            rate = self.config.drop_path_rate * index / max(1, depth - 1)
            self.layer_class.adopt(layer, self.attention_class, self.mlp_class, rate)
        self.reducer = REDUCERS[self.config.reducer](self.config, **self.config.reducer_args)
        self.register_load_state_dict_pre_hook(rename_legacy_keys)

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        pixel_values: Tensor | None = None,
        bool_masked_pos: Tensor | None = None,
        interpolate_pos_encoding: bool | None = None,
        attention_mask: Tensor | None = None,
        only_prefix: bool = False,
        output_scores: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> DynamicViTModelOutput:
        """Embed, run the blocks, normalise.

        Args:
            pixel_values: `[B, channels, height, width]`.
            bool_masked_pos: `[B, num_patches]` bool, masked positions (only with `use_mask_token=True`).
            interpolate_pos_encoding: accept image sizes other than the configuration's.
            attention_mask: `[B, 1 + num_patches]`, 1 = attend, 0 = never. Its columns are gathered with the tokens,
                and patches with 0 are the first to be dropped.
            only_prefix: nothing but the prefix tokens is wanted. Where that saves work `last_hidden_state` is
                `[B, P, D]`: at inference without gradients and recorded hidden states or attentions, with a family and
                a method whose classifier reads the class token.
            output_scores: the output has `scores`, at inference.

        Raises:
            ValueError: `pixel_values` or `attention_mask` has the wrong shape.
        """
        self._check_checkpointing()
        tokens = self.embed(pixel_values, bool_masked_pos, bool(interpolate_pos_encoding), attention_mask)
        # with gradients on, hooks for saliency maps see what they would in ViT; a trace is the same with and without
        looked_at = torch.is_grad_enabled() or torch.jit.is_tracing() or self._records(kwargs)
        unobserved = not (self.training or looked_at)
        tokens = tokens.change(unobserved=unobserved, keeps_scores=output_scores and not self.training)
        last = len(self.layers) - 1
        pools = self.config.classifies_class_token or not only_prefix  # other classifiers do not read the pooler
        only_prefix = only_prefix and tokens.unobserved and self.config.classifies_class_token
        only_prefix = only_prefix and self.reducer.prefix_suffices(last)
        for index, layer in enumerate(self.layers):
            _, tokens = layer(tokens.hidden, tokens, self.reducer, index, only_prefix and index == last, **kwargs)

        last_hidden_state = self.layernorm(tokens.padded)
        return DynamicViTModelOutput(
            last_hidden_state=last_hidden_state,
            pooler_output=self.pool(last_hidden_state, tokens.weights) if pools else None,
            kept=torch.stack([decision.kept for decision in tokens.decisions], dim=1),
            owner=torch.stack([decision.owner for decision in tokens.decisions], dim=1),
            scores=stacked_scores(tokens.decisions) if tokens.keeps_scores else None,
            decisions=tokens.decisions if self.training else None,
            features=self.features(tokens, last_hidden_state),
            auxiliary_logits=self.reducer.auxiliary_logits(tokens) if self.training else None,
        )

    def features(self, tokens: Tokens, states: Tensor) -> Tensor:
        """Return what the first classifier reads, `[B, D]`: `tokens` ahead of the last norm, `states` behind it."""
        if not self.reducer.reads_class_token:  # Evo-ViT's own mean is ahead of the norm
            return self.layernorm(masked_mean(tokens.patches, tokens.attended))[:, 0]
        return self.read(states, tokens.weights, self.config.num_prefix)

    def read(self, states: Tensor, weights: Tensor | None, num_prefix: int) -> Tensor:
        """Return what a dense classifier reads, `[B, D]`: the class token, or the mean where there is none.

        A native base model may stand for `self`.

        Args:
            states: `[B, P + N, D]`, the tokens that leave the last block, through the final norm.
            weights: `[B, N]` of each patch token in a mean, or `None` for all alike.
            num_prefix: P.
        """
        return states[:, 0] if num_prefix else masked_mean(states, weights)[:, 0]

    def pool(self, states: Tensor, weights: Tensor | None) -> Tensor | None:
        """`pooler_output` of the native base model, of `states` and `weights` as in `read`."""
        return None if self.pooler is None else self.pooler(states)

    def embed(
        self,
        pixel_values: Tensor | None,
        bool_masked_pos: Tensor | None = None,
        interpolate_pos_encoding: bool = False,
        attention_mask: Tensor | None = None,
    ) -> Tokens:
        """Embed the images as the tokens that enter the first block; arguments and errors as in `forward`."""
        if pixel_values is None or pixel_values.ndim != 4:
            shape = None if pixel_values is None else tuple(pixel_values.shape)
            raise ValueError(f"pixel_values has shape {shape}; it must be [batch, channels, height, width].")
        hidden = self.embed_patches(pixel_values, bool_masked_pos, interpolate_pos_encoding)
        if attention_mask is not None:
            if attention_mask.shape != hidden.shape[:2]:
                raise ValueError(
                    f"attention_mask has shape {tuple(attention_mask.shape)}; with tokens being dropped it must be "
                    f"[batch, {self.config.num_prefix} + patches], here {tuple(hidden.shape[:2])}."
                )
            attention_mask = attention_mask.to(hidden.device).bool()
        return self.locate(Tokens.start(hidden, self.config.num_prefix, attention_mask), pixel_values)

    def weights_at(self, height: int, width: int) -> dict[str, Tensor]:
        """Interpolate the weights that are others for images of `height` x `width` pixels; return them by name."""
        names = ("position_embeddings", "position_embedding.weight")
        found = {name: each for name, each in self.embeddings.named_parameters() if name in names}
        down, across = grid_size(self.config, (height, width))
        weights = {}
        for name, positions in found.items():
            length = positions.shape[-2] - self.config.num_patches + down * across
            blank = positions.new_empty(1, length, positions.shape[-1])
            weights[f"embeddings.{name}"] = self.embeddings.interpolate_pos_encoding(blank, height, width)
        return {name: each[0] if name.endswith("weight") else each for name, each in weights.items()}

    def locate(self, tokens: Tokens, pixel_values: Tensor) -> Tokens:
        """Let tokens know their places, where the blocks of the family ask for them."""
        return tokens

    def embed_patches(self, pixel_values: Tensor, bool_masked_pos: Tensor | None, interpolate: bool) -> Tensor:
        """Embed the images as the native base model does: `[B, P + num_patches, D]`."""
        pixel_values = pixel_values.to(self.embeddings.patch_embeddings.projection.weight.dtype)
        return self.embeddings(pixel_values, bool_masked_pos, interpolate)

    def _records(self, kwargs: Mapping[str, Any]) -> bool:
        """Return whether Transformers records what the blocks hand on; asked as it asks."""
        names = ("output_hidden_states", "output_attentions")
        asked = [kwargs.get(name, getattr(self.config, name, False)) for name in names]
        return any(answer is not None and answer is not False for answer in asked)

    def _check_checkpointing(self) -> None:
        """Refuse what was enabled elsewhere: on a model that holds this one, or on the blocks themselves."""
        layers = cast(list[Any], self.layers)
        functions = [checkpointing_function(layer) for layer in layers if layer.gradient_checkpointing]
        if self.training and any(with_gradients(function) is not function for function in functions):
            raise ValueError(
                "gradient checkpointing that does not say use_reentrant=False cuts what blocks hand on beside their "
                "output off from its gradient; enable it with use_reentrant=False."
            )


class WithBaseModel(ReducedPreTrainedModel):
    """A model around a `ReducedModel`, the attribute `base_model_prefix`: it stands ahead of the native one.

    Attributes:
        model_class: of the base model.
        dense_class: the native model.
    """

    model_class: ClassVar[type[ReducedModel]]
    dense_class: ClassVar[type[PreTrainedModel]]

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
    def dense_logits(cls, dense: Any, states: Tensor) -> Tensor:
        """Logits of `dense`, a native model of this family, from its final-normed `states` `[B, P + N, D]`."""
        base: Any = cls.native_base(dense)
        num_prefix = cls.model_class.config_class.num_prefix.fget(base.config)
        features = cls.model_class.read(base, states, None, num_prefix)
        return cls.classify_with(dense, [features, *states.unbind(1)[1 : len(cls.heads)]])

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
        features, states = cast(Tensor, outputs.features), cast(Tensor, outputs.last_hidden_state)
        logits, auxiliary = self.classify_features(features, states), outputs.auxiliary_logits
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
            features=features if self.training else None,
            auxiliary_logits=auxiliary,
        )

    def _targets(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Cast whole-numbered `labels` to the dtype of `logits` where the loss takes numbers, not classes."""
        problem = self.config.problem_type
        numbers = problem in ("multi_label_classification", "regression") or (
            problem is None and self.config.num_labels == 1
        )
        return labels.to(logits.dtype) if numbers and not labels.is_floating_point() else labels
