# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A checkpoint as a user named it: what it is, and its weights as a model of this or that kind.

```python
checkpoint = read_checkpoint("my-dynamicvit")
print(checkpoint.config.model_type, checkpoint.reducer, checkpoint.labels)
model = checkpoint.load()
```
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForImageClassification, PreTrainedModel

from ..adoption import is_reduced, outermost, reduce_tokens, restore
from ..model.budget import with_keep_ratio, with_schedule
from ..model.compat import attends
from ..model.cost import image_tower
from ..model.reducers import REDUCERS
from ..model.refused import NEEDS_TRAINING, refusal
from ..model.schedules import one_or_several
from ..registration import BACKBONES, CLASSIFIERS, DETECTORS, ENCODERS, TWO_TOWERS
from .labels import label_names
from .load_report import REDUCER, check_weights, expect_in_report
from .source import check_weights_are_whole, make_config, read_content, read_processor


# The method of a dense model where none is named: the best without training.
WITHOUT_TRAINING = "tome"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose configuration was read, once; the weights are read when they are asked for.

    Attributes:
        source: its folder or Hub name, or a `config.json`, as it was typed.
        content: of its `config.json`.
        config: the same as a configuration of the class for its model type; nobody changes it.
        may_detect: an object detector will do where an image classifier is asked for.
        may_map: a model that segments images or estimates depth around a backbone will do.
    """

    source: str
    content: dict[str, Any] = field(repr=False)
    config: Any = field(repr=False)
    may_detect: bool = False
    may_map: bool = False

    @property
    def is_sparse(self) -> bool:
        """Return whether it has a method already."""
        return self.reducer is not None

    @property
    def reducer(self) -> str | None:
        """Its method; `None` for a dense model."""
        return getattr(self.backbone_config or self.config, "reducer", None)

    @property
    def backbone_config(self) -> Any | None:
        """The configuration of the backbone of a model around one that we have; `None` of any other."""
        config = getattr(self.config, "backbone_config", None)
        return config if getattr(config, "model_type", None) in BACKBONES else None

    @property
    def maps(self) -> bool:
        """Return whether it is a model around a backbone, which segments images or estimates depth."""
        return self.backbone_config is not None

    @property
    def image_config(self) -> Any:
        """The part of its configuration that tells of images: that of its image tower or backbone, if it has one."""
        return self.backbone_config or image_tower(self.config)

    @property
    def labels(self) -> list[str]:
        """Names of its classes, in their order."""
        return label_names(self.config)

    @property
    def family(self) -> Any:
        """Our class of a sparse classifier, or detector, of these weights.

        Raises:
            ValueError: as `check_family`.
        """
        self.check_family()
        return (CLASSIFIERS | DETECTORS)[self.config.model_type]

    @property
    def detects(self) -> bool:
        """Return whether it is of a family of object detectors."""
        return self.config.model_type in DETECTORS

    @property
    def has_classifier(self) -> bool:
        """Return whether it classifies images; where it does not say what it is, whether its family does."""
        names = self.config.architectures
        if not names:
            return self.config.model_type in CLASSIFIERS
        return any("ForImageClassification" in name for name in names)

    @property
    def encoder(self) -> Any:
        """Our class of a sparse base model of these weights, of the image tower where there are two.

        Raises:
            ValueError: the model type is none of ours.
        """
        model_type = self.config.model_type
        if model_type not in ENCODERS:
            raise ValueError(refusal(self.source, model_type, f"this takes {', '.join(ENCODERS)}"))
        return ENCODERS[model_type]

    @property
    def tower_config_class(self) -> Any:
        """Our configuration class of a sparse classifier's image tower.

        Raises:
            ValueError: as `check_family`.
        """
        config_class = self.family.config_class
        return config_class.tower_class() if hasattr(config_class, "tower_class") else config_class

    def check_family(self, others: Sequence[str] = ()) -> None:
        """Refuse a checkpoint of a model type that is none of ours; `others` can be typed too.

        Raises:
            ValueError: names the types that there are.
        """
        model_type = self.config.model_type
        if (self.detects and self.may_detect) or (self.maps and self.may_map):
            return
        if self.maps:
            raise ValueError(
                f"{self.source} is a model around a backbone, for segmentation or depth, and this is for image "
                "classifiers. `hf-dynamicvit evaluate`, `visualize`, `benchmark` and `tune` take it; from Python, "
                "reduce_tokens and BackboneTrainer, as in examples/train_semantic_segmentation.py and "
                "examples/train_depth_estimation.py."
            )
        if self.detects:
            raise ValueError(
                f"{self.source} is an object detector, and this is for image classifiers. `hf-dynamicvit evaluate`, "
                "`visualize`, `benchmark` and `tune` take it; from Python, AutoModelForObjectDetection and "
                "DynamicViTTrainer, as in examples/train_object_detection.py."
            )
        if model_type not in CLASSIFIERS:
            known = ", ".join([*CLASSIFIERS, *others])
            raise ValueError(refusal(self.source, model_type, f"this takes {known}"))

    def check_weights_fit(self) -> None:
        """Refuse a dense checkpoint that lacks weights of the sparse model.

        Raises:
            ValueError: it is one; what to do.
        """
        if not self.is_sparse and self.config.model_type in NEEDS_TRAINING:
            reason = NEEDS_TRAINING[self.config.model_type]
            raise ValueError(f"{self.source} is a dense model of type {self.config.model_type!r}: {reason}")

    @cached_property
    def processor(self) -> Any:
        """The image processor, read once.

        Raises:
            ValueError: it has none; images prepared by a guess would give wrong numbers.
        """
        return read_processor(self.source, self.config)

    def configured(self, **changes: Any) -> Any:
        """Make the configuration of a sparse model of these weights, with `changes`.

        Raises:
            ValueError: they do not fit the model.
        """
        config_class = self.family.config_class
        content = copy.deepcopy(self.content) | {"model_type": config_class.model_type}
        return config_class.from_dict(content, **changes)

    def configured_encoder(self, **changes: Any) -> Any:
        """Make the configuration of a sparse base model of these weights, with `changes`.

        Raises:
            ValueError: they do not fit the model, or its model type is none of ours.
        """
        config_class = self.encoder.config_class
        content = copy.deepcopy(self.content.get("vision_config", self.content))
        return config_class.from_dict(content | {"model_type": config_class.model_type}, **changes)

    def with_reducer(self, reducer: str | None) -> Any:
        """Make the configuration of these weights with another method; `None` is its own.

        Raises:
            ValueError: there is no such method, or it does not fit the model.
        """
        self.check_weights_fit()
        if reducer is not None and reducer not in REDUCERS:
            raise ValueError(f"reducer is {reducer!r}; it can be {', '.join(REDUCERS)}.")
        self.check_family()
        own = self.reducer
        if reducer is None or reducer == own:
            return self.configured()
        if own is not None and not self.config.reads_class_token:
            raise ValueError(
                f"the classifier of {self.source} ({own}) does not read the class token, which {reducer} needs; "
                "look at it with its own method."
            )
        pooling = {"pooling": "class"} if reducer == "evovit" else {}  # the classifier was trained on the class token
        return self.configured(reducer=reducer, reducer_args=pooling)

    def check_keep_ratio(self, reducer: str | None, keep_ratio: Sequence[float], schedule: str | None = None) -> None:
        """Refuse what was typed as `--keep-ratio` where the model cannot keep that, before its weights are read.

        Raises:
            ValueError: as `model.set_keep_ratio`.
        """
        config = self.with_reducer(reducer)
        if schedule is not None:
            config = with_schedule(config, schedule, 1.0)
        try:
            with_keep_ratio(config, one_or_several(keep_ratio))
        except ValueError as error:
            raise ValueError(f"--keep-ratio {' '.join(map(str, keep_ratio))}: {error}") from error

    def load_sparse(self, reducer: str | None = None) -> tuple[Any, bool]:
        """Load the weights as a sparse model in eval mode; return whether its method's parameters are new.

        Raises:
            ValueError: as `with_reducer`, or weights are missing.
        """
        config = self.with_reducer(reducer)
        with expect_in_report(REDUCER):
            model, found = self.family.from_pretrained(
                self.source, config=config, dtype=torch.float32, output_loading_info=True
            )
        check_weights(self.source, found, [REDUCER])
        return model.eval(), bool(found["missing_keys"])

    def load_reduced(self, reducer: str) -> tuple[Any, bool]:
        """Load the weights as a sparse model of their kind: a classifier, a detector, both towers, or a base model.

        Returns as `load_sparse`.

        Raises:
            ValueError: as `load_sparse`.
        """
        if self.has_classifier:
            return self.load_sparse(reducer)
        both = "vision_config" in self.content and self.config.model_type in TWO_TOWERS
        kind = TWO_TOWERS[self.config.model_type] if both else self.encoder
        if self.detects and any("ForObjectDetection" in name for name in self.config.architectures or ()):
            kind = DETECTORS[self.config.model_type]
        content = copy.deepcopy(self.content) | {"model_type": kind.config_class.model_type}
        changes = {} if reducer == self.reducer else {"reducer": reducer}
        config = kind.config_class.from_dict(content, **changes)
        with expect_in_report(REDUCER):
            model, found = kind.from_pretrained(
                self.source, config=config, dtype=torch.float32, output_loading_info=True
            )
        check_weights(self.source, found, [REDUCER])
        return model.eval(), bool(found["missing_keys"])

    def load_around_backbone(self) -> PreTrainedModel:
        """Load a model around a backbone as it was saved, in float32 and eval mode.

        Raises:
            ValueError: it is a configuration alone, does not say of which class it is, or lacks weights.
        """
        name = next(iter(self.config.architectures or ()), "")
        if self.source.endswith(".json"):
            raise ValueError(f"{self.source} is a configuration; type the folder of the model, with its weights.")
        if not hasattr(transformers, name):
            raise ValueError(f"{self.source} has the architecture {name!r} in config.json, which Transformers lacks.")
        model, found = getattr(transformers, name).from_pretrained(
            self.source, config=copy.deepcopy(self.config), dtype=torch.float32, output_loading_info=True
        )
        check_weights(self.source, found, [])
        return model.eval()

    def reduce_around_backbone(self, reducer: str | None) -> tuple[Any, bool]:
        """Load a model around a backbone with fewer tokens; return whether its method's parameters are new.

        Args:
            reducer: a method; `None` is its own, or of a dense one the best without training.

        Raises:
            ValueError: as `load_around_backbone` and `reduce_tokens`.
        """
        model = self.load_around_backbone()
        if self.is_sparse and reducer in (None, self.reducer):
            return model, False
        if self.is_sparse:
            restore(model)
        reduce_tokens(model, reducer or WITHOUT_TRAINING)
        return model, any(True for _ in find_reduced(model).backbone.reducer.parameters())

    def load_dense(self) -> PreTrainedModel:
        """Load the dense classifier.

        Raises:
            ValueError: it is sparse, of another family, or lacks weights.
        """
        if self.is_sparse:
            raise ValueError(f"{self.source} holds a sparse model; name a dense one to compare with.")
        return self.load()

    def load(self) -> PreTrainedModel:
        """Load the classifier, or detector, as it was saved, in float32 and eval mode.

        Raises:
            ValueError: it is of another family, or lacks weights.
        """
        self.check_weights_fit()
        dense = self.family.dense_class
        attention = {"attn_implementation": "sdpa"} if attends(dense) else {}
        known = self.is_sparse or dense.__module__.startswith("transformers.")
        # Transformers has no classifier on DINOv3
        loader: Any = getattr(transformers, self.family.auto_names[0]) if known else dense
        model, found = loader.from_pretrained(
            self.source,
            config=self.config,
            dtype=torch.float32,
            output_loading_info=True,
            **attention,
        )
        if found["missing_keys"]:
            missing = ", ".join(sorted(found["missing_keys"]))
            raise ValueError(
                f"{self.source} lacks weights of a {type(model).__name__}, which would be random: {missing}."
            )
        return model.eval()

    def load_as_saved(self, **options: Any) -> Any:
        """Load an image classifier of whatever family, with `options` of `from_pretrained`.

        Raises:
            ValueError: it is an object detector.
        """
        if self.detects:
            self.check_family()
        return AutoModelForImageClassification.from_pretrained(self.source, config=self.config, **options)


def find_reduced(model: Any) -> Any:
    """Find the backbone whose tokens are reduced in a model around it."""
    return next(outermost(model, is_reduced)).model


def read_checkpoint(source: str | Path, may_detect: bool = False, may_map: bool = False) -> Checkpoint:
    """Read the configuration of the checkpoint `source`: a folder, a Hub name, or a `.json`.

    `may_detect` says that an object detector will do where an image classifier is asked for, `may_map` the same of a
    model around a backbone, for segmentation or depth.

    Raises:
        ValueError: there is none, it is of timm, or its weights are damaged, in one line that says what to type.
    """
    content = read_content(source)
    checkpoint = Checkpoint(str(source), content, make_config(source, content), may_detect, may_map)
    check_weights_are_whole(source)
    return checkpoint
