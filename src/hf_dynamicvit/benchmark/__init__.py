# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Speed, overhead and memory beside the dense model."""

from .._moved import getter


__getattr__ = getter("benchmark")  # what was in benchmark.py
