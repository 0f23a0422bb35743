# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The version, where a build can read it without importing torch."""

__version__ = "0.1.0"
