# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What every configuration has beside that of its native model: where, how and how much tokens are reduced."""

import dataclasses
import inspect
import itertools
import math
from typing import Any, ClassVar

import torch
from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .cost import as_pair, grid_size
from .flags import asks_for_number, refuse_flags
from .logger import logger
from .native import is_native
from .reducer import TokenReducer
from .reducers import REDUCERS, is_adaptive
from .refused import refusal
from .schedules import SCHEDULES, Schedule


# Sizes beyond any vision transformer; what is larger is a mistake, or an attempt to exhaust the machine.
LARGEST = {
    "hidden_size": 65536,
    "num_hidden_layers": 1024,
    "num_attention_heads": 4096,
    "intermediate_size": 1048576,
    "num_channels": 4096,
    "pooler_output_size": 65536,
    "encoder_stride": 65536,
    "mlp_ratio": 1024,
    "num_register_tokens": 65536,
    "num_detection_tokens": 65536,
}
# what a configuration has beside the native one's
REDUCTION = ("reducer", "schedule", "reducer_layers", "keep_ratio", "reducer_args", "drop_path_rate", "full_grid")
# what a configuration of two towers asks its image tower; never how weights start, which is of each tower
OF_TOWER = (*REDUCTION, "image_size", "patch_size", "num_channels", "hidden_size", "num_hidden_layers")
OF_TOWER += ("num_attention_heads", "intermediate_size")
# what a configuration meant that is of a version without `schedule`, by method; others mean what they do now
SCHEDULES_BEFORE = {"tome": "linear"}
# what names a configuration's models
NAMED = {"model_type", "architectures", "auto_map"}
MOST_LABELS = 1 << 20
MOST_PATCHES = 1 << 20


@strict
class ReductionConfig(PreTrainedConfig):
    """A token reducer: it stands ahead of the native configuration. `DynamicViTConfig` says what the fields mean.

    Attributes:
        dense_model_type: of the native checkpoints that it reads too.
        methods: name -> class of the methods that it takes.
        schedules: the schedules that it takes, by name.
        turns: keys of the attention know where their tokens stand.
        square_only: images and patches of the configuration are squares, given by one number.
        square_patches: patches alone are.
        fixed_stages: the family says which blocks reduce; no schedule can.
    """

    dense_model_type: ClassVar[str]
    methods: ClassVar[dict[str, type[TokenReducer]]] = REDUCERS
    schedules: ClassVar[dict[str, Schedule]] = SCHEDULES
    turns: ClassVar[bool] = False
    square_only: ClassVar[bool] = False
    square_patches: ClassVar[bool] = False
    fixed_stages: ClassVar[bool] = False
    keys_to_ignore_at_inference = ["hidden_states", "attentions", "last_hidden_state"]
    keys_to_ignore_at_inference += ["kept", "owner", "scores", "decisions", "features", "auxiliary_logits"]
    keys_to_ignore_at_inference += ["token_logits", "head_logits"]

    reducer: str = "dynamicvit"
    schedule: str | None = None
    reducer_layers: list[int] | tuple[int, ...] | None = None
    keep_ratio: float | int | list[float | int] | tuple[float | int, ...] | None = None
    reducer_args: dict[str, Any] = dataclasses.field(default_factory=dict)
    drop_path_rate: float | int = 0.0
    full_grid: bool = False

    def __post_init__(self, **kwargs):
        kwargs.pop("model_type", None)  # of a dense checkpoint's config.json; it would shadow the class attribute
        if isinstance(self.reducer_layers, tuple):
            self.reducer_layers = list(self.reducer_layers)
        if isinstance(self.keep_ratio, tuple):
            self.keep_ratio = list(self.keep_ratio)
        if self.reducer in self.methods:
            self.schedule = self.schedule or self.methods[self.reducer].default_schedule
            if self.keep_ratio is None and not self.count_options:
                self.keep_ratio = self.methods[self.reducer].default_keep_ratio
        super().__post_init__(**kwargs)
        self.check_reduction()

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        config_dict = config_dict.get(cls.base_config_key, config_dict)  # of a checkpoint with both towers
        check_model_type(cls, config_dict.get("model_type", cls.model_type), pretrained_model_name_or_path)
        return {**config_dict, "model_type": cls.model_type}, kwargs

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        # Overrides are merged first: a checkpoint's values must be valid together with them, not alone.
        check_num_labels({**config_dict, **kwargs}.get("num_labels"))
        config_dict = with_schedule(config_dict)
        fields = {field.name for field in dataclasses.fields(cls)} - {"dtype"}
        overrides = {name: kwargs.pop(name) for name in list(kwargs) if name in fields}
        layers, made_for = overrides.get("reducer_layers"), config_dict.get("reducer")
        read_class_token = made_for is None or cls(**config_dict).reads_class_token
        if overrides.get("reducer", made_for) != made_for:  # what the checkpoint's method took is not for another
            own = ("schedule", "reducer_layers", "keep_ratio", "reducer_args")
            config_dict = {name: value for name, value in config_dict.items() if name not in own}
        elif made_for is not None and layers is not None:
            trained = cls(**config_dict).stage_layers
            if trained != list(layers):
                logger.warning(f"reducer_layers is {list(layers)}; the checkpoint was made for {trained}.")
        config_dict = cls._without_the_other(config_dict, overrides)
        result = super().from_dict({**config_dict, **overrides}, **kwargs)
        config = result[0] if isinstance(result, tuple) else result
        if len(cls.methods) > 1 and config.reads_class_token != read_class_token:
            reads, read = (
                "the class token" if flag else "the mean of the patches"
                for flag in (config.reads_class_token, read_class_token)
            )
            logger.warning(
                f"reducer {config.reducer!r} classifies {reads}; the checkpoint's classifier was trained on {read}. "
                "Fine-tune it, or choose what it reads with reducer_args={'pooling': ...} of 'evovit'."
            )
        return result

    @classmethod
    def _without_the_other(cls, config_dict: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
        """`config_dict` without the keep ratio or the count that an override of the other kind replaces."""
        reducer = cls.methods.get(overrides.get("reducer", config_dict.get("reducer", "dynamicvit")))
        counts = () if reducer is None else reducer.count_options
        if any(name in (overrides.get("reducer_args") or {}) for name in counts):
            return {name: value for name, value in config_dict.items() if name != "keep_ratio"}
        if overrides.get("keep_ratio") is not None and "reducer_args" in config_dict:
            own = {name: value for name, value in config_dict["reducer_args"].items() if name not in counts}
            return {**config_dict, "reducer_args": own}
        return config_dict

    @property
    def count_options(self) -> list[str]:
        """Options given in `reducer_args` that set how much is kept in place of `keep_ratio`."""
        names = self.methods[self.reducer].count_options if self.reducer in self.methods else ()
        return [name for name in names if self.reducer_args.get(name) is not None]

    @property
    def is_adaptive(self) -> bool:
        """Return whether each image decides how much it keeps; there is no `keep_ratio`, and cost depends on it."""
        return is_adaptive(self.reducer)

    @property
    def reads_class_token(self) -> bool:
        """Return whether the classifier reads the class token, as that of a dense ViT does."""
        return self.reducer_without_memory().reads_class_token

    @property
    def named_schedule(self) -> Schedule:
        """Return the schedule that `schedule` names."""
        return self.schedules[self.schedule or self.methods[self.reducer].default_schedule]

    @property
    def stage_layers(self) -> list[int]:
        """The block of each stage, whether given or of the schedule."""
        if self.reducer_layers is not None:
            return list(self.reducer_layers)
        return self.named_schedule.layers(self.depth)

    @property
    def depth(self) -> int:
        """Blocks that may reduce."""
        return self.num_hidden_layers

    @property
    def num_prefix(self) -> int:
        """Tokens ahead of the patches, which are never reduced: the class token."""
        return 1

    @property
    def classifies_class_token(self) -> bool:
        """Return whether a dense classifier of the family reads prefix tokens alone."""
        return self.num_prefix > 0

    @property
    def reads_prefix_alone(self) -> bool:
        """Return whether what reads the tokens of the last block reads none of patches."""
        return self.classifies_class_token

    def head_multiply_adds(self, num_outputs: int) -> int:
        """Count what reads the tokens, for `num_outputs` classes."""
        return self.classifier_size * num_outputs

    @property
    def classifier_size(self) -> int:
        """Inputs of all linear classifiers of the image classification model together."""
        return self.hidden_size

    @property
    def token_classifier_size(self) -> int:
        """Inputs of the classifier of every patch token, 0 where there is none."""
        return 0

    @property
    def patch_multiply_adds(self) -> int:
        """Multiply-adds that embed one patch."""
        height, width = as_pair(self.patch_size)
        return self.hidden_size * self.num_channels * height * width

    @property
    def mlp_size(self) -> int:
        """Weights of the MLP of one block."""
        return 2 * self.hidden_size * self.intermediate_size

    @property
    def num_patches(self) -> int:
        """Patches of an image of the configuration's size."""
        down, across = grid_size(self)
        return down * across

    @property
    def stage_keep_ratios(self) -> list[float]:
        """Each stage's fraction of the original patches; empty where each image decides."""
        if self.keep_ratio is None:
            return []
        if self.given_counts is not None:
            return [count / self.num_patches for count in self.given_counts]
        if isinstance(self.keep_ratio, list | tuple):
            return [float(ratio) for ratio in self.keep_ratio]
        return self.named_schedule.keep_ratios(float(self.keep_ratio), len(self.stage_layers))

    @property
    def given_counts(self) -> list[int] | None:
        """Patches to keep at each stage of an image of the configuration's size, where `keep_ratio` lists numbers."""
        given = self.keep_ratio if isinstance(self.keep_ratio, list | tuple) else ()
        if not any(value > 1 for value in given):
            return None
        return [value if isinstance(value, int) else int(value) if math.isfinite(value) else 0 for value in given]

    def to_native_dict(self) -> dict[str, Any]:
        """`to_dict` without what only this package knows, for the native configuration."""
        native = [base for base in type(self).__mro__ if is_native(base)]
        own = {name for name in REDUCTION if not any(name in vars(base).get("__annotations__", {}) for base in native)}
        own |= NAMED
        return {name: value for name, value in self.to_dict().items() if name not in own}

    def validate_reduction(self):
        """Run again by `save_pretrained`."""
        self.check_reduction()

    def check_reduction(self):
        """Raise `ValueError` unless reducer, layers, ratios and arguments go together."""
        if self.reducer not in self.methods:
            raise ValueError(self.unknown_method())
        self.check_schedule()
        self.check_sizes()
        if not 0 <= self.drop_path_rate < 1:
            raise ValueError(f"drop_path_rate is {self.drop_path_rate}; it must be 0 or more and below 1.")
        layers, depth = self.stage_layers, self.depth
        increasing = all(low < high for low, high in itertools.pairwise(layers))
        if not layers or not increasing or layers[0] < 0 or layers[-1] >= depth:
            raise ValueError(
                f"reducer_layers is {layers}; it must be strictly increasing block indices from 0 to {depth - 1}."
            )
        if self.is_adaptive and self.keep_ratio is not None:
            raise ValueError(
                f"keep_ratio is {self.keep_ratio}; with reducer {self.reducer!r} each image decides. Train for "
                "reducer_args={'budget': ...}, or call model.set_keep_ratio or set_budget with a batch of images."
            )
        if self.count_options and self.keep_ratio is not None:
            raise ValueError(
                f"keep_ratio is {self.keep_ratio} and reducer_args sets {', '.join(self.count_options)}; give one."
            )
        if not self.is_adaptive and not self.count_options:
            self._check_keep_ratio(layers)
        reducer = self._check_reducer_args()
        if not self.is_adaptive and not self.count_options and not reducer.rounds_up:
            self._check_keeps_some()

    def unknown_method(self) -> str:
        """Say that there is no such method, and which there are."""
        return f"reducer is {self.reducer!r}; the methods are {', '.join(sorted(self.methods))}."

    def check_schedule(self):
        """Raise `ValueError` unless there is such a schedule."""
        if self.schedule not in (None, *self.schedules):
            raise ValueError(f"schedule is {self.schedule!r}; it can be {', '.join(self.schedules)}.")

    def check_sizes(self):
        """Refuse sizes that no model has, before anything is built: a file from anywhere must not ask for them."""
        own: Any = self
        sizes = {name: getattr(own, name) for name in LARGEST if hasattr(own, name)}
        for name in ("image_size", "patch_size"):
            size = getattr(self, name)
            square = self.square_only or (self.square_patches and name == "patch_size")
            if square and not isinstance(size, int):
                raise ValueError(f"{name} is {size}; a {self.dense_model_type} takes one number.")
            if not isinstance(size, int) and len(size) != 2:
                raise ValueError(f"{name} is {size}; it must be one number, or height and width.")
            sizes |= dict(zip((f"{name} height", f"{name} width"), as_pair(size), strict=True))
        for name, value in sizes.items():
            least, largest = int(name != "num_register_tokens"), LARGEST.get(name, 65536)
            if not least <= value <= largest:
                raise ValueError(f"{name} is {value}; it must be from {least} to {largest}.")
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads is {self.num_attention_heads}; it must divide hidden_size, {self.hidden_size}."
            )
        if not 1 <= self.num_patches <= MOST_PATCHES:
            raise ValueError(
                f"image_size {self.image_size} with patch_size {self.patch_size} gives {self.num_patches} patches; it "
                f"must be from 1 to {MOST_PATCHES}."
            )

    def _check_keep_ratio(self, layers: list[int]):
        given = self.keep_ratio if isinstance(self.keep_ratio, list | tuple) else [self.keep_ratio]
        if self.given_counts is not None:
            most, whole = self.num_patches, all(isinstance(count, int) for count in given)
            if not whole or not all(1 <= count <= most for count in self.given_counts):
                raise ValueError(
                    f"keep_ratio is {self.keep_ratio}; a list holds ratios in (0, 1], or integers from 1 to {most}, "
                    "the patches to keep of an image."
                )
        elif not all(ratio is not None and 0 < ratio <= 1 for ratio in given):  # before any power of it
            raise ValueError(f"keep_ratio is {self.keep_ratio}; ratios must be in (0, 1] and must not increase.")
        ratios = self.stage_keep_ratios
        if len(ratios) != len(layers):
            raise ValueError(
                f"keep_ratio has {len(ratios)} values, {self.keep_ratio}, for {len(layers)} reducer_layers, {layers}; "
                "give one for each, or one number."
            )
        falls = all(high >= low > 0 for high, low in itertools.pairwise(ratios))  # powers may become 0
        if not falls:
            raise ValueError(f"keep_ratio is {self.keep_ratio}; ratios must be in (0, 1] and must not increase.")

    def _check_keeps_some(self):
        last, count = self.stage_keep_ratios[-1], len(self.stage_layers)
        if self.given_counts is not None or keeps_some(self.num_patches, last):
            return
        number = not isinstance(self.keep_ratio, list | tuple)
        low, high = 0.0, 1.0
        for _ in range(50):
            middle = (low + high) / 2
            ratio = self.named_schedule.keep_ratios(middle, count)[-1] if number else middle
            low, high = (low, middle) if keeps_some(self.num_patches, ratio) else (middle, high)
        raise ValueError(
            f"keep_ratio is {self.keep_ratio}: the last of {count} stages, {last:.4g} of {self.num_patches} patches, "
            f"keeps none; the least {'keep_ratio' if number else 'in the list'} is {rounded_up(high):.4g}."
        )

    def _check_reducer_args(self):
        allowed = self.methods[self.reducer].options()
        unknown = sorted(set(self.reducer_args) - set(allowed))
        if unknown:
            raise ValueError(
                f"reducer_args has {', '.join(unknown)}, which reducer {self.reducer!r} does not take; "
                f"it takes {', '.join(allowed) or 'none'}."
            )
        reducer = self.reducer_without_memory()
        asked = inspect.signature(self.methods[self.reducer]).parameters
        numbers = [name for name in self.reducer_args if asks_for_number(asked[name].annotation)]
        refuse_flags(**{f"reducer_args: {name}": self.reducer_args[name] for name in numbers})
        return reducer

    def reducer_without_memory(self):
        """Build the method as configured, to ask what it is; its parameters have shapes only."""
        with torch.device("meta"):  # the method checks its own values; no memory, no random numbers
            return self.methods[self.reducer](self, **self.reducer_args)


@strict
class TwoTowerReductionConfig(PreTrainedConfig):
    """Two towers, of which the image tower reduces tokens: it stands ahead of the native configuration.

    What the image tower has beside it, reduction and sizes, can be given, read and set here too.
    """

    dense_model_type: ClassVar[str]
    keys_to_ignore_at_inference = ReductionConfig.keys_to_ignore_at_inference

    def __post_init__(self, **kwargs):
        kwargs.pop("model_type", None)
        asked = {name: kwargs.pop(name) for name in list(kwargs) if name in OF_TOWER}
        tower = self.vision_config
        if asked or not hasattr(tower, "reducer"):
            given = tower.to_dict() if isinstance(tower, PreTrainedConfig) else tower or {}
            self.vision_config = {**given, **asked}
        super().__post_init__(**kwargs)
        check_text_sizes(self.text_config)

    @classmethod
    def tower_class(cls) -> type[ReductionConfig]:
        """Return the configuration class of the image tower."""
        return cls.sub_configs_defaults["vision_config"].config_class

    @classmethod
    def get_config_dict(cls, pretrained_model_name_or_path, **kwargs):
        config_dict, kwargs = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        check_model_type(cls, config_dict.get("model_type", cls.model_type), pretrained_model_name_or_path)
        return {**config_dict, "model_type": cls.model_type}, kwargs

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        check_num_labels({**config_dict, **kwargs}.get("num_labels"))
        given = kwargs.pop("vision_config", None) or {}
        asked = dict(given.to_dict() if isinstance(given, PreTrainedConfig) else given)
        asked |= {name: kwargs.pop(name) for name in list(kwargs) if name in OF_TOWER}
        asked = {name: value for name, value in asked.items() if name != "model_type"}
        tower = cls.tower_class().from_dict(config_dict.get("vision_config") or {}, **asked)
        return super().from_dict({**config_dict, "vision_config": tower.to_dict()}, **kwargs)

    def __getattr__(self, name):
        tower = self.__dict__.get("vision_config")
        if hasattr(tower, "reducer") and (name in OF_TOWER or name in vars(ReductionConfig)):
            return getattr(tower, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, key, value):
        tower = self.__dict__.get("vision_config")
        if key in OF_TOWER and hasattr(tower, "reducer"):
            setattr(tower, key, value)
        else:
            super().__setattr__(key, value)

    def to_native_dict(self) -> dict[str, Any]:
        """`to_dict` without what only this package knows, for the native configuration."""
        config = {name: value for name, value in self.to_dict().items() if name not in NAMED}
        tower: Any = self.vision_config
        return config | {"vision_config": tower.to_native_dict()}

    def validate_reduction(self):
        """Run again by `save_pretrained`."""
        tower: Any = self.vision_config
        tower.check_reduction()


def check_model_type(cls: Any, model_type: str, source: str) -> None:
    """Refuse a checkpoint `source` of another `model_type` than the configuration class `cls` reads.

    Raises:
        ValueError: it is; the message says what to do instead.
    """
    reads = (cls.dense_model_type, cls.model_type)
    if model_type not in reads:
        raise ValueError(refusal(source, model_type, f"{cls.__name__} reads {reads[0]!r} and {reads[1]!r}"))


def check_num_labels(num_labels: Any) -> None:
    """Refuse more labels than any data set has: each becomes an entry of a table."""
    if isinstance(num_labels, int) and not 0 <= num_labels <= MOST_LABELS:
        raise ValueError(f"num_labels is {num_labels}; it must be from 0 to {MOST_LABELS}.")


def check_text_sizes(config: Any) -> None:
    """Refuse sizes of a text tower beyond any."""
    for name, largest in (LARGEST | {"vocab_size": 1 << 24, "max_position_embeddings": 1 << 20}).items():
        if not 1 <= getattr(config, name, 1) <= largest:
            raise ValueError(f"text_config: {name} is {getattr(config, name)}; it must be from 1 to {largest}.")


def with_schedule(config_dict: dict[str, Any]) -> dict[str, Any]:
    """Name the schedule that `config_dict` of a version without named ones meant, where defaults changed since."""
    meant = [{"schedule": name} for reducer, name in SCHEDULES_BEFORE.items() if reducer == config_dict.get("reducer")]
    return {**meant[0], **config_dict} if meant else config_dict


def keeps_some(num_patches: int, keep_ratio: float) -> bool:
    """Return whether `int(num_patches * keep_ratio)` is a patch."""
    return int(num_patches * keep_ratio) >= 1


def rounded_up(value: float) -> float:
    """Round `value`, above 0, up to four digits."""
    unit = 10.0 ** (3 - math.floor(math.log10(value)))
    return math.ceil(value * unit) / unit
