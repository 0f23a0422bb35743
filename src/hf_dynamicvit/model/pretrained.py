# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What base models and models around them share: configuration, files, code that travels, patches on their grid."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers import initialization as init

from .budget import BudgetMixin
from .checkpointing import with_gradients
from .compat import (
    register_checkpoint_conversion_mapping,
)
from .cost import grid_size
from .diffrate_search import LearnedCounts
from .inference import InferenceMixin
from .legacy_keys import conversion_mapping
from .packed import DynamicMLP
from .pyramid_reducer import FastPath
from .reducer import Constants
from .reducer_mstm import ScaleProjection
from .reducer_tosa import MirroredConvolution
from .reduction_config import ReductionConfig
from .remote_code import PLACE, check_code_travels, code_stays, code_travels, copy_processor
from .scoring import KeepLogits
from .spatial import scatter_to_grid, tokens_to_grid


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
        hands_out_patches: what reads its output finds every patch, whatever the method does with the tokens.
    """

    config: ReductionConfig
    config_class: type[Any]
    processor_place: dict[str, str] = {}
    auto_names: ClassVar[tuple[str, ...]] = ()
    embeddings_class: ClassVar[type | None] = None
    layer_class: ClassVar[type[nn.Module]]
    attention_class: ClassVar[type[nn.Module]]
    mlp_class: ClassVar[type[DynamicMLP] | None] = None
    hands_out_patches: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name in cls.auto_names if hasattr(cls, "layer_class") or hasattr(cls, "model_class") else ():
            FOUND_BY.setdefault(cls.config_class, {}).setdefault(name, cls)
        if not hasattr(cls, "layer_class"):
            return
        whole = [each.__name__ for each in (cls.embeddings_class, cls.layer_class) if each is not None]
        cls._no_split_modules = [*dict.fromkeys([*(cls._no_split_modules or []), *whole])]  # and the reducer's
        cls._can_record_outputs = cls.recorded_outputs()
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

    @classmethod
    def recorded_outputs(cls) -> dict[str, Any]:
        """Return what Transformers records, by name: the class of the modules that hand it on."""
        return {"hidden_states": cls.layer_class, "attentions": cls.attention_class}

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
            check_code_travels(self.backbone.reducer, self.config)
            code = code_travels(self.config, self.auto_classes())
        elif not self.is_remote_code():
            code = code_stays(self.config)
        with code:
            return super().save_pretrained(save_directory, is_main_process, *args, **kwargs)

    def push_to_hub(self, repo_id: str, *, with_remote_code: bool = True, **kwargs):
        """As in `PreTrainedModel`; the code travels too unless `with_remote_code=False`."""
        if with_remote_code:
            check_code_travels(self.backbone.reducer, self.config)
        with code_travels(self.config, self.auto_classes()) if with_remote_code else nullcontext():
            return super().push_to_hub(repo_id, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Constants):
            for parameter, value in zip(module, module.start, strict=True):
                init.constant_(parameter, value)
        if isinstance(module, LearnedCounts):
            for parameter, logits in zip(module, module.start, strict=True):
                init.copy_(parameter, torch.tensor(logits))
        if isinstance(module, ScaleProjection):
            init.zeros_(module.weight)
        if isinstance(module, MirroredConvolution):
            init.copy_(module.weight, module.start())
        if isinstance(module, FastPath) and module.scale is not None:
            init.constant_(module.scale, module.start)
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
