# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The table of model families: names only, without torch. A family is its two files in `model/` and its row here.

It stands beside `model/`, since importing anything in there imports torch; `registration.py` registers its classes.
Families of other packages are found by their entry points, when Transformers' Auto classes or our models are imported.
"""

import warnings
from functools import cache
from importlib.metadata import entry_points
from typing import NamedTuple


# The group of entry points in which other packages name their families.
FAMILY_GROUP = "hf_dynamicvit.families"

# The package of our own families, below this one.
OWN = ".model"


class Family(NamedTuple):
    """Names of a family. Its files are `configuration_<key>.py` and `modeling_<key>.py`, its key is `dynamic<dense>`.

    Attributes:
        dense: model type of the native checkpoints that it reads.
        prefix: of the names of its classes.
        title: of its models, for people.
        processor: its image processor, without `ImageProcessor`.
        two_towers: the base model is the image tower of a model with a text tower, for zero-shot classification.
        has_classifier: there is an image classification model.
        has_backbone: there is a model that hands out feature maps, as natively.
        has_detector: there is an object detector.
        own_dense: prefix of the names of the dense classes where Transformers has none and they are ours too, in
            `configuration_<dense>.py` and `modeling_<dense>.py`.
        package: that has the files; the name of it, where it is another than ours.
    """

    dense: str
    prefix: str
    title: str
    processor: str
    two_towers: bool = False
    has_classifier: bool = True
    has_backbone: bool = False
    has_detector: bool = False
    own_dense: str | None = None
    package: str = OWN

    @property
    def key(self) -> str:
        """Model type of its sparse checkpoints."""
        return f"dynamic{self.dense}"

    @property
    def homes(self) -> dict[str, str]:
        """Name of every class -> the module that has it."""
        files = (
            ("configuration", self.key, self.configs.values()),
            ("modeling", self.key, self.models),
            ("configuration", self.dense, self.dense_configs.values()),
            ("modeling", self.dense, self.dense_models),
        )
        return {name: f"{self.package}.{kind}_{file}" for kind, file, names in files for name in names}

    @property
    def configs(self) -> dict[str, str]:
        """Model type -> name of the configuration class; first that of the classifier, last that of the base model."""
        configs = {f"dynamic{self.dense}": self.config}
        if self.two_towers:
            configs[f"dynamic{self.dense}_vision_model"] = f"{self.prefix}VisionConfig"
        return configs

    @property
    def dense_configs(self) -> dict[str, str]:
        """Model type -> name of the configuration class, of dense models that are ours too."""
        return {self.dense: f"{self.own_dense}Config"} if self.own_dense else {}

    @property
    def dense_models(self) -> list[str]:
        """Names of the classes of dense models that are ours too."""
        if self.own_dense is None:
            return []
        return [name.replace(self.prefix, self.own_dense) for name in self.models]

    @property
    def config(self) -> str:
        """Name of the configuration class, of both towers where there are two."""
        return f"{self.prefix}Config"

    @property
    def model(self) -> str:
        """Name of the base model's class."""
        return f"{self.prefix}VisionModel" if self.two_towers else f"{self.prefix}Model"

    @property
    def zero_shot(self) -> str | None:
        """Name of the class with both towers."""
        return f"{self.prefix}Model" if self.two_towers else None

    @property
    def classifier(self) -> str | None:
        """Name of the image classification model's class."""
        return f"{self.prefix}ForImageClassification" if self.has_classifier else None

    @property
    def backbone(self) -> str | None:
        """Name of the class that hands out feature maps."""
        return f"{self.prefix}Backbone" if self.has_backbone else None

    @property
    def detector(self) -> str | None:
        """Name of the object detector's class."""
        return f"{self.prefix}ForObjectDetection" if self.has_detector else None

    @property
    def models(self) -> list[str]:
        """Names of all its model classes."""
        names = (self.model, self.zero_shot, self.classifier, self.backbone, self.detector)
        return [name for name in names if name is not None]


# model type -> names
FAMILIES = {
    f"dynamic{family.dense}": family
    for family in (
        Family("vit", "DynamicViT", "ViT, DeiT", "ViT"),
        Family("deit", "DynamicDeiT", "DeiT with distillation token", "ViT"),
        Family("dinov2", "DynamicDinov2", "DINOv2", "Bit", has_backbone=True),
        Family(
            "dinov2_with_registers", "DynamicDinov2WithRegisters", "DINOv2 with registers", "Bit", has_backbone=True
        ),
        Family("clip", "DynamicCLIP", "CLIP", "CLIP", two_towers=True),
        Family("metaclip_2", "DynamicMetaClip2", "MetaCLIP 2", "CLIP", two_towers=True),
        Family("siglip", "DynamicSiglip", "SigLIP, SigLIP 2 of fixed size", "Siglip", two_towers=True),
        Family("dinov3_vit", "DynamicDINOv3ViT", "DINOv3 ViT", "DINOv3ViT", has_backbone=True),
        Family("beit", "DynamicBeit", "BEiT", "Beit", has_backbone=True),
        Family("vit_msn", "DynamicViTMSN", "ViT-MSN", "ViT"),
        Family("ijepa", "DynamicIJepa", "I-JEPA", "ViT"),
        Family("aimv2", "DynamicAimv2", "AIMv2", "CLIP", two_towers=True, has_classifier=False),
        Family("idefics3_vision", "DynamicIdefics3Vision", "tower of Idefics3", "Siglip", has_classifier=False),
        Family("smolvlm_vision", "DynamicSmolVLMVision", "tower of SmolVLM", "Siglip", has_classifier=False),
        Family("yolos", "DynamicYolos", "YOLOS", "Yolos", has_classifier=False, has_detector=True),
        Family("lvvit", "DynamicLVViT", "LV-ViT", "ViT", own_dense="LVViT"),
    )
}

# the same of models with weights that dense ones lack, made for one method: they are trained from random weights
FROM_SCRATCH = {
    f"dynamic{family.dense}": family for family in (Family("levit", "DynamicLevit", "LeViT by Evo-ViT", "Levit"),)
}

# the same of pyramids, whose stages have maps of other sizes and widths: none of their positions leaves
PYRAMIDS = {
    f"dynamic{family.dense}": family
    for family in (
        Family("swin", "DynamicSwin", "Swin", "ViT"),
        Family("convnext", "DynamicConvNext", "ConvNeXt", "ConvNext"),
    )
}

# those whose native models can be reduced as they are
ADOPTABLE = FAMILIES | PYRAMIDS
ALL_FAMILIES = ADOPTABLE | FROM_SCRATCH

# model type -> the name of our configuration class
CONFIGS = {
    name: config
    for family in ALL_FAMILIES.values()
    for name, config in (family.configs | family.dense_configs).items()
}

# Model types of all image classifiers that can be read, dense and sparse.
MODEL_TYPES = [name for key, family in ALL_FAMILIES.items() if family.classifier for name in (family.dense, key)]

# public class -> the module that has it
HOMES = {name: home for family in ALL_FAMILIES.values() for name, home in family.homes.items()}


def add_family(family: Family) -> None:
    """Add a family of another package to the table.

    Raises:
        ValueError: it is none, a name is taken or cannot be one, or its package is not named.
    """
    check_family(family)
    ADOPTABLE[family.key] = ALL_FAMILIES[family.key] = family
    CONFIGS.update(family.configs | family.dense_configs)
    HOMES.update(family.homes)
    if family.classifier:
        MODEL_TYPES.extend((family.dense, family.key))


def check_family(family: Family) -> None:
    """Refuse what cannot be added to the table."""
    if not isinstance(family, Family):
        raise ValueError(f"the family is {family!r}; it must be a hf_dynamicvit.families.Family.")
    if not (family.dense.isidentifier() and family.dense == family.dense.lower()):
        raise ValueError(f"dense is {family.dense!r}; a model type has lower-case letters, digits and _ only.")
    if not family.prefix.startswith("Dynamic"):
        raise ValueError(f"prefix is {family.prefix!r}; it must begin with Dynamic, as the names of all our classes.")
    if family.package == OWN:
        raise ValueError(f"package is {family.package!r}; name the one that has the files of {family.key}.")
    taken = {*CONFIGS, *(each.dense for each in ALL_FAMILIES.values())} & {family.dense, *family.configs}
    taken |= HOMES.keys() & family.homes.keys()
    if taken:
        raise ValueError(f"{', '.join(sorted(taken))} is of another family already.")


def drop_family(family: Family) -> None:
    """Take a family whose files cannot be imported off the table."""
    for table in (ADOPTABLE, ALL_FAMILIES):
        table.pop(family.key, None)
    for name in (*family.configs, *family.dense_configs):
        CONFIGS.pop(name, None)
    for name in family.homes:
        HOMES.pop(name, None)
    MODEL_TYPES[:] = [name for name in MODEL_TYPES if name not in (family.dense, family.key)]


@cache
def add_installed_families() -> None:
    """Add the families of other packages, as their entry points name them; a warning tells which cannot be used."""
    for found in entry_points(group=FAMILY_GROUP):
        try:
            add_family(found.load())
        except Exception as error:  # the package of somebody else; ours works without it
            package = "?" if found.dist is None else found.dist.name
            warnings.warn(f"The family {found.name} of the package {package} cannot be used: {error}", stacklevel=2)
