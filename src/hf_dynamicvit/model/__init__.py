# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The model, in a flat folder that travels with a checkpoint as remote code. All but this file.

Whoever imports a class by its own module finds the Auto classes knowing it, as by any other way.
"""

from .. import registration  # noqa: F401
