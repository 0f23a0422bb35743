# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The Auto classes find the models by name, and import them, and torch, when the first one is asked for.

Transformers can register classes, not names of classes. Its own models it knows by name: `CONFIG_MAPPING_NAMES` has
model type -> configuration class, and a look-up then imports `transformers.models.<model type>`. This file does the
same for ours: it adds the names and answers for that import; what it then imports registers the classes by the public
API.

The plainer ways cost more (CPU seconds on one core, Transformers 5.23, torch 2.13). Registering the classes on import
takes 5.3 s, against 0.04 s now, of which the search in `holds` is 0.001 s. Registering them when Transformers imports
its Auto classes adds 2.5 s for whoever wants another model from them, and goes in a circle: importing
`transformers.modeling_utils`, which our models need, imports the Auto classes half-way through. Looking at the names
themselves rather than at the sources means importing Transformers, 0.7 s, also for `hf-dynamicvit --help`.

These are internals of Transformers. Nothing else here relies on them, and where `RELIED_ON` does not hold, in another
version, the models are imported and registered at once, which is only slower. All of it can go when Transformers
registers names.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from .families import CONFIGS, HOMES, add_installed_families


MODELS = "transformers.models"
NAMES = f"{MODELS}.auto.auto_mappings"
AUTO = f"{MODELS}.auto.configuration_auto"  # copies the names when it is imported

# (file in transformers/models/auto, what it says)
RELIED_ON = [
    ("auto_mappings.py", "\nCONFIG_MAPPING_NAMES = "),
    ("configuration_auto.py", "\nfrom .auto_mappings import CONFIG_MAPPING_NAMES"),
    ("configuration_auto.py", "\nCONFIG_MAPPING = _LazyConfigMapping(CONFIG_MAPPING_NAMES)\n"),
    ("configuration_auto.py", f'importlib.import_module(f".{{module_name}}", "{MODELS}")'),
]


class NamedModels(MetaPathFinder, Loader):
    """Is asked about every import: adds our names just before Transformers copies them, and has our two modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == AUTO:
            add_names(NAMES)
        package, _, model_type = fullname.rpartition(".")
        return spec_from_loader(fullname, self) if package == MODELS and model_type in CONFIGS else None

    def exec_module(self, module: ModuleType) -> None:
        model_type = module.__name__.rpartition(".")[2]
        import_module(f"{__package__}.registration")  # ahead of files of other packages, which it imports
        configuration = import_module(HOMES[CONFIGS[model_type]], __package__)
        setattr(module, CONFIGS[model_type], getattr(configuration, CONFIGS[model_type]))


def announce_models() -> None:
    """Let the Auto classes know the models, whether they are imported already or later."""
    if not holds():
        import_module(f"{__package__}.registration")
        return
    sys.meta_path.insert(0, NamedModels())
    if AUTO in sys.modules:
        add_names(AUTO)


def add_names(module: str) -> None:
    add_installed_families()
    import_module(module).CONFIG_MAPPING_NAMES.update(CONFIGS)


def holds() -> bool:
    """Search the sources of Transformers for what is relied on here, without importing them."""
    transformers = find_spec("transformers")
    if transformers is None or transformers.origin is None:
        return False
    folder = Path(transformers.origin).with_name("models") / "auto"
    try:
        return all(text in (folder / file).read_text(encoding="utf-8") for file, text in RELIED_ON)
    except OSError:  # not installed as files
        return False
